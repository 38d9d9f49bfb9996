//! Taking over accounts and sessions from another product, so that nobody has to sign in anew.
//!
//! - Nothing is lost in silence: a row is taken over, was taken over before, is over by itself, or is
//!   refused with its number, its id and the reason, also where it is no row at all. A column that
//!   nobody here understands refuses the whole file.
//! - It can be run again and again: what is there stays as it is.
//! - A dry run does everything but keep it: each batch is written and rolled back, so that what the
//!   database would refuse is told as well.
//! - Reasons name columns, never what is in a secret one.

pub(crate) mod manage;
pub mod read;
pub mod sessions;
mod tenants;
pub mod users;

use portcullis_core::roles::Roles;
use portcullis_core::{Timestamp, UserId};
use portcullis_events::{Action, Event, Outcome, Trail};
use portcullis_store::{Db, Tx};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use self::read::Rows;
use crate::accounts::By;
use crate::addresses;

/// Rows to a transaction.
pub(crate) const BATCH: usize = 500;

/// Whether anything is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    Dry,
    Apply,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("row {row}: {message}")]
    Malformed { row: u64, message: String },
    #[error(
        "nobody here understands the column `{column}`; known are {known}. Leave it out, or name it with --ignore"
    )]
    UnknownColumn { column: String, known: String },
    #[error("the file cannot be read")]
    Read(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
    #[error(transparent)]
    Address(#[from] addresses::Error),
    #[error(transparent)]
    Trail(#[from] portcullis_events::audit::Error),
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = ImportReport)]
pub struct Report {
    /// Whether nothing was kept.
    pub dry_run: bool,
    pub read: u64,
    pub imported: u64,
    /// Were taken over by an earlier run.
    pub already: u64,
    /// Sessions and keys that have ended by themselves.
    pub over: u64,
    pub refused: Vec<Refused>,
    /// Old ids and new ones, of accounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mapping: Vec<Mapped>,
}

/// Takes the rows of one kind over, one after the other.
pub(crate) trait Taker {
    /// What may stand in a row.
    const COLUMNS: &'static [&'static str];

    /// Before each batch: what must not be waited for in a transaction.
    fn warm(&self) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// Takes one over. The outer error is a fault of the database and ends the run.
    fn take(
        &mut self,
        tx: &mut Tx,
        row: &Row,
    ) -> impl Future<Output = Result<Result<Fate, String>, Error>> + Send;

    /// What the trail says of a batch of which so many were imported, where each row has no event of its
    /// own.
    fn event(&self, imported: u64) -> Option<Event>;
}

/// Takes all rows over, a batch to a transaction. `progress` is told how many were read.
pub(crate) async fn take_over<T: Taker>(
    (db, trail): (&Db, &Trail),
    mut rows: Rows,
    ignored: &[String],
    run: Run,
    taker: &mut T,
    mut progress: impl FnMut(u64),
) -> Result<Report, Error> {
    let mut report = Report::of(run);
    loop {
        let batch = rows.next().await?;
        if batch.is_empty() {
            return Ok(report);
        }
        let before = report.imported;
        taker.warm().await?;
        let mut tx = db.begin().await?;
        for row in batch {
            row.check_columns(T::COLUMNS, ignored)?;
            let outcome = taker.take(&mut tx, &row).await?;
            report.count(&row, outcome);
        }
        let imported = report.imported.saturating_sub(before);
        if imported > 0
            && let Some(event) = taker.event(imported)
        {
            trail.record_in(&mut tx, event).await?;
        }
        run.end(tx).await?;
        progress(report.read);
    }
}

/// Whether somebody may bring what acts in an owner's name, or why not.
///
/// SECURITY: whoever brings a session or a key of somebody else's could act as they do.
pub(crate) async fn check_owner(
    tx: &mut Tx,
    roles: &Roles,
    by: &By,
    owner: UserId,
) -> Result<Result<(), String>, Error> {
    Ok(match by.outranked_by_owner(tx, roles, owner).await? {
        Some(role) => Err(format!("its owner has the role `{role}`, and you have not")),
        None => Ok(()),
    })
}

/// What was done, by whom and from where.
pub(crate) fn event(action: Action, by: &By, now: Timestamp) -> Event {
    Event::new(now, action, Outcome::Allowed).done(&by.recorded())
}

/// What became of one row that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Imported,
    /// By an earlier run.
    Already,
    /// It has ended by itself.
    Over,
}

impl Report {
    pub(crate) fn of(run: Run) -> Self {
        Report {
            dry_run: run == Run::Dry,
            ..Report::default()
        }
    }

