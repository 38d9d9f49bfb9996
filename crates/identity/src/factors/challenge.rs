//! A sign-in between its two factors. It is no session: it opens nothing but its own last step.

use portcullis_core::{Span, Timestamp, UserId};
use portcullis_store::{Db, Error, Tx};
use portcullis_vault::{Token, TokenHash};

/// How long the second factor may take.
pub(crate) const LIFETIME: Span = Span::from_minutes(5);
/// Sign-ins of one account that may wait at once; the oldest go.
const AT_ONCE: usize = 10;

/// What a client holds between the two factors.
#[derive(Debug)]
pub struct Challenge {
    pub token: Token,
}

/// Begins one for a user that the caller holds in `tx`.
pub(super) async fn create(
    tx: &mut Tx,
    user: UserId,
    token: &Token,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str =
        "INSERT INTO sign_in_challenge (token_hash, user_id, expires_at) VALUES ($1, $2, $3)";
    const OTHERS: &str =
        "SELECT token_hash FROM sign_in_challenge WHERE user_id = $1 ORDER BY expires_at DESC";
    const END: &str = "DELETE FROM sign_in_challenge WHERE token_hash = $1";
    let others = tx.fetch_all(OTHERS, &[user.into()]).await?;
    for row in others.iter().skip(AT_ONCE.saturating_sub(1)) {
        tx.execute(END, &[(&row.bytes("token_hash")?).into()])
            .await?;
    }
    let hash = token.hash();
    let args = [hash.as_bytes().into(), user.into(), (now + LIFETIME).into()];
    tx.execute(SQL, &args).await.map(drop)
}

/// Whose sign-in it is.
pub(super) async fn find(
    db: &Db,
    hash: &TokenHash,
    now: Timestamp,
) -> Result<Option<UserId>, Error> {
    const SQL: &str =
        "SELECT user_id FROM sign_in_challenge WHERE token_hash = $1 AND expires_at > $2";
    db.fetch_optional(SQL, &[hash.as_bytes().into(), now.into()])
        .await?
        .map(|row| row.user_id("user_id"))
        .transpose()
}

/// Uses it up. Of two at once, one is told no.
pub(super) async fn redeem(
    tx: &mut Tx,
    hash: &TokenHash,
    user: UserId,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str =
        "DELETE FROM sign_in_challenge WHERE token_hash = $1 AND user_id = $2 AND expires_at > $3";
    let args = [hash.as_bytes().into(), user.into(), now.into()];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// Ends every sign-in of the account that is under way: its password changed, or it was closed.
pub(crate) async fn end_all(tx: &mut Tx, user: UserId) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM sign_in_challenge WHERE user_id = $1";
    tx.execute(SQL, &[user.into()]).await.map(drop)
}
