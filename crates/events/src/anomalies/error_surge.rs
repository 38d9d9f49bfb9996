//! Suddenly many more answers of 5xx than usual.
//!
//! Each node notes `traffic.errors` every ten seconds in which there were any: how many requests, and
//! how many of them were answered so.

use portcullis_core::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::config::figures;
use super::rule::{Hit, Rule, Severity};
use super::tally::{Surge, Tally};
use crate::audit::{Action, Event};

/// `[anomalies.error-surge]`: suddenly many more answers of 5xx than usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// At least so many answers of 5xx within `window`. Default 20.
    pub errors: u64,
    /// So much of all answers, in per cent, in those ten seconds that have any. Default 5.
    pub percent: u64,
    /// And so many times the mean of the sixty windows before. Default 5.
    pub times: u64,
    /// Default `"1m"`, 1 to 10 minutes.
    pub window: Span,
    /// Why this rule is switched off. Default: none, it is on. Then nothing of the kind is found.
    pub off: Option<String>,
}

figures!(
    errors = 20, 2..=10_000_000;
    percent = 5, 1..=100;
    times = 5, 2..=1_000;
    window = Span::from_minutes(1), Span::from_minutes(1)..=Span::from_minutes(10);
);

const GATE: &str = "gate";

#[derive(Debug)]
pub(super) struct ErrorSurge {
    config: Config,
    errors: Surge,
    requests: Tally,
}

impl ErrorSurge {
    pub(super) fn new(config: &Config) -> Self {
        ErrorSurge {
            errors: Surge::new(config.window),
            requests: Tally::new(config.window),
            config: config.clone(),
        }
    }
}

impl Rule for ErrorSurge {
    fn name(&self) -> &'static str {
        "error-surge"
    }

    fn severity(&self) -> Severity {
        Severity::High
    }

    fn described(&self) -> String {
        format!(
            "{} answers of 5xx within {}, {} per cent of all, and {} times what is usual",
            self.config.errors, self.config.window, self.config.percent, self.config.times
        )
    }

    fn observe(&mut self, event: &Event) -> Vec<Hit> {
        if event.action != Action::TrafficErrors {
            return Vec::new();
        }
        let number = |name| {
            let value = event.metadata.get(name);
            value.and_then(serde_json::Value::as_u64).unwrap_or(0)
        };
        let requests = self.requests.add(GATE, event.at, number("requests"));
        let (count, usual) = self.errors.add(event.at, number("errors"));
        let config = &self.config;
        if count < config.errors
            || count.saturating_mul(100) < requests.saturating_mul(config.percent)
            || count < usual.saturating_mul(config.times)
        {
            return Vec::new();
        }
        vec![Hit {
            subject: GATE.to_owned(),
            count,
            told: format!(
                "{count} of {requests} answers within {} were 5xx, where {usual} are usual",
                config.window
            ),
        }]
    }

    fn quiet(&self) -> Span {
        Span::from_minutes(10).max(self.config.window)
    }

    fn lookback(&self) -> Span {
        Surge::lookback(self.config.window)
    }

    fn pass(&mut self, now: Timestamp) {
        self.requests.pass(now);
    }
}
