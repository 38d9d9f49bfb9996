//! A whole database, read as one moment saw it and written from nothing: for backups.
//!
//! - [`Snapshot`] reads within one transaction: rows that are written meanwhile are not in it.
//! - [`Load`] drops what is there, makes the schema as it was when the rows were read, takes the rows,
//!   brings the schema up to date and shows it all at once. Dropped before [`Load::commit`], nothing
//!   has happened. Nobody else may have the database open.
//! - What a database holds is learned from the migrations ([`Schema`]), so that no list has to be kept
//!   beside them and no table can be forgotten.
//! - Rows come in the order of their key, bytes before bytes, which is the same on both engines. They are
//!   streamed: what is held in memory is one row, or one batch of them.
//!
//! SQL is put together here from names that our own migrations gave, never from what a file says.

mod load;
mod schema;
mod snapshot;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::db::Limits;

pub use load::{Load, Target};
pub use schema::{Column, Kind, Schema, Table};
pub use snapshot::Snapshot;

/// For statements over whole tables. A server that hangs is given up after this.
const LIMITS: Limits = Limits {
    acquire: Duration::from_secs(10),
    statement: Duration::from_hours(1),
};

/// One value of a row, alike on both engines: a UUID is its sixteen bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] crate::Error),
    #[error("there is no database yet")]
    NotThere,
    #[error(
        "somebody has the database open: stop every gate on it, and let other commands of `portcullis` end"
    )]
    InUse,
    #[error("the database is not empty: the table `{0}` has rows")]
    NotEmpty(String),
    /// A step of the schema that the rows were read with, and that this program has not.
    #[error(
        "its schema has version {0}, which this program does not know: it was made by a newer one"
    )]
    UnknownStep(i64),
    #[error("the table `{table}` is not as the migrations made it: {found}")]
    Altered { table: String, found: String },
    #[error(
        "a row of `{0}` has another number of values than the table has columns, or values of another kind"
    )]
    Misfit(String),
    #[error("rows of `{0}` point to rows that are not there")]
    Dangling(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Error::Store(error.into())
    }
}
