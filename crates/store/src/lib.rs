//! The only crate that knows a database or Redis driver: queries, migrations, shared counters, the revocation feed.
//!
//! A query is one portable text beside its row mapping, in the slice that owns the table:
//!
//! ```ignore
//! const FIND: &str = "SELECT id, email FROM users WHERE email_canonical = $1";
//! let Some(row) = db.fetch_optional(FIND, &[email.into()]).await? else { return Ok(None) };
//! ```

pub mod config;
pub mod counters;
mod db;
pub mod dump;
mod error;
mod foreign;
mod inspect;
mod migrations;
mod postgres;
mod privileges;
pub mod revocations;
mod row;
mod sqlite;
mod tx;
mod value;

pub use config::{Config, Location};
pub use db::{Db, Engine};
pub use error::Error;
pub use foreign::Foreign;
pub use inspect::{Condition, forgetful, inspect, look_up, look_up_all};
pub use privileges::{Privileges, migrate, privileges};
pub use row::Row;
pub use tx::Tx;
pub use value::Value;

#[cfg(test)]
mod postgres_tests;
#[cfg(test)]
mod test_state;
#[cfg(test)]
mod tests;
