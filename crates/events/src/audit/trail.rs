//! The trail: the three ways in, and the one writer that commits whatever waits.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_core::finding::Finding;
use portcullis_core::{Clock, Span};
use portcullis_store::{Db, Tx};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::anchor::Placed;
use super::inbox::{Answer, Inbox, Noted, Sweep};
use super::sink::{self, Sink};
use super::witness::{self, Witnesses};
use super::{Error, Event};
use crate::Metrics;

/// A database that has not taken a batch after this long has not taken it, as far as the waiting
/// caller is concerned: a hung disk must not hang the gate.
const WRITE_DEADLINE: Duration = Duration::from_secs(2);
/// How often folded repeats become events, and how often notes are tried again while the database
/// is away.
const TICK: Duration = Duration::from_secs(1);

/// `[audit]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Whether security events are recorded. Default `true`. `false` is refused in production:
    /// what is not recorded cannot be found out later.
    pub enabled: bool,
    /// How many events may wait in memory while the database is slow or away, 100 to 1,000,000.
    /// Default 10,000, about 5 MB. What does not fit is counted, and the count is recorded.
    pub queue: usize,
    /// How many refusals a second are recorded one by one, 10 to 100,000. Default 500. Above it they
    /// are counted only. Higher values let a flood from many addresses fill the disk faster: an
    /// event takes about 400 bytes. Acts (logins, changes) are not subject to it.
    pub notes_per_second: u32,
    /// How long the content of an event is kept, such as `"400d"`, from `"1d"` on. Default: for good. What
    /// is older loses its content and keeps its hash, so that the proofs of all others hold; up to a day
    /// later. Whoever investigates finds nothing that is older.
    pub keep: Option<Span>,
    /// A file that signed checkpoints are added to, relative to this one's folder. Default: none. Put it where
    /// whoever can change the database cannot: without a checkpoint elsewhere nothing tells an older copy of
    /// the database from the newest.
    pub anchor_file: Option<PathBuf>,
    /// A bucket of S3 that signed checkpoints are put into, `[audit.anchor-bucket]`. Default: none.
    pub anchor_bucket: Option<Placed>,
    /// How often a checkpoint is added, where there is a new one. Default `"1h"`, from `"1m"` on. What happened
    /// since the last one can be taken back unseen.
    pub anchor_every: Span,
    /// Who signs checkpoints beside the gate, `[[audit.witness]]`. Default: nobody.
    pub witness: Vec<witness::Config>,
    /// How many witnesses have to have signed. Default 0: none has to. Below it `audit verify` fails, and proofs
    /// are under the newest checkpoint that so many signed.
    pub witnesses_wanted: u32,
    /// How often each witness is asked. Default `"5m"`, from `"10s"` to `"1d"`. What happened since can be taken
    /// back unseen.
    pub witness_every: Span,
    /// How long a witness may not have signed before somebody is told. Default `"1d"`, from `witness-every` on.
    pub witness_alert_after: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            queue: 10_000,
            notes_per_second: 500,
            keep: None,
            anchor_file: None,
            anchor_bucket: None,
            anchor_every: Span::from_hours(1),
            witness: Vec::new(),
            witnesses_wanted: 0,
            witness_every: Span::from_minutes(5),
            witness_alert_after: Span::from_days(1),
        }
    }
}

