//! Webhooks in: what other services tell the product, verified, kept, delivered.
//!
//! 1. [`verify`]: the bytes as they came are genuine and fresh, or the message is refused.
//! 2. It is a row in the database, sealed by the vault, before it is acknowledged. A second one of the same event is
//!    acknowledged too, and changes nothing: senders ask for that ("already seen" is not a fault of theirs).
//! 3. It is delivered from there until the product takes it: by one node at a time, with waits between
//!    attempts, and what is not taken in the end is a dead letter for a person to look at.
//!
//! - Whoever kills the process at any point loses nothing: what was acknowledged is in the database,
//!   and what was not, the sender sends again.
//! - A message is delivered at least once: the process may die between the product's answer and our note
//!   of it. `X-Portcullis-Delivery` is the same for every attempt.
//! - Nothing of others is stored that was not [verified](verify::Verified), and only what was stored is
//!   delivered. What the gate itself tells the product ([`Told`]) goes the same way.
//! - Order is kept where it is asked for: of messages about the same thing the next is not begun before
//!   the one before it was taken or given up.

mod config;
mod content;
mod deliver;
mod endpoint;
pub mod erasure;
pub mod http;
pub mod manage;
mod store;
mod tell;
pub mod verify;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use ::http::HeaderMap;
use arc_swap::ArcSwap;
use portcullis_core::{Clock, Problem, Secret, Timestamp};
use portcullis_store::Db;
use portcullis_vault::KeyRing;
use portcullis_vault::fields::{self, Fields, Place};
use portcullis_vault::keys::{Keys, Purpose};
use portcullis_vault::seal::{self, Sealer};
use tokio::sync::Notify;
use uuid::Uuid;

pub use config::{Config, Known, compile, own};
pub use content::Message;
pub use endpoint::{Endpoint, Endpoints, Stamp};
pub use store::{Delivery, Filter, State};
pub use tell::{Ready, SECRET_HOOK, Told};

use crate::audit::{self, Action, By, Event, Outcome, Target, Trail};
use crate::metrics::{Metrics, WebhookMark};
use content::Facts;
use verify::{Refused, Verified};

