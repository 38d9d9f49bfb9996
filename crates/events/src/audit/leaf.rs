//! The leaf of an event: the bytes that are hashed, made of what the row says and nothing else.
//!
//! One JSON object with its members in this order and no white space. A leaf is text that a third party
//! reads as it stands: nobody needs to know this encoding to verify a proof, only to compare a leaf with a
//! row. `v` is 1 and changes with the members.

use portcullis_store::Row;
use serde::Serialize;
use uuid::Uuid;

use super::Error;

/// The columns of an event, for every query that reads one.
macro_rules! columns {
    () => {
        "id, at, actor_kind, actor_id, action, target, outcome, request_id, client_address, \
         tenant_id, metadata, leaf, personal, sealed, personal_hash"
    };
}
pub(super) use columns;

#[derive(Serialize)]
struct Leaf {
    v: u8,
    id: Uuid,
    /// Microseconds since the epoch.
    at: i64,
    actor: String,
    actor_id: Option<Uuid>,
    action: String,
    target: Option<String>,
    outcome: String,
    request_id: Option<Uuid>,
    tenant_id: Option<Uuid>,
    /// As it is stored: the text of a JSON object.
    metadata: String,
    /// Of events that were recorded before addresses were personal parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_address: Option<String>,
    /// SHA-256 of the personal part, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    personal: Option<String>,
}

/// The leaf of a row.
pub(super) fn encode(row: &Row) -> Result<String, Error> {
    let leaf = Leaf {
        v: 1,
        id: row.uuid("id")?,
        at: row.int("at")?,
        actor: row.text("actor_kind")?,
        actor_id: row.opt_uuid("actor_id")?,
        action: row.text("action")?,
        target: row.opt_text("target")?,
        outcome: row.text("outcome")?,
        request_id: row.opt_uuid("request_id")?,
        tenant_id: row.opt_uuid("tenant_id")?,
        metadata: row.text("metadata")?,
        client_address: row.opt_text("client_address")?,
        personal: row.opt_bytes("personal_hash")?.map(hex::encode),
    };
    serde_json::to_string(&leaf).map_err(|_| Error::Unreadable("leaf"))
}
