//! Rate limits (CWE-770, CWE-307): how often one caller may come.
//!
//! 1. A limit counts per address, user, session or tenant, over the whole gate or for each route.
//!    A caller without a user (session, tenant) is counted by address: signing out frees nobody.
//! 2. Limits per address are taken before anything is looked up, so that guessing credentials is
//!    paid for; the others when it is known who calls. Where memory knows that, all at once.
//! 3. IPv6 is counted per /64, which is what one subscriber holds; IPv4 mapped into IPv6 is IPv4.
//! 4. Limits that are taken together are all taken or none of them. What was paid for a look-up stays
//!    paid when a limit per user refuses the request after it.
//! 5. Every counted answer tells its budget: `RateLimit-Policy` and `RateLimit`
//!    (draft-ietf-httpapi-ratelimit-headers-11), on request the older `X-RateLimit-*`, and
//!    `Retry-After` with a refusal.
//!
//! Deployment: the address is only as good as the list of trusted proxies. Users behind one
//! address share its limits: set those wide and the ones per user tight. Where the counters live,
//! and what happens when they are away, is the store's matter; `auth` limits then drop to a tenth.

mod answer;
mod subject;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use portcullis_core::Principal;
use portcullis_core::limit::Rate;
use portcullis_store::counters::{Charge, LimitId, MAX_CHARGES, Subject, WhenDegraded};
use serde::Deserialize;

use portcullis_core::finding::Finding;

pub use answer::{refusal, write_headers};
pub use subject::of_address;

/// `[limits.NAME]`. Four are built in and can be written over: `default`, 600 requests a minute per
/// address for every route that names no limits; `auth`, 5 a minute per address for sign-in;
/// `visits`, 10 in five minutes per address for the beginning of a visit in a widget; and `uploads`, 10
/// an hour per user for every route with `upload`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Config(pub BTreeMap<String, LimitConfig>);

/// One `[limits.NAME]`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of a file, each with its own key"
)]
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LimitConfig {
    /// `"60/minute"`, `"5/15m"`, `"100/minute burst 200"`. Either this or `rates`.
    pub rate: Option<Rate>,
    /// Several rates that hold at the same time: `["60/minute", "1000/hour"]`. Default: none.
    pub rates: Vec<Rate>,
    /// What is counted: `"address"` (default, before authentication), `"user"`, `"session"`,
    /// `"tenant"` or `"api-key"`. Callers that have none are counted by address.
    pub per: Per,
    /// `"gate"` (default): one budget over all routes. `"route"`: a budget for each route.
    pub scope: Scope,
    /// Whether it guards credentials. When the shared counters are away, it drops to a tenth
    /// instead of a node's share. Default `false`; the limit named `auth` always does.
    pub auth: bool,
    /// Whether it holds for every route, besides the limits that the route names. Default `false`.
    pub everywhere: bool,
    /// Exact paths that it does not count, such as `"/health"`. Default: none. An exempt path is an
    /// open door for a flood.
    pub exempt: Vec<String>,
    /// Whether answers also bear `X-RateLimit-Limit`, `-Remaining` and `-Reset`. Default `false`.
    pub legacy_headers: bool,
    /// Takes the limit out, also a built-in one. Default `false`. Nothing then counts.
    pub off: bool,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    #[default]
    Address,
    User,
    Session,
    Tenant,
    ApiKey,
}

/// What shares a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    #[default]
    Gate,
    Route,
}

/// All limits, and those that routes use. Grows while routes are compiled, then stands still.
#[derive(Debug, Default)]
pub struct Limits {
    config: BTreeMap<String, LimitConfig>,
    /// A tree, because few ids are compared faster than one is hashed.
    entries: BTreeMap<LimitId, Entry>,
}

#[derive(Debug)]
struct Entry {
    rate: Rate,
    legacy: bool,
    /// This limit's item of `RateLimit-Policy`.
    policy: Box<str>,
    /// How many bytes of it are the name.
    name_len: usize,
}

impl Entry {
    /// The limit's name as it stands in both headers, in its quotes.
    fn name(&self) -> &str {
        self.policy.get(..self.name_len).unwrap_or_default()
    }
}

/// The limits of one route.
#[derive(Debug, Clone, Default)]
pub struct RouteLimits {
    before: Box<[Rule]>,
    after: Box<[Rule]>,
}

#[derive(Debug, Clone)]
struct Rule {
    limit: LimitId,
    rate: Rate,
    per: Per,
    when_degraded: WhenDegraded,
    exempt: Box<[Box<str>]>,
}

/// The limit that a key brings along. No configured limit can have this name.
static OF_THE_KEY: LazyLock<LimitId> = LazyLock::new(|| LimitId::named("api-key:own"));

const REMEDY: &str = "write rate = \"60/minute\", or rates = [\"60/minute\", \"1000/hour\"]";

impl Config {
    pub fn compile(&self) -> Result<Limits, Vec<Finding>> {
        let config = effective(self);
        let mut findings = Vec::new();
        for (name, limit) in &config {
            let key = format!("limits.{name}");
            let well_named = !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            if !well_named {
                findings.push(
                    Finding::error(
                        "limit-name",
                        key.clone(),
                        format!("`{name}` cannot be a limit's name"),
                    )
                    .remedy("use letters, digits, `-` and `_`"),
                );
            }
            match (limit.rate.is_some(), limit.rates.is_empty(), limit.off) {
                (true, true, _) | (false, false, _) | (_, _, true) => {}
                (false, true, false) => {
                    findings
                        .push(Finding::error("limit-rate", key, "it has no rate").remedy(REMEDY));
                }
                (true, false, false) => findings.push(
                    Finding::error("limit-rate", key, "it has `rate` and `rates`").remedy(REMEDY),
                ),
            }
        }
        if findings.is_empty() {
            Ok(Limits {
                config,
                entries: BTreeMap::new(),
            })
        } else {
            Err(findings)
        }
    }
}

