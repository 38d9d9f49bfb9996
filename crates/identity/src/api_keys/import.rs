//! Taking over keys of another system: not their texts, which nobody has, but their hashes.
//!
//! A hash is `hex(HMAC-SHA256(secret, key))` of the whole text of a key, prefix included. With that
//! system's secret as `secrets.imported-api-keys` and its prefix as `api-keys.imported-prefix`, the keys
//! that are out there go on working. The first use of each moves it to a hash of our own.
//!
//! An owner is found by the id of that system, as `import users` noted it, by the name that another
//! issuer has for them, by an account's own id, or by address.

use portcullis_core::{ApiKeyId, TenantId, Timestamp, UserId};
use portcullis_events::Action;
use portcullis_store::Tx;

use super::{ApiKeys, Grantor, KeyHash, store};
use crate::accounts::By;
use crate::import::read::Rows;
use crate::import::users::find_reference;
use crate::import::{Error, Fate, Report, Row, Run, event};
use crate::{Email, issuers, users};

/// What may stand in a row. `key_hash` must.
pub const COLUMNS: &[&str] = &[
    "id",
    "key_hash",
    "name",
    "user_id",
    "email",
    "created_at",
    "expires_at",
];

/// How rows are to be understood, and what every key gets, which the other system did not know.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// As in the import of users, whose ids `user_id` holds.
    pub source: String,
    /// The `iss` of the issuer whose subjects `user_id` holds, where it does.
    pub issuer: Option<String>,
    pub permissions: Vec<String>,
    pub routes: Option<Vec<String>>,
    pub ignore: Vec<String>,
}

struct Ready {
    hash: KeyHash,
    name: Option<String>,
    user_id: Option<String>,
    email: Option<Email>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

/// Whose key it is.
struct Owner {
    id: UserId,
    tenant: Option<TenantId>,
}

impl ApiKeys {
    /// Whether keys could be known again that are taken over now.
    pub fn takes_over(&self) -> bool {
        self.0.prefixes.imported.is_some() && self.0.imported.is_some()
    }