    /// Counts one row.
    pub(crate) fn count(&mut self, row: &Row, outcome: Result<Fate, String>) {
        let one_more = |count: &mut u64| *count = count.saturating_add(1);
        one_more(&mut self.read);
        match outcome {
            Ok(Fate::Imported) => one_more(&mut self.imported),
            Ok(Fate::Already) => one_more(&mut self.already),
            Ok(Fate::Over) => one_more(&mut self.over),
            Err(reason) => self.refused.push(Refused {
                row: row.number,
                id: row.text("id").ok().flatten(),
                reason,
            }),
        }
    }
}

impl Run {
    /// Ends a batch. What is dropped never was.
    pub(crate) async fn end(self, tx: Tx) -> Result<(), portcullis_store::Error> {
        match self {
            Run::Apply => tx.commit().await,
            Run::Dry => {
                drop(tx);
                Ok(())
            }
        }
    }
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ImportRefused)]
pub struct Refused {
    /// Counted from 1; a header line does not count.
    pub row: u64,
    pub id: Option<String>,
    pub reason: String,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ImportMapped)]
pub struct Mapped {
    pub external_id: String,
    #[schema(value_type = String, format = Uuid)]
    pub id: UserId,
}

/// One row of what is taken over.
#[derive(Debug)]
pub struct Row {
    pub(crate) number: u64,
    /// What stands in it, or why that cannot be told.
    pub(crate) fields: Result<Map<String, Value>, String>,
}

impl Row {
    fn field(&self, column: &str) -> Result<Option<&Value>, String> {
        let fields = self.fields.as_ref().map_err(Clone::clone)?;
        Ok(fields.get(column))
    }

    /// The text of a column; a number is text as well. Nothing and an empty text are the same.
    pub(crate) fn text(&self, column: &str) -> Result<Option<String>, String> {
        match self.field(column)? {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            // PostgreSQL keeps none.
            Some(Value::String(text)) if text.contains('\0') => {
                Err(format!("`{column}` holds a character of zero"))
            }
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                Err(format!("`{column}` is neither text nor a number"))
            }
        }
    }

    pub(crate) fn required(&self, column: &str) -> Result<String, String> {
        self.text(column)?
            .ok_or_else(|| format!("`{column}` is missing"))
    }

    /// A list of words: a JSON array, or one text with spaces or commas between.
    pub(crate) fn words(&self, column: &str) -> Result<Vec<String>, String> {
        match self.field(column)? {
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or_else(|| format!("`{column}` holds something that is no text")),
            _ => Ok(self
                .text(column)?
                .unwrap_or_default()
                .split([' ', ','])
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()),
        }
    }

    /// A point in time: RFC 3339, a date and time without a zone (taken for UTC), or seconds,
    /// milliseconds or microseconds since 1970.
    pub(crate) fn time(&self, column: &str) -> Result<Option<Timestamp>, String> {
        self.text(column)?
            .map(|text| time(&text).ok_or_else(|| format!("`{column}` is no point in time")))
            .transpose()
    }

    /// Refuses columns that nobody asks for.
    pub(crate) fn check_columns(&self, known: &[&str], ignored: &[String]) -> Result<(), Error> {
        // One that cannot be read has no columns: its reader refuses it.
        let mut columns = self.fields.iter().flat_map(Map::keys);
        let unknown =
            columns.find(|name| !known.contains(&name.as_str()) && !ignored.contains(name));
        match unknown {
            None => Ok(()),
            Some(column) => Err(Error::UnknownColumn {
                column: column.clone(),
                known: known.join(", "),
            }),
        }
    }
}

fn time(text: &str) -> Option<Timestamp> {
    if let Ok(number) = text.parse::<i64>() {
        return Some(match number.unsigned_abs() {
            0..100_000_000_000 => Timestamp::from_seconds(number),
            100_000_000_000..100_000_000_000_000 => {
                Timestamp::from_micros(number.saturating_mul(1000))
            }
            _ => Timestamp::from_micros(number),
        });
    }
    let at = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(Timestamp::from_micros(at.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_read_as_products_write_them() {
        let expected = Timestamp::from_seconds(1_767_261_600);
        for text in [
            "2026-01-01T10:00:00Z",
            "2026-01-01T11:00:00+01:00",
            "2026-01-01 10:00:00",
            "2026-01-01T10:00:00.000",
            "1767261600",
            "1767261600000",
            "1767261600000000",
        ] {
            assert_eq!(time(text), Some(expected), "{text}");
        }
        for text in ["yesterday", "2026-13-01T00:00:00Z", "", "1e9"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
