//! The one node that looks: a lease, a place in the trail, and what is written of what is found.
//!
//! - One node holds the lease, so that nothing is found twice, and a burst that is spread over the nodes
//!   is one. When it dies, another one goes on within [`LEASE`].
//! - The place in the database lies [`LATE`] behind what was looked at, and what is found is there once
//!   at most while it goes on (a unique index). So whoever goes on after a crash looks at the last
//!   minute again, and finds nothing twice and misses nothing.
//! - An event may come into the trail later than others of its time: transactions take a while, and what
//!   happened while the database was away comes when it is back. It is still counted for [`LATE`], or
//!   that long after the database is back.

use std::collections::HashMap;
use std::time::Duration;

use portcullis_core::id::EventId;
use portcullis_core::{Span, Timestamp};
use uuid::Uuid;

use super::engine::{Episode, Step};
use super::feed::{Feeder, Reader};
use super::rows::{self, Filter};
use super::{Anomalies, Error, Found};
use crate::alerts::Notice;
use crate::audit::{Action, Actor, Event, Outcome, Target};

const LOOK_EVERY: Duration = Duration::from_secs(2);
const LEASE: Span = Span::from_seconds(10);
/// With [`WRITE_EVERY`] less than the shortest window: what was found in between has not ended by then.
const LATE: Span = Span::from_seconds(45);
const LOOK_FOR_LATE_EVERY: Span = Span::from_seconds(10);
/// The place is written at least so often.
const WRITE_EVERY: Span = Span::from_seconds(5);
/// What is over is kept for so long; the trail has it longer.
const KEPT_FOR: Span = Span::from_days(90);
const MOST_OPEN: u32 = 100_000;
/// So much is looked at in one go, so that a long absence fits into memory.
const STRETCH: Span = Span::from_minutes(10);
/// So many counts of what goes on are brought up to date at once. That of what is over is always written.
const MOST_COUNTS: usize = 200;
const RENEW_AFTER: Span = Span::from_seconds(4);

/// What the node that looks has in memory.
pub(super) struct Looking {
    feeder: Feeder,
    /// Everything before this was looked at once.
    looked_until: Timestamp,
    /// What comes late is looked for from here on.
    late_from: Timestamp,
    /// Events between the two.
    seen: HashMap<EventId, Timestamp>,
    late_at: Timestamp,
    written_at: Timestamp,
    /// `late_from` stays before this: the database was away.
    stay_until: Timestamp,
    /// When the lease was renewed last.
    held_at: Timestamp,
    /// Counts that are in the database, to write only what has changed.
    told: HashMap<(&'static str, String), u64>,
}

impl Anomalies {
    /// Looks, for as long as the process lives and whenever this node is the one.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looking = None;
        loop {
            ticks.tick().await;
            if let Err(error) = self.look(&mut looking).await {
                tracing::warn!(%error, "anomalies could not be looked for");
                // From the database again: what was not committed was not found.
                looking = None;
            }
            if looking.is_some()
                && let Err(error) = self.alerts.settle(self.clock.now()).await
            {
                tracing::warn!(%error, "alerts could not be summed up");
            }
        }
    }

    /// Another node may look at once.
    pub async fn finish(&self) {
        if let Err(error) = rows::let_go(&self.db, self.holder).await {
            tracing::warn!(%error, "another node looks for anomalies only when the lease is over");
        }
    }

    async fn hold(&self) -> Result<bool, Error> {
        let now = self.clock.now();
        rows::hold(&self.db, self.holder, now, now + LEASE).await
    }

    pub(super) async fn look(&self, looking: &mut Option<Looking>) -> Result<(), Error> {
        let now = self.clock.now();
        let is_held = looking
            .as_ref()
            .is_some_and(|state| now.since(state.held_at) < RENEW_AFTER);
        if !is_held && !self.hold().await? {
            *looking = None;
            return Ok(());
        }
        let present = now - self.config.delay;
        let state = match looking {
            Some(state) => state,
            None => looking.insert(self.begin(present).await?),
        };
        if !is_held {
            state.held_at = now;
        }
        if present.since(state.looked_until) > LATE {
            state.stay_until = present + LATE;
        }
        let until = present.min(state.looked_until + STRETCH);
        let mut fresh = Vec::new();
        if until.since(state.late_at) >= LOOK_FOR_LATE_EVERY {
            state.late_at = until;
            self.read(&mut fresh, state, (state.late_from, state.looked_until))
                .await?;
        }
        self.read(&mut fresh, state, (state.looked_until, until))
            .await?;
        let mut steps = Vec::new();
        for event in &fresh {
            steps.extend(state.feeder.observe(event));
            state.seen.insert(event.id, event.at);
        }
        steps.extend(state.feeder.pass(until));
        state.looked_until = state.looked_until.max(until);
        if until >= state.stay_until {
            state.late_from = state.late_from.max(state.looked_until - LATE);
        }
        let late_from = state.late_from;
        state.seen.retain(|_, at| *at >= late_from);
        self.write(state, steps, &fresh).await
    }

