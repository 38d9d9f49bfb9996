//! `[[alert]]`: what may be written, and the destination that becomes of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::finding::Finding;
use portcullis_core::{Mode, Secret, SecretRef, Span};
use portcullis_edge::outbound::{Reach, Target};
use portcullis_vault::keys::ForeignMac;
use serde::Deserialize;

use super::{Notice, SOURCES};
use crate::anomalies::Severity;
use crate::entry_name::is_entry_name;

/// One `[[alert]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What it is called in lists and in the log: lower case letters, digits and `-`. Required.
    pub name: String,
    /// Addresses that get a letter each. Needs `[mail]`. Exactly one of `email`, `slack` and `webhook`.
    #[serde(default)]
    pub email: Vec<String>,
    /// An incoming webhook of Slack, Mattermost or the like, by reference: `{ env = "SLACK_WEBHOOK" }`.
    /// Whoever knows its URL can write there.
    #[serde(default)]
    pub slack: Option<SecretRef>,
    /// A URL that gets a message of JSON, signed as Standard Webhooks. `https` on the public internet; in
    /// development also `http` on this machine.
    #[serde(default)]
    pub webhook: Option<String>,
    /// For `webhook`: the secret that signs it, by reference, `whsec_` and base64 of 24 bytes or more.
    #[serde(default)]
    pub secret: Option<SecretRef>,
    /// What weighs less is not told: `"low"`, `"medium"` (default) or `"high"`.
    #[serde(default = "default_least")]
    pub least: Severity,
    /// Only what comes from these detectors and sources. Default: all.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Of the same source and subject one alert in this time, and what came meanwhile in one summary.
    /// Default `"1h"`, 1 second to 7 days.
    #[serde(default = "default_group")]
    pub group: Span,
    /// How often it is tried before it is a dead letter, 1 to 100. Default 20: about four hours.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// How long the second attempt waits, each later one twice as long, 15 minutes at most. Default `"5s"`.
    #[serde(default = "default_first_wait")]
    pub first_wait: Span,
}

const fn default_least() -> Severity {
    Severity::Medium
}
const fn default_group() -> Span {
    Span::from_hours(1)
}
const fn default_attempts() -> u32 {
    20
}
const fn default_first_wait() -> Span {
    Span::from_seconds(5)
}

/// The secrets of one, read.
#[derive(Debug, Default)]
pub struct Secrets {
    pub slack: Option<Secret>,
    pub secret: Option<Secret>,
}

/// Where alerts go.
#[derive(Debug)]
pub struct Destination {
    pub(super) name: String,
    pub(super) way: Way,
    least: Severity,
    sources: Vec<String>,
    pub(super) group: Span,
    pub(super) attempts: u32,
    pub(super) first_wait: Span,
}

#[derive(Debug)]
pub(super) enum Way {
    Email(Vec<String>),
    Slack(Target),
    Signed(Target, Box<ForeignMac>),
}

impl Destination {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `email`, `slack` or `webhook`.
    pub const fn kind(&self) -> &'static str {
        match self.way {
            Way::Email(_) => "email",
            Way::Slack(_) => "slack",
            Way::Signed(..) => "webhook",
        }
    }

    pub(super) fn wants(&self, notice: &Notice) -> bool {
        notice.severity >= self.least
            && (self.sources.is_empty() || self.sources.contains(&notice.source))
    }
}

