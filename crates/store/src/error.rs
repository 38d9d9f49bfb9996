//! What can go wrong with a database, by cause; and how drivers' errors are sorted into it.

use std::time::Duration;

use portcullis_core::Problem;
use portcullis_core::problem;
use sqlx::error::{DatabaseError, ErrorKind};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database is away, full, read-only, overloaded or too slow. Whether a commit that ended
    /// so took place is not known.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the database did not answer within {0:?}")]
    TimedOut(Duration),
    /// A row with this key exists already. The name is PostgreSQL's default one on both engines,
    /// such as `users_email_canonical_key` or `users_pkey`.
    #[error("a row with this key exists already (`{constraint}`)")]
    Conflict { constraint: String },
    /// The row that another one was to point to does not exist (any more).
    #[error("a row that is referred to does not exist")]
    MissingReference,
    /// What came back is not what was stored there: a wrong type, an unexpected NULL, a broken file.
    #[error("the database holds something unexpected: {0}")]
    Corrupt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A mistake of ours in a query.
    #[error("the database refused a query: {0}")]
    Query(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The address of the database cannot be used. Never repeats the address: it may hold a password.
    #[error("the address of the database is not usable: {0}")]
    Address(&'static str),
    #[error(
        "the database has schema version {found}, which this program does not know; it was written by a newer one: update this node, or restore a backup from before the update"
    )]
    NewerSchema { found: i64 },
    #[error(
        "migration {version} was changed after it had been applied here; use the program that applied it, or a database of its own"
    )]
    ChangedMigration { version: i64 },
    /// The schema is behind, and this user may not make tables.
    #[error(
        "{steps} steps of its tables are still to be made, and this user may not make them: let their owner run `portcullis migrate`"
    )]
    MayNotMigrate { steps: usize },
}

impl Error {
    pub(crate) fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Error::Unavailable(Box::new(cause))
    }

    /// Whether waiting may help: the database could not be asked.
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Error::Unavailable(_) | Error::TimedOut(_))
    }

    /// Whether the unique constraint of this name was violated.
    pub fn is_conflict_on(&self, name: &str) -> bool {
        matches!(self, Error::Conflict { constraint } if constraint == name)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(_) | Error::TimedOut(_) => Problem::unavailable(error),
            Error::Conflict { .. } | Error::MissingReference => {
                Problem::new(&problem::CONFLICT).caused_by(error)
            }
            Error::Corrupt(_)
            | Error::Query(_)
            | Error::Address(_)
            | Error::NewerSchema { .. }
            | Error::ChangedMigration { .. }
            | Error::MayNotMigrate { .. } => Problem::internal(error),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refusal) => match from_database(&**refusal) {
                Sorted::Done(error) => error,
                Sorted::Unavailable => Error::unavailable(error),
                Sorted::Corrupt => Error::Corrupt(Box::new(error)),
                Sorted::Query => Error::Query(Box::new(error)),
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Error::unavailable(error),
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::RowNotFound => Error::Corrupt(Box::new(error)),
            _ => Error::Query(Box::new(error)),
        }
    }
}

enum Sorted {
    Done(Error),
    Unavailable,
    Corrupt,
    Query,
}

fn from_database(refusal: &dyn DatabaseError) -> Sorted {
    match refusal.kind() {
        ErrorKind::UniqueViolation => {
            return Sorted::Done(Error::Conflict {
                constraint: constraint(refusal),
            });
        }
        ErrorKind::ForeignKeyViolation => return Sorted::Done(Error::MissingReference),
        _ => {}
    }
    let code = refusal.code().unwrap_or_default();
    match code.parse::<u32>() {
        Ok(code)
            if refusal
                .try_downcast_ref::<sqlx::sqlite::SqliteError>()
                .is_some() =>
        {
            by_result_code(code)
        }
        _ => by_sqlstate(&code),
    }
}

/// SQLite's primary result code is the low byte of the extended one.
fn by_result_code(code: u32) -> Sorted {
    match code & 0xff {
        // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL
        5..=10 | 13..=15 => Sorted::Unavailable,
        // CORRUPT, NOTADB
        11 | 26 => Sorted::Corrupt,
        _ => Sorted::Query,
    }
}

/// Classes of PostgreSQL's Appendix A.
fn by_sqlstate(code: &str) -> Sorted {
    let class = code.get(..2).unwrap_or_default();
    match (class, code) {
        // Connection, authorization, rollback (deadlock), resources, operator intervention
        // (shutdown, statement timeout), system error; read-only server, lock timeout, idle in
        // transaction, database or table that is not there (yet).
        ("08" | "28" | "3D" | "40" | "53" | "57" | "58", _) | (_, "25006" | "25P03" | "55P03") => {
            Sorted::Unavailable
        }
        ("XX", _) => Sorted::Corrupt,
        _ => Sorted::Query,
    }
}

/// PostgreSQL names the constraint. SQLite says `UNIQUE constraint failed: users.email, users.x`.
fn constraint(refusal: &dyn DatabaseError) -> String {
    if let Some(name) = refusal.constraint() {
        return name.to_owned();
    }
    let columns = refusal.message().rsplit(": ").next().unwrap_or_default();
    let table = columns.split('.').next().unwrap_or_default();
    // SQLITE_CONSTRAINT_PRIMARYKEY
    if refusal.code().as_deref() == Some("1555") {
        return format!("{table}_pkey");
    }
    let names: Vec<&str> = columns
        .split(", ")
        .map(|column| column.rsplit('.').next().unwrap_or(column))
        .collect();
    format!("{table}_{}_key", names.join("_"))
}
