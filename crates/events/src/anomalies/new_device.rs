//! A sign-in from a device that the account was not used on before.
//!
//! A device is known by the cookie that a sign-in leaves. Who deletes cookies has a new device each time.

use std::collections::HashMap;

use portcullis_core::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::config::figures;
use super::rule::{Hit, Rule, Severity, account};
use crate::audit::{Action, Event};

/// `[anomalies.new-device]`: a sign-in from a device that the account was not used on before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Not in the first days of an account. Default `"1d"`, 1 minute to 7 days.
    pub settled_after: Span,
    /// Of one account once in this time. Default `"1d"`, 1 minute to 7 days.
    pub once_in: Span,
    /// Why this rule is switched off. Default: none, it is on. Then nothing of the kind is found.
    pub off: Option<String>,
}

figures!(
    settled_after = Span::from_days(1), Span::from_minutes(1)..=Span::from_days(7);
    once_in = Span::from_days(1), Span::from_minutes(1)..=Span::from_days(7);
);

const MOST_ACCOUNTS: usize = 50_000;

#[derive(Debug)]
pub(super) struct NewDevice {
    config: Config,
    made: HashMap<String, Timestamp>,
}

impl NewDevice {
    pub(super) fn new(config: &Config) -> Self {
        NewDevice {
            config: config.clone(),
            made: HashMap::new(),
        }
    }
}

impl Rule for NewDevice {
    fn name(&self) -> &'static str {
        "new-device"
    }

    fn severity(&self) -> Severity {
        Severity::Low
    }

    fn described(&self) -> String {
        format!(
            "a sign-in from a new device, of an account older than {}, once in {}",
            self.config.settled_after, self.config.once_in
        )
    }

    fn observe(&mut self, event: &Event) -> Vec<Hit> {
        let Some(account) = account(event) else {
            return Vec::new();
        };
        match event.action {
            Action::UserCreated | Action::UserRegistered | Action::UserProvisioned => {
                if self.made.len() < MOST_ACCOUNTS {
                    self.made.insert(account, event.at);
                }
                Vec::new()
            }
            Action::LoginSucceeded => {
                let device = event.metadata.get("device").and_then(|text| text.as_str());
                let settled = self
                    .made
                    .get(&account)
                    .is_none_or(|made| event.at.since(*made) >= self.config.settled_after);
                if device != Some("new") || !settled {
                    return Vec::new();
                }
                vec![Hit {
                    subject: account,
                    count: 1,
                    told: "signed in from a device that it was not used on before".to_owned(),
                }]
            }
            _ => Vec::new(),
        }
    }

    fn quiet(&self) -> Span {
        self.config.once_in
    }

    fn lookback(&self) -> Span {
        Span::ZERO
    }

    fn remembers(&self) -> Vec<(Action, Span)> {
        let made = self.config.settled_after;
        vec![
            (Action::UserCreated, made),
            (Action::UserRegistered, made),
            (Action::UserProvisioned, made),
            (Action::LoginSucceeded, self.config.once_in),
        ]
    }

    fn pass(&mut self, now: Timestamp) {
        let settled = self.config.settled_after;
        self.made.retain(|_, made| now.since(*made) < settled);
    }
}
