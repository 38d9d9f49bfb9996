//! The SQL of sessions.

use std::net::IpAddr;
use std::sync::Arc;

use portcullis_core::principal::Standing;
use portcullis_core::{SessionId, TenantId, Timestamp, UserId};
use portcullis_store::{Db, Error, Row, Tx};
use portcullis_vault::TokenHash;
use serde::Serialize;
use uuid::Uuid;

use super::other_client::device_mark;
use super::user_agent::ClientKind;
use super::{NewSession, TenantAtSignIn};
use crate::tenants::PolicyRoles;
use crate::tenants::standing::standing;
use crate::{Client, revoke, users};

/// A live session as the database has it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) user: UserId,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) roles: Vec<Arc<str>>,
    /// What the user holds in the tenant.
    pub(crate) standing: Option<Arc<Standing>>,
    /// When something of the standing ends by itself.
    pub(crate) until: Option<Timestamp>,
    pub(crate) authenticated_at: Timestamp,
    pub(crate) second_factor_at: Option<Timestamp>,
    pub(crate) last_seen_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// See `user_agent`; 0 where nothing is known.
    pub(crate) client_kind: u16,
    pub(crate) device_mark: u32,
    /// The session that this one takes the place of, until it is used for the first time.
    pub(crate) replaces: Option<SessionId>,
    /// The provider that vouched for the user, and the address that it verified.
    pub(crate) vouched: Option<(String, Option<String>)>,
}

/// What a client signed in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignedInFor {
    /// A cookie.
    Session,
    /// Tokens: the id is that of their family.
    Tokens,
}

/// A session, or a family of tokens, as its user sees it.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    pub id: Uuid,
    pub kind: SignedInFor,
    pub created_at: Timestamp,
    pub last_seen_at: Timestamp,
    pub expires_at: Timestamp,
    /// The network that it signed in from: the last byte of an IPv4 address is left out, and all
    /// but the first 48 bits of an IPv6 one.
    pub client_address: Option<String>,
    /// The same as it was stored: for nobody to see.
    pub(crate) address: Option<IpAddr>,
    /// Where that is, such as `Berlin, Germany`, by the database of `[places]` as it is now. Stored nowhere.
    pub place: Option<String>,
    pub user_agent: Option<String>,
    /// `Firefox on Linux`.
    pub name: String,
}

/// The way a session is told to its user in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct SessionView {
    id: Uuid,
    kind: SignedInFor,
    created_at: String,
    last_seen_at: String,
    expires_at: String,
    client_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    user_agent: Option<String>,
    name: String,
    current: bool,
}

impl SessionInfo {
    /// From a row that has these columns, of a session or of a family of tokens.
    pub(crate) fn read(row: &Row, kind: SignedInFor) -> Result<Self, Error> {
        let user_agent = row.opt_text("user_agent")?;
        let address = row.opt_text("client_address")?;
        let address: Option<IpAddr> = address.and_then(|address| address.parse().ok());
        Ok(SessionInfo {
            id: row.uuid("id")?,
            kind,
            created_at: row.timestamp("created_at")?,
            last_seen_at: row.timestamp("last_seen_at")?,
            expires_at: row.timestamp("expires_at")?,
            client_address: address.map(coarse),
            address,
            place: None,
            name: name(user_agent.as_deref()),
            user_agent,
        })
    }

    /// From which network, and where that is: `81.2.69.x (Berlin, Germany)`.
    pub(crate) fn seen_from(&self) -> Option<String> {
        let address = self.client_address.as_deref()?;
        Some(match &self.place {
            Some(place) => format!("{address} ({place})"),
            None => address.to_owned(),
        })
    }

    pub(crate) fn view(self, current: Option<Uuid>) -> SessionView {
        SessionView {
            current: Some(self.id) == current,
            id: self.id,
            kind: self.kind,
            created_at: self.created_at.to_string(),
            last_seen_at: self.last_seen_at.to_string(),
            expires_at: self.expires_at.to_string(),
            client_address: self.client_address,
            place: self.place,
            user_agent: self.user_agent,
            name: self.name,
        }
    }
}

// Only a member works in a tenant, whatever the session remembers.
macro_rules! find {
    ($home:literal) => {
        concat!(
            "SELECT s.user_id, s.authenticated_at, s.second_factor_at, s.last_seen_at, s.expires_at, s.client_kind, s.device_mark, s.replaces, s.openid_issuer, s.openid_email, m.tenant_id FROM session s JOIN users u ON u.id = s.user_id LEFT JOIN membership m ON m.user_id = u.id AND m.tenant_id = COALESCE(s.tenant_id, ",
            $home,
            ") WHERE s.token_hash = $1 AND s.revoked_at IS NULL AND u.deactivated_at IS NULL"
        )
    };
}

