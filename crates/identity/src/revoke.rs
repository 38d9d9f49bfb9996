//! Telling every node, itself included, that something in its memory no longer holds.

use portcullis_core::{SessionId, Timestamp, UserId};
use portcullis_store::revocations::{Revocation, publish};
use portcullis_store::{Error, Tx};
use portcullis_vault::TokenHash;
use uuid::Builder;

pub(crate) async fn session(tx: &mut Tx, hash: &TokenHash, now: Timestamp) -> Result<(), Error> {
    publish(tx, Revocation::Session(session_id(hash)), now).await
}

pub(crate) async fn user(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<(), Error> {
    publish(tx, Revocation::User(id), now).await
}

/// The public name of the session that has this hash: a UUID version 8 (RFC 9562 section 5.8) of
/// its first 122 bits. So a session is found in memory by either, with one table. The other 134
/// bits stay unknown to whoever knows the name, and the token behind all of them.
pub(crate) fn session_id(hash: &TokenHash) -> SessionId {
    let first = hash.as_bytes().first_chunk::<16>().copied();
    SessionId::from_uuid(Builder::from_custom_bytes(first.unwrap_or_default()).into_uuid())
}
