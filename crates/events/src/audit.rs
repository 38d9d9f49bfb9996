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
//! The table refuses UPDATE and DELETE by trigger. Not in here: retention, alerts, a hash chain.
//! Sources: OWASP Logging Cheat Sheet, CWE-778 (too little recorded), CWE-532 (secrets recorded),
//! CWE-117 (records forged through control characters).

mod by;
mod event;
mod inbox;
mod list;
mod sink;
mod trail;

#[cfg(test)]
mod tests;

pub use by::By;
pub use event::{Action, Actor, Event, Metadata, Outcome, Target};
pub use list::{Cursor, Filter, Page, list};
pub use trail::{Config, Trail};

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
            Error::Store(_) | Error::TimedOut | Error::Full | Error::Closed => {
                Problem::unavailable(error)
            }
            Error::Unreadable(_) => Problem::internal(error),
            Error::Cursor(_) => Problem::new(&portcullis_core::problem::INVALID_INPUT)
                .field("cursor", "this is not a place in the audit trail"),
        }
    }
}
