//! Request protections, one file or folder each.
//!
//! Every protection is a `Config` (what the file says), a compiled type (what the hot path asks)
//! and pure checks on a request's head. Nothing here waits, but [`uploads`], which reads bodies on the back
//! runtime; and nothing here knows the pipeline.

pub mod body;
pub mod cors;
pub mod csrf;
pub mod headers;
pub mod hosts;
pub mod https;
pub mod origin;
pub mod rate_limit;
pub mod uploads;

pub use origin::{Authority, Own};
