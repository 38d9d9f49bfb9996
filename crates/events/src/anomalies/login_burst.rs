//! Many refused sign-ins, of one account or from one address.

use portcullis_core::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::config::figures;
use super::rule::{Hit, Rule, Severity, account};
use super::tally::{Tally, client};
use crate::audit::{Action, Event};

/// `[anomalies.login-burst]`: many refused sign-ins of one account, or from one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// So many refused passwords or second factors of one account within `window`. Default 8. The
    /// backoff lets nine through in ten minutes.
    pub account_failures: u64,
    /// So many refused or throttled sign-ins from one address within `window`. Default 20. Offices
    /// share an address.
    pub address_failures: u64,
    /// Default `"10m"`, 1 minute to 6 hours.
    pub window: Span,
    /// Why this rule is switched off. Default: none, it is on. Then nothing of the kind is found.
    pub off: Option<String>,
}

figures!(
    account_failures = 8, 2..=10_000;
    address_failures = 20, 2..=100_000;
    window = Span::from_minutes(10), Span::from_minutes(1)..=Span::from_hours(6);
);

#[derive(Debug)]
pub(super) struct LoginBurst {
    config: Config,
    accounts: Tally,
    addresses: Tally,
}

impl LoginBurst {
    pub(super) fn new(config: &Config) -> Self {
        LoginBurst {
            accounts: Tally::new(config.window),
            addresses: Tally::new(config.window),
            config: config.clone(),
        }
    }
}

impl Rule for LoginBurst {
    fn name(&self) -> &'static str {
        "login-burst"
    }

    fn severity(&self) -> Severity {
        Severity::Medium
    }

    fn described(&self) -> String {
        format!(
            "{} refused sign-ins of one account, or {} from one address, within {}",
            self.config.account_failures, self.config.address_failures, self.config.window
        )
    }

    fn observe(&mut self, event: &Event) -> Vec<Hit> {
        let throttled = match event.action {
            Action::LoginFailed | Action::FactorRefused => false,
            Action::LoginThrottled | Action::FactorThrottled => true,
            _ => return Vec::new(),
        };
        let (at, times) = (event.at, event.metadata.counted());
        let mut hits = Vec::new();
        if let Some(account) = account(event).filter(|_| !throttled) {
            let count = self.accounts.add(&account, at, times);
            if count >= self.config.account_failures {
                let told = format!("{count} refused sign-ins within {}", self.config.window);
                hits.push(Hit {
                    subject: account,
                    count,
                    told,
                });
            }
        }
        if let Some(address) = event.client {
            let subject = client(address);
            let count = self.addresses.add(&subject, at, times);
            if count >= self.config.address_failures {
                let told = format!("{count} refused sign-ins within {}", self.config.window);
                hits.push(Hit {
                    subject,
                    count,
                    told,
                });
            }
        }
        hits
    }

    fn quiet(&self) -> Span {
        self.config.window
    }

    fn pass(&mut self, now: Timestamp) {
        self.accounts.pass(now);
        self.addresses.pass(now);
    }
}
