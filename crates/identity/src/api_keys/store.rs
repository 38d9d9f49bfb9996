//! The SQL of API keys.

use std::sync::Arc;

use portcullis_core::limit::Rate;
use portcullis_core::principal::{ApiKey, Owner};
use portcullis_core::{ApiKeyId, TenantId, Timestamp, UserId};
use portcullis_store::{Db, Error, Row, Tx};

use super::KeyHash;
use crate::users;

/// A key as the database has it: all but its text, which nobody has.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    pub id: ApiKeyId,
    /// The first characters, by which its owner knows it.
    pub hint: String,
    pub name: String,
    pub user: Option<UserId>,
    pub tenant: Option<TenantId>,
    pub permissions: Vec<String>,
    /// Beginnings of the paths of routes; nothing for every route that admits keys.
    pub routes: Option<Vec<String>>,
    pub rate: Option<Rate>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub successor: Option<ApiKeyId>,
}

/// A key to be written.
pub(super) struct NewRow<'a> {
    pub(super) id: ApiKeyId,
    pub(super) hash: &'a KeyHash,
    /// The hash that another system had, where the key was taken over.
    pub(super) imported_hash: Option<&'a KeyHash>,
    pub(super) hint: &'a str,
    pub(super) name: &'a str,
    pub(super) user: Option<UserId>,
    pub(super) tenant: Option<TenantId>,
    pub(super) permissions: &'a [String],
    pub(super) routes: Option<&'a [String]>,
    pub(super) rate: Option<Rate>,
    pub(super) created_by: &'a str,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
}

/// A live key and whom it stands for.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) key: ApiKey,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) last_used_at: Option<Timestamp>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, hint, name, user_id, tenant_id, permissions, routes, rate, created_at, ",
            "expires_at, last_used_at, revoked_at, successor_id FROM api_key ",
            $rest
        )
    };
}

/// The key with this hash, unless it was revoked, its owner's account is closed, or the owner left the
/// tenant that it is of.
pub(super) async fn find(db: &Db, hash: &KeyHash) -> Result<Option<Stored>, Error> {
    const SQL: &str = "SELECT k.id, k.user_id, k.tenant_id, k.permissions, k.routes, k.rate, k.expires_at, k.last_used_at FROM api_key k LEFT JOIN users u ON u.id = k.user_id LEFT JOIN membership m ON m.user_id = k.user_id AND m.tenant_id = k.tenant_id WHERE k.hash = $1 AND k.revoked_at IS NULL AND u.deactivated_at IS NULL AND (k.user_id IS NULL OR k.tenant_id IS NULL OR k.tenant_id = u.tenant_id OR m.user_id IS NOT NULL)";
    let Some(row) = db.fetch_optional(SQL, &[hash.as_bytes().into()]).await? else {
        return Ok(None);
    };
    let owner = match row.opt_user_id("user_id")? {
        Some(id) => Some(Owner {
            id,
            roles: shared(users::roles(db, id).await?),
        }),
        None => None,
    };
    Ok(Some(Stored {
        key: ApiKey {
            id: row.api_key_id("id")?,
            tenant: row.opt_tenant_id("tenant_id")?,
            owner,
            permissions: shared(list(&row.text("permissions")?)?),
            routes: match row.opt_text("routes")? {
                Some(text) => Some(shared(list(&text)?)),
                None => None,
            },
            rate: rate(&row)?,
        },
        expires_at: row.opt_timestamp("expires_at")?,
        last_used_at: row.opt_timestamp("last_used_at")?,
    }))
}

fn shared(list: Vec<String>) -> Arc<[Arc<str>]> {
    list.into_iter().map(Arc::from).collect()
}

fn list(text: &str) -> Result<Vec<String>, Error> {
    serde_json::from_str(text).map_err(|error| Error::Corrupt(Box::new(error)))
}

fn rate(row: &Row) -> Result<Option<Rate>, Error> {
    #[derive(Debug, thiserror::Error)]
    #[error("`{0}` is no rate")]
    struct NoRate(String);
    match row.opt_text("rate")? {
        None => Ok(None),
        // SECURITY: a rate that is not understood is an error, never no rate.
        Some(text) => match text.parse() {
            Ok(rate) => Ok(Some(rate)),
            Err(_) => Err(Error::Corrupt(Box::new(NoRate(text)))),
        },
    }
}

fn info(row: &Row) -> Result<KeyInfo, Error> {
    Ok(KeyInfo {
        id: row.api_key_id("id")?,
        hint: row.text("hint")?,
        name: row.text("name")?,
        user: row.opt_user_id("user_id")?,
        tenant: row.opt_tenant_id("tenant_id")?,
        permissions: list(&row.text("permissions")?)?,
        routes: match row.opt_text("routes")? {
            Some(text) => Some(list(&text)?),
            None => None,
        },
        rate: rate(row)?,
        created_at: row.timestamp("created_at")?,
        expires_at: row.opt_timestamp("expires_at")?,
        last_used_at: row.opt_timestamp("last_used_at")?,
        revoked_at: row.opt_timestamp("revoked_at")?,
        successor: row.opt_uuid("successor_id")?.map(ApiKeyId::from_uuid),
    })
}

