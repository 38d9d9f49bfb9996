//! Suddenly many more refusals than usual, whoever they come from.

use portcullis_core::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::config::figures;
use super::rule::{Hit, Rule, Severity};
use super::tally::Surge;
use crate::audit::{Action, Event};

/// `[anomalies.denial-surge]`: suddenly many more refusals than usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// At least so many refusals within `window`. Default 200.
    pub refusals: u64,
    /// And so many times the mean of the sixty windows before. Default 5.
    pub times: u64,
    /// Default `"1m"`, 1 to 10 minutes.
    pub window: Span,
    /// Why this rule is switched off. Default: none, it is on. Then nothing of the kind is found.
    pub off: Option<String>,
}

figures!(
    refusals = 200, 2..=10_000_000;
    times = 5, 2..=1_000;
    window = Span::from_minutes(1), Span::from_minutes(1)..=Span::from_minutes(10);
);

#[derive(Debug)]
pub(super) struct DenialSurge {
    config: Config,
    refusals: Surge,
}

impl DenialSurge {
    pub(super) fn new(config: &Config) -> Self {
        DenialSurge {
            refusals: Surge::new(config.window),
            config: config.clone(),
        }
    }
}

impl Rule for DenialSurge {
    fn name(&self) -> &'static str {
        "denial-surge"
    }

    fn severity(&self) -> Severity {
        Severity::Medium
    }

    fn described(&self) -> String {
        format!(
            "{} refusals within {}, and {} times what is usual",
            self.config.refusals, self.config.window, self.config.times
        )
    }

    fn observe(&mut self, event: &Event) -> Vec<Hit> {
        match event.action {
            Action::AccessDenied
            | Action::CsrfRefused
            | Action::OriginRefused
            | Action::CredentialRefused
            | Action::RequestMalformed => {}
            _ => return Vec::new(),
        }
        let (count, usual) = self.refusals.add(event.at, event.metadata.counted());
        if count < self.config.refusals || count < usual.saturating_mul(self.config.times) {
            return Vec::new();
        }
        vec![Hit {
            subject: "gate".to_owned(),
            count,
            told: format!(
                "{count} refusals within {}, where {usual} are usual",
                self.config.window
            ),
        }]
    }

    fn quiet(&self) -> Span {
        Span::from_minutes(10).max(self.config.window)
    }

    fn lookback(&self) -> Span {
        Surge::lookback(self.config.window)
    }

    fn pass(&mut self, _: Timestamp) {}
}
