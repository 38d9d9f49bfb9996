//! Scans (G3, G4, G6): what the team's scanners found, and whether they ran as often as the policy wants.
//!
//! - Every scanner writes SARIF. A build hands its report in; the gate keeps a summary, the report's hash, and who
//!   handed it in and when. What a report says of its own time is not asked.
//! - `[[scan]]` says which scans are wanted, how often, and from which level on a finding is one too many. A scan
//!   that is missing, overdue or failing keeps `scan check` from passing, which is what a release asks.
//! - A finding can be accepted by its rule, with a reason and until a day. Then it counts again.
//! - Proofs are scans as well: `prove` hands in its own report, and of the latest one is the compliance score.

pub mod config;
pub mod manage;
mod rows;
mod sarif;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::sync::Arc;

use portcullis_core::{Clock, Problem, Timestamp, problem};
use portcullis_store::Db;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use config::{Covers, Scan};
pub use sarif::Unreadable;
pub use watch::{Standing, look_at};

use crate::audit::{self, Action, By, Event, Outcome, Target, Trail};
use crate::redact;

/// Largest report that is taken, in bytes.
pub const MAX_REPORT: usize = 16 * 1024 * 1024;
/// Longest reason of an acceptance, in bytes.
const LONGEST: usize = 1000;

/// How bad a finding is (SARIF 2.1.0, 3.27.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingLevel {
    Note,
    Warning,
    Error,
}

impl FindingLevel {
    pub const fn as_str(self) -> &'static str {
        match self {
            FindingLevel::Note => "note",
            FindingLevel::Warning => "warning",
            FindingLevel::Error => "error",
        }
    }
}

impl fmt::Display for FindingLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What one rule of a scanner found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub rule: String,
    pub level: FindingLevel,
    pub count: u64,
    /// Where the first one is, such as `Cargo.lock:17`; empty where the report does not say.
    pub place: String,
}

/// A report that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub id: Uuid,
    pub name: String,
    pub tool: String,
    /// Of the tool; empty where the report does not say.
    pub version: String,
    pub recorded_at: Timestamp,
    /// `operator`, or a user or a key by id.
    pub recorded_by: String,
    /// Of the whole report, byte for byte.
    pub sha256: [u8; 32],
    pub found: Vec<Found>,
    /// Checks that passed, and of which nobody knows: reports that say so are those of proofs.
    pub passed: u64,
    pub open: u64,
}

