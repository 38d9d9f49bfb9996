//! What all rules have in common.

use std::fmt;

use portcullis_core::{Span, Timestamp};
use serde::Serialize;

use crate::audit::{Action, Actor, Event};

/// How much a finding weighs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look today.
    Medium,
    /// Worth waking somebody.
    High,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        [Severity::Low, Severity::Medium, Severity::High]
            .into_iter()
            .find(|severity| severity.as_str() == word)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An event at which a rule holds for a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Of whom or what, `kind:name`; `gate` where it is about everything together.
    pub subject: String,
    /// How many events, or different things, the rule has counted up to this one.
    pub count: u64,
    /// What was seen, in a few words, with no more of a person than `subject` has.
    pub told: String,
}

/// A detector: a state machine over events. It asks no clock and no database, so that it says the same
/// of events that are recorded as of those that come in.
pub trait Rule: Send + Sync {
    /// The stable name, which is the table of its figures under `[anomalies]`.
    fn name(&self) -> &'static str;

    fn severity(&self) -> Severity;

    /// What it does, with its figures.
    fn described(&self) -> String;

    /// Takes one event in. A hit for each subject of which the rule holds now.
    fn observe(&mut self, event: &Event) -> Vec<Hit>;

    /// How long there has to be no hit before what was found is over.
    fn quiet(&self) -> Span;

    /// How long before now it has to have seen events, to say what it would have said had it always run.
    fn lookback(&self) -> Span {
        self.quiet()
    }

    /// Actions of which it has to have seen more.
    fn remembers(&self) -> Vec<(Action, Span)> {
        Vec::new()
    }

    /// Drops what counts no more.
    fn pass(&mut self, now: Timestamp);
}

/// Whose account an event is about, `account:ID`.
pub(super) fn account(event: &Event) -> Option<String> {
    let target = event.target.as_ref().map(crate::audit::Target::as_str);
    let of_target = target.and_then(|target| target.strip_prefix("user:"));
    if let Some(id) = of_target {
        return Some(format!("account:{id}"));
    }
    if let Actor::User(id) = event.actor {
        return Some(format!("account:{id}"));
    }
    let named = event.metadata.get("user").and_then(|value| value.as_str());
    named.map(|id| format!("account:{id}"))
}
