//! The SQL of sign-ins at providers.

use portcullis_core::{SessionId, Timestamp};
use portcullis_store::{Db, Error, Tx};
use portcullis_vault::TokenHash;

use super::flow::LIFETIME;

/// Who vouched for somebody.
#[derive(Debug, Clone)]
pub(crate) struct Vouched {
    pub(super) issuer: String,
    /// The address that the provider says it verified, by its name ([`crate::addresses`]): it is
    /// compared, and never shown.
    pub(super) email: Option<String>,
    /// When the person proved who they are there.
    pub(super) authenticated_at: Timestamp,
}

/// Uses a sign-in up. Of two callbacks with one state, one is told no.
pub(super) async fn redeem(db: &Db, flow: &TokenHash, now: Timestamp) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO openid_login (flow_hash, expires_at) VALUES ($1, $2) ON CONFLICT (flow_hash) DO NOTHING";
    let mut tx = db.begin().await?;
    let args = [flow.as_bytes().into(), (now + LIFETIME).into()];
    let is_first = tx.execute(SQL, &args).await? == 1;
    tx.commit().await?;
    Ok(is_first)
}

/// Deletes what is over: a state that old opens no more by itself.
pub(crate) async fn prune(db: &Db, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM openid_login WHERE expires_at <= $1";
    let mut tx = db.begin().await?;
    tx.execute(SQL, &[now.into()]).await?;
    tx.commit().await
}

impl Vouched {
    /// Writes it down at a session that was just made.
    pub(crate) async fn note(&self, tx: &mut Tx, session: SessionId) -> Result<(), Error> {
        const SQL: &str = "UPDATE session SET openid_issuer = $2, openid_email = $3, authenticated_at = $4 WHERE id = $1";
        let args = [
            session.into(),
            (&self.issuer).into(),
            self.email.as_deref().into(),
            self.authenticated_at.into(),
        ];
        tx.execute(SQL, &args).await.map(drop)
    }

    /// Writes it down at a challenge, for the session that it becomes.
    pub(super) async fn note_challenge(
        &self,
        tx: &mut Tx,
        challenge: &TokenHash,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE sign_in_challenge SET openid_issuer = $2, openid_email = $3, authenticated_at = $4 WHERE token_hash = $1";
        let args = [
            challenge.as_bytes().into(),
            (&self.issuer).into(),
            self.email.as_deref().into(),
            self.authenticated_at.into(),
        ];
        tx.execute(SQL, &args).await.map(drop)
    }
}

/// Notes that the provider asked for a second factor as well.
pub(super) async fn mark_second_factor(
    tx: &mut Tx,
    session: SessionId,
    at: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "UPDATE session SET second_factor_at = $2 WHERE id = $1";
    tx.execute(SQL, &[session.into(), at.into()])
        .await
        .map(drop)
}

/// Who vouched for the first factor of a challenge; nobody for a password.
pub(crate) async fn of_challenge(
    tx: &mut Tx,
    challenge: &TokenHash,
) -> Result<Option<Vouched>, Error> {
    const SQL: &str = "SELECT openid_issuer, openid_email, authenticated_at FROM sign_in_challenge WHERE token_hash = $1";
    let row = tx
        .fetch_optional(SQL, &[challenge.as_bytes().into()])
        .await?;
    let Some(row) = row else { return Ok(None) };
    let Some(issuer) = row.opt_text("openid_issuer")? else {
        return Ok(None);
    };
    Ok(Some(Vouched {
        issuer,
        email: row.opt_text("openid_email")?,
        authenticated_at: row
            .opt_timestamp("authenticated_at")?
            .unwrap_or(Timestamp::EPOCH),
    }))
}

/// A session that takes the place of another one keeps who vouched for it.
pub(crate) async fn carry_over(tx: &mut Tx, old: SessionId, new: SessionId) -> Result<(), Error> {
    const SQL: &str = "UPDATE session SET openid_issuer = (SELECT old.openid_issuer FROM session old WHERE old.id = $2), openid_email = (SELECT old.openid_email FROM session old WHERE old.id = $2) WHERE id = $1";
    tx.execute(SQL, &[new.into(), old.into()]).await.map(drop)
}
