//! How many requests were let through and how many were refused, and why, by the hour and of all nodes: what
//! the console's first page shows.
//!
//! Lanes count in memory. Once a minute each node adds what came since to the table; what a node has not
//! added yet is added to what it shows. A node that dies takes its last minute along. No request waits.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::{Clock, Span, Timestamp, problem};
use portcullis_store::{Db, Error};

use super::lane::{PROBLEMS, STATUSES};
use super::{Exit, Metrics};
use crate::audit::{Trail, hour_of};

/// What is older is forgotten.
const KEEP: Span = Span::from_days(92);

const ADD: &str = "INSERT INTO traffic_hour (hour, exit, reason, requests) VALUES ($1, $2, $3, $4) ON CONFLICT (hour, exit, reason) DO UPDATE SET requests = traffic_hour.requests + excluded.requests";
const READ: &str = "SELECT hour, exit, reason, requests FROM traffic_hour WHERE hour >= $1 AND hour < $2 ORDER BY hour, exit, reason";
const FORGET: &str = "DELETE FROM traffic_hour WHERE hour < $1";

/// How many requests ended in one way in one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// When the hour begins (UTC).
    pub hour: Timestamp,
    pub exit: Exit,
    /// The slug of the problem of a refusal; empty for what was none.
    pub reason: String,
    pub requests: u64,
}

/// By exit and reason, since the process began.
type Totals = BTreeMap<(Exit, &'static str), u64>;

impl Metrics {
    fn totals(&self) -> Totals {
        let mut totals = Totals::new();
        let mut add = |key, count: u64| {
            if count > 0 {
                let total = totals.entry(key).or_default();
                *total = u64::saturating_add(*total, count);
            }
        };
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in lanes.iter() {
            for (exit, row) in Exit::ALL.iter().zip(lane.requests.chunks(STATUSES)) {
                // Refusals are counted by their problems.
                if *exit != Exit::Refused {
                    add(
                        (*exit, ""),
                        row.iter().map(|n| n.load(Ordering::Relaxed)).sum(),
                    );
                }
            }
            for row in lane.refusals.chunks(PROBLEMS) {
                for (kind, count) in problem::ALL.iter().zip(row) {
                    if kind.status.is_client_error() {
                        add((Exit::Refused, kind.slug), count.load(Ordering::Relaxed));
                    }
                }
            }
        }
        totals
    }
}

/// The counts by the hour. Cheap to clone.
#[derive(Clone)]
pub struct Traffic(Arc<Inner>);

struct Inner {
    db: Db,
    clock: Arc<dyn Clock>,
    trail: Trail,
    /// What is in the table of what this process counted.
    written: Mutex<Totals>,
}

impl std::fmt::Debug for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Traffic(..)")
    }
}

impl Traffic {
    /// Of the numbers that `trail` counts with.
    pub fn new(db: Db, clock: Arc<dyn Clock>, trail: Trail) -> Self {
        Traffic(Arc::new(Inner {
            db,
            clock,
            trail,
            written: Mutex::default(),
        }))
    }

    /// What came since it was last written, and everything that came.
    fn more(&self) -> (Totals, Totals) {
        let totals = self.0.trail.metrics().totals();
        let written = self
            .0
            .written
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let since = |key: &(Exit, &'static str), total: u64| {
            total.saturating_sub(written.get(key).copied().unwrap_or(0))
        };
        let more = totals.iter().map(|(key, total)| (*key, since(key, *total)));
        let more = more.filter(|(_, count)| *count > 0).collect();
        (more, totals)
    }

