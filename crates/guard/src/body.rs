//! How much a request may bring (CWE-400, CWE-770).
//!
//! 1. A `Content-Length` over the limit is refused before a byte is read.
//! 2. A body without one is counted as it streams, and cut off with an error at the limit.
//! 3. JSON and forms are counted as they stream, whoever they are for: how deep they go, and how many
//!    fields they have.
//! 4. JSON for the gate's own API is measured before it is parsed: depth, number of keys, and no
//!    key twice in one object, since two parsers may each take another of the two.
//!
//! Deployment: the limit is per route; nothing is buffered, so it guards the upstream and the
//! wire rather than the gate's memory.

mod json;
mod limited;
mod structure;

use http::{header, request::Parts};
use portcullis_core::size::ByteSize;
use portcullis_core::{Problem, problem};
use serde::Deserialize;

pub use json::{JsonBounds, JsonError};
pub use limited::{LimitedBody, Overflow};
pub use structure::{Bounds, Structure, TooMuch};

/// `[body]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Largest request body, for routes that do not say otherwise. Default `"10MiB"`.
    pub max_size: ByteSize,
    /// Largest body of the gate's own API. Default `"64KiB"`.
    pub max_own_size: ByteSize,
    /// How deep objects and lists of JSON may lie within each other. Default `64`.
    pub max_depth: u32,
    /// How many keys JSON may have in all, and how many fields a form. Default `10000`.
    pub max_fields: u32,
}

impl Config {
    /// What bodies for the product may hold.
    pub const fn bounds(&self) -> Bounds {
        Bounds {
            max_depth: self.max_depth,
            max_fields: self.max_fields,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_size: ByteSize::mib(10),
            max_own_size: ByteSize::kib(64),
            max_depth: 64,
            max_fields: 10_000,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the body is longer than {limit} bytes")]
    TooLarge { limit: u64 },
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::TooLarge { limit } => Problem::new(&problem::BODY_TOO_LARGE)
                .detail(format!("At most {limit} bytes are accepted here.")),
        }
    }
}

impl From<Overflow> for Problem {
    fn from(overflow: Overflow) -> Self {
        match overflow {
            Overflow::Size { limit } => Error::TooLarge { limit }.into(),
            Overflow::Structure(much) => much.into(),
        }
    }
}

/// Whether the announced length fits. A length that is not a number is the wire's matter, and has
/// been refused there; here it counts as too large.
pub fn check_length(head: &Parts, limit: ByteSize) -> Result<(), Error> {
    let Some(value) = head.headers.get(header::CONTENT_LENGTH) else {
        return Ok(());
    };
    let length = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    match length {
        Some(length) if length <= limit.as_u64() => Ok(()),
        Some(_) | None => Err(Error::TooLarge {
            limit: limit.as_u64(),
        }),
    }
}

#[cfg(test)]
mod tests;
