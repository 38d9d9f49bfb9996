//! The rotation of signing keys: by the clock, and by command.

pub(crate) mod manage;

use std::sync::Arc;

use portcullis_core::{Clock, Span, Timestamp};
use portcullis_events::{Action, Actor, Event, Outcome, Target, Trail};
use portcullis_store::Db;
use portcullis_store::revocations::{Revocation, publish};
use portcullis_vault::KeyRing;
use portcullis_vault::ring::{self, KeyInfo, LEAD};
use serde::Serialize;

/// What it takes to change the ring.
#[derive(Clone)]
pub struct SigningKeys {
    pub db: Db,
    pub ring: Arc<KeyRing>,
    pub trail: Trail,
    pub clock: Arc<dyn Clock>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Ring(#[from] ring::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
    #[error(transparent)]
    Trail(#[from] portcullis_events::audit::Error),
}

/// A key that was made.
#[derive(Debug, Serialize)]
pub struct Rotated {
    pub kid: String,
    pub signs_from: String,
}

impl std::fmt::Display for Rotated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} signs from {} on", self.kid, self.signs_from)
    }
}

/// All keys, one line each.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct List(pub Vec<KeyInfo>);

impl std::fmt::Display for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, key) in self.0.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            let state = key.state.as_str();
            write!(f, "{}  {state:9}  signs from {}", key.kid, key.signs_from)?;
        }
        Ok(())
    }
}

impl SigningKeys {
    pub async fn list(&self) -> Result<List, Error> {
        Ok(List(self.ring.list(self.clock.now()).await?))
    }

    /// Adds the next key: published now, signing in ten minutes, or at once. Nothing where another
    /// node just did.
    pub async fn rotate(&self, actor: Actor, at_once: bool) -> Result<Option<Rotated>, Error> {
        let now = self.clock.now();
        let active_at = if at_once { now } else { now + LEAD };
        let mut tx = self.db.begin().await?;
        let Some(kid) = self.ring.add(&mut tx, now, active_at).await? else {
            return Ok(None);
        };
        if at_once {
            // No time for the nodes to find out by themselves.
            publish(&mut tx, Revocation::Everything, now).await?;
        }
        self.trail
            .record_in(&mut tx, event(Action::SigningKeyRotated, actor, &kid, now))
            .await?;
        tx.commit().await?;
        self.ring.reload().await?;
        Ok(Some(Rotated {
            kid,
            signs_from: active_at.to_string(),
        }))
    }

    /// Takes a key out of the ring, after a new one that signs at once where it was the one in use.
    /// Whether there was such a key.
    pub async fn revoke(&self, actor: Actor, kid: &str) -> Result<bool, Error> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        if !self.ring.revoke(&mut tx, kid, now).await? {
            return Ok(false);
        }
        let added = self.ring.add(&mut tx, now, now).await?;
        // Every node has to forget what the key has signed, and there is no list of that.
        publish(&mut tx, Revocation::Everything, now).await?;
        self.trail
            .record_in(&mut tx, event(Action::SigningKeyRevoked, actor, kid, now))
            .await?;
        if let Some(kid) = added {
            self.trail
                .record_in(&mut tx, event(Action::SigningKeyRotated, actor, &kid, now))
                .await?;
        }
        tx.commit().await?;
        self.ring.reload().await?;
        Ok(true)
    }

    /// Reads the ring again, and adds the next key when the newest is older than `every`.
    pub async fn keep(&self, every: Span) -> Result<(), Error> {
        self.ring.reload().await?;
        if self.ring.is_due(every, self.clock.now()).await? {
            let rotated = self.rotate(Actor::System, false).await?;
            if let Some(rotated) = rotated {
                tracing::info!(%rotated, "the signing key is replaced");
            }
        }
        Ok(())
    }
}

fn event(action: Action, actor: Actor, kid: &str, now: Timestamp) -> Event {
    Event::new(now, action, Outcome::Allowed)
        .by(actor)
        .to(Target::named("signing-key", kid))
}