    /// Writes what came since the last time. One task of a process calls it: two at once would count twice.
    pub async fn keep(&self) -> Result<(), Error> {
        let (more, totals) = self.more();
        if more.is_empty() {
            return Ok(());
        }
        let now = self.0.clock.now();
        let mut tx = self.0.db.begin().await?;
        for ((exit, reason), count) in &more {
            let args = [
                hour_of(now).into(),
                exit.as_str().into(),
                (*reason).into(),
                i64::try_from(*count).unwrap_or(i64::MAX).into(),
            ];
            tx.execute(ADD, &args).await?;
        }
        tx.execute(FORGET, &[(now - KEEP).into()]).await?;
        tx.commit().await?;
        *self
            .0
            .written
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = totals;
        Ok(())
    }

    /// The counts of the hours that begin from `since` on, with what this node has not written yet. Other
    /// nodes' are a minute behind at most.
    pub async fn hours(&self, since: Timestamp) -> Result<Vec<Passed>, Error> {
        let now = self.0.clock.now();
        let (more, _) = self.more();
        let args = [since.into(), (now + Span::from_hours(1)).into()];
        let rows = self.0.db.fetch_all(READ, &args).await?;
        let mut hours = Vec::with_capacity(rows.len().saturating_add(more.len()));
        for row in &rows {
            let word = row.text("exit")?;
            // A newer version of the gate may know more words.
            let Some(exit) = Exit::ALL.into_iter().find(|exit| exit.as_str() == word) else {
                continue;
            };
            hours.push(Passed {
                hour: row.timestamp("hour")?,
                exit,
                reason: row.text("reason")?,
                requests: u64::try_from(row.int("requests")?).unwrap_or(0),
            });
        }
        hours.extend(more.into_iter().map(|((exit, reason), requests)| Passed {
            hour: hour_of(now),
            exit,
            reason: reason.to_owned(),
            requests,
        }));
        Ok(hours)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::time::ManualClock;

    use super::*;
    use crate::audit::{Config, log_tests::database};
    use crate::metrics::Stage;

    #[tokio::test]
    async fn requests_are_counted_once_whether_they_are_written_yet_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let db = database(&folder).await;
        let begin = Timestamp::from_seconds(1_700_000_000 / 3_600 * 3_600);
        let clock = Arc::new(ManualClock::at(begin));
        let metrics = Metrics::new();
        let (lane, of_clock) = (metrics.lane(), Arc::clone(&clock) as Arc<dyn Clock>);
        let (one, other) = {
            let trail = Trail::start(
                db.clone(),
                Arc::clone(&of_clock),
                metrics,
                &Config::default(),
            );
            let there = Trail::start(
                db.clone(),
                of_clock.clone(),
                Metrics::new(),
                &Config::default(),
            );
            let of = |trail| Traffic::new(db.clone(), Arc::clone(&of_clock), trail);
            (of(trail), of(there))
        };
        let sums = async |traffic: &Traffic| {
            let hours = traffic.hours(begin).await.unwrap();
            let of = |exit: Exit, reason: &str| {
                let found = hours
                    .iter()
                    .filter(|one| one.exit == exit && one.reason == reason);
                found.map(|one| one.requests).sum::<u64>()
            };
            (of(Exit::Forwarded, ""), of(Exit::Refused, "rate-limited"))
        };
        lane.finished(Exit::Forwarded, 200);
        lane.finished(Exit::Forwarded, 404);
        lane.refused(&problem::RATE_LIMITED, Stage::Quota);
        lane.finished(Exit::Refused, 429);
        assert_eq!(sums(&one).await, (2, 1), "not written yet");
        assert_eq!(sums(&other).await, (0, 0));
        one.keep().await.unwrap();
        one.keep().await.unwrap();
        assert_eq!(sums(&one).await, (2, 1));
        assert_eq!(sums(&other).await, (2, 1), "another node sees it");
        clock.advance(Span::from_hours(1));
        lane.finished(Exit::Forwarded, 200);
        assert_eq!(sums(&one).await, (3, 1));
        one.keep().await.unwrap();
        assert_eq!(sums(&other).await, (3, 1));
        let hours = other.hours(begin).await.unwrap();
        assert_eq!(hours.last().unwrap().hour, begin + Span::from_hours(1));
    }
}