pub(super) async fn get(db: &Db, id: ApiKeyId) -> Result<Option<KeyInfo>, Error> {
    let row = db
        .fetch_optional(select!("WHERE id = $1"), &[id.into()])
        .await?;
    row.as_ref().map(info).transpose()
}

/// Keys, newest first; those of one user where one is named; from the first behind `after`. Nothing
/// where there is no such key.
pub(super) async fn list_keys(
    db: &Db,
    user: Option<UserId>,
    after: Option<ApiKeyId>,
    limit: u32,
) -> Result<Option<Vec<KeyInfo>>, Error> {
    let limit = i64::from(limit);
    let (at, id) = match after {
        None => (
            Timestamp::from_micros(i64::MAX),
            ApiKeyId::from_uuid(uuid::Uuid::max()),
        ),
        Some(id) => match get(db, id).await? {
            Some(key) => (key.created_at, id),
            None => return Ok(None),
        },
    };
    let rows = match user {
        None => {
            db.fetch_all(
                select!("WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3"),
                &[at.into(), id.into(), limit.into()],
            )
            .await?
        }
        Some(user) => {
            db.fetch_all(
                select!("WHERE (created_at, id) < ($1, $2) AND user_id = $4 ORDER BY created_at DESC, id DESC LIMIT $3"),
                &[at.into(), id.into(), limit.into(), user.into()],
            )
            .await?
        }
    };
    rows.iter().map(info).collect::<Result<_, _>>().map(Some)
}

/// Writes a key. Whether it was not there yet, under either of its hashes.
pub(super) async fn insert(tx: &mut Tx, new: &NewRow<'_>) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO api_key (id, hash, hint, name, user_id, tenant_id, permissions, routes, rate, created_by, created_at, expires_at, imported_hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING";
    let permissions = written(new.permissions)?;
    let routes = new.routes.map(written).transpose()?;
    let rate = new.rate.map(|rate| rate.to_string());
    let args = [
        new.id.into(),
        new.hash.as_bytes().into(),
        new.hint.into(),
        new.name.into(),
        new.user.into(),
        new.tenant.into(),
        permissions.as_str().into(),
        routes.as_deref().into(),
        rate.as_deref().into(),
        new.created_by.into(),
        new.created_at.into(),
        new.expires_at.into(),
        new.imported_hash.map(KeyHash::as_bytes).into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

fn written(list: &[String]) -> Result<String, Error> {
    serde_json::to_string(list).map_err(|error| Error::Corrupt(Box::new(error)))
}

/// How many keys of a user are live.
pub(super) async fn count_live(tx: &mut Tx, user: UserId, now: Timestamp) -> Result<i64, Error> {
    const SQL: &str = "SELECT count(*) AS live FROM api_key WHERE user_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
    let row = tx.fetch_optional(SQL, &[user.into(), now.into()]).await?;
    row.map_or(Ok(0), |row| row.int("live"))
}

/// Takes hold of the owner's account, so that two keys made at once count each other. Its tenant;
/// nothing at all where the account is not there or closed.
pub(super) async fn hold_owner(
    tx: &mut Tx,
    user: UserId,
) -> Result<Option<Option<TenantId>>, Error> {
    const SQL: &str = "UPDATE users SET updated_at = updated_at WHERE id = $1 AND deactivated_at IS NULL RETURNING tenant_id";
    let row = tx.fetch_optional(SQL, &[user.into()]).await?;
    row.map(|row| row.opt_tenant_id("tenant_id")).transpose()
}

/// Ends a key; of this owner alone, where one is named. Whether it was live.
pub(super) async fn revoke(
    tx: &mut Tx,
    id: ApiKeyId,
    user: Option<UserId>,
    now: Timestamp,
) -> Result<bool, Error> {
    const ANY: &str = "UPDATE api_key SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    const OWN: &str =
        "UPDATE api_key SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL AND user_id = $3";
    let rows = match user {
        None => tx.execute(ANY, &[id.into(), now.into()]).await?,
        Some(user) => {
            tx.execute(OWN, &[id.into(), now.into(), user.into()])
                .await?
        }
    };
    Ok(rows == 1)
}

/// Lets a key end at `until`, never later than it would, in favour of another. Whether it was live
/// and had no successor yet.
pub(super) async fn supersede(
    tx: &mut Tx,
    id: ApiKeyId,
    successor: ApiKeyId,
    until: Timestamp,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE api_key SET successor_id = $2, expires_at = CASE WHEN expires_at IS NULL OR expires_at > $3 THEN $3 ELSE expires_at END WHERE id = $1 AND revoked_at IS NULL AND successor_id IS NULL AND (expires_at IS NULL OR expires_at > $4)";
    let args = [id.into(), successor.into(), until.into(), now.into()];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// Moves a key to another hash of the same text.
pub(super) async fn rehash(tx: &mut Tx, old: &KeyHash, new: &KeyHash) -> Result<(), Error> {
    const SQL: &str = "UPDATE api_key SET hash = $2 WHERE hash = $1";
    tx.execute(SQL, &[old.as_bytes().into(), new.as_bytes().into()])
        .await
        .map(drop)
}

/// Moves a key's last use forward, never back.
pub(super) async fn touch(tx: &mut Tx, id: ApiKeyId, at: Timestamp) -> Result<(), Error> {
    const SQL: &str = "UPDATE api_key SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
    tx.execute(SQL, &[id.into(), at.into()]).await.map(drop)
}
