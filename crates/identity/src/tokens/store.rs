//! The SQL of token families and refresh tokens.

use std::net::IpAddr;
use std::sync::Arc;

use portcullis_core::principal::{Credential, User};
use portcullis_core::roles::Roles;
use portcullis_core::{SessionId, Timestamp, TokenFamilyId, UserId};
use portcullis_store::revocations::{Revocation, publish};
use portcullis_store::{Db, Error, Row, Tx};
use portcullis_vault::TokenHash;
use uuid::Uuid;

use crate::holders::Holder;
use crate::openid_login::Standing;
use crate::sessions::{SessionInfo, SignedInFor};
use crate::tenants::standing::standing;
use crate::{Client, users};

/// A refresh token as the database has it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) family: TokenFamilyId,
    pub(super) issued_at: Timestamp,
    pub(super) used: Option<Used>,
}

/// When a refresh token was used, by whom, and how to work out what followed it.
#[derive(Debug)]
pub(super) struct Used {
    pub(super) at: Timestamp,
    pub(super) by: Vec<u8>,
    pub(super) salt: Vec<u8>,
}

/// A family that was taken hold of.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) user: UserId,
}

/// A family to be made.
#[derive(Debug)]
pub(super) struct NewFamily {
    pub(super) id: TokenFamilyId,
    /// The session that it takes the place of: user, factors and tenant are those of its row.
    pub(super) session: SessionId,
    pub(super) expires_at: Timestamp,
}

const FIND: &str =
    "SELECT family_id, issued_at, used_at, used_by, salt FROM refresh_token WHERE token_hash = $1";

