//! A credential turned up where it cannot be: one event is enough.

use portcullis_core::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::config::figures;
use super::rule::{Hit, Rule, Severity, account};
use crate::audit::{Action, Event};

/// `[anomalies.stolen-credential]`: a refresh token came a second time, a session in a client that it
/// does not belong to, or a passkey that was copied. One is enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Of one account once in this time. Default `"1h"`, 1 minute to 7 days.
    pub once_in: Span,
    /// Why this rule is switched off. Default: none, it is on. Then nothing of the kind is found.
    pub off: Option<String>,
}

figures!(
    once_in = Span::from_hours(1), Span::from_minutes(1)..=Span::from_days(7);
);

#[derive(Debug)]
pub(super) struct StolenCredential {
    config: Config,
}

impl StolenCredential {
    pub(super) fn new(config: &Config) -> Self {
        StolenCredential {
            config: config.clone(),
        }
    }
}

impl Rule for StolenCredential {
    fn name(&self) -> &'static str {
        "stolen-credential"
    }

    fn severity(&self) -> Severity {
        Severity::High
    }

    fn described(&self) -> String {
        format!(
            "a refresh token used twice, a session in another client, a copied passkey, once in {}",
            self.config.once_in
        )
    }

    fn observe(&mut self, event: &Event) -> Vec<Hit> {
        let what = match event.action {
            Action::RefreshTokenReused => "a refresh token came a second time",
            Action::SessionOtherClient => "a session turned up in another client",
            Action::PasskeyCloned => "a passkey was copied",
            _ => return Vec::new(),
        };
        let subject = account(event).or_else(|| {
            let target = event.target.as_ref();
            target.map(|target| target.as_str().to_owned())
        });
        vec![Hit {
            subject: subject.unwrap_or_else(|| "gate".to_owned()),
            count: 1,
            told: what.to_owned(),
        }]
    }

    fn quiet(&self) -> Span {
        self.config.once_in
    }

    fn lookback(&self) -> Span {
        Span::ZERO
    }

    fn remembers(&self) -> Vec<(Action, Span)> {
        let once_in = self.config.once_in;
        vec![
            (Action::RefreshTokenReused, once_in),
            (Action::SessionOtherClient, once_in),
            (Action::PasskeyCloned, once_in),
        ]
    }

    fn pass(&mut self, _: Timestamp) {}
}
