//! One after the other tried: many accounts from one address, or from many together.

use portcullis_core::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::config::figures;
use super::rule::{Hit, Rule, Severity, account};
use super::tally::{Distinct, client};
use crate::audit::{Action, Event};

/// `[anomalies.credential-stuffing]`: refused sign-ins of many accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Refused sign-ins of so many different accounts from one address within `window`. Default 8.
    pub accounts: u64,
    /// Of so many different accounts altogether, from at least `addresses`. Default 50. Large products
    /// have more on an ordinary morning.
    pub accounts_together: u64,
    /// From so many different addresses. Default 10.
    pub addresses: u64,
    /// Default `"10m"`, 1 minute to 6 hours.
    pub window: Span,
    /// Why this rule is switched off. Default: none, it is on. Then nothing of the kind is found.
    pub off: Option<String>,
}

figures!(
    accounts = 8, 2..=1_000;
    accounts_together = 50, 2..=1_000;
    addresses = 10, 2..=1_000;
    window = Span::from_minutes(10), Span::from_minutes(1)..=Span::from_hours(6);
);

const GATE: &str = "gate";

#[derive(Debug)]
pub(super) struct CredentialStuffing {
    config: Config,
    by_address: Distinct,
    accounts: Distinct,
    addresses: Distinct,
}

impl CredentialStuffing {
    pub(super) fn new(config: &Config) -> Self {
        CredentialStuffing {
            by_address: Distinct::new(config.window),
            accounts: Distinct::new(config.window),
            addresses: Distinct::new(config.window),
            config: config.clone(),
        }
    }
}

impl Rule for CredentialStuffing {
    fn name(&self) -> &'static str {
        "credential-stuffing"
    }

    fn severity(&self) -> Severity {
        Severity::High
    }

    fn described(&self) -> String {
        format!(
            "refused sign-ins of {} accounts from one address, or of {} from {} addresses together, within {}",
            self.config.accounts,
            self.config.accounts_together,
            self.config.addresses,
            self.config.window
        )
    }

    fn observe(&mut self, event: &Event) -> Vec<Hit> {
        let (Action::LoginFailed, Some(account), Some(address)) =
            (event.action, account(event), event.client)
        else {
            return Vec::new();
        };
        let (config, at, mut hits) = (&self.config, event.at, Vec::new());
        let subject = client(address);
        let together = self.accounts.add(GATE, account.clone(), at);
        let addresses = self.addresses.add(GATE, subject.clone(), at);
        let count = self.by_address.add(&subject, account, at);
        if count >= config.accounts {
            let told = format!(
                "refused sign-ins of {count} different accounts within {}",
                config.window
            );
            hits.push(Hit {
                subject,
                count,
                told,
            });
        }
        if together >= config.accounts_together && addresses >= config.addresses {
            hits.push(Hit {
                subject: GATE.to_owned(),
                count: together,
                told: format!(
                    "refused sign-ins of {together} different accounts from {addresses} addresses within {}",
                    config.window
                ),
            });
        }
        hits
    }

    fn quiet(&self) -> Span {
        self.config.window
    }

    fn pass(&mut self, now: Timestamp) {
        self.by_address.pass(now);
        self.accounts.pass(now);
        self.addresses.pass(now);
    }
}
