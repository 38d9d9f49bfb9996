//! Taking over keys of another system: not their texts, which nobody has, but their hashes.
//!
//! A hash is `hex(HMAC-SHA256(secret, key))` of the whole text of a key, prefix included. With that
//! system's secret as `secrets.imported-api-keys` and its prefix as `api-keys.imported-prefix`, the keys
//! that are out there go on working. The first use of each moves it to a hash of our own.
//!
//! An owner is found by the id of that system, as `import users` noted it, by the name that another
//! issuer has for them, by an account's own id, or by address.

use portcullis_core::{ApiKeyId, TenantId, Timestamp, UserId};
use portcullis_events::{Action, Event};
use portcullis_store::Tx;

use super::{ApiKeys, Grantor, KeyHash, store};
use crate::accounts::By;
use crate::import::read::Rows;
use crate::import::users::find_reference;
use crate::import::{self, Error, Fate, Report, Row, Run, check_owner, event};
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

/// Takes keys over.
struct Taker<'a> {
    keys: &'a ApiKeys,
    plan: &'a Plan,
    grantor: &'a Grantor<'a>,
    by: &'a By,
}

impl import::Taker for Taker<'_> {
    const COLUMNS: &'static [&'static str] = COLUMNS;

    async fn take(&mut self, tx: &mut Tx, row: &Row) -> Result<Result<Fate, String>, Error> {
        let now = self.keys.0.clock.now();
        match read(row, now) {
            Ok(ready) if ready.expires_at.is_some_and(|end| end <= now) => Ok(Ok(Fate::Over)),
            Ok(ready) => self.write(tx, &ready).await,
            Err(reason) => Ok(Err(reason)),
        }
    }

    fn event(&self, imported: u64) -> Option<Event> {
        let event = event(Action::ApiKeysImported, self.by, self.keys.0.clock.now());
        Some(event.with("keys", imported))
    }
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
        rows: Rows,
        plan: &Plan,
        run: Run,
        (grantor, by): (&Grantor<'_>, &By),
        progress: impl FnMut(u64),
    ) -> Result<Report, Error> {
        let mut taker = Taker {
            keys: self,
            plan,
            grantor,
            by,
        };
        let to = (&self.0.db, &self.0.trail);
        import::take_over(to, rows, &plan.ignore, run, &mut taker, progress).await
    }
}

impl Taker<'_> {
    async fn write(&self, tx: &mut Tx, ready: &Ready) -> Result<Result<Fate, String>, Error> {
        let owner = match self.owner(tx, ready).await? {
            Ok(owner) => owner,
            Err(reason) => return Ok(Err(reason)),
        };
        if let Some(owner) = &owner
            && let Err(reason) = check_owner(tx, self.grantor.roles(), self.by, owner.id).await?
        {
            return Ok(Err(reason));
        }
        let prefix = self.keys.0.prefixes.imported.as_deref().unwrap_or_default();
        let new = store::NewRow {
            id: ApiKeyId::new(),
            hash: &ready.hash,
            imported_hash: Some(&ready.hash),
            hint: prefix,
            name: ready.name.as_deref().unwrap_or("imported"),
            user: owner.as_ref().map(|owner| owner.id),
            tenant: owner.and_then(|owner| owner.tenant),
            permissions: &self.plan.permissions,
            routes: self.plan.routes.as_deref(),
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
    ) -> Result<Result<Option<Owner>, String>, Error> {
        let db = &self.keys.0.db;
        let addresses = &self.keys.0.addresses;
        let by_id = match &ready.user_id {
            None => None,
            Some(id) => {
                let found = match &self.plan.issuer {
                    Some(issuer) => issuers::person(db, issuer, id).await?,
                    None => match find_reference(tx, &self.plan.source, id).await? {
                        Some(user) => Some(user),
                        None => id.parse().ok(),
                    },
                };
                let account = match found {
                    Some(user) => users::find(db, addresses, user).await?,
                    None => None,
                };
                if account.is_none() {
                    return Ok(Err(match &self.plan.issuer {
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
                let account = users::find_by_email(db, addresses, email).await?;
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