pub(super) async fn find(
    db: &Db,
    hash: &TokenHash,
    (policy, at_sign_in): (&PolicyRoles, TenantAtSignIn),
    now: Timestamp,
) -> Result<Option<Stored>, Error> {
    let sql = match at_sign_in {
        TenantAtSignIn::Last => find!("u.tenant_id"),
        // Where there is one only, there is nothing to choose.
        TenantAtSignIn::Ask => find!(
            "CASE WHEN (SELECT count(*) FROM membership o WHERE o.user_id = u.id) > 1 THEN NULL ELSE u.tenant_id END"
        ),
    };
    let Some(row) = db.fetch_optional(sql, &[hash.as_bytes().into()]).await? else {
        return Ok(None);
    };
    let user = row.user_id("user_id")?;
    let tenant = row.opt_tenant_id("tenant_id")?;
    let (standing, until) = match tenant {
        None => (None, None),
        Some(tenant) => {
            let (standing, until) = standing(db, &policy.get(), user, tenant, now).await?;
            (Some(standing), until)
        }
    };
    Ok(Some(Stored {
        user,
        tenant,
        standing,
        until,
        roles: users::roles(db, user)
            .await?
            .into_iter()
            .map(Arc::from)
            .collect(),
        authenticated_at: row.timestamp("authenticated_at")?,
        second_factor_at: row.opt_timestamp("second_factor_at")?,
        last_seen_at: row.timestamp("last_seen_at")?,
        expires_at: row.timestamp("expires_at")?,
        client_kind: small(row.opt_int("client_kind")?),
        device_mark: small(row.opt_int("device_mark")?),
        replaces: row.opt_uuid("replaces")?.map(SessionId::from_uuid),
        vouched: match row.opt_text("openid_issuer")? {
            Some(issuer) => Some((issuer, row.opt_text("openid_email")?)),
            None => None,
        },
    }))
}

/// A number of ours, or 0 for nothing and for what is none.
fn small<T: TryFrom<i64> + Default>(number: Option<i64>) -> T {
    number
        .and_then(|number| T::try_from(number).ok())
        .unwrap_or_default()
}

pub(super) async fn insert(
    tx: &mut Tx,
    session: &NewSession,
    user: UserId,
    client: &Client,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO session (id, token_hash, user_id, created_at, authenticated_at, last_seen_at, expires_at, client_address, user_agent, client_kind, device_mark) VALUES ($1, $2, $3, $4, $4, $4, $5, $6, $7, $8, $9)";
    let hash = session.token.hash();
    let address = client.address.map(|address| address.to_string());
    let args = [
        session.id.into(),
        hash.as_bytes().into(),
        user.into(),
        now.into(),
        session.expires_at.into(),
        address.as_deref().into(),
        client.user_agent.as_deref().into(),
        client.kind.map(|kind| i64::from(kind.pack())).into(),
        client.device.as_deref().map(device_mark).into(),
    ];
    tx.execute(SQL, &args).await.map(drop)
}

/// Writes when the factors of a session were proved.
pub(crate) async fn prove(
    tx: &mut Tx,
    session: SessionId,
    first: Timestamp,
    second: Option<Timestamp>,
) -> Result<(), Error> {
    const SQL: &str =
        "UPDATE session SET authenticated_at = $2, second_factor_at = $3 WHERE id = $1";
    tx.execute(SQL, &[session.into(), first.into(), second.into()])
        .await
        .map(drop)
}

/// How many sessions the user has that are neither over nor idle.
pub(super) async fn count_live(
    tx: &mut Tx,
    user: UserId,
    now: Timestamp,
    idle_since: Timestamp,
) -> Result<i64, Error> {
    const SQL: &str = "SELECT count(*) AS number FROM session WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND last_seen_at > $3";
    let args = [user.into(), now.into(), idle_since.into()];
    match tx.fetch_optional(SQL, &args).await? {
        Some(row) => row.int("number"),
        None => Ok(0),
    }
}

/// Ends the oldest live sessions beyond `keep`.
pub(super) async fn end_oldest(
    tx: &mut Tx,
    user: UserId,
    keep: u32,
    now: Timestamp,
) -> Result<Vec<TokenHash>, Error> {
    const SQL: &str = "SELECT id, token_hash FROM session WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY created_at DESC, id DESC";
    const END: &str = "UPDATE session SET revoked_at = $2 WHERE id = $1";
    let rows = tx.fetch_all(SQL, &[user.into(), now.into()]).await?;
    let mut ended = Vec::new();
    for row in rows
        .iter()
        .skip(usize::try_from(keep).unwrap_or(usize::MAX))
    {
        tx.execute(END, &[row.session_id("id")?.into(), now.into()])
            .await?;
        if let Some(hash) = TokenHash::from_slice(&row.bytes("token_hash")?) {
            revoke::session(tx, &hash, now).await?;
            ended.push(hash);
        }
    }
    Ok(ended)
}

