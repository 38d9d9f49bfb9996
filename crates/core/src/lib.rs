//! The shared words and the one pure decision; no I/O.
//!
//! Everything else in the house speaks in these types. The crate holds no socket, no file and no
//! runtime: what it decides can be tested with plain values.

pub mod address_text;
pub mod binding;
pub mod decision;
pub mod finding;
pub mod header_names;
pub mod id;
pub mod limit;
pub mod locks;
pub mod mode;
pub mod path;
pub mod principal;
pub mod problem;
pub mod roles;
pub mod route;
pub mod secret;
pub mod size;
pub mod time;
pub mod upload;

pub use decision::{Denied, Permit};
pub use id::{ApiKeyId, RequestId, SessionId, TenantId, TokenFamilyId, UserId, VisitorId};
pub use mode::{Mode, Scheme};
pub use principal::Principal;
pub use problem::Problem;
pub use secret::{Secret, SecretRef, Wipe};
pub use time::{Clock, Span, Timestamp};
