//! Request protections, one file or folder each.
//!
//! Every protection is a `Config` (what the file says), a compiled type (what the hot path asks)
//! and pure checks on a request's head. Nothing here waits, and nothing here knows the pipeline.

pub mod body;
pub mod cors;
pub mod csrf;
pub mod finding;
pub mod headers;
pub mod hosts;
pub mod https;
pub mod origin;
pub mod rate_limit;

pub use finding::{Finding, Severity};
pub use origin::{Authority, Own, Scheme};

/// How strict the gate is about its own configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    #[default]
    Production,
    /// Loopback only; some findings are warnings.
    Development,
}
