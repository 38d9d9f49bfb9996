//! One API key used from many networks: it went around, or it was stolen.

use portcullis_core::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::config::figures;
use super::rule::{Hit, Rule, Severity};
use super::tally::{Distinct, network};
use crate::audit::{Action, Actor, Event};

/// `[anomalies.key-networks]`: one API key used from many networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// From so many different networks (/24 of IPv4, /48 of IPv6), each of them new to a node that day,
    /// within `window`. Default 5. A key of an app that many people have comes from everywhere: raise it,
    /// or switch the rule off.
    pub networks: u64,
    /// Default `"1h"`, 1 minute to 6 hours.
    pub window: Span,
    /// Why this rule is switched off. Default: none, it is on. Then nothing of the kind is found.
    pub off: Option<String>,
}

figures!(
    networks = 5, 2..=100;
    window = Span::from_hours(1), Span::from_minutes(1)..=Span::from_hours(6);
);

#[derive(Debug)]
pub(super) struct KeyNetworks {
    config: Config,
    networks: Distinct,
}

impl KeyNetworks {
    pub(super) fn new(config: &Config) -> Self {
        KeyNetworks {
            networks: Distinct::new(config.window),
            config: config.clone(),
        }
    }
}

impl Rule for KeyNetworks {
    fn name(&self) -> &'static str {
        "key-networks"
    }

    fn severity(&self) -> Severity {
        Severity::High
    }

    fn described(&self) -> String {
        format!(
            "one API key from {} networks within {}",
            self.config.networks, self.config.window
        )
    }

    fn observe(&mut self, event: &Event) -> Vec<Hit> {
        // A refusal of the key for something else tells as well where it is.
        let (Actor::ApiKey(key), Some(address)) = (event.actor, event.client) else {
            return Vec::new();
        };
        let subject = format!("api-key:{key}");
        let count = self.networks.add(&subject, network(address), event.at);
        if count < self.config.networks {
            return Vec::new();
        }
        vec![Hit {
            subject,
            count,
            told: format!("used from {count} networks within {}", self.config.window),
        }]
    }

    fn quiet(&self) -> Span {
        self.config.window
    }

    fn remembers(&self) -> Vec<(Action, Span)> {
        vec![(Action::ApiKeySeen, self.config.window)]
    }

    fn pass(&mut self, now: Timestamp) {
        self.networks.pass(now);
    }
}
