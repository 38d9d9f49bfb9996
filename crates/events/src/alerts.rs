//! Alerts: somebody is told, by letter, in Slack or by a signed webhook (L9, M2).
//!
//! 1. What is to be told is a [`Notice`]: something that was found ([`crate::anomalies`]), an event of the
//!    trail that somebody has to look at, or a condition of this node.
//! 2. Of one source and subject each destination is told once in its `group` time. What comes meanwhile is
//!    counted, and summed up when the time is over, and again while it goes on.
//! 3. What is silenced is kept in the list, and told to nobody.
//! 4. The rest waits in the database until it is taken: one node at a time has it, with waits between the
//!    attempts. What is not taken in the end is a dead letter.
//!
//! A text says what a rule counted and of which account, key or address: ids, no names, and nothing of a
//! request. It goes through redaction all the same.

pub mod config;
mod groups;
pub mod manage;
mod queue;
mod send;
mod silence;
mod sources;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use portcullis_core::{Clock, Problem, Timestamp};
use portcullis_edge::mail::Mailer;
use portcullis_edge::outbound::Outbound;
use portcullis_store::{Db, Tx};
use tokio::sync::Notify;
use uuid::Uuid;

pub use config::{Config, Destination, compile};
pub use queue::{Alert, Filter, Kind, State};
pub use silence::{Silence, Silencing};
pub use sources::SOURCES;

use crate::anomalies::Severity;
use crate::audit::{self, By, Trail};
use crate::metrics::Metrics;
use crate::redact;
use queue::New;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no such alert, silence or destination")]
    NotFound,
    #[error("`{0}` {1}")]
    Invalid(&'static str, &'static str),
    #[error("an alert cannot be read")]
    Unreadable,
    #[error(transparent)]
    Trail(#[from] audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Problem::new(&portcullis_core::problem::NOT_FOUND),
            Error::Invalid(field, why) => {
                Problem::new(&portcullis_core::problem::INVALID_INPUT).field(field, why)
            }
            Error::Unreadable => Problem::internal(error),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

/// Something that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// One of [`SOURCES`].
    pub source: String,
    pub severity: Severity,
    pub subject: String,
    pub told: String,
    pub at: Timestamp,
    /// How many events it stands for.
    pub count: u64,
}

impl Notice {
    /// Of whom, and what.
    fn sentence(&self) -> String {
        let (subject, told) = (redact::subject(&self.subject), redact::text(&self.told));
        format!("{subject}: {told}")
    }
}

/// What the slice is put together from.
pub struct Parts {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub trail: Trail,
    pub destinations: Vec<Destination>,
    /// Nothing where no letters leave.
    pub mailer: Option<Arc<Mailer>>,
}

/// The slice. Cheap to clone.
#[derive(Clone)]
pub struct Alerts {
    db: Db,
    clock: Arc<dyn Clock>,
    trail: Trail,
    destinations: Arc<Vec<Destination>>,
    mailer: Option<Arc<Mailer>>,
    outbound: Outbound,
    /// Something may be due on this node.
    arrived: Arc<Notify>,
}

impl Alerts {
    pub fn new(parts: Parts) -> Self {
        Alerts {
            db: parts.db,
            clock: parts.clock,
            trail: parts.trail,
            destinations: Arc::new(parts.destinations),
            mailer: parts.mailer,
            outbound: Outbound::default(),
            arrived: Arc::default(),
        }
    }

    fn metrics(&self) -> &Metrics {
        self.trail.metrics()
    }

    pub fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    /// Tells it, in the transaction of what it is about.
    pub async fn raise_in(
        &self,
        tx: &mut Tx,
        notice: &Notice,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (mut silenced, asked) = (None, notice);
        for destination in self.destinations.iter().filter(|one| one.wants(notice)) {
            // SECURITY: whoever attacks from a thousand addresses must not fill the letter box as well.
            let notice = &groups::crowded(tx, destination, notice).await?;
            if !groups::enter(tx, destination, notice, now).await? {
                continue;
            }
            let is_silenced = match silenced {
                Some(known) => known,
                None => silence::is_silenced(tx, asked, now).await?,
            };
            silenced = Some(is_silenced);
            let new = New {
                destination,
                kind: Kind::Began,
                source: &notice.source,
                severity: notice.severity,
                subject: &notice.subject,
                told: notice.sentence(),
                is_silenced,
            };
            queue::insert(tx, &new, now).await?;
        }
        self.arrived.notify_waiters();
        Ok(())
    }

    /// The same for what is about nothing in the database.
    pub async fn raise(&self, notice: &Notice) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        self.raise_in(&mut tx, notice, self.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    /// Sums up what came in groups whose time is over. The caller is the one node that looks.
    pub async fn settle(&self, now: Timestamp) -> Result<(), Error> {
        groups::settle(self, now).await?;
        queue::forget(&self.db, now).await?;
        let (waiting, dead) = queue::count(&self.db).await?;
        self.metrics().alerts_kept(waiting, dead);
        Ok(())
    }

    /// Alerts, newest first. None where there is no `after`.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Option<Vec<Alert>>, Error> {
        queue::list(&self.db, filter, after, limit).await
    }

    /// How many wait to be sent, and how many nobody took.
    pub async fn waiting_and_dead(&self) -> Result<(i64, i64), Error> {
        queue::count(&self.db).await
    }

    /// Keeps a source silent for a while. What it would have told stays in the list.
    pub async fn silence(&self, silencing: &Silencing, by: &By) -> Result<Uuid, Error> {
        silence::create(self, silencing, by).await
    }

    /// Silences that hold now, newest first.
    pub async fn silences(&self) -> Result<Vec<Silence>, Error> {
        silence::list(&self.db, self.clock.now()).await
    }

    /// Ends one before its time.
    pub async fn lift_silence(&self, id: Uuid, by: &By) -> Result<(), Error> {
        silence::lift(self, id, by).await
    }
}
