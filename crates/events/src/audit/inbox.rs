//! What waits to be written, and what keeps it small.
//!
//! Lanes put notes in; one writer takes them out. The lock is held for a few hundred nanoseconds
//! and never across anything that waits. Three bounds hold a flood: repeats of one client are
//! folded, so many notes enter per second, and so many wait. What is over a bound is counted.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_core::{Span, Timestamp};
use tokio::sync::{Notify, oneshot};

use super::event::Repeats;
use super::{Action, Actor, Error, Event, Outcome};

/// The most that one transaction carries.
pub(super) const BATCH: usize = 1000;
/// Repeats of this many (client, action, actor) triples are told apart; further ones are not folded,
/// and meet the other two bounds.
const FOLDS: usize = 4096;
const FOLD_WINDOW: Span = Span::from_seconds(1);

pub(super) type Answer = oneshot::Sender<Result<(), Error>>;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    pub(super) wake: Notify,
    queue: usize,
    per_second: u32,
}

#[derive(Debug)]
struct State {
    records: VecDeque<(Event, Answer)>,
    notes: VecDeque<Event>,
    folds: HashMap<FoldKey, Fold>,
    /// By [`Action::index`]: how many were not kept since the last overflow event.
    lost: [u64; Action::COUNT],
    second: i64,
    in_second: u32,
    flushes: Vec<Answer>,
    closed: bool,
}

/// By hand, for there are more actions than an array has a default for.
impl Default for State {
    fn default() -> Self {
        State {
            records: VecDeque::new(),
            notes: VecDeque::new(),
            folds: HashMap::new(),
            lost: [0; Action::COUNT],
            second: 0,
            in_second: 0,
            flushes: Vec::new(),
            closed: false,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FoldKey(Action, Option<IpAddr>, Actor);

#[derive(Debug)]
struct Fold {
    written_at: Timestamp,
    held: u64,
    latest: Option<Event>,
}

/// Which folds a sweep writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sweep {
    Due,
    All,
}

/// What became of a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    Queued,
    Folded,
    Lost(u64),
}

#[derive(Debug, Default)]
pub(super) struct Work {
    pub records: Vec<(Event, Answer)>,
    pub notes: Vec<Event>,
}

impl Inbox {
    pub(super) fn new(queue: usize, per_second: u32) -> Self {
        Inbox {
            queue,
            per_second,
            ..Inbox::default()
        }
    }

    pub(super) fn note(&self, mut event: Event, now: Timestamp) -> Noted {
        let mut state = self.lock();
        let room = state.folds.len() < FOLDS;
        match event.action.repeats() {
            Repeats::Kept => {}
            Repeats::Folded => {
                let key = FoldKey(event.action, event.client.map(network), event.actor);
                match state.folds.get_mut(&key) {
                    Some(fold) if now.since(fold.written_at) < FOLD_WINDOW => {
                        fold.held = fold.held.saturating_add(1);
                        fold.latest = Some(event);
                        return Noted::Folded;
                    }
                    Some(fold) => {
                        if fold.held > 0 {
                            event.metadata.count(fold.held.saturating_add(1));
                        }
                        *fold = Fold::written(now);
                    }
                    None if room => {
                        state.folds.insert(key, Fold::written(now));
                    }
                    None => {}
                }
            }
        }
        let noted = self.push(&mut state, event, now);
        drop(state);
        self.wake.notify_one();
        noted
    }

    pub(super) fn record(&self, event: Event, answer: Answer) -> Result<(), Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        if state.records.len() >= self.queue {
            return Err(Error::Full);
        }
        state.records.push_back((event, answer));
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    pub(super) fn flush(&self, answer: Answer) -> Result<(), Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        state.flushes.push(answer);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn flushes(&self) -> Vec<Answer> {
        std::mem::take(&mut self.lock().flushes)
    }

    /// Turns what has been folded into events that bear its number.
    pub(super) fn sweep(&self, now: Timestamp, which: Sweep) {
        let mut state = self.lock();
        let mut due = Vec::new();
        state.folds.retain(|_, fold| {
            if which == Sweep::Due && now.since(fold.written_at) < FOLD_WINDOW {
                return true;
            }
            match fold.latest.take() {
                Some(mut event) => {
                    event.metadata.count(fold.held);
                    due.push(event);
                    *fold = Fold::written(now);
                    true
                }
                None => false,
            }
        });
        for event in due {
            self.push(&mut state, event, now);
        }
    }

    /// The next batch of each kind, and the event that tells of those which were lost.
    pub(super) fn take(&self, now: Timestamp, with_notes: bool) -> Work {
        let mut state = self.lock();
        let records = state.records.len().min(BATCH);
        let mut work = Work {
            records: state.records.drain(..records).collect(),
            notes: Vec::new(),
        };
        if with_notes {
            let notes = state.notes.len().min(BATCH);
            work.notes = state.notes.drain(..notes).collect();
            if state.lost.iter().any(|lost| *lost > 0) {
                let lost = std::mem::replace(&mut state.lost, [0; Action::COUNT]);
                work.notes.push(overflow(&lost, now));
            }
        }
        work
    }

    /// Notes that could not be written wait again, ahead of the newer ones, as far as the bound
    /// allows. Returns those that did not fit, with how many events each stands for.
    pub(super) fn put_back(&self, notes: Vec<Event>) -> Vec<(Action, u64)> {
        let mut state = self.lock();
        let mut lost = Vec::new();
        for note in notes.into_iter().rev() {
            if note.action == Action::AuditOverflow {
                restore(&mut state.lost, &note);
            } else if state.notes.len() < self.queue {
                state.notes.push_front(note);
            } else {
                lost.push((note.action, lose(&mut state, &note)));
            }
        }
        lost
    }

    /// A note that the database refuses for good.
    pub(super) fn discard(&self, note: &Event) {
        lose(&mut self.lock(), note);
    }

    /// How many wait.
    pub(super) fn depth(&self) -> usize {
        let state = self.lock();
        state.notes.len().saturating_add(state.records.len())
    }

    fn push(&self, state: &mut State, event: Event, now: Timestamp) -> Noted {
        if state.second != now.as_seconds() {
            state.second = now.as_seconds();
            state.in_second = 0;
        }
        if state.closed || state.notes.len() >= self.queue || state.in_second >= self.per_second {
            return Noted::Lost(lose(state, &event));
        }
        state.in_second = state.in_second.saturating_add(1);
        state.notes.push_back(event);
        Noted::Queued
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change that matters.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fold {
    const fn written(at: Timestamp) -> Self {
        Fold {
            written_at: at,
            held: 0,
            latest: None,
        }
    }
}

fn lose(state: &mut State, event: &Event) -> u64 {
    let count = event.metadata.counted();
    if let Some(lost) = state.lost.get_mut(event.action.index()) {
        *lost = lost.saturating_add(count);
    }
    count
}

fn overflow(lost: &[u64; Action::COUNT], now: Timestamp) -> Event {
    let mut event = Event::new(now, Action::AuditOverflow, Outcome::Failed).by(Actor::System);
    for (action, lost) in Action::ALL.iter().zip(lost) {
        if *lost > 0 {
            event.metadata.number(action.as_str(), *lost);
        }
    }
    event
}

fn restore(lost: &mut [u64; Action::COUNT], event: &Event) {
    for (action, lost) in Action::ALL.iter().zip(lost) {
        let back = event.metadata.get(action.as_str());
        let back = back.and_then(serde_json::Value::as_u64).unwrap_or(0);
        *lost = lost.saturating_add(back);
    }
}

/// One client: an IPv4 address, or the /64 that an IPv6 client can choose its addresses from.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        },
    }
}