/// What sealed messages are bound to, beside their id and endpoint.
const TABLE: &str = "webhook_delivery";
/// Messages from before there was a vault begin otherwise, and were bound to this.
const OLD_PLACE: &[u8] = b"webhook";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the message is refused: {0}")]
    Refused(#[from] Refused),
    #[error("there is no such delivery")]
    NotFound,
    #[error("a message cannot be read")]
    Unreadable,
    #[error(transparent)]
    Seal(#[from] seal::Error),
    #[error(transparent)]
    Fields(#[from] fields::Error),
    #[error(transparent)]
    Trail(#[from] audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<serde_json::Error> for Error {
    fn from(_: serde_json::Error) -> Self {
        Error::Unreadable
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refused) => refused.into(),
            Error::NotFound => Problem::new(&portcullis_core::problem::NOT_FOUND),
            Error::Unreadable => Problem::internal(error),
            Error::Seal(error) => error.into(),
            Error::Fields(error) => error.into(),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

/// What a sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// It is durable, and will be delivered.
    Received,
    /// One of the same event was received before.
    AlreadySeen,
    /// Slack asks for these words back.
    Challenge(String),
}

/// What the slice is put together from.
pub struct Parts {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub trail: Trail,
    pub ring: Arc<KeyRing>,
    pub fields: Fields,
}

/// The slice. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    db: Db,
    clock: Arc<dyn Clock>,
    trail: Trail,
    ring: Arc<KeyRing>,
    fields: Fields,
    /// For what was sealed before there was a vault.
    sealer: Arc<Sealer>,
    endpoints: Arc<ArcSwap<Endpoints>>,
    /// Something may be due on this node.
    arrived: Arc<Notify>,
}

impl Webhooks {
    pub fn new(parts: Parts, keys: &Keys) -> Result<Self, seal::Error> {
        Ok(Webhooks {
            db: parts.db,
            clock: parts.clock,
            trail: parts.trail,
            ring: parts.ring,
            fields: parts.fields.of_gate(),
            sealer: Arc::new(Sealer::new(keys, Purpose::Webhook)?),
            endpoints: Arc::default(),
            arrived: Arc::default(),
        })
    }

    /// Takes the endpoints of a configuration into use.
    pub fn set(&self, endpoints: Arc<Endpoints>) {
        self.endpoints.store(endpoints);
        self.arrived.notify_one();
    }

    fn metrics(&self) -> &Metrics {
        self.trail.metrics()
    }

    /// Verifies a message and makes it durable. When this returns without an error it will be delivered,
    /// or was before.
    async fn receive(
        &self,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        body: &[u8],
        by: &By,
    ) -> Result<Receipt, Error> {
        let now = self.clock.now();
        let verified = endpoint.verifier.verify(headers, body, now);
        let verified = verified.inspect_err(|refused| self.refused(endpoint, *refused, now, by))?;
        self.keep(endpoint, verified, headers, body, now).await
    }

    /// SECURITY: takes the proof of the verification by value: what was not verified is not stored.
    async fn keep(
        &self,
        endpoint: &Endpoint,
        verified: Verified,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Receipt, Error> {
        let facts = Facts::of(endpoint, verified, body);
        let id = Uuid::now_v7();
        let message = Message::taken(endpoint, headers, body);
        let sealed = self.seal(endpoint.name(), id, &message).await?;
        let mut tx = self.db.begin().await?;
        if let Some(challenge) = &facts.challenge {
            store::insert_answered(&mut tx, endpoint, id, &facts, &sealed, now).await?;
            tx.commit().await?;
            return Ok(Receipt::Challenge(challenge.clone()));
        }
        let is_new = store::insert(&mut tx, endpoint.name(), id, &facts, &sealed, now).await?;
        tx.commit().await?;
        if !is_new {
            self.metrics().webhook(WebhookMark::AlreadySeen);
            return Ok(Receipt::AlreadySeen);
        }
        self.metrics().webhook(WebhookMark::Received);
        self.arrived.notify_one();
        Ok(Receipt::Received)
    }

    fn refused(&self, endpoint: &Endpoint, refused: Refused, now: Timestamp, by: &By) {
        self.metrics().webhook(WebhookMark::Refused);
        let event = Event::new(now, Action::WebhookRefused, Outcome::Denied)
            .done(by)
            .to(Target::named("webhook", endpoint.name()))
            .with("reason", refused.to_string());
        self.trail.note(event);
    }

    /// Not in a transaction: a data key may have to be had first.
    async fn seal(&self, endpoint: &str, id: Uuid, message: &Message) -> Result<Vec<u8>, Error> {
        let plain = message.to_bytes()?;
        let row = id.to_string();
        let place = place(endpoint, &row);
        let sealed = self.fields.seal(&place, None, &plain).await?;
        Ok(sealed.into_bytes())
    }

    async fn open(&self, endpoint: &str, id: Uuid, sealed: &[u8]) -> Result<Message, Error> {
        let plain = if sealed.starts_with(fields::MARK.as_bytes()) {
            let text = std::str::from_utf8(sealed).map_err(|_| Error::Unreadable)?;
            let row = id.to_string();
            let opened = self.fields.open(&place(endpoint, &row), text).await;
            // Our own row: that it does not open is no answer to anybody.
            opened.map_err(|error| match error {
                fields::Error::DoesNotOpen => Error::Seal(seal::Error::Open),
                error => error.into(),
            })?
        } else {
            self.open_old(endpoint, id, sealed)?
        };
        Message::from_bytes(plain.expose()).ok_or(Error::Unreadable)
    }

    fn open_old(&self, endpoint: &str, id: Uuid, sealed: &[u8]) -> Result<Secret<Vec<u8>>, Error> {
        let place = [OLD_PLACE, id.as_bytes(), endpoint.as_bytes()];
        Ok(self.sealer.open(&place, sealed)?)
    }

    /// Deliveries, newest first. None where there is no `after`.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Option<Vec<Delivery>>, Error> {
        store::list(&self.db, filter, after, limit).await
    }

    pub async fn get(&self, id: Uuid) -> Result<Delivery, Error> {
        let found = store::find(&self.db, id).await?;
        found.ok_or(Error::NotFound)
    }

    /// What a message says. For whoever may open the vault: the command line alone.
    pub async fn message(&self, id: Uuid) -> Result<Message, Error> {
        let found = store::sealed(&self.db, id).await?;
        let (endpoint, sealed) = found.ok_or(Error::NotFound)?;
        self.open(&endpoint, id, &sealed).await
    }

    /// Delivers a message again, whatever became of it, with all attempts before it. One that was emptied for an
    /// erasure is there no more.
    pub async fn replay(&self, id: Uuid, by: &By) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let endpoint = store::replay(&mut tx, id, now).await?;
        let endpoint = endpoint.ok_or(Error::NotFound)?;
        let event = Event::new(now, Action::WebhookReplayed, Outcome::Allowed)
            .done(by)
            .to(Target::named("webhook", &endpoint))
            .with("delivery", id.to_string());
        self.trail.record_in(&mut tx, event).await?;
        tx.commit().await?;
        self.arrived.notify_one();
        Ok(())
    }

    /// The same for every dead letter of an endpoint, oldest first. How many.
    pub async fn replay_dead(&self, endpoint: &str, by: &By) -> Result<u64, Error> {
        const AT_ONCE: u32 = 200;
        let mut count = 0_u64;
        loop {
            let ids = store::dead(&self.db, endpoint, AT_ONCE).await?;
            for id in &ids {
                self.replay(*id, by).await?;
                count = count.saturating_add(1);
            }
            if u32::try_from(ids.len()).is_ok_and(|found| found < AT_ONCE) {
                return Ok(count);
            }
        }
    }

    /// How many wait to be delivered, and how many were given up.
    pub async fn waiting_and_dead(&self) -> Result<(i64, i64), Error> {
        store::count(&self.db).await
    }

    /// Forgets what was kept for long enough, empties what was to be emptied, and counts what waits.
    pub async fn keep_house(&self) -> Result<(), Error> {
        let now = self.clock.now();
        store::forget(&self.db, now).await?;
        erasure::empty_ended(&self.db, now).await?;
        let (waiting, dead) = store::count(&self.db).await?;
        self.metrics().webhooks_kept(waiting, dead);
        Ok(())
    }

    /// Takes into the vault what was sealed before there was one; how many. What does not open is lost: its
    /// master secret is gone.
    pub async fn carry_over(&self) -> Result<usize, Error> {
        let (mut count, mut after) = (0_usize, 0);
        loop {
            let rows = store::sealed_otherwise(&self.db, after).await?;
            let Some((last, ..)) = rows.last() else {
                return Ok(count);
            };
            after = *last;
            for (seq, id, endpoint, old) in &rows {
                let opened = self.open_old(endpoint, *id, old);
                match opened.map(|plain| Message::from_bytes(plain.expose())) {
                    Ok(Some(message)) => {
                        let new = self.seal(endpoint, *id, &message).await?;
                        store::set_sealed(&self.db, *seq, old, &new).await?;
                        count = count.saturating_add(1);
                    }
                    Ok(None) | Err(_) => {
                        tracing::error!(delivery = %id, "a message of a webhook is lost: it does not open");
                    }
                }
            }
        }
    }
}

fn place<'a>(endpoint: &'a str, row: &'a str) -> Place<'a> {
    Place {
        tenant: None,
        table: TABLE,
        field: endpoint,
        row,
    }
}