    /// Where the last one stopped.
    async fn begin(&self, until: Timestamp) -> Result<Looking, Error> {
        let looked_until = rows::looked_until(&self.db).await?.unwrap_or(until);
        let mut feeder = Feeder::new(&self.config);
        feeder.warm_up(&self.log, looked_until).await?;
        Ok(Looking {
            feeder,
            looked_until,
            late_from: looked_until,
            seen: HashMap::new(),
            late_at: looked_until,
            written_at: Timestamp::EPOCH,
            stay_until: Timestamp::EPOCH,
            held_at: self.clock.now(),
            told: HashMap::new(),
        })
    }

    async fn read(
        &self,
        fresh: &mut Vec<Event>,
        state: &Looking,
        (since, until): (Timestamp, Timestamp),
    ) -> Result<(), Error> {
        let mut reader = Reader::new(since, until);
        while let Some(events) = reader.next(&self.log).await? {
            fresh.extend(
                events
                    .into_iter()
                    .filter(|event| !state.seen.contains_key(&event.id)),
            );
            if !self.hold().await? {
                return Err(Error::Taken);
            }
        }
        Ok(())
    }

    /// Everything that was found and the place in the trail, in one transaction.
    async fn write(
        &self,
        state: &mut Looking,
        steps: Vec<Step>,
        fresh: &[Event],
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let is_new = state.written_at == Timestamp::EPOCH;
        let notices = self.alerts.notices_of(fresh);
        let is_due = now.since(state.written_at) >= WRITE_EVERY;
        if steps.is_empty() && notices.is_empty() && !is_due {
            return Ok(());
        }
        let left_over = if is_new {
            self.open().await?
        } else {
            Vec::new()
        };
        let mut tx = self.db.begin().await?;
        // SECURITY: whoever has lost the lease must not write: the other one finds the same.
        if !rows::move_on(&mut tx, self.holder, state.late_from).await? {
            return Err(Error::Taken);
        }
        let mut found = Vec::new();
        for step in steps {
            match step {
                Step::Began(episode) => {
                    let id = Uuid::now_v7();
                    if rows::begin(&mut tx, id, &episode, now).await? {
                        self.trail
                            .record_in(&mut tx, event(id, &episode, now))
                            .await?;
                        self.alerts
                            .raise_in(&mut tx, &notice(&episode), now)
                            .await?;
                        found.push(episode.detector);
                    }
                }
                Step::Ended(episode) => {
                    rows::end(&mut tx, &episode, now).await?;
                    state.told.remove(&(episode.detector, episode.subject));
                }
            }
        }
        for notice in &notices {
            self.alerts.raise_in(&mut tx, notice, now).await?;
        }
        self.write_counts(&mut tx, state).await?;
        for found in left_over {
            let open = &mut state.feeder.engine().open();
            let is_followed = open.any(|episode| {
                episode.detector == found.detector && episode.subject == found.subject
            });
            if !is_followed {
                rows::end_left_over(&mut tx, found.id, now).await?;
            }
        }
        if is_due {
            rows::forget(&mut tx, now - KEPT_FOR).await?;
        }
        tx.commit().await?;
        state.written_at = now;
        for detector in found {
            self.trail.metrics().anomaly(detector);
        }
        Ok(())
    }

    async fn write_counts(
        &self,
        tx: &mut portcullis_store::Tx,
        state: &mut Looking,
    ) -> Result<(), Error> {
        let mut written = 0_usize;
        for episode in state.feeder.engine().open() {
            let key = (episode.detector, episode.subject.clone());
            if written < MOST_COUNTS && state.told.get(&key) != Some(&episode.count) {
                rows::go_on(tx, episode).await?;
                state.told.insert(key, episode.count);
                written = written.saturating_add(1);
            }
        }
        Ok(())
    }

    /// What goes on, as the database has it.
    async fn open(&self) -> Result<Vec<Found>, Error> {
        let filter = Filter {
            open_only: true,
            ..Filter::default()
        };
        let list = rows::list(&self.db, &filter, None, MOST_OPEN).await?;
        Ok(list.unwrap_or_default())
    }
}

fn event(id: Uuid, episode: &Episode, now: Timestamp) -> Event {
    Event::new(now, Action::AnomalyFound, Outcome::Denied)
        .by(Actor::System)
        .to(Target::named("anomaly", &id.to_string()))
        .tenant(episode.tenant)
        .with("detector", episode.detector)
        .with("severity", episode.severity.as_str())
        .about(&episode.subject)
        .with("told", episode.told.clone())
}

fn notice(episode: &Episode) -> Notice {
    Notice {
        source: episode.detector.to_owned(),
        severity: episode.severity,
        subject: episode.subject.clone(),
        told: episode.told.clone(),
        at: episode.began_at,
        count: episode.count,
    }
}