/// A finding that somebody lives with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub name: String,
    pub rule: String,
    pub reason: String,
    pub until: Timestamp,
    pub accepted_by: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the policy wants no scan `{0}`: `[[scan]]` names those that it wants")]
    Unknown(String),
    #[error("it is no report in SARIF 2.1.0: {0}")]
    Report(#[from] Unreadable),
    #[error("`{0}`: {1}")]
    Invalid(&'static str, &'static str),
    #[error("a row cannot be read")]
    Row,
    #[error(transparent)]
    Trail(#[from] audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Unknown(_) => Problem::new(&problem::NOT_FOUND).detail(error.to_string()),
            Error::Report(unreadable) => {
                Problem::new(&problem::INVALID_INPUT).detail(unreadable.to_string())
            }
            Error::Invalid(field, said) => Problem::new(&problem::INVALID_INPUT).field(field, said),
            Error::Row => Problem::internal(error),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

/// The scans of this gate; cheap to clone.
#[derive(Clone)]
pub struct Scans {
    db: Db,
    trail: Trail,
    clock: Arc<dyn Clock>,
    wanted: Arc<[Scan]>,
}

impl Scans {
    pub fn new(db: Db, trail: Trail, clock: Arc<dyn Clock>, wanted: &[Scan]) -> Self {
        Scans {
            db,
            trail,
            clock,
            wanted: wanted.into(),
        }
    }

    /// Those that the policy wants.
    pub fn wanted(&self) -> &[Scan] {
        &self.wanted
    }

    /// The first wanted scan that covers this.
    pub fn covering(&self, covers: Covers) -> Option<&Scan> {
        self.wanted.iter().find(|scan| scan.covers == covers)
    }

    fn known(&self, name: &str) -> Result<&Scan, Error> {
        let found = self.wanted.iter().find(|scan| scan.name == name);
        found.ok_or_else(|| Error::Unknown(name.to_owned()))
    }

    /// Takes a report of a wanted scan: its summary and its hash are kept. How the scan stands then.
    pub async fn record(&self, name: &str, report: &[u8], by: &By) -> Result<Standing, Error> {
        let scan = self.known(name)?;
        let summary = sarif::summary(report)?;
        if !scan.tool.is_empty() && summary.tool != scan.tool {
            return Err(Error::Invalid(
                "tool",
                "the report is of another tool than `[[scan]] tool` names",
            ));
        }
        let report = Report {
            id: Uuid::now_v7(),
            name: name.to_owned(),
            tool: summary.tool,
            version: summary.version,
            recorded_at: self.clock.now(),
            recorded_by: by.actor.to_string(),
            sha256: portcullis_vault::tokens::sha256(report),
            found: summary.found,
            passed: summary.passed,
            open: summary.open,
        };
        let of = |level| -> u64 {
            report
                .found
                .iter()
                .filter(|one| one.level == level)
                .map(|one| one.count)
                .sum()
        };
        let mut tx = self.db.begin().await?;
        rows::insert(&mut tx, &report).await?;
        let event = Event::new(report.recorded_at, Action::ScanRecorded, Outcome::Allowed)
            .done(by)
            .to(target(name))
            .with("report", report.id.to_string())
            .with("tool", report.tool.as_str())
            .with("sha256-begins", begins(&report.sha256))
            .with("errors", of(FindingLevel::Error))
            .with("warnings", of(FindingLevel::Warning));
        self.trail.record_in(&mut tx, event).await?;
        tx.commit().await?;
        let mut all = self.measure().await?.into_iter();
        let standing = all.find(|one| one.scan.name == name);
        standing.ok_or_else(|| Error::Unknown(name.to_owned()))
    }

    /// Lives with what a rule finds, until then.
    pub async fn accept(
        &self,
        (name, rule): (&str, &str),
        reason: &str,
        until: Timestamp,
        by: &By,
    ) -> Result<(), Error> {
        self.known(name)?;
        let now = self.clock.now();
        if rule.is_empty() || rule.len() > sarif::LONGEST_RULE {
            return Err(Error::Invalid("rule", "must have 1 to 200 bytes"));
        }
        let reason = reason.trim();
        if reason.is_empty() || reason.len() > LONGEST {
            return Err(Error::Invalid("reason", "must have 1 to 1000 bytes"));
        }
        // For ever is what nobody looks at again.
        if until <= now || until > now + config::LONGEST_ACCEPTANCE {
            return Err(Error::Invalid(
                "until",
                "must lie in the future, and within a year",
            ));
        }
        let accepted = Accepted {
            name: name.to_owned(),
            rule: rule.to_owned(),
            reason: redact::text(reason),
            until,
            accepted_by: by.actor.to_string(),
        };
        let mut tx = self.db.begin().await?;
        rows::accept(&mut tx, &accepted, now).await?;
        let event = Event::new(now, Action::ScanAccepted, Outcome::Allowed)
            .done(by)
            .to(target(name))
            .with("rule", rule)
            .with("reason", accepted.reason.as_str())
            .with("until", until.to_string());
        self.trail.record_in(&mut tx, event).await?;
        Ok(tx.commit().await?)
    }
}

/// The whole of a digest looks like a key, and would not get past redaction.
fn begins(sha256: &[u8; 32]) -> String {
    hex::encode(sha256.split_at(12).0)
}

fn target(name: &str) -> Target {
    Target::named("scan", name)
}
