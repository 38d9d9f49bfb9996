//! All rules together: from events to episodes.
//!
//! An episode of a rule and a subject begins with the first hit and is over when there was none for
//! [`Rule::quiet`]. While one goes on, its hits are counted and nothing else begins.

use std::collections::HashMap;

use portcullis_core::{Span, TenantId, Timestamp};

use super::config::Config;
use super::credential_stuffing::CredentialStuffing;
use super::denial_surge::DenialSurge;
use super::enumeration::Enumeration;
use super::error_surge::ErrorSurge;
use super::impossible_travel::ImpossibleTravel;
use super::key_networks::KeyNetworks;
use super::limit_attack::LimitAttack;
use super::login_burst::LoginBurst;
use super::new_device::NewDevice;
use super::rule::{Rule, Severity};
use super::stolen_credential::StolenCredential;
use crate::audit::{Action, Event};

/// More episodes than these are not kept apart at once.
const MOST_EPISODES: usize = 20_000;

/// What is going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    pub detector: &'static str,
    pub severity: Severity,
    pub subject: String,
    pub told: String,
    pub tenant: Option<TenantId>,
    /// The event at which the rule held first.
    pub began_at: Timestamp,
    pub last_at: Timestamp,
    /// What the rule has counted, with everything since.
    pub count: u64,
}

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Began(Episode),
    Ended(Episode),
}

struct Watched {
    rule: Box<dyn Rule>,
    open: HashMap<String, Episode>,
}

/// Every rule that is on.
pub struct Engine {
    rules: Vec<Watched>,
}

impl Engine {
    pub fn new(config: &Config) -> Self {
        let rules = rules(config).into_iter().map(|rule| Watched {
            rule,
            open: HashMap::new(),
        });
        Engine {
            rules: rules.collect(),
        }
    }

    /// How long before a point in time events have to be taken in, to go on from there.
    pub fn lookback(&self) -> Span {
        let spans = self.rules.iter().map(|watched| watched.rule.lookback());
        spans.max().unwrap_or(Span::ZERO)
    }

    /// Events of these actions have to be taken in from longer ago.
    pub fn remembers(&self) -> Vec<(Action, Span)> {
        let mut longest: HashMap<Action, Span> = HashMap::new();
        let wanted = self
            .rules
            .iter()
            .flat_map(|watched| watched.rule.remembers());
        for (action, span) in wanted {
            let known = longest.entry(action).or_insert(span);
            *known = (*known).max(span);
        }
        let mut all: Vec<_> = longest.into_iter().collect();
        all.sort();
        all
    }

    /// Takes one event in.
    pub fn observe(&mut self, event: &Event) -> Vec<Step> {
        let mut steps = Vec::new();
        for watched in &mut self.rules {
            for hit in watched.rule.observe(event) {
                if let Some(episode) = watched.open.get_mut(&hit.subject) {
                    episode.last_at = episode.last_at.max(event.at);
                    let times = event.metadata.counted();
                    episode.count = episode.count.saturating_add(times);
                    continue;
                }
                if watched.open.len() >= MOST_EPISODES {
                    continue;
                }
                let episode = Episode {
                    detector: watched.rule.name(),
                    severity: watched.rule.severity(),
                    subject: hit.subject.clone(),
                    told: hit.told,
                    tenant: event.tenant,
                    began_at: event.at,
                    last_at: event.at,
                    count: hit.count,
                };
                watched.open.insert(hit.subject, episode.clone());
                steps.push(Step::Began(episode));
            }
        }
        steps
    }

    /// It is `now`, as far as events are concerned: what was quiet for long enough is over.
    pub fn pass(&mut self, now: Timestamp) -> Vec<Step> {
        let mut steps = Vec::new();
        for watched in &mut self.rules {
            watched.rule.pass(now);
            let quiet = watched.rule.quiet();
            watched.open.retain(|_, episode| {
                let is_over = now.since(episode.last_at) >= quiet;
                if is_over {
                    steps.push(Step::Ended(episode.clone()));
                }
                !is_over
            });
        }
        steps.sort_by(|one, other| key(one).cmp(&key(other)));
        steps
    }

    /// What goes on.
    pub fn open(&self) -> impl Iterator<Item = &Episode> {
        self.rules.iter().flat_map(|watched| watched.open.values())
    }
}

fn key(step: &Step) -> (Timestamp, &'static str, &str) {
    let (Step::Began(episode) | Step::Ended(episode)) = step;
    (episode.last_at, episode.detector, &episode.subject)
}

/// The rules that are on.
pub fn rules(config: &Config) -> Vec<Box<dyn Rule>> {
    let mut rules: Vec<Box<dyn Rule>> = Vec::new();
    if !config.enabled {
        return rules;
    }
    macro_rules! add {
        ($($field:ident $rule:ident;)*) => {
            $(if config.$field.off.is_none() {
                rules.push(Box::new($rule::new(&config.$field)));
            })*
        };
    }
    add! {
        login_burst LoginBurst;
        credential_stuffing CredentialStuffing;
        enumeration Enumeration;
        new_device NewDevice;
        key_networks KeyNetworks;
        limit_attack LimitAttack;
        denial_surge DenialSurge;
        error_surge ErrorSurge;
        stolen_credential StolenCredential;
    }
    // Without places there is nothing that it could go by.
    if config.impossible_travel.off.is_none() && config.places.is_known() {
        let rule = ImpossibleTravel::new(&config.impossible_travel, &config.places);
        rules.push(Box::new(rule));
    }
    rules
}
