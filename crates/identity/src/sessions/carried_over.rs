//! The cookie of the product that sessions were taken over from (see `import`).
//!
//! - It counts where the gate's own cookie is not there. What is compared is a hash of its whole
//!   value, signature included; the key of that signature is not here.
//! - The first answer brings the gate's own cookie, with a token of the gate's own, and takes the old
//!   one back. The old session goes on until the new token is seen, and half a minute longer for the
//!   requests that were on their way: whoever loses that answer is not signed out.
//! - A client that never takes the new cookie is offered one a minute, no more.

use http::HeaderMap;
use portcullis_core::{SessionId, Span, Timestamp};
use portcullis_store::{Error as StoreError, Tx};
use portcullis_vault::{Token, TokenHash, foreign};

use super::{Error, NewSession, Sessions};
use crate::revoke;

/// For requests that were on their way with the old cookie.
const GRACE: Span = Span::from_seconds(30);
/// Longest value that is looked at.
const LONGEST: usize = 512;

/// The hash of a carried-over cookie's value; `None` for what no such cookie could be.
pub(crate) fn hash(value: &str) -> Option<TokenHash> {
    let (payload, signature) = value.split_once('.')?;
    let is_base64 = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    (value.len() <= LONGEST && is_base64(payload) && is_base64(signature))
        .then(|| foreign::text_hash(value))
}

impl Sessions {
    /// A session of the gate's own in place of one that was carried over; `None` when one was offered
    /// within the last minute, or the session has ended.
    pub async fn renew(&self, old: &TokenHash) -> Result<Option<NewSession>, Error> {
        const SQL: &str = "INSERT INTO session (id, token_hash, user_id, created_at, authenticated_at, last_seen_at, expires_at, client_address, user_agent, client_kind, device_mark, tenant_id, replaces) SELECT $1, $2, user_id, created_at, authenticated_at, $3, expires_at, client_address, user_agent, client_kind, device_mark, tenant_id, id FROM session WHERE id = $4 AND revoked_at IS NULL AND expires_at > $3";
        let now = self.clock.now();
        if !self.cache.may_renew(old, now) {
            return Ok(None);
        }
        let Some(expires_at) = self.cache.expires_at(old) else {
            return Ok(None);
        };
        let token = Token::generate()?;
        let hash = token.hash();
        let session = NewSession {
            id: revoke::session_id(&hash),
            token,
            expires_at,
        };
        let mut tx = self.db.begin().await?;
        let args = [
            session.id.into(),
            hash.as_bytes().into(),
            now.into(),
            revoke::session_id(old).into(),
        ];
        if tx.execute(SQL, &args).await? == 0 {
            return Ok(None);
        }
        tx.commit().await?;
        Ok(Some(session))
    }

    /// `Set-Cookie` for a renewed session, and the one that takes the old cookie back.
    pub fn renewal_cookies(&self, session: &NewSession) -> [String; 2] {
        let left = session.expires_at.since(self.clock.now());
        let cookies = &self.settings.cookies;
        [
            cookies.session(&session.token, left).expose().clone(),
            cookies.clear_carried_over().unwrap_or_default(),
        ]
    }

    /// A renewed session is used for the first time: the one that it replaces ends.
    pub(super) async fn settle(&self, new: SessionId, old: SessionId) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        end_soon(&mut tx, new, old, self.clock.now()).await?;
        tx.commit().await
    }
}

async fn end_soon(
    tx: &mut Tx,
    new: SessionId,
    old: SessionId,
    now: Timestamp,
) -> Result<(), StoreError> {
    const SETTLED: &str = "UPDATE session SET replaces = NULL WHERE id = $1 AND replaces = $2";
    const END: &str =
        "UPDATE session SET expires_at = $2 WHERE id = $1 AND expires_at > $2 RETURNING token_hash";
    if tx.execute(SETTLED, &[new.into(), old.into()]).await? == 0 {
        return Ok(());
    }
    let end = now + GRACE;
    if let Some(row) = tx.fetch_optional(END, &[old.into(), end.into()]).await?
        && let Some(hash) = TokenHash::from_slice(&row.bytes("token_hash")?)
    {
        // Memories hold the old end.
        revoke::session(tx, &hash, now).await?;
    }
    Ok(())
}

/// Whether this request bears the carried-over cookie, once.
pub(super) fn presented(headers: &HeaderMap, name: &str) -> Option<TokenHash> {
    let mut values = super::cookie::values(headers, name.as_bytes());
    match (values.next(), values.next()) {
        (Some(value), None) => hash(std::str::from_utf8(value).ok()?),
        (None, _) | (Some(_), Some(_)) => None,
    }
}