/// The destinations that the configuration asks for, or everything that is wrong with them.
pub fn compile(
    configs: &[Config],
    secrets: &[Secrets],
    mode: Mode,
    has_mail: bool,
) -> Result<Vec<Destination>, Vec<Finding>> {
    let none = Secrets::default();
    let (mut findings, mut all) = (Vec::new(), Vec::new());
    for (position, config) in configs.iter().enumerate() {
        let mut wrong = |key: &str, message: String, remedy: &'static str| {
            findings.push(
                Finding::error("alerts", format!("alert.{position}.{key}"), message).remedy(remedy),
            );
        };
        if !is_entry_name(&config.name) {
            wrong(
                "name",
                "is not of lower case letters, digits and `-`, 60 at most".to_owned(),
                "write name = \"ops\"",
            );
        }
        if configs
            .iter()
            .take(position)
            .any(|one| one.name == config.name)
        {
            wrong(
                "name",
                format!("`{}` is there twice", config.name),
                "give each its own name",
            );
        }
        if let Some(unknown) = config
            .sources
            .iter()
            .find(|name| !SOURCES.contains(&name.as_str()))
        {
            wrong(
                "sources",
                format!("there is no detector or source `{unknown}`"),
                "docs/monitoring.md lists them",
            );
        }
        if !(Span::from_seconds(1)..=Span::from_days(7)).contains(&config.group) {
            wrong(
                "group",
                format!("`{}` is outside 1s to 7d", config.group),
                "remove the key for the default of 1h",
            );
        }
        if !(1..=100).contains(&config.attempts) {
            wrong(
                "attempts",
                format!("`{}` is outside 1 to 100", config.attempts),
                "remove the key for the default of 20",
            );
        }
        if config.first_wait.is_zero() || config.first_wait > Span::from_minutes(15) {
            wrong(
                "first-wait",
                format!("`{}` is zero or longer than 15m", config.first_wait),
                "remove the key for the default of 5s",
            );
        }
        match way(
            config,
            secrets.get(position).unwrap_or(&none),
            mode,
            has_mail,
        ) {
            Ok(Some(way)) => all.push(Destination {
                name: config.name.clone(),
                way,
                least: config.least,
                sources: config.sources.clone(),
                group: config.group,
                attempts: config.attempts,
                first_wait: config.first_wait,
            }),
            // The secret is missing, and somebody else says so.
            Ok(None) => {}
            Err((key, message, remedy)) => wrong(key, message, remedy),
        }
    }
    if findings.is_empty() {
        Ok(all)
    } else {
        Err(findings)
    }
}

type Wrong = (&'static str, String, &'static str);

fn way(
    config: &Config,
    secrets: &Secrets,
    mode: Mode,
    has_mail: bool,
) -> Result<Option<Way>, Wrong> {
    let given = (
        !config.email.is_empty(),
        config.slack.is_some(),
        config.webhook.as_deref(),
    );
    match given {
        (true, false, None) if !has_mail => Err((
            "email",
            "no letters leave".to_owned(),
            "add [mail] with server = \"smtps://mail.example.com:465\"",
        )),
        (true, false, None) => Ok(Some(Way::Email(config.email.clone()))),
        (false, true, None) => {
            let Some(url) = &secrets.slack else {
                return Ok(None);
            };
            let target = target(url.expose(), mode).ok_or_else(|| {
                (
                    "slack",
                    "what it leads to is no https URL of the public internet".to_owned(),
                    "take it from the app's settings, as it is shown there",
                )
            })?;
            Ok(Some(Way::Slack(target)))
        }
        (false, false, Some(url)) => {
            let target = target(url, mode).ok_or_else(|| {
                (
                    "webhook",
                    "is no https URL of the public internet".to_owned(),
                    "write the whole URL, https://...",
                )
            })?;
            if config.secret.is_none() {
                return Err((
                    "secret",
                    "nothing signs the messages".to_owned(),
                    "write secret = { env = \"ALERT_SECRET\" }",
                ));
            }
            let Some(secret) = &secrets.secret else {
                return Ok(None);
            };
            let mac = mac(secret).ok_or_else(|| {
                (
                    "secret",
                    "is not `whsec_` and base64 of at least 24 bytes".to_owned(),
                    "make one: echo whsec_$(openssl rand -base64 32)",
                )
            })?;
            Ok(Some(Way::Signed(target, Box::new(mac))))
        }
        _ => Err((
            "name",
            "has not exactly one of `email`, `slack` and `webhook`".to_owned(),
            "say one way for each [[alert]]",
        )),
    }
}

/// SECURITY: never into the operator's own network, wherever the name leads to.
fn target(url: &str, mode: Mode) -> Option<Target> {
    let reach = match mode {
        Mode::Development if url.starts_with("http://") => Reach::Loopback,
        Mode::Development | Mode::Production => Reach::Public,
    };
    Target::parse(url, reach).ok()
}

fn mac(secret: &Secret) -> Option<ForeignMac> {
    let encoded = secret.expose().strip_prefix("whsec_")?;
    let bytes = Secret::new(STANDARD.decode(encoded).ok()?);
    (bytes.expose().len() >= 24).then(|| ForeignMac::of_bytes(&bytes))
}