    /// Takes all of them over, for somebody who may give what the plan gives. `progress` is told how many
    /// were read.
    pub async fn import(
        &self,
        mut rows: Rows,
        plan: &Plan,
        run: Run,
        (grantor, by): (&Grantor<'_>, &By),
        mut progress: impl FnMut(u64),
    ) -> Result<Report, Error> {
        let this = &*self.0;
        let mut report = Report::of(run);
        loop {
            let batch = rows.next().await?;
            if batch.is_empty() {
                return Ok(report);
            }
            let now = this.clock.now();
            let before = report.imported;
            let mut tx = this.db.begin().await?;
            for row in batch {
                row.check_columns(COLUMNS, &plan.ignore)?;
                let outcome = match read(&row, now) {
                    Ok(ready) if ready.expires_at.is_some_and(|end| end <= now) => Ok(Fate::Over),
                    Ok(ready) => self.take_over(&mut tx, &ready, plan, (grantor, by)).await?,
                    Err(reason) => Err(reason),
                };
                report.count(&row, outcome);
            }
            let count = report.imported.saturating_sub(before);
            if count > 0 {
                let event = event(Action::ApiKeysImported, by, now).with("keys", count);
                this.trail.record_in(&mut tx, event).await?;
            }
            run.end(tx).await?;
            progress(report.read);
        }
    }

    /// Writes one key. The outer error is a fault of the database and ends the run.
    async fn take_over(
        &self,
        tx: &mut Tx,
        ready: &Ready,
        plan: &Plan,
        (grantor, by): (&Grantor<'_>, &By),
    ) -> Result<Result<Fate, String>, Error> {
        let owner = match self.owner(tx, ready, plan).await? {
            Ok(owner) => owner,
            Err(reason) => return Ok(Err(reason)),
        };
        if let Some(owner) = &owner {
            // SECURITY: whoever brings somebody's key could act as they do where a route asks for one.
            let roles = grantor.roles();
            if let Some(role) = by.outranked_by_owner(tx, roles, owner.id).await? {
                return Ok(Err(format!(
                    "its owner has the role `{role}`, and you have not"
                )));
            }
        }
        let prefix = self.0.prefixes.imported.as_deref().unwrap_or_default();
        let new = store::NewRow {
            id: ApiKeyId::new(),
            hash: &ready.hash,
            imported_hash: Some(&ready.hash),
            hint: prefix,
            name: ready.name.as_deref().unwrap_or("imported"),
            user: owner.as_ref().map(|owner| owner.id),
            tenant: owner.and_then(|owner| owner.tenant),
            permissions: &plan.permissions,
            routes: plan.routes.as_deref(),
            rate: None,
            created_by: "import",
            created_at: ready.created_at,
            expires_at: ready.expires_at,
        };
        Ok(Ok(if store::insert(tx, &new).await? {
            Fate::Imported
        } else {
            Fate::Already
        }))
    }

    /// SECURITY: a row that names an owner is that owner's key or nobody's: one that is not found
    /// refuses the row, for a key without an owner may do more, and lives on when they leave.
    async fn owner(
        &self,
        tx: &mut Tx,
        ready: &Ready,
        plan: &Plan,
    ) -> Result<Result<Option<Owner>, String>, Error> {
        let db = &self.0.db;
        let by_id = match &ready.user_id {
            None => None,
            Some(id) => {
                let found = match &plan.issuer {
                    Some(issuer) => issuers::person(db, issuer, id).await?,
                    None => match find_reference(tx, &plan.source, id).await? {
                        Some(user) => Some(user),
                        None => id.parse().ok(),
                    },
                };
                let account = match found {
                    Some(user) => users::find(db, user).await?,
                    None => None,
                };
                if account.is_none() {
                    return Ok(Err(match &plan.issuer {
                        Some(_) => format!(
                            "the issuer's `{id}` has not been here yet: the first request makes the account; import again then"
                        ),
                        None => format!(
                            "there is no account of the user `{id}`: take it over first (`import users`, with the same --source)"
                        ),
                    }));
                }
                account
            }
        };
        let by_email = match &ready.email {
            None => None,
            Some(email) => {
                let account = users::find_by_email(db, email).await?;
                if account.is_none() {
                    return Ok(Err("there is no account with this `email`".to_owned()));
                }
                account
            }
        };
        let account = match (by_id, by_email) {
            (Some(one), Some(other)) if one.id != other.id => {
                return Ok(Err("`user_id` and `email` are two people".to_owned()));
            }
            (Some(account), _) | (None, Some(account)) => account,
            (None, None) => return Ok(Ok(None)),
        };
        Ok(Ok(Some(Owner {
            id: account.id,
            tenant: account.tenant,
        })))
    }
}

fn read(row: &Row, now: Timestamp) -> Result<Ready, String> {
    let hash = hash(&row.required("key_hash")?)
        .ok_or_else(|| "`key_hash` is not 64 hexadecimal digits".to_owned())?;
    let name = row.text("name")?.map(|name| name.trim().to_owned());
    let name = name.filter(|name| !name.is_empty());
    let is_name = |name: &str| name.chars().count() <= 100 && !name.contains(char::is_control);
    if !name.as_deref().is_none_or(is_name) {
        return Err("`name` is longer than 100 characters, or has control characters".to_owned());
    }
    let email = row.text("email")?.map(|email| Email::parse(&email));
    Ok(Ready {
        hash,
        name,
        user_id: row.text("user_id")?,
        email: email
            .transpose()
            .map_err(|error| format!("`email`: {error}"))?,
        created_at: row.time("created_at")?.unwrap_or(now).min(now),
        expires_at: row.time("expires_at")?,
    })
}

fn hash(hex: &str) -> Option<KeyHash> {
    if hex.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
        let value = digit(pair.first())?
            .checked_mul(16)?
            .checked_add(digit(pair.get(1))?)?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(KeyHash(bytes))
}
