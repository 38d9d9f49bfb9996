//! Somebody goes on and on over a limit.

use portcullis_core::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::config::figures;
use super::rule::{Hit, Rule, Severity};
use super::tally::{Tally, client};
use crate::audit::{Action, Event};

/// `[anomalies.limit-attack]`: somebody goes on and on over a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// So many requests over a limit from one address within `window`. Default 300.
    pub refusals: u64,
    /// Default `"5m"`, 1 minute to 6 hours.
    pub window: Span,
    /// Why this rule is switched off. Default: none, it is on. Then nothing of the kind is found.
    pub off: Option<String>,
}

figures!(
    refusals = 300, 2..=10_000_000;
    window = Span::from_minutes(5), Span::from_minutes(1)..=Span::from_hours(6);
);

#[derive(Debug)]
pub(super) struct LimitAttack {
    config: Config,
    addresses: Tally,
}

impl LimitAttack {
    pub(super) fn new(config: &Config) -> Self {
        LimitAttack {
            addresses: Tally::new(config.window),
            config: config.clone(),
        }
    }
}

impl Rule for LimitAttack {
    fn name(&self) -> &'static str {
        "limit-attack"
    }

    fn severity(&self) -> Severity {
        Severity::Medium
    }

    fn described(&self) -> String {
        format!(
            "{} requests over a limit from one address within {}",
            self.config.refusals, self.config.window
        )
    }

    fn observe(&mut self, event: &Event) -> Vec<Hit> {
        let (Action::LimitExceeded, Some(address)) = (event.action, event.client) else {
            return Vec::new();
        };
        let subject = client(address);
        let count = self
            .addresses
            .add(&subject, event.at, event.metadata.counted());
        if count < self.config.refusals {
            return Vec::new();
        }
        vec![Hit {
            subject,
            count,
            told: format!(
                "{count} requests over a limit within {}",
                self.config.window
            ),
        }]
    }

    fn quiet(&self) -> Span {
        self.config.window
    }

    fn pass(&mut self, now: Timestamp) {
        self.addresses.pass(now);
    }
}
