//! The audit trail: who did what, to what, with which outcome.
//!
//! Three ways in, by what the act demands:
//! - [`Trail::record_in`]: in the transaction of the act itself. Neither exists without the other.
//! - [`Trail::record`]: for an act without a transaction, such as a failed login. Returns when the
//!   event is durable; when it fails, the caller refuses the act.
//! - [`Trail::note`]: for refusals on the hot path. Never waits. Bounded in memory, per second, and
//!   per client, so that a flood of refusals fills neither memory nor disk; what does not fit is
//!   counted per action, and the numbers are an event themselves (`audit.overflow`).
//!
//! The table refuses UPDATE and DELETE by trigger. Every event becomes a leaf of one Merkle log ([`Log`]),
//! so that whoever takes the trigger away is found out ([`Log::verify`]). Not in here: alerts.
//! Sources: RFC 6962, c2sp.org/tlog-tiles, c2sp.org/tlog-checkpoint, OWASP Logging Cheat Sheet, CWE-778 (too little recorded), CWE-532 (secrets recorded),
//! CWE-117 (records forged through control characters).

pub mod anchor;
pub mod beside;
mod by;
pub mod checkpoint;
mod event;
pub mod evidence;
mod hours;
mod inbox;
mod leaf;
mod list;
mod log;
mod look;
pub mod manage;
mod person;
mod personal;
mod sink;
pub mod tiles;
mod trail;
pub mod tree;
mod verify;
pub mod witness;

#[cfg(test)]
pub(crate) mod log_tests;
#[cfg(test)]
mod tests;

pub use by::By;
pub use event::{Action, Actor, Event, Metadata, Outcome, Target};
pub use hours::{Hourly, hour_of};
pub use list::{Cursor, Filter, Page, list};
pub use log::{Log, Parts};
pub use look::Looked;
pub use personal::Personal;
pub use trail::{Config, Trail};
pub use verify::{Fault, Finding, Report};
pub use witness::Witnesses;

use portcullis_core::Problem;
use portcullis_store::Tx;

/// Records an event where no trail runs: on a database that is being restored, or for one act.
pub async fn record_alone(tx: &mut Tx, config: &Config, event: Event) -> Result<(), Error> {
    if config.enabled {
        sink::insert(tx, &[event]).await?;
    }
    Ok(())
}

/// Why an event was not recorded, or the trail could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("the audit trail could not be written or read")]
    Store(#[source] std::sync::Arc<portcullis_store::Error>),
    #[error("the database did not take the audit record in time")]
    TimedOut,
    #[error("more events wait to be recorded than the bound allows")]
    Full,
    #[error("the audit trail is closed")]
    Closed,
    #[error("the system gave no random bytes")]
    Randomness,
    #[error("the log of the audit trail cannot be signed")]
    Key,
    #[error("the log of the audit trail is damaged at {0}: `portcullis audit verify` says where")]
    Damaged(&'static str),
    #[error("the vault is closed: its KEK (`[kek]`) does not answer")]
    Vault,
    #[error("the place of checkpoints outside (`audit.anchor-file`, `audit.anchor-bucket`) {0}")]
    Anchor(&'static str),
    #[error("there is no such event in the log")]
    NotInLog,
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    #[error("an event in the audit trail has an unknown `{0}`")]
    Unreadable(&'static str),
    #[error("`{0}` is not a place in the audit trail")]
    Cursor(String),
}

impl From<portcullis_store::Error> for Error {
    fn from(error: portcullis_store::Error) -> Self {
        Error::Store(std::sync::Arc::new(error))
    }
}

// SECURITY: an act whose record cannot be written is refused, so every cause but the caller's own
// is a 5xx: never an answer that looks as if the act had been done.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(_)
            | Error::TimedOut
            | Error::Full
            | Error::Closed
            | Error::Randomness
            | Error::Vault => Problem::unavailable(error),
            Error::NotInLog => Problem::new(&portcullis_core::problem::NOT_FOUND),
            Error::Unreadable(_)
            | Error::Key
            | Error::Damaged(_)
            | Error::Anchor(_)
            | Error::Checkpoint(_) => Problem::internal(error),
            Error::Cursor(_) => Problem::new(&portcullis_core::problem::INVALID_INPUT)
                .field("cursor", "this is not a place in the audit trail"),
        }
    }
}