impl Config {
    /// All mistakes at once.
    pub fn findings(&self, production: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        if production && !self.enabled {
            findings.push(
                Finding::error(
                    "audit",
                    "audit.enabled",
                    "the audit trail is switched off in production",
                )
                .remedy("remove the key, or set it to true"),
            );
        }
        if !(100..=1_000_000).contains(&self.queue) {
            findings.push(
                Finding::error(
                    "audit",
                    "audit.queue",
                    format!("`{}` is outside 100 to 1000000", self.queue),
                )
                .remedy("remove the key for the default of 10000"),
            );
        }
        if self.anchor_every < Span::from_minutes(1) {
            findings.push(
                Finding::error("audit", "audit.anchor-every", "it is shorter than a minute")
                    .remedy("remove the key for the default of 1h"),
            );
        }
        if self.keep.is_some_and(|keep| keep < Span::from_days(1)) {
            findings.push(
                Finding::error("audit", "audit.keep", "it is shorter than a day")
                    .remedy("write it as \"400d\", or remove the key to keep everything"),
            );
        }
        findings.extend(Witnesses::compile(self).err().unwrap_or_default());
        if !(10..=100_000).contains(&self.notes_per_second) {
            findings.push(
                Finding::error(
                    "audit",
                    "audit.notes-per-second",
                    format!("`{}` is outside 10 to 100000", self.notes_per_second),
                )
                .remedy("remove the key for the default of 500"),
            );
        }
        findings
    }
}

/// The handle that everyone records through. Cheap to clone.
#[derive(Clone)]
pub struct Trail(Arc<Inner>);

struct Inner {
    inbox: Arc<Inbox>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    enabled: bool,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail").finish_non_exhaustive()
    }
}

impl Trail {
    /// Starts the writer on the runtime that this is called on (the back runtime). It lives until
    /// [`Trail::shutdown`].
    pub fn start(db: Db, clock: Arc<dyn Clock>, metrics: Arc<Metrics>, config: &Config) -> Self {
        Trail::with_sink(Box::new(db), clock, metrics, config)
    }

    pub(super) fn with_sink(
        sink: Box<dyn Sink>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        config: &Config,
    ) -> Self {
        let inbox = Arc::new(Inbox::new(config.queue, config.notes_per_second));
        let writer = Writer {
            inbox: inbox.clone(),
            sink,
            clock: clock.clone(),
            metrics: metrics.clone(),
        };
        Trail(Arc::new(Inner {
            inbox,
            clock,
            metrics,
            enabled: config.enabled,
            writer: Mutex::new(Some(tokio::spawn(writer.run()))),
        }))
    }

    /// Records `event` in the transaction of the act: it is there if and only if the act is.
    pub async fn record_in(&self, tx: &mut Tx, event: Event) -> Result<(), Error> {
        self.0.metrics.observe(event.action);
        if !self.0.enabled {
            return Ok(());
        }
        sink::insert(tx, std::slice::from_ref(&event)).await
    }

    /// Records `event` and returns when it is durable. On an error the caller refuses the act.
    ///
    /// Dropping the future does not take the event back. Waits 4 seconds at most.
    pub async fn record(&self, event: Event) -> Result<(), Error> {
        self.0.metrics.observe(event.action);
        if !self.0.enabled {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        self.0.inbox.record(event, answer)?;
        // Behind a hung batch others may wait, each for its own deadline: the caller waits for one
        // batch ahead of its own, not for all of them.
        let waiting = tokio::time::timeout(WRITE_DEADLINE.saturating_mul(2), answered);
        match waiting.await {
            Ok(answer) => answer.unwrap_or(Err(Error::Closed)),
            Err(_) => Err(Error::TimedOut),
        }
    }

    /// Where events are counted.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Hands `event` over and returns at once: for refusals on the hot path.
    pub fn note(&self, event: Event) {
        let action = event.action;
        self.0.metrics.observe(action);
        if !self.0.enabled {
            return;
        }
        match self.0.inbox.note(event, self.0.clock.now()) {
            Noted::Queued | Noted::Folded => {}
            Noted::Lost(count) => self.0.metrics.audit_lost(action, count),
        }
    }

    /// Returns when everything noted before the call is durable, folded repeats included.
    pub async fn flush(&self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.0.inbox.flush(answer)?;
        answered.await.unwrap_or(Err(Error::Closed))
    }

    /// Writes what waits, and ends the writer. Later events are refused or counted as lost.
    pub async fn shutdown(&self) {
        self.0.inbox.close();
        let writer = {
            let mut slot = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
            slot.take()
        };
        if let Some(writer) = writer
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the audit writer did not end by itself");
        }
    }
}

