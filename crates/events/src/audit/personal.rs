//! What in an event identifies a person. The leaf of the log holds its hash and nothing else of it, so
//! that it can be sealed, and lost, without changing the log.
//!
//! - The text has a random salt of its own: whoever has the hash cannot try addresses out.
//! - It is recorded as it is and sealed under the person's key by the log's keeper, within seconds, so that
//!   no act waits for a key. Sealed, it is as erasable as the key.
//! - The client's address is personal, and so are a few details by their name ([`NAMES`]). Ids of accounts
//!   are not: they name nobody once the account is gone.

use std::net::IpAddr;

use portcullis_core::id::EventId;
use portcullis_vault::fields::Place;
use portcullis_vault::tokens;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Error, Event};

/// Details that are personal.
pub(super) const NAMES: [&str; 4] = ["account", "email", "subject", "user_agent"];

/// What a stored event says of its personal part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Personal {
    /// It is in the event, or there is none.
    #[default]
    Open,
    /// It is sealed, and was not opened.
    Sealed,
    /// It is gone: its key was destroyed, or it was taken out.
    Erased,
}

/// The personal part as it is stored and hashed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    salt: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client_address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(super) details: Map<String, Value>,
}

impl Part {
    /// The personal part of an event, as text; nothing where it has none.
    pub(super) fn of(event: &Event) -> Result<Option<String>, Error> {
        let details: Map<String, Value> = event
            .metadata
            .as_map()
            .iter()
            .filter(|(name, _)| is_personal(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if event.client.is_none() && details.is_empty() {
            return Ok(None);
        }
        let salt = tokens::random::<16>().map_err(|_| Error::Randomness)?;
        let part = Part {
            salt: hex::encode(salt),
            client_address: event.client,
            details,
        };
        let text = serde_json::to_string(&part).map_err(|_| Error::Unreadable("personal"))?;
        Ok(Some(text))
    }
}

pub(super) fn is_personal(name: &str) -> bool {
    NAMES.contains(&name)
}

/// What the leaf holds of it.
pub(super) fn hash(text: &str) -> [u8; 32] {
    tokens::sha256(&[b"portcullis/audit-personal/v1\n", text.as_bytes()].concat())
}

/// Under whose key it is sealed: the person who acted, or the account that was acted on.
pub(super) fn subject(actor: Option<Uuid>, target: Option<&str>) -> Option<Uuid> {
    actor.or_else(|| {
        let (kind, id) = target?.split_once(':')?;
        if kind == "user" {
            id.parse().ok()
        } else {
            None
        }
    })
}

/// The name of a person's key in the vault.
pub(super) fn key_name(subject: Uuid) -> String {
    format!("audit:{}", subject.simple())
}

/// Where it is sealed for. In no tenant: a person who is erased is erased everywhere.
pub(super) fn place(row: &str) -> Place<'_> {
    Place {
        tenant: None,
        table: "audit_event",
        field: "personal",
        row,
    }
}

/// The row's name in a [`place`].
pub(super) fn row_name(id: EventId) -> String {
    id.as_uuid().simple().to_string()
}
