//! A form that makes something is taken once, by whichever node.
//!
//! The page that shows a new key is the answer to a form. A browser that loads it again sends the form
//! again: without this that would be another key, and two clicks would be two accounts. Keeping the
//! secret for a moment and showing it after a redirect would be the other way; it would lie somewhere
//! in clear, and be shown twice to whoever loads the page twice.

use portcullis_core::{Span, Timestamp};
use portcullis_store::{Db, Error};
use portcullis_vault::TokenHash;

/// Takes note that the form with this token was sent. Whether it was the first time.
pub(super) async fn spend(db: &Db, token: &str, now: Timestamp) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO spent_form (token_hash, spent_at) VALUES ($1, $2) ON CONFLICT (token_hash) DO NOTHING";
    let hash = TokenHash::of(token.as_bytes());
    let mut tx = db.begin().await?;
    let rows = tx
        .execute(SQL, &[hash.as_bytes().into(), now.into()])
        .await?;
    tx.commit().await?;
    Ok(rows == 1)
}

/// Forgets forms whose tokens count no longer: a token ends with its session, and none lives longer
/// than `session_lifetime`.
pub(crate) async fn prune(db: &Db, session_lifetime: Span, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM spent_form WHERE spent_at < $1";
    let mut tx = db.begin().await?;
    tx.execute(SQL, &[(now - session_lifetime).into()]).await?;
    tx.commit().await
}
