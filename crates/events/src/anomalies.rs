//! Anomalies: what is conspicuous in the audit trail, by rules with stated figures (M2).
//!
//! - A rule is a state machine over recorded events, one file each. The same code looks at events as they
//!   come and at those of last week ([`Anomalies::replay`]), and says the same.
//! - One node looks ([`watch`]), a few seconds behind the present. What it finds is a row, an event of the
//!   trail (`anomaly.found`), a count and an alert, in one transaction with its place in the trail.
//! - A rule knows what the trail knows. What the product answers, and sign-ins at somebody else's
//!   provider that came to nothing there, are not in it.

pub mod config;
mod credential_stuffing;
mod denial_surge;
mod engine;
mod enumeration;
mod error_surge;
mod feed;
mod impossible_travel;
mod key_networks;
mod limit_attack;
mod login_burst;
pub mod manage;
mod new_device;
mod rows;
mod rule;
mod stolen_credential;
mod tally;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use portcullis_core::{Clock, Problem, TenantId, Timestamp};
use portcullis_store::Db;
use uuid::Uuid;

pub use config::Config;
pub use engine::{Engine, Episode, Step, rules};
pub use feed::{Feeder, Reader};
pub use rows::Filter;
pub use rule::{Hit, Rule, Severity};

use crate::alerts::{self, Alerts};
use crate::audit::{self, Trail};

/// Every detector there is.
pub const DETECTORS: [&str; 10] = [
    "login-burst",
    "credential-stuffing",
    "enumeration",
    "new-device",
    "key-networks",
    "limit-attack",
    "denial-surge",
    "error-surge",
    "stolen-credential",
    "impossible-travel",
];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("another node looks for anomalies by now")]
    Taken,
    #[error("an anomaly cannot be read")]
    Unreadable,
    #[error(transparent)]
    Alerts(#[from] alerts::Error),
    #[error(transparent)]
    Trail(#[from] audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Taken | Error::Unreadable => Problem::internal(error),
            Error::Alerts(error) => error.into(),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub id: Uuid,
    pub detector: String,
    pub severity: Severity,
    /// `kind:name`, or `gate`.
    pub subject: String,
    pub tenant: Option<TenantId>,
    pub told: String,
    /// The event at which the rule held first.
    pub began_at: Timestamp,
    pub found_at: Timestamp,
    pub last_at: Timestamp,
    /// Nothing while it goes on.
    pub ended_at: Option<Timestamp>,
    pub count: u64,
}

/// What the slice is put together from.
pub struct Parts {
    pub db: Db,
    /// What is looked at: it opens addresses that are sealed.
    pub log: audit::Log,
    pub clock: Arc<dyn Clock>,
    pub trail: Trail,
    pub alerts: Alerts,
    pub config: Config,
}

/// The slice. Cheap to clone.
#[derive(Clone)]
pub struct Anomalies {
    db: Db,
    log: audit::Log,
    clock: Arc<dyn Clock>,
    trail: Trail,
    alerts: Alerts,
    config: Arc<Config>,
    /// This process.
    holder: Uuid,
}

impl Anomalies {
    pub fn new(parts: Parts) -> Self {
        let mut config = parts.config;
        config.places = config.places.counted(parts.trail.metrics());
        Anomalies {
            db: parts.db,
            log: parts.log,
            clock: parts.clock,
            trail: parts.trail,
            alerts: parts.alerts,
            config: Arc::new(config),
            holder: Uuid::now_v7(),
        }
    }

    /// Who is told.
    pub const fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What was found, newest first. None where there is no `after`.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Option<Vec<Found>>, Error> {
        rows::list(&self.db, filter, after, limit).await
    }

    /// What would have been found in recorded events by these figures: every episode with its end, and
    /// without one where it would go on.
    pub async fn replay(
        &self,
        config: &Config,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<(Episode, bool)>, Error> {
        let mut feeder = Feeder::new(config);
        feeder.warm_up(&self.log, since).await?;
        let mut ended = Vec::new();
        let mut reader = Reader::new(since, until);
        while let Some(events) = reader.next(&self.log).await? {
            for event in &events {
                ended.extend(feeder.observe(event));
            }
        }
        ended.extend(feeder.pass(until));
        let mut all: Vec<(Episode, bool)> = ended
            .into_iter()
            .filter_map(|step| match step {
                Step::Began(_) => None,
                Step::Ended(episode) => Some((episode, true)),
            })
            .collect();
        all.extend(feeder.engine().open().map(|open| (open.clone(), false)));
        all.retain(|(episode, _)| episode.began_at >= since);
        all.sort_by(|(one, _), (other, _)| {
            let key =
                |episode: &Episode| (episode.began_at, episode.detector, episode.subject.clone());
            key(one).cmp(&key(other))
        });
        Ok(all)
    }
}