/// Every limit that there is: the built-in ones, written over by the configured ones.
pub fn effective(config: &Config) -> BTreeMap<String, LimitConfig> {
    let mut all = built_in();
    all.extend(config.0.clone());
    all
}

fn built_in() -> BTreeMap<String, LimitConfig> {
    let limit = |rate: &str, auth| LimitConfig {
        rate: rate.parse().ok(),
        auth,
        ..LimitConfig::default()
    };
    BTreeMap::from([
        ("default".to_owned(), limit("600/minute", false)),
        ("auth".to_owned(), limit("5/minute", true)),
        ("visits".to_owned(), limit("10/5m", false)),
        (
            "uploads".to_owned(),
            LimitConfig {
                per: Per::User,
                ..limit("10/hour", false)
            },
        ),
    ])
}

impl Limits {
    /// The names that routes may use: those of the configuration, and the built-in ones.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.config.keys().map(String::as_str)
    }

    /// The limits of one route: the named ones (or `default`), and those that hold everywhere.
    /// `route` is the route's pattern; `key` is where its limits stand in the file.
    pub fn for_route(
        &mut self,
        route: &str,
        key: &str,
        names: Option<&[String]>,
    ) -> Result<RouteLimits, Vec<Finding>> {
        let default = ["default".to_owned()];
        let mut chosen: Vec<&String> = Vec::new();
        let mut findings = Vec::new();
        for name in names.unwrap_or(&default) {
            if !self.config.contains_key(name) {
                findings.push(
                    Finding::error("limit-unknown", key, format!("there is no limit `{name}`"))
                        .remedy("name one that stands under [limits], or `default` or `auth`"),
                );
            } else if !chosen.contains(&name) {
                chosen.push(name);
            }
        }
        let chosen: Vec<(String, LimitConfig)> = self
            .config
            .iter()
            .filter(|(name, limit)| !limit.off && (limit.everywhere || chosen.contains(name)))
            .map(|(name, limit)| (name.clone(), limit.clone()))
            .collect();
        let mut rules = Vec::new();
        for (name, limit) in chosen {
            for (index, rate) in limit.rate.iter().chain(&limit.rates).enumerate() {
                let label = entry_name(&name, index, limit.scope, route);
                rules.push(Rule {
                    limit: self.remember(&label, *rate, &limit),
                    rate: *rate,
                    per: limit.per,
                    when_degraded: if limit.auth || name == "auth" {
                        WhenDegraded::Tenth
                    } else {
                        WhenDegraded::Share
                    },
                    exempt: limit
                        .exempt
                        .iter()
                        .map(|path| path.as_str().into())
                        .collect(),
                });
            }
        }
        if rules.len() > MAX_CHARGES {
            findings.push(
                Finding::error(
                    "limit-count",
                    key,
                    format!("{} rates would hold for one route", rules.len()),
                )
                .remedy("let at most 8 hold, those under `everywhere` included"),
            );
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        let (before, after): (Vec<Rule>, Vec<Rule>) =
            rules.into_iter().partition(|rule| rule.per == Per::Address);
        Ok(RouteLimits {
            before: before.into_boxed_slice(),
            after: after.into_boxed_slice(),
        })
    }

    fn entry(&self, limit: LimitId) -> Option<&Entry> {
        self.entries.get(&limit)
    }

    fn remember(&mut self, label: &str, rate: Rate, limit: &LimitConfig) -> LimitId {
        let id = LimitId::named(label);
        self.entries.entry(id).or_insert_with(|| {
            let policy = answer::policy(label, rate).into_boxed_str();
            Entry {
                rate,
                legacy: limit.legacy_headers,
                name_len: policy
                    .find("\";q=")
                    .map_or(0, |quote| quote.saturating_add(1)),
                policy,
            }
        });
        id
    }
}

fn entry_name(name: &str, index: usize, scope: Scope, route: &str) -> String {
    let numbered = match index {
        0 => name.to_owned(),
        more => format!("{name}-{}", more.saturating_add(1)),
    };
    match scope {
        Scope::Gate => numbered,
        Scope::Route => format!("{numbered}@{route}"),
    }
}

impl RouteLimits {
    /// What the request costs before it is known who calls. `path` is the canonical path.
    pub fn charges_before(&self, path: &str, address: IpAddr, charges: &mut Vec<Charge>) {
        let subject = subject::of_address(address);
        charges.extend(counted(&self.before, path).map(|rule| rule.charge(subject)));
    }

    /// What it costs once it is known.
    pub fn charges_after(
        &self,
        path: &str,
        address: IpAddr,
        principal: &Principal,
        charges: &mut Vec<Charge>,
    ) {
        charges.extend(
            counted(&self.after, path)
                .map(|rule| rule.charge(subject::of(rule.per, address, principal))),
        );
        if let Principal::ApiKey(key) = principal
            && let Some(rate) = key.rate
        {
            charges.push(Charge {
                limit: *OF_THE_KEY,
                subject: subject::of(Per::ApiKey, address, principal),
                rate,
                when_degraded: WhenDegraded::Share,
            });
        }
    }
}

impl Rule {
    fn charge(&self, subject: Subject) -> Charge {
        Charge {
            limit: self.limit,
            subject,
            rate: self.rate,
            when_degraded: self.when_degraded,
        }
    }
}

fn counted<'r>(rules: &'r [Rule], path: &str) -> impl Iterator<Item = &'r Rule> {
    rules
        .iter()
        .filter(move |rule| !rule.exempt.iter().any(|exempt| **exempt == *path))
}

#[cfg(test)]
mod tests;
