//! Sessions of a product that signs its cookie: `b64url(token).b64url(HMAC-SHA256(key, b64url(token)))`.
//!
//! The product's table holds the token in the clear. Here only a hash of the *whole cookie value* is
//! kept: whoever has read the product's table still lacks the signature, and the gate needs the
//! product's key at the import alone. What the gate then does with such a cookie: see
//! [`crate::sessions::carried_over`].

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::roles::Roles;
use portcullis_core::{Secret, Span, Timestamp};
use portcullis_events::{Action, Event};
use portcullis_store::Tx;
use portcullis_vault::{TokenHash, foreign};

use super::read::Rows;
use super::users::find_reference;
use super::{Error, Fate, Report, Row, Run, check_owner, event, take_over};
use crate::accounts::By;
use crate::sessions::carried_over;
use crate::sessions::user_agent::ClientKind;
use crate::{Accounts, revoke};

/// What may stand in a row. `token`, `user_id` and `expires_at` must.
pub const COLUMNS: &[&str] = &[
    "id",
    "token",
    "user_id",
    "expires_at",
    "created_at",
    "client_address",
    "user_agent",
];

/// How rows are to be understood.
#[derive(Debug)]
pub struct Plan {
    /// As in the import of users, whose ids `user_id` holds.
    pub source: String,
    /// The key that the product signed its cookies with.
    pub cookie_key: Secret<String>,
    pub ignore: Vec<String>,
}

struct Ready {
    hash: TokenHash,
    user_id: String,
    created_at: Timestamp,
    expires_at: Timestamp,
    client_address: Option<String>,
    user_agent: Option<String>,
}

/// Takes sessions over.
struct Taker<'a> {
    accounts: &'a Accounts,
    policy: Arc<Roles>,
    plan: &'a Plan,
    by: &'a By,
}

impl super::Taker for Taker<'_> {
    const COLUMNS: &'static [&'static str] = COLUMNS;

    async fn take(&mut self, tx: &mut Tx, row: &Row) -> Result<Result<Fate, String>, Error> {
        let this = self.accounts.parts();
        let now = this.clock.now();
        match read(row, self.plan, this.sessions.settings().lifetime, now) {
            Ok(ready) if ready.expires_at <= now => Ok(Ok(Fate::Over)),
            Ok(ready) => self.write(tx, &ready, now).await,
            Err(reason) => Ok(Err(reason)),
        }
    }

    fn event(&self, imported: u64) -> Option<Event> {
        let now = self.accounts.parts().clock.now();
        let event = event(Action::SessionsImported, self.by, now);
        Some(event.with("sessions", imported))
    }
}

impl Accounts {
    /// Takes sessions over. `progress` is told how many were read.
    pub async fn import_sessions(
        &self,
        rows: Rows,
        plan: &Plan,
        run: Run,
        by: &By,
        progress: impl FnMut(u64),
    ) -> Result<Report, Error> {
        let this = self.parts();
        let mut taker = Taker {
            accounts: self,
            policy: this.sessions.policy().get(),
            plan,
            by,
        };
        let to = (&this.db, this.record.trail());
        take_over(to, rows, &plan.ignore, run, &mut taker, progress).await
    }
}

fn read(row: &Row, plan: &Plan, lifetime: Span, now: Timestamp) -> Result<Ready, String> {
    let token = row.required("token")?;
    // 128 bits of anything are more than this many characters of base64.
    if token.len() < 22 {
        return Err("`token` is so short that it can be guessed".to_owned());
    }
    let cookie = sign(&plan.cookie_key, &token);
    let hash = carried_over::hash(cookie.expose())
        .ok_or_else(|| "`token` is too long for a cookie".to_owned())?;
    let expires_at = row
        .time("expires_at")?
        .ok_or_else(|| "`expires_at` is missing".to_owned())?;
    let client_address = row.text("client_address")?;
    Ok(Ready {
        hash,
        user_id: row.required("user_id")?,
        created_at: row.time("created_at")?.unwrap_or(now).min(now),
        // No session lives longer than the gate's own would.
        expires_at: expires_at.min(now + lifetime),
        client_address: client_address.filter(|text| text.parse::<std::net::IpAddr>().is_ok()),
        user_agent: row
            .text("user_agent")?
            .map(|text| text.chars().take(256).collect()),
    })
}

/// The value of the product's cookie.
fn sign(key: &Secret<String>, token: &str) -> Secret<String> {
    let payload = URL_SAFE_NO_PAD.encode(token);
    let tag = foreign::hmac_sha256(key, payload.as_bytes());
    Secret::new(format!("{payload}.{}", URL_SAFE_NO_PAD.encode(tag)))
}

impl Taker<'_> {
    async fn write(
        &self,
        tx: &mut Tx,
        ready: &Ready,
        now: Timestamp,
    ) -> Result<Result<Fate, String>, Error> {
        const SQL: &str = "INSERT INTO session (id, token_hash, user_id, created_at, authenticated_at, last_seen_at, expires_at, client_address, user_agent, client_kind) VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $8, $9) ON CONFLICT (token_hash) DO NOTHING";
        let Some(user) = find_reference(tx, &self.plan.source, &ready.user_id).await? else {
            return Ok(Err(format!(
                "user `{}` was not taken over: import the users first",
                ready.user_id
            )));
        };
        if let Err(reason) = check_owner(tx, &self.policy, self.by, user).await? {
            return Ok(Err(reason));
        }
        let kind = ready
            .user_agent
            .as_deref()
            .map(|user_agent| i64::from(ClientKind::read(user_agent, false).pack()));
        let args = [
            revoke::session_id(&ready.hash).into(),
            ready.hash.as_bytes().into(),
            user.into(),
            ready.created_at.into(),
            now.into(),
            ready.expires_at.into(),
            ready.client_address.as_deref().into(),
            ready.user_agent.as_deref().into(),
            kind.into(),
        ];
        Ok(Ok(match tx.execute(SQL, &args).await? {
            0 => Fate::Already,
            _ => Fate::Imported,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_the_products_own() {
        // Made by the product's own code: hmac.new(key, b64url(token), sha256), unpadded.
        let key = Secret::new("an old secret key of the product".to_owned());
        let cookie = sign(&key, "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE");
        assert_eq!(cookie.expose(), include_str!("cookie.txt").trim_end());
    }
}
