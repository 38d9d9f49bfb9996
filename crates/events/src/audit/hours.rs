//! What was recorded, counted by the hour: what the console's first page shows without reading ten million
//! rows.
//!
//! The counts are written in the transaction that gives events their place in the log, so that each event is
//! counted once, whichever node does it, and recording one waits for nothing. They are derived: who changes
//! them changes a chart, and no proof.

use std::collections::BTreeMap;

use portcullis_core::{Span, Timestamp, problem};
use portcullis_store::{Row, Tx};

use super::log::signed;
use super::{Action, Error, Event, Log, Outcome};

const HOUR: i64 = 3_600_000_000;
/// What is older is forgotten.
const KEEP: Span = Span::from_days(92);

const ADD: &str = "INSERT INTO audit_hour (hour, action, outcome, reason, events) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (hour, action, outcome, reason) DO UPDATE SET events = audit_hour.events + excluded.events";
const READ: &str = "SELECT hour, action, outcome, reason, events FROM audit_hour WHERE hour >= $1 AND hour < $2 ORDER BY hour, action, outcome, reason";
const FORGET: &str = "DELETE FROM audit_hour WHERE hour < $1";

/// The beginning of the hour (UTC) that a time lies in.
pub fn hour_of(at: Timestamp) -> Timestamp {
    let hours = at.as_micros().div_euclid(HOUR);
    Timestamp::from_micros(hours.saturating_mul(HOUR))
}

/// How many events of one kind an hour has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hourly {
    /// When the hour begins.
    pub hour: Timestamp,
    pub action: Action,
    pub outcome: Outcome,
    /// The slug of the problem that a refusal was answered with; empty for none.
    pub reason: String,
    pub events: u64,
}

/// Counts events that get their place in the log in this transaction.
pub(super) async fn add(tx: &mut Tx, rows: &[Row]) -> Result<(), Error> {
    let mut counts: BTreeMap<(Timestamp, String, String, &'static str), u64> = BTreeMap::new();
    for row in rows {
        let metadata = Event::metadata_from_store(&row.text("metadata")?);
        let metadata = metadata.ok_or(Error::Unreadable("metadata"))?;
        let said = metadata.get("problem").and_then(|value| value.as_str());
        // Of a closed set: nobody makes rows by what they send.
        let kind = problem::ALL.iter().find(|kind| Some(kind.slug) == said);
        let key = (
            hour_of(row.timestamp("at")?),
            row.text("action")?,
            row.text("outcome")?,
            kind.map_or("", |kind| kind.slug),
        );
        let count = counts.entry(key).or_default();
        *count = count.saturating_add(metadata.counted());
    }
    for ((hour, action, outcome, reason), count) in &counts {
        let args = [
            (*hour).into(),
            action.into(),
            outcome.into(),
            (*reason).into(),
            signed(*count).into(),
        ];
        tx.execute(ADD, &args).await?;
    }
    Ok(())
}

impl Log {
    /// The counts of the hours that begin from `since` on and before `until`, in order. An event is counted
    /// when it has its place in the log: about a second after it was recorded.
    pub async fn hours(&self, since: Timestamp, until: Timestamp) -> Result<Vec<Hourly>, Error> {
        let args = [since.into(), until.into()];
        let rows = self.db().fetch_all(READ, &args).await?;
        let mut hours = Vec::with_capacity(rows.len());
        for row in &rows {
            // A newer version of the gate may know more words.
            let (Ok(action), Ok(outcome)) =
                (row.text("action")?.parse(), row.text("outcome")?.parse())
            else {
                continue;
            };
            hours.push(Hourly {
                hour: row.timestamp("hour")?,
                action,
                outcome,
                reason: row.text("reason")?,
                events: u64::try_from(row.int("events")?).unwrap_or(0),
            });
        }
        Ok(hours)
    }

    /// Forgets counts that nobody looks at any more.
    pub async fn forget_hours(&self) -> Result<(), Error> {
        let mut tx = self.db().begin().await?;
        tx.execute(FORGET, &[(self.now() - KEEP).into()]).await?;
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_core::Clock;
    use portcullis_core::time::ManualClock;

    use super::super::log_tests::{database, log};
    use super::*;

    const HOUR_OF_TEST: Timestamp = Timestamp::from_seconds(1_700_000_000 / 3_600 * 3_600);

    #[tokio::test]
    async fn each_event_is_counted_once_in_its_own_hour_with_those_it_stands_for() {
        let folder = tempfile::tempdir().unwrap();
        let db = database(&folder).await;
        let clock = Arc::new(ManualClock::at(HOUR_OF_TEST + Span::from_minutes(90)));
        let (log, trail) = log(&db, &clock, &["one"]);
        let refused = |at, problem: &str, times| {
            let mut event =
                Event::new(at, Action::AccessDenied, Outcome::Denied).with("problem", problem);
            event.metadata.count(times);
            event
        };
        let early = HOUR_OF_TEST + Span::from_minutes(59);
        let late = HOUR_OF_TEST + Span::from_minutes(60);
        for event in [
            refused(early, "not-permitted", 7),
            refused(early, "not-permitted", 1),
            refused(late, "not-found", 1),
            // What somebody sends makes no row of its own.
            refused(late, "made-up", 2),
        ] {
            trail.record(event).await.unwrap();
        }
        let all = async || {
            log.sequence().await.unwrap();
            let hours = log.hours(HOUR_OF_TEST, clock.now()).await.unwrap();
            let told = |one: Hourly| (one.hour.since(HOUR_OF_TEST), one.reason, one.events);
            hours.into_iter().map(told).collect::<Vec<_>>()
        };
        let (first, second) = (Span::ZERO, Span::from_hours(1));
        let expected = [
            (first, "not-permitted".to_owned(), 8),
            (second, String::new(), 2),
            (second, "not-found".to_owned(), 1),
        ];
        assert_eq!(all().await, expected);
        assert_eq!(all().await, expected, "nothing is counted twice");
        trail.record(refused(late, "not-found", 1)).await.unwrap();
        assert_eq!(all().await.last().unwrap().2, 2);
        clock.advance(Span::from_days(93));
        log.forget_hours().await.unwrap();
        assert!(all().await.is_empty());
        trail.shutdown().await;
    }
}
