//! Somebody tries out what there is: which accounts, which paths.
//!
//! What the product itself answers with 404 is not in the trail and not counted.

use portcullis_core::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::config::figures;
use super::rule::{Hit, Rule, Severity};
use super::tally::{Tally, client};
use crate::audit::{Action, Actor, Event};

/// `[anomalies.enumeration]`: somebody tries out which accounts there are, or which paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// So many sign-ins with accounts that do not exist, registrations and questions for a new
    /// password from one address within `window`. Default 20.
    pub accounts: u64,
    /// So many refusals for want of a route or a permission, of one caller (or of one address, where
    /// nobody is signed in) within `window`. Default 100.
    pub denials: u64,
    /// Default `"10m"`, 1 minute to 6 hours.
    pub window: Span,
    /// Why this rule is switched off. Default: none, it is on. Then nothing of the kind is found.
    pub off: Option<String>,
}

figures!(
    accounts = 20, 2..=100_000;
    denials = 100, 2..=1_000_000;
    window = Span::from_minutes(10), Span::from_minutes(1)..=Span::from_hours(6);
);

#[derive(Debug)]
pub(super) struct Enumeration {
    config: Config,
    accounts: Tally,
    denials: Tally,
}

impl Enumeration {
    pub(super) fn new(config: &Config) -> Self {
        Enumeration {
            accounts: Tally::new(config.window),
            denials: Tally::new(config.window),
            config: config.clone(),
        }
    }
}

impl Rule for Enumeration {
    fn name(&self) -> &'static str {
        "enumeration"
    }

    fn severity(&self) -> Severity {
        Severity::Medium
    }

    fn described(&self) -> String {
        format!(
            "{} attempts at accounts that do not exist from one address, or {} refusals of one caller, within {}",
            self.config.accounts, self.config.denials, self.config.window
        )
    }

    fn observe(&mut self, event: &Event) -> Vec<Hit> {
        let Some(address) = event.client else {
            return Vec::new();
        };
        let (at, times, window) = (event.at, event.metadata.counted(), self.config.window);
        let (subject, count, most, what) = match event.action {
            Action::LoginFailed if event.target.is_some() => return Vec::new(),
            Action::LoginFailed | Action::RegistrationAsked | Action::PasswordResetAsked => {
                let subject = client(address);
                let count = self.accounts.add(&subject, at, times);
                (subject, count, self.config.accounts, "attempts at accounts")
            }
            Action::AccessDenied => {
                let subject = match event.actor {
                    Actor::User(id) => format!("account:{id}"),
                    Actor::ApiKey(id) => format!("api-key:{id}"),
                    Actor::Visitor(id) => format!("visitor:{id}"),
                    Actor::Anonymous | Actor::System | Actor::Operator => client(address),
                };
                let count = self.denials.add(&subject, at, times);
                (subject, count, self.config.denials, "refusals")
            }
            _ => return Vec::new(),
        };
        if count < most {
            return Vec::new();
        }
        vec![Hit {
            subject,
            count,
            told: format!("{count} {what} within {window}"),
        }]
    }

    fn quiet(&self) -> Span {
        self.config.window
    }

    fn pass(&mut self, now: Timestamp) {
        self.accounts.pass(now);
        self.denials.pass(now);
    }
}
