//! One account signs in from two places that nobody gets between in that time.
//!
//! Where an address is, says the database of `[places]`; without one the rule is not there. An address that it does
//! not know says nothing, nor does a network of which the policy says so (a VPN).

use std::collections::HashMap;

use portcullis_core::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::config::figures;
use super::rule::{Hit, Rule, Severity, account};
use crate::audit::{Action, Event};
use crate::places::{Place, Places};

/// `[anomalies.impossible-travel]`: one account in two places that nobody gets between in that time. Wants `[places]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Faster than this is impossible, in kilometres an hour. Default `900`, as an airliner flies; 100 to 5000.
    pub speed: u64,
    /// Nearer than this is nothing, in kilometres, behind what the database is not sure of. Default `500`, 50 to
    /// 10000. A phone that changes networks may seem to jump as far.
    pub distance: u64,
    /// Sign-ins further apart than this are not compared. Default `"1d"`, 1 hour to 7 days.
    pub window: Span,
    /// Why this rule is switched off. Default: none, it is on. Then nothing of the kind is found.
    pub off: Option<String>,
}

figures!(
    speed = 900, 100..=5000;
    distance = 500, 50..=10_000;
    window = Span::from_days(1), Span::from_hours(1)..=Span::from_days(7);
);

const MOST_ACCOUNTS: usize = 50_000;

#[derive(Debug)]
pub(super) struct ImpossibleTravel {
    config: Config,
    places: Places,
    last: HashMap<String, (Timestamp, Place)>,
}

impl ImpossibleTravel {
    pub(super) fn new(config: &Config, places: &Places) -> Self {
        ImpossibleTravel {
            config: config.clone(),
            places: places.clone(),
            last: HashMap::new(),
        }
    }

    /// How far apart the two are, in kilometres, where nobody gets from one to the other in that time.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "kilometres on this planet, seconds of a week"
    )]
    fn too_far(
        &self,
        (since, from): &(Timestamp, Place),
        now: Timestamp,
        to: &Place,
    ) -> Option<u64> {
        let apart = from.distance(to);
        let hours = now.since(*since).as_seconds() as f64 / 3600.0;
        let reach = hours * self.config.speed as f64;
        (apart > reach && apart > self.config.distance as f64).then_some(apart as u64)
    }
}

impl Rule for ImpossibleTravel {
    fn name(&self) -> &'static str {
        "impossible-travel"
    }

    fn severity(&self) -> Severity {
        Severity::High
    }

    fn described(&self) -> String {
        format!(
            "sign-ins of one account more than {} km apart, faster than {} km an hour, within {}",
            self.config.distance, self.config.speed, self.config.window
        )
    }

    fn observe(&mut self, event: &Event) -> Vec<Hit> {
        if event.action != Action::LoginSucceeded {
            return Vec::new();
        }
        let (Some(account), Some(address)) = (account(event), event.client) else {
            return Vec::new();
        };
        let Some(place) = self.places.of(address) else {
            return Vec::new();
        };
        let before = self.last.get(&account);
        let before = before.filter(|(at, _)| event.at.since(*at) <= self.config.window);
        let found = before.and_then(|before| {
            let kilometres = self.too_far(before, event.at, &place)?;
            let minutes = event.at.since(before.0).as_seconds() / 60;
            Some(Hit {
                subject: account.clone(),
                count: 2,
                told: format!(
                    "signed in at two places {kilometres} km apart or more within {minutes} min: {}, then {}",
                    before.1.country, place.country
                ),
            })
        });
        if self.last.len() < MOST_ACCOUNTS || self.last.contains_key(&account) {
            self.last.insert(account, (event.at, place));
        }
        found.into_iter().collect()
    }

    fn quiet(&self) -> Span {
        self.config.window
    }

    fn lookback(&self) -> Span {
        Span::ZERO
    }

    fn remembers(&self) -> Vec<(Action, Span)> {
        vec![(Action::LoginSucceeded, self.config.window)]
    }

    fn pass(&mut self, now: Timestamp) {
        let window = self.config.window;
        self.last.retain(|_, (at, _)| now.since(*at) <= window);
    }
}