/// Ends the session that has this hash, whoever it is of; the hash again, unless it was not live.
pub(super) async fn end_presented(
    tx: &mut Tx,
    hash: &TokenHash,
    now: Timestamp,
) -> Result<Option<TokenHash>, Error> {
    const SQL: &str = "UPDATE session SET revoked_at = $2 WHERE token_hash = $1 AND revoked_at IS NULL AND expires_at > $2";
    let args = [hash.as_bytes().into(), now.into()];
    if tx.execute(SQL, &args).await? == 0 {
        return Ok(None);
    }
    revoke::session(tx, hash, now).await?;
    Ok(Some(*hash))
}

/// Ends one session of this user; its hash, unless it was not live.
pub(crate) async fn end_one(
    tx: &mut Tx,
    user: UserId,
    id: SessionId,
    now: Timestamp,
) -> Result<Option<TokenHash>, Error> {
    const SQL: &str = "UPDATE session SET revoked_at = $3 WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3 RETURNING token_hash";
    let args = [id.into(), user.into(), now.into()];
    let Some(row) = tx.fetch_optional(SQL, &args).await? else {
        return Ok(None);
    };
    let hash = TokenHash::from_slice(&row.bytes("token_hash")?);
    if let Some(hash) = &hash {
        revoke::session(tx, hash, now).await?;
    }
    Ok(hash)
}

/// Ends all sessions of this user, but the one that is kept.
pub(crate) async fn end_others(
    tx: &mut Tx,
    user: UserId,
    kept: Option<SessionId>,
    now: Timestamp,
) -> Result<Vec<TokenHash>, Error> {
    const SQL: &str = "UPDATE session SET revoked_at = $3 WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL RETURNING token_hash";
    let none = SessionId::from_uuid(uuid::Uuid::nil());
    let rows = tx
        .fetch_all(SQL, &[user.into(), kept.unwrap_or(none).into(), now.into()])
        .await?;
    let mut ended = Vec::new();
    for row in &rows {
        if let Some(hash) = TokenHash::from_slice(&row.bytes("token_hash")?) {
            revoke::session(tx, &hash, now).await?;
            ended.push(hash);
        }
    }
    Ok(ended)
}

pub(super) async fn list(
    db: &Db,
    user: UserId,
    now: Timestamp,
) -> Result<Vec<(SessionInfo, TokenHash)>, Error> {
    const SQL: &str = "SELECT id, token_hash, created_at, last_seen_at, expires_at, client_address, user_agent FROM session WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY created_at DESC, id DESC LIMIT 1000";
    let mut list = Vec::new();
    for row in db.fetch_all(SQL, &[user.into(), now.into()]).await? {
        let Some(hash) = TokenHash::from_slice(&row.bytes("token_hash")?) else {
            continue;
        };
        list.push((SessionInfo::read(&row, SignedInFor::Session)?, hash));
    }
    Ok(list)
}

/// Moves a session's last activity forward, never back.
pub(super) async fn touch(tx: &mut Tx, id: SessionId, at: Timestamp) -> Result<(), Error> {
    const SQL: &str = "UPDATE session SET last_seen_at = $2 WHERE id = $1 AND last_seen_at < $2";
    tx.execute(SQL, &[id.into(), at.into()]).await.map(drop)
}

pub(super) async fn delete_ended(tx: &mut Tx, before: Timestamp) -> Result<u64, Error> {
    const SQL: &str = "DELETE FROM session WHERE expires_at < $1 OR revoked_at < $1";
    tx.execute(SQL, &[before.into()]).await
}

/// The network of an address: enough to recognise a place, and no more.
pub(crate) fn coarse(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.x")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}

/// What a session's owner calls the client.
fn name(user_agent: Option<&str>) -> String {
    user_agent.map_or_else(
        || "Unknown client".to_owned(),
        |user_agent| ClientKind::read(user_agent, false).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_by_its_network() {
        for (address, told) in [
            ("203.0.113.7", "203.0.113.x"),
            ("::ffff:203.0.113.7", "203.0.113.x"),
            ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ] {
            assert_eq!(coarse(address.parse().unwrap()), told);
        }
    }
}
