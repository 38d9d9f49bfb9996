//! What happened: the audit trail, metrics and the log.
//!
//! - [`alerts`]: who is told of what somebody should know.
//! - [`anomalies`]: what is conspicuous in the trail, by stated rules.
//! - [`audit`]: security events, append-only in the database; fails closed where the act demands it.
//! - [`mentions`]: whether a text names a person, for their export and their erasure.
//! - [`metrics`]: numbers for Prometheus; relaxed atomics per lane, summed when they are asked for.
//! - [`access_log`]: one line per request, written by a thread of its own; overflow drops and counts.
//! - [`incidents`]: what happened that should not have, and what is done about it.
//! - [`log`]: the application's own messages.
//! - [`places`]: where an address is, roughly.
//! - [`redact`]: what keeps secrets and e-mail addresses out of all four.
//! - [`scans`]: what the team's scanners found, and whether they ran in time.
//! - [`secret_store`]: named secrets of the product, and who read them.
//! - [`traces`]: what a request spent its time on, for whoever gathers spans.
//! - [`upload_store`]: files of users that the gate keeps, and who read them.
//! - [`webhooks`]: what other services tell the product: verified, kept, delivered.
//!
//! Audit fails closed, telemetry fails open: that is the rule behind every bound in this crate.

pub mod access_log;
pub mod alerts;
pub mod anomalies;
pub mod audit;
mod entry_name;
pub mod incidents;
pub mod log;
pub mod mentions;
pub mod metrics;
pub mod places;
pub mod redact;
pub mod scans;
pub mod secret_store;
pub mod traces;
pub mod upload_store;
pub mod webhooks;

pub use access_log::AccessLog;
pub use alerts::Alerts;
pub use anomalies::Anomalies;
pub use audit::{Action, Actor, By, Event, Outcome, Target, Trail};
pub use incidents::Incidents;
pub use metrics::Metrics;
pub use scans::Scans;
pub use secret_store::SecretStore;
pub use traces::Traces;
pub use upload_store::UploadStore;
pub use webhooks::Webhooks;
