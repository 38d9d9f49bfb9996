//! Telling every node, itself included, that something in its memory no longer holds.

use portcullis_core::{Timestamp, UserId};
use portcullis_store::{Error, Tx};
use portcullis_vault::TokenHash;
use uuid::Uuid;

/// Subject: the first 16 bytes of a session's token hash, so that a node finds it without a search.
pub(crate) const SESSION: &str = "session";
/// Subject: a user id. All that is remembered of the user is forgotten.
pub(crate) const USER: &str = "user";

pub(crate) async fn session(tx: &mut Tx, hash: &TokenHash, now: Timestamp) -> Result<(), Error> {
    publish(tx, SESSION, subject_of(hash), now).await
}

pub(crate) async fn user(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<(), Error> {
    publish(tx, USER, id.as_uuid(), now).await
}

async fn publish(tx: &mut Tx, kind: &str, subject: Uuid, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO revocation (kind, subject, at) VALUES ($1, $2, $3)";
    tx.execute(SQL, &[kind.into(), subject.into(), now.into()])
        .await
        .map(drop)
}

pub(crate) fn subject_of(hash: &TokenHash) -> Uuid {
    Uuid::from_bytes(
        hash.as_bytes()
            .first_chunk::<16>()
            .copied()
            .unwrap_or_default(),
    )
}
