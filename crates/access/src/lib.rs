//! What they may do: the route table, roles, OpenAPI import.

pub mod config;
pub mod lines;
pub mod openapi;
pub mod policy;

pub use config::AccessConfig;
pub use policy::{Known, Mistake, Policy, Route, Severity};
