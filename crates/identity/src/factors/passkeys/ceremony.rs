//! Questions that an authenticator has not answered yet.

use portcullis_core::{Span, Timestamp, UserId};
use portcullis_store::{Db, Error, Tx};
use portcullis_vault::{Token, TokenHash};
use serde_json::Value;

/// How long an answer may take.
pub(super) const LIFETIME: Span = Span::from_minutes(5);

/// What a browser is asked: the options for its authenticator, and the token by which its answer is
/// known.
#[derive(Debug)]
pub struct Begun {
    pub token: Token,
    pub options: Value,
}

/// What an answer is for. One for another purpose is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Anybody, who is named by the answer.
    SignIn,
    /// A second factor of this account.
    Prove(UserId),
    /// A new passkey of this account.
    Register(UserId),
}

impl Purpose {
    const fn word(self) -> &'static str {
        match self {
            Purpose::SignIn => "sign-in",
            Purpose::Prove(_) => "prove",
            Purpose::Register(_) => "register",
        }
    }

    const fn user(self) -> Option<UserId> {
        match self {
            Purpose::SignIn => None,
            Purpose::Prove(user) | Purpose::Register(user) => Some(user),
        }
    }
}

/// Keeps a question. Of one account the ten latest wait.
pub(super) async fn keep(
    tx: &mut Tx,
    token: &Token,
    purpose: Purpose,
    state: &str,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO passkey_ceremony (token_hash, user_id, purpose, state, expires_at) VALUES ($1, $2, $3, $4, $5)";
    const OTHERS: &str = "DELETE FROM passkey_ceremony WHERE user_id = $1 AND token_hash NOT IN (SELECT token_hash FROM passkey_ceremony WHERE user_id = $1 ORDER BY expires_at DESC LIMIT 9)";
    if let Some(user) = purpose.user() {
        tx.execute(OTHERS, &[user.into()]).await?;
    }
    let hash = token.hash();
    let args = [
        hash.as_bytes().into(),
        purpose.user().into(),
        purpose.word().into(),
        state.into(),
        (now + LIFETIME).into(),
    ];
    tx.execute(SQL, &args).await.map(drop)
}

/// Uses a question up, whatever comes of it, in a transaction of its own: an answer that was refused
/// cannot be tried again either. What was kept, where it is of this purpose and in time.
pub(super) async fn take(
    db: &Db,
    hash: Option<&TokenHash>,
    purpose: Purpose,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    // SECURITY: found and gone in one statement, so that of two at once, on whatever nodes, one gets it.
    const SQL: &str = "DELETE FROM passkey_ceremony WHERE token_hash = $1 RETURNING user_id, purpose, state, expires_at";
    let Some(hash) = hash else {
        return Ok(None);
    };
    let mut tx = db.begin().await?;
    let row = tx.fetch_optional(SQL, &[hash.as_bytes().into()]).await?;
    tx.commit().await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let is_of_purpose = row.text("purpose")? == purpose.word()
        && row.opt_user_id("user_id")? == purpose.user()
        && now < row.timestamp("expires_at")?;
    Ok(if is_of_purpose {
        Some(row.text("state")?)
    } else {
        None
    })
}

/// Deletes what is over.
pub(in crate::factors) async fn prune(tx: &mut Tx, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM passkey_ceremony WHERE expires_at <= $1";
    tx.execute(SQL, &[now.into()]).await.map(drop)
}
