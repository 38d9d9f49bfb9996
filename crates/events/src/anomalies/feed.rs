//! Events of the trail, oldest first, and the engine that takes them in: the same for those of now and
//! those of last week.

use portcullis_core::{Span, Timestamp};

use super::config::Config;
use super::engine::{Engine, Step};
use crate::audit::{self, Action, Event, Filter, Log};

const PAGE: u32 = 1000;
/// So much of the trail is read at once, as time: more where there is little in it.
const SHORTEST_STRETCH: Span = Span::from_seconds(10);
const LONGEST_STRETCH: Span = Span::from_days(1);
const MANY: usize = 20_000;
const FEW: usize = 1_000;

/// An engine, and how far it has come.
pub struct Feeder {
    engine: Engine,
    passed: Timestamp,
}

impl Feeder {
    pub fn new(config: &Config) -> Self {
        Feeder {
            engine: Engine::new(config),
            passed: Timestamp::from_micros(i64::MIN),
        }
    }

    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn observe(&mut self, event: &Event) -> Vec<Step> {
        let mut steps = self.pass(event.at);
        steps.extend(self.engine.observe(event));
        steps
    }

    /// By whole seconds, so that it makes no difference how often it is asked.
    pub fn pass(&mut self, now: Timestamp) -> Vec<Step> {
        let now = Timestamp::from_seconds(now.as_seconds());
        if now <= self.passed {
            return Vec::new();
        }
        self.passed = now;
        self.engine.pass(now)
    }

    /// Takes in what it has to know of the time before `at`. What it finds there was found then.
    pub async fn warm_up(&mut self, log: &Log, at: Timestamp) -> Result<(), audit::Error> {
        let begin = at - self.engine.lookback();
        for (action, span) in self.engine.remembers() {
            let mut reader = Reader::new(at - span, begin.max(at - span)).only(action);
            while let Some(events) = reader.next(log).await? {
                for event in &events {
                    self.engine.observe(event);
                }
            }
        }
        let mut reader = Reader::new(begin, at);
        while let Some(events) = reader.next(log).await? {
            for event in &events {
                self.observe(event);
            }
        }
        Ok(())
    }
}

/// Reads a stretch of the trail, oldest first, a part at a time: no part is larger than what fits into
/// memory.
#[derive(Debug)]
pub struct Reader {
    at: Timestamp,
    until: Timestamp,
    stretch: Span,
    action: Option<Action>,
}

impl Reader {
    /// From `since`, before `until`.
    pub fn new(since: Timestamp, until: Timestamp) -> Self {
        Reader {
            at: since,
            until,
            stretch: Span::from_minutes(1),
            action: None,
        }
    }

    #[must_use]
    pub fn only(mut self, action: Action) -> Self {
        self.action = Some(action);
        self
    }

    /// The next part, which may be empty; nothing at the end.
    pub async fn next(&mut self, log: &Log) -> Result<Option<Vec<Event>>, audit::Error> {
        if self.at >= self.until {
            return Ok(None);
        }
        let end = (self.at + self.stretch).min(self.until);
        let filter = Filter {
            since: Some(self.at),
            until: Some(end),
            action: self.action,
            ..Filter::default()
        };
        let mut events = Vec::new();
        let mut cursor = None;
        loop {
            let page = log.list(&filter, cursor, PAGE).await?;
            events.extend(page.events);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        events.reverse();
        self.at = end;
        if events.len() > MANY {
            self.stretch = half(self.stretch).max(SHORTEST_STRETCH);
        } else if events.len() < FEW {
            self.stretch = self.stretch.doubled(1, LONGEST_STRETCH);
        }
        Ok(Some(events))
    }
}

fn half(span: Span) -> Span {
    Span::from_micros(span.as_micros() / 2)
}
