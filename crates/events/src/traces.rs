//! Traces: what a request spent its time on, to whoever gathers spans (OpenTelemetry, over OTLP).
//!
//! What is asked for is said by the standard environment variables ([`Asked`]), so that the gate is set up
//! like everything else around it; nothing is exported where none of them names an endpoint. The library is
//! the project's own, with the feature `otel`; what leaves goes by the house's one way out.
//!
//! - One span per request (kind `server`), a child for the call of the product (`client`) and one for what
//!   the decision had to look up. The product gets the child as its parent in `traceparent` (W3C Trace
//!   Context).
//! - SECURITY: a stranger's `traceparent` is a link and nothing more. It decides neither what is recorded
//!   nor under which id, unless a trusted proxy passed it on.
//! - Never in a span: paths, queries, headers, bodies, addresses, or who it was. The route's pattern, the
//!   method, the status and the reason of a refusal are.
//! - Telemetry fails open: spans wait in a bounded queue, a thread hands them over in batches, and what
//!   there is no room for is dropped and counted. No request waits for any of it.

mod asked;
#[cfg(feature = "otel")]
mod hand_over;
mod library;
#[cfg(feature = "otel")]
mod spans;

#[cfg(test)]
mod tests;

use std::fmt;

use http::Method;
use portcullis_core::decision::Denied;
use portcullis_core::{RequestId, Scheme, Timestamp};

pub use asked::{Asked, asked, judge};
pub use library::{Call, IS_BUILT_IN, Trace, Traces};

/// The id of a trace: sixteen bytes, in hexadecimal digits where it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What became of a request, for its span.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    pub at: Timestamp,
    pub request: RequestId,
    pub method: &'a Method,
    pub scheme: Scheme,
    /// The matched route's pattern, if any route matched.
    pub route: Option<&'a str>,
    /// The stage of the journey that it ended in.
    pub stage: &'static str,
    pub status: u16,
    /// The slug of the problem that was answered.
    pub problem: Option<&'static str>,
    /// Why the policy said no, where it did.
    pub denied: Option<&'a Denied>,
}

/// What could not be started.
#[derive(Debug, thiserror::Error)]
#[error("spans cannot be exported: {0}")]
pub struct Error(#[source] Box<dyn std::error::Error + Send + Sync>);