struct Writer {
    inbox: Arc<Inbox>,
    sink: Box<dyn Sink>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Writer {
    async fn run(self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Set when notes could not be written: they are tried again on the next tick, so that a
        // database that is away is not asked a thousand times a second.
        let mut stalled = false;
        loop {
            tokio::select! {
                () = self.inbox.wake.notified() => {}
                _ = tick.tick() => {
                    stalled = false;
                    self.inbox.sweep(self.clock.now(), Sweep::Due);
                }
            }
            let closing = self.inbox.is_closed();
            let flushes = self.inbox.flushes();
            if closing || !flushes.is_empty() {
                stalled = false;
                self.inbox.sweep(self.clock.now(), Sweep::All);
            }
            let result = self.drain(stalled).await;
            stalled = stalled || result.is_err();
            for flush in flushes {
                // Whoever asked may have gone; the work is done either way.
                drop(flush.send(result.clone()));
            }
            self.metrics.audit_depth(self.inbox.depth());
            if closing {
                return self.report_leftovers();
            }
        }
    }

    /// Writes until nothing waits. An error is that of the notes; each record has its own answer.
    async fn drain(&self, mut stalled: bool) -> Result<(), Error> {
        let mut result = Ok(());
        loop {
            let work = self.inbox.take(self.clock.now(), !stalled);
            if work.records.is_empty() && work.notes.is_empty() {
                return result;
            }
            self.write_records(work.records).await;
            if let Err(error) = self.write_notes(work.notes).await {
                stalled = true;
                result = Err(error);
            }
        }
    }

    async fn write_records(&self, records: Vec<(Event, Answer)>) {
        let (events, answers): (Vec<Event>, Vec<Answer>) = records.into_iter().unzip();
        let result = self.append(&events).await;
        // One event that the database will never take must not refuse the acts beside it.
        let alone = events.len() > 1 && result.as_ref().is_err_and(is_permanent);
        for (event, answer) in events.iter().zip(answers) {
            let result = if alone {
                self.append(std::slice::from_ref(event)).await
            } else {
                result.clone()
            };
            // A caller that has gone still has its event.
            drop(answer.send(result));
        }
    }

    async fn write_notes(&self, notes: Vec<Event>) -> Result<(), Error> {
        let Err(error) = self.append(&notes).await else {
            return Ok(());
        };
        if !is_permanent(&error) {
            for (action, lost) in self.inbox.put_back(notes) {
                self.metrics.audit_lost(action, lost);
            }
            return Err(error);
        }
        for note in notes {
            if let Err(error) = self.append(std::slice::from_ref(&note)).await {
                tracing::error!(%error, action = note.action.as_str(), "an event cannot be recorded");
                self.inbox.discard(&note);
                self.metrics.audit_lost(note.action, 1);
            }
        }
        Ok(())
    }

    fn report_leftovers(&self) {
        let lost = self.inbox.depth();
        if lost > 0 {
            tracing::error!(
                events = lost,
                "events were lost: the database was away to the end"
            );
        }
    }

    async fn append(&self, events: &[Event]) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let writing = tokio::time::timeout(WRITE_DEADLINE, self.sink.append(events));
        let result = writing.await.unwrap_or(Err(Error::TimedOut));
        match &result {
            Ok(()) => self.metrics.audit_written(events.len()),
            Err(error) => {
                self.metrics.audit_failed();
                tracing::error!(%error, events = events.len(), "the audit trail was not written");
            }
        }
        result
    }
}

/// Whether trying again cannot help: the database is there and refuses the event itself.
fn is_permanent(error: &Error) -> bool {
    match error {
        Error::Store(error) => !error.is_unavailable(),
        Error::TimedOut
        | Error::Full
        | Error::Closed
        | Error::Randomness
        | Error::Key
        | Error::Vault
        | Error::Damaged(_)
        | Error::Anchor(_)
        | Error::NotInLog
        | Error::Checkpoint(_)
        | Error::Unreadable(_)
        | Error::Cursor(_) => false,
    }
}