pub(super) async fn find(db: &Db, hash: &TokenHash) -> Result<Option<Stored>, Error> {
    let row = db.fetch_optional(FIND, &[hash.as_bytes().into()]).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn find_in(tx: &mut Tx, hash: &TokenHash) -> Result<Option<Stored>, Error> {
    let row = tx.fetch_optional(FIND, &[hash.as_bytes().into()]).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<Stored, Error> {
    let used = match row.opt_timestamp("used_at")? {
        None => None,
        Some(at) => Some(Used {
            at,
            by: row.bytes("used_by")?,
            salt: row.bytes("salt")?,
        }),
    };
    Ok(Stored {
        family: TokenFamilyId::from_uuid(row.uuid("family_id")?),
        issued_at: row.timestamp("issued_at")?,
        used,
    })
}

/// Takes hold of a living family of an active user for the rest of the transaction.
///
/// SECURITY: its row stays locked, so that of two that refresh at once the second finds what the
/// first did, and one that is revoked meanwhile is either found so here or ended after this.
pub(super) async fn hold(
    tx: &mut Tx,
    id: TokenFamilyId,
    now: Timestamp,
) -> Result<Option<Held>, Error> {
    const SQL: &str = "UPDATE token_family SET last_used_at = $2 WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2 AND EXISTS (SELECT 1 FROM users WHERE users.id = token_family.user_id AND users.deactivated_at IS NULL) RETURNING user_id";
    let args = [id.as_uuid().into(), now.into()];
    let Some(row) = tx.fetch_optional(SQL, &args).await? else {
        return Ok(None);
    };
    Ok(Some(Held {
        user: row.user_id("user_id")?,
    }))
}

pub(super) async fn insert_family(
    tx: &mut Tx,
    new: &NewFamily,
    client: &Client,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO token_family (id, user_id, created_at, authenticated_at, second_factor_at, last_used_at, expires_at, client_address, user_agent, tenant_id, openid_issuer) SELECT $1, user_id, $3, authenticated_at, second_factor_at, $3, $4, $5, $6, tenant_id, openid_issuer FROM session WHERE id = $2";
    let address = client.address.as_ref().map(IpAddr::to_string);
    let args = [
        new.id.as_uuid().into(),
        new.session.into(),
        now.into(),
        new.expires_at.into(),
        address.as_deref().into(),
        client.user_agent.as_deref().into(),
    ];
    tx.execute(SQL, &args).await.map(drop)
}

pub(super) async fn insert_token(
    tx: &mut Tx,
    hash: &TokenHash,
    family: TokenFamilyId,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str =
        "INSERT INTO refresh_token (token_hash, family_id, issued_at) VALUES ($1, $2, $3)";
    let args = [hash.as_bytes().into(), family.as_uuid().into(), now.into()];
    tx.execute(SQL, &args).await.map(drop)
}

/// Uses a token up. Whether it was unused: the database decides, once.
pub(super) async fn spend(tx: &mut Tx, hash: &TokenHash, used: &Used) -> Result<bool, Error> {
    const SQL: &str = "UPDATE refresh_token SET used_at = $2, used_by = $3, salt = $4 WHERE token_hash = $1 AND used_at IS NULL";
    let args = [
        hash.as_bytes().into(),
        used.at.into(),
        (&used.by).into(),
        (&used.salt).into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// Ends a family, and tells every node. Whether it lived.
pub(crate) async fn end(
    tx: &mut Tx,
    id: TokenFamilyId,
    user: UserId,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE token_family SET revoked_at = $3 WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL";
    let args = [id.as_uuid().into(), user.into(), now.into()];
    if tx.execute(SQL, &args).await? == 0 {
        return Ok(false);
    }
    publish(tx, Revocation::TokenFamily(id), now).await?;
    Ok(true)
}

/// Takes hold of the account, if it is active, for the rest of the transaction.
///
/// INVARIANT: locks are taken in one order, so that no two acts wait for each other: the account,
/// families, sessions, and last the turn to publish. [`publish_all`] is called after the last row.
pub(crate) async fn hold_user(tx: &mut Tx, user: UserId) -> Result<bool, Error> {
    const SQL: &str =
        "UPDATE users SET updated_at = updated_at WHERE id = $1 AND deactivated_at IS NULL";
    Ok(tx.execute(SQL, &[user.into()]).await? == 1)
}

/// Ends the oldest living families beyond `keep`. The caller publishes.
pub(super) async fn end_oldest(
    tx: &mut Tx,
    user: UserId,
    keep: u32,
    now: Timestamp,
) -> Result<Vec<TokenFamilyId>, Error> {
    const LIST: &str = "SELECT id FROM token_family WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY created_at DESC, id DESC";
    const END: &str =
        "UPDATE token_family SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    let rows = tx.fetch_all(LIST, &[user.into(), now.into()]).await?;
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let mut ended = Vec::new();
    for row in rows.iter().skip(keep) {
        let id = row.uuid("id")?;
        if tx.execute(END, &[id.into(), now.into()]).await? == 1 {
            ended.push(TokenFamilyId::from_uuid(id));
        }
    }
    Ok(ended)
}

/// Ends all families of a user but one. The caller publishes.
pub(crate) async fn end_others(
    tx: &mut Tx,
    user: UserId,
    kept: Option<TokenFamilyId>,
    now: Timestamp,
) -> Result<Vec<TokenFamilyId>, Error> {
    const SQL: &str = "UPDATE token_family SET revoked_at = $3 WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL RETURNING id";
    let kept = kept.map_or(Uuid::nil(), TokenFamilyId::as_uuid);
    let args = [user.into(), kept.into(), now.into()];
    let mut ended = Vec::new();
    for row in tx.fetch_all(SQL, &args).await? {
        ended.push(TokenFamilyId::from_uuid(row.uuid("id")?));
    }
    Ok(ended)
}

/// Tells every node that these have ended.
pub(crate) async fn publish_all(
    tx: &mut Tx,
    ended: &[TokenFamilyId],
    now: Timestamp,
) -> Result<(), Error> {
    for id in ended {
        publish(tx, Revocation::TokenFamily(*id), now).await?;
    }
    Ok(())
}

/// Ends all families of a user whose revocation the caller publishes.
pub(crate) async fn end_all(tx: &mut Tx, user: UserId, now: Timestamp) -> Result<(), Error> {
    const SQL: &str =
        "UPDATE token_family SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL";
    tx.execute(SQL, &[user.into(), now.into()]).await.map(drop)
}

/// The living families of a user, newest first. When one was last seen is when it last refreshed.
pub(crate) async fn list(db: &Db, user: UserId, now: Timestamp) -> Result<Vec<SessionInfo>, Error> {
    const SQL: &str = "SELECT id, created_at, last_used_at AS last_seen_at, expires_at, client_address, user_agent FROM token_family WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY created_at DESC, id DESC LIMIT 1000";
    let rows = db.fetch_all(SQL, &[user.into(), now.into()]).await?;
    rows.iter()
        .map(|row| SessionInfo::read(row, SignedInFor::Tokens))
        .collect()
}

/// Who is behind a family, where it and its user are alive.
///
/// SECURITY: a provider that was taken out of the configuration takes its sign-ins along, as it does
/// its sessions.
pub(super) async fn holder(
    db: &Db,
    id: TokenFamilyId,
    (policy, providers): (&Roles, &Standing),
    now: Timestamp,
) -> Result<Option<Holder>, Error> {
    // Only a member works in a tenant, whatever the family remembers.
    const SQL: &str = "SELECT f.user_id, f.authenticated_at, f.second_factor_at, f.expires_at, f.openid_issuer, m.tenant_id FROM token_family f JOIN users u ON u.id = f.user_id LEFT JOIN membership m ON m.user_id = u.id AND m.tenant_id = COALESCE(f.tenant_id, u.tenant_id) WHERE f.id = $1 AND f.revoked_at IS NULL AND f.expires_at > $2 AND u.deactivated_at IS NULL";
    let args = [id.as_uuid().into(), now.into()];
    let Some(row) = db.fetch_optional(SQL, &args).await? else {
        return Ok(None);
    };
    let provider = row.opt_text("openid_issuer")?;
    if provider.is_some_and(|provider| !providers.knows(&provider)) {
        return Ok(None);
    }
    let user = row.user_id("user_id")?;
    let roles = users::roles(db, user).await?;
    let tenant = row.opt_tenant_id("tenant_id")?;
    let (standing, until) = match tenant {
        None => (None, None),
        Some(tenant) => {
            let (standing, until) = standing(db, policy, user, tenant, now).await?;
            (Some(standing), until)
        }
    };
    let user = User {
        id: user,
        credential: Credential::AccessToken(id),
        tenant,
        standing,
        roles: roles.into_iter().map(Arc::from).collect(),
        authenticated_at: row.timestamp("authenticated_at")?,
        second_factor_at: row.opt_timestamp("second_factor_at")?,
    };
    let expires_at = row.timestamp("expires_at")?;
    // Every token of a family is younger than it, and it is revoked as a whole.
    let holder = Holder::new(user, expires_at, Timestamp::EPOCH);
    Ok(Some(holder.known_until(until)))
}

/// Deletes families that ended before, with their tokens.
pub(super) async fn delete_ended(tx: &mut Tx, before: Timestamp) -> Result<u64, Error> {
    const SQL: &str = "DELETE FROM token_family WHERE expires_at < $1 OR revoked_at < $1";
    tx.execute(SQL, &[before.into()]).await
}
