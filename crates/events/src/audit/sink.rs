//! Where events go: one statement for a whole batch, the same for a batch of one.
//!
//! The batch travels as one JSON text, so that a thousand events are one round trip. Writing the
//! same event twice leaves one, so that a write whose answer was lost can be repeated.

use std::future::Future;
use std::pin::Pin;

use portcullis_store::{Db, Engine, Tx};
use serde_json::{Map, Value, json};

use super::personal::{self, Part};
use super::{Error, Event};

const INSERT_SQLITE: &str = "\
    INSERT INTO audit_event (id, at, actor_kind, actor_id, action, target, outcome, request_id, \
    tenant_id, metadata, personal, personal_hash) \
    SELECT unhex(value ->> 'id'), value ->> 'at', value ->> 'actor_kind', unhex(value ->> 'actor_id'), \
    value ->> 'action', value ->> 'target', value ->> 'outcome', unhex(value ->> 'request_id'), \
    unhex(value ->> 'tenant_id'), value ->> 'metadata', value ->> 'personal', unhex(value ->> 'personal_hash') \
    FROM json_each($1) WHERE true ON CONFLICT DO NOTHING";

const INSERT_POSTGRES: &str = "\
    INSERT INTO audit_event (id, at, actor_kind, actor_id, action, target, outcome, request_id, \
    tenant_id, metadata, personal, personal_hash) \
    SELECT (e ->> 'id')::uuid, (e ->> 'at')::bigint, e ->> 'actor_kind', (e ->> 'actor_id')::uuid, \
    e ->> 'action', e ->> 'target', e ->> 'outcome', (e ->> 'request_id')::uuid, \
    (e ->> 'tenant_id')::uuid, e ->> 'metadata', e ->> 'personal', decode(e ->> 'personal_hash', 'hex') \
    FROM json_array_elements(CAST($1 AS TEXT)::json) AS e ON CONFLICT DO NOTHING";

pub(super) type Appending<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// A trait only because a test has to take the database away.
pub(super) trait Sink: Send + Sync {
    /// Durable when this returns `Ok`. All of `events`, or none.
    fn append<'a>(&'a self, events: &'a [Event]) -> Appending<'a>;
}

impl Sink for Db {
    fn append<'a>(&'a self, events: &'a [Event]) -> Appending<'a> {
        Box::pin(async move {
            let mut tx = self.begin().await?;
            insert(&mut tx, events).await?;
            tx.commit().await?;
            Ok(())
        })
    }
}

pub(super) async fn insert(tx: &mut Tx, events: &[Event]) -> Result<(), Error> {
    let sql = match tx.engine() {
        Engine::Sqlite => INSERT_SQLITE,
        Engine::Postgres => INSERT_POSTGRES,
    };
    tx.execute(sql, &[batch(events)?.as_str().into()]).await?;
    Ok(())
}

fn batch(events: &[Event]) -> Result<String, Error> {
    let rows = events.iter().map(|event| {
        let personal = Part::of(event)?;
        let metadata: Map<String, Value> = event
            .metadata
            .as_map()
            .iter()
            .filter(|(name, _)| !personal::is_personal(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Ok(json!({
            "id": event.id.as_uuid().simple().to_string(),
            "at": event.at.as_micros(),
            "actor_kind": event.actor.kind(),
            "actor_id": event.actor.id().map(|id| id.simple().to_string()),
            "action": event.action.as_str(),
            "target": event.target.as_ref().map(super::Target::as_str),
            "outcome": event.outcome.as_str(),
            "request_id": event.request.map(|id| id.as_uuid().simple().to_string()),
            "tenant_id": event.tenant.map(|id| id.as_uuid().simple().to_string()),
            // A JSON text within the JSON: the column holds text in both databases.
            "metadata": Value::from(metadata).to_string(),
            "personal_hash": personal.as_deref().map(personal::hash).map(hex::encode),
            "personal": personal,
        }))
    });
    let rows: Result<Vec<Value>, Error> = rows.collect();
    Ok(Value::Array(rows?).to_string())
}
