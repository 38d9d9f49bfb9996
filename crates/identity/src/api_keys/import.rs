//! Taking over keys of another system: not their texts, which nobody has, but their hashes.
//!
//! A hash is `hex(HMAC-SHA256(secret, key))` of the whole text of a key, prefix included. With that
//! system's secret as `secrets.imported-api-keys` and its prefix as `api-keys.imported-prefix`, the keys
//! that are out there go on working. The first use of each moves it to a hash of our own.

use portcullis_core::{ApiKeyId, Timestamp, UserId};
use portcullis_events::{Action, Event, Outcome};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{ApiKeys, Error, KeyHash, store};
use crate::accounts::By;
use crate::users;

/// One key of the other system, with the names that its table has.
#[derive(Debug, Clone, Deserialize)]
pub struct Row {
    pub key_hash: String,
    pub name: Option<String>,
    pub user_id: Option<UserId>,
    #[serde(default, deserialize_with = "moment")]
    pub created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    pub expires_at: Option<Timestamp>,
}

/// As databases write it: RFC 3339, or the same without an offset, which is then UTC.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    text.parse()
        .or_else(|_| format!("{text}Z").parse())
        .map(Some)
        .map_err(D::Error::custom)
}

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    Imported,
    /// It was there already: importing twice is importing once.
    Known,
    Expired,
    Refused(&'static str),
}

/// What every key of an import gets, which the other system did not know.
#[derive(Debug, Clone, Default)]
pub struct Given {
    pub permissions: Vec<String>,
    pub routes: Option<Vec<String>>,
}

impl ApiKeys {
    /// Takes the rows over, or with `dry_run` says what would become of each. All or nothing.
    pub async fn import(
        &self,
        rows: &[Row],
        given: &Given,
        dry_run: bool,
        by: &By,
    ) -> Result<Vec<Fate>, Error> {
        let this = &*self.0;
        let now = this.clock.now();
        let mut fates = Vec::with_capacity(rows.len());
        let mut tx = this.db.begin().await?;
        for row in rows {
            let Some(hash) = hash(&row.key_hash) else {
                fates.push(Fate::Refused("`key_hash` is not 64 hexadecimal digits"));
                continue;
            };
            if row.expires_at.is_some_and(|end| end <= now) {
                fates.push(Fate::Expired);
                continue;
            }
            let owner = match row.user_id {
                Some(user) => users::find(&this.db, user).await?,
                None => None,
            };
            if row.user_id.is_some() && owner.is_none() {
                fates.push(Fate::Refused("there is no account with this `user_id`"));
                continue;
            }
            let prefix = this.prefixes.imported.as_deref().unwrap_or_default();
            let new = store::NewRow {
                id: ApiKeyId::new(),
                hash: &hash,
                imported_hash: Some(&hash),
                hint: prefix,
                name: row.name.as_deref().unwrap_or("imported"),
                user: row.user_id,
                tenant: owner.and_then(|owner| owner.tenant),
                permissions: &given.permissions,
                routes: given.routes.as_deref(),
                rate: None,
                created_by: "import",
                created_at: row.created_at.unwrap_or(now),
                expires_at: row.expires_at,
            };
            fates.push(if store::insert(&mut tx, &new).await? {
                Fate::Imported
            } else {
                Fate::Known
            });
        }
        if dry_run {
            // Dropped: it never was.
            return Ok(fates);
        }
        let count = fates.iter().filter(|fate| **fate == Fate::Imported).count();
        let event = Event::new(now, Action::ApiKeysImported, Outcome::Allowed)
            .by(by.actor)
            .with("keys", u64::try_from(count).unwrap_or(u64::MAX));
        this.trail.record_in(&mut tx, event).await?;
        tx.commit().await?;
        Ok(fates)
    }
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
