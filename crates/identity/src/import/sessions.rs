//! Sessions of a product that signs its cookie: `b64url(token).b64url(HMAC-SHA256(key, b64url(token)))`.
//!
//! The product's table holds the token in the clear. Here only a hash of the *whole cookie value* is
//! kept: whoever has read the product's table still lacks the signature, and the gate needs the
//! product's key at the import alone. What the gate then does with such a cookie: see
//! [`crate::sessions::carried_over`].

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{Secret, Span, Timestamp};
use portcullis_events::Action;
use portcullis_store::Tx;
use portcullis_vault::{TokenHash, foreign};

use super::read::Rows;
use super::users::find_reference;
use super::{Error, Fate, Report, Row, Run, event};
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

impl Accounts {
    /// Takes sessions over. `progress` is told how many were read.
    pub async fn import_sessions(
        &self,
        mut rows: Rows,
        plan: &Plan,
        run: Run,
        by: &By,
        mut progress: impl FnMut(u64),
    ) -> Result<Report, Error> {
        let this = self.parts();
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
                let lifetime = this.sessions.settings().lifetime;
                let outcome = match read(&row, plan, lifetime, now) {
                    Ok(ready) if ready.expires_at <= now => Ok(Fate::Over),
                    Ok(ready) => self.take_over(&mut tx, &ready, plan, by, now).await?,
                    Err(reason) => Err(reason),
                };
                report.count(&row, outcome);
            }
            let count = report.imported.saturating_sub(before);
            if count > 0 {
                let event = event(Action::SessionsImported, by, now).with("sessions", count);
                this.record.trail().record_in(&mut tx, event).await?;
            }
            run.end(tx).await?;
            progress(report.read);
        }
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

impl Accounts {
    /// Writes one session. The outer error is a fault of the database and ends the run.
    async fn take_over(
        &self,
        tx: &mut Tx,
        ready: &Ready,
        plan: &Plan,
        by: &By,
        now: Timestamp,
    ) -> Result<Result<Fate, String>, Error> {
        const SQL: &str = "INSERT INTO session (id, token_hash, user_id, created_at, authenticated_at, last_seen_at, expires_at, client_address, user_agent, client_kind) VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $8, $9) ON CONFLICT (token_hash) DO NOTHING";
        let Some(user) = find_reference(tx, &plan.source, &ready.user_id).await? else {
            return Ok(Err(format!(
                "user `{}` was not taken over: import the users first",
                ready.user_id
            )));
        };
        // SECURITY: whoever brings somebody's session could act as they do.
        let policy = self.parts().sessions.policy().get();
        if let Some(role) = by.outranked_by_owner(tx, &policy, user).await? {
            return Ok(Err(format!(
                "its owner has the role `{role}`, and you have not"
            )));
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
