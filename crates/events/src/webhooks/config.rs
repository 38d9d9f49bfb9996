//! `[[webhook]]`: what may be written, and the endpoint that becomes of it.

use std::sync::Arc;

use http::HeaderName;
use portcullis_core::finding::Finding;
use portcullis_core::size::ByteSize;
use portcullis_core::{Secret, SecretRef, Span, path};
use portcullis_edge::Upstream;
use serde::Deserialize;

use super::endpoint::{Endpoint, Endpoints, Stamp};
use super::verify::{Encoding, Form, Scheme, Verifier};
use crate::entry_name::is_entry_name;

/// One `[[webhook]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What it is called in the log, in the list of deliveries and in the assertion: lower case letters,
    /// digits and `-`. Required. With another name it is another webhook: what was seen is forgotten.
    pub name: String,
    /// Where the sender posts to, such as `"/webhooks/stripe"`. Required. No route of the product answers
    /// there.
    pub path: String,
    /// How the sender signs: `"stripe"`, `"standard"` (Standard Webhooks: Supabase, Clerk, Svix, `OpenAI`),
    /// `"github"`, `"slack"`, or `"hmac"` for HMAC-SHA256 in a header of your choice. Required.
    pub scheme: Scheme,
    /// The secrets that count, each by reference: `[{ env = "STRIPE_WEBHOOK_SECRET" }]`. Required. Two while
    /// one is replaced; a reload takes a changed list.
    pub secrets: Vec<SecretRef>,
    /// How far the time of a signature may lie from ours, in the past and in the future. Default `"5m"`, at
    /// most `"1h"`. Longer lets a captured message be sent again for longer where it was never seen.
    #[serde(default = "default_tolerance")]
    pub tolerance: Span,
    /// The upstream that it is delivered to, by its name in `[upstream.NAME]`. Default: the only one.
    #[serde(default)]
    pub upstream: Option<String>,
    /// Where it is delivered there. Default: the same as `path`. Nobody else reaches that path through the
    /// gate; what comes without the assertion of a webhook the product has to refuse all the same.
    #[serde(default)]
    pub upstream_path: Option<String>,
    /// A JSON Pointer (RFC 6901) to what a message is about, such as `"/data/object/id"`: messages about the
    /// same thing are delivered one after the other, in the order in which they came. Default: none.
    #[serde(default)]
    pub order_by: Option<String>,
    /// The largest message. Default `"1MiB"`, at most `"25MiB"`.
    #[serde(default = "default_max_body")]
    pub max_body: ByteSize,
    /// Limits of `[limits.NAME]` that the sender's address pays. Default `["default"]`. Whoever is refused
    /// by one comes again later.
    #[serde(default = "default_limits")]
    pub limits: Vec<String>,
    /// How long the product may take for one. Default `"15s"`, at most `"5m"`.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// How often it is tried before it is a dead letter, 1 to 100. Default 20: about ten hours.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// How long the second attempt waits; each later one twice as long, and somewhat at random. Default `"5s"`.
    #[serde(default = "default_first_wait")]
    pub first_wait: Span,
    /// How long an attempt waits at most. Default `"1h"`.
    #[serde(default = "default_longest_wait")]
    pub longest_wait: Span,
    /// How many are under way at once, on each node, 1 to 64. Default 4.
    #[serde(default = "default_at_once")]
    pub at_once: u32,
    /// How long a message is kept after it was delivered or given up, and so how long a second one of the same
    /// id is known. Default `"30d"`, at least `"2h"` and twice `tolerance`. GitHub's signatures bear no
    /// time: what was captured could be sent again after that.
    #[serde(default = "default_retention")]
    pub retention: Span,
    /// For `scheme = "hmac"`: the header with the signature, such as `"X-Signature"`.
    #[serde(default)]
    pub signature_header: Option<String>,
    /// For `scheme = "hmac"`: what stands before the signature, such as `"sha256="`. Default: nothing.
    #[serde(default)]
    pub signature_prefix: Option<String>,
    /// For `scheme = "hmac"`: `"hex"` (default) in lower case, or `"base64"`.
    #[serde(default)]
    pub signature_encoding: Option<Encoding>,
    /// For `scheme = "hmac"`: the header with the seconds since 1970, where the sender signs
    /// `timestamp.body`. Default: none, it signs the body alone. Risk: without it old messages cannot be told.
    #[serde(default)]
    pub timestamp_header: Option<String>,
    /// For `scheme = "hmac"`: a JSON Pointer to the message's own id, such as `"/id"`. Default: a digest of
    /// the body is its id.
    #[serde(default)]
    pub id_at: Option<String>,
}

const fn default_tolerance() -> Span {
    Span::from_minutes(5)
}
const fn default_max_body() -> ByteSize {
    ByteSize::mib(1)
}
fn default_limits() -> Vec<String> {
    vec!["default".to_owned()]
}
const fn default_timeout() -> Span {
    Span::from_seconds(15)
}
const fn default_attempts() -> u32 {
    20
}
const fn default_first_wait() -> Span {
    Span::from_seconds(5)
}
const fn default_longest_wait() -> Span {
    Span::from_hours(1)
}
const fn default_at_once() -> u32 {
    4
}
const fn default_retention() -> Span {
    Span::from_days(30)
}

/// What a configuration is compiled with.
pub struct Known<'k> {
    pub upstreams: &'k [Arc<Upstream>],
    /// Names under `[limits]`.
    pub limits: &'k [String],
    /// Whether a path is the gate's own, and so no webhook's.
    pub is_taken: &'k dyn Fn(&str) -> bool,
    pub stamp: Stamp,
}

impl Config {
    /// Where it is delivered at the upstream.
    pub fn upstream_path(&self) -> &str {
        self.upstream_path.as_deref().unwrap_or(&self.path)
    }
}

/// Every endpoint, or what is wrong. `secrets` are those of the configuration of the same position; one
/// that could not be read is missing there and has been told of.
pub fn compile(
    configs: &[Config],
    secrets: &[Vec<Secret<String>>],
    known: &Known<'_>,
) -> Result<Endpoints, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut endpoints = Vec::new();
    for (position, config) in configs.iter().enumerate() {
        let before = configs.get(..position).unwrap_or_default();
        let none = Vec::new();
        let mut one = One {
            config,
            key: format!("webhook.{position}"),
            findings: Vec::new(),
        };
        one.check(before, known);
        let verifier = one.verifier(secrets.get(position).unwrap_or(&none));
        let upstream = one.upstream(known.upstreams);
        if let (Some(verifier), Some(upstream), true) =
            (verifier, upstream, one.findings.is_empty())
        {
            endpoints.push(Endpoint::new(config, verifier, upstream));
        }
        findings.append(&mut one.findings);
    }
    if findings.is_empty() {
        Ok(Endpoints::new(endpoints, known.stamp.clone()))
    } else {
        Err(findings)
    }
}

/// The endpoint by which the gate itself tells the product something: `key` and its `hook-upstream` and
/// `hook-path` say where. Nobody can post to it.
pub fn own(
    name: &str,
    key: &str,
    (upstream, path): (Option<&String>, &str),
    known: &Known<'_>,
) -> Result<Endpoint, Vec<Finding>> {
    let config = Config {
        name: name.to_owned(),
        path: path.to_owned(),
        scheme: Scheme::Standard,
        secrets: Vec::new(),
        tolerance: default_tolerance(),
        upstream: upstream.cloned(),
        upstream_path: None,
        order_by: None,
        max_body: default_max_body(),
        limits: Vec::new(),
        timeout: default_timeout(),
        attempts: default_attempts(),
        first_wait: default_first_wait(),
        longest_wait: default_longest_wait(),
        at_once: default_at_once(),
        retention: default_retention(),
        signature_header: None,
        signature_prefix: None,
        signature_encoding: None,
        timestamp_header: None,
        id_at: None,
    };
    let mut one = One {
        config: &config,
        key: key.to_owned(),
        findings: Vec::new(),
    };
    if !is_plain(path) || (known.is_taken)(path) {
        let message = format!("`{path}` is not a path of the product's own");
        let remedy = "write it like \"/internal/secret-rotated\"";
        one.wrong("hook-path", message, remedy);
    }
    let upstream = one.upstream_of("hook-upstream", known.upstreams);
    // Without a secret nothing is ever verified.
    let verifier = Verifier::new(config.scheme, None, &[], config.tolerance).ok();
    match (verifier, upstream) {
        (Some(verifier), Some(upstream)) if one.findings.is_empty() => {
            Ok(Endpoint::new(&config, verifier, upstream).ours())
        }
        (_, _) => Err(one.findings),
    }
}

/// It has been told of.
struct Mistake;

/// One webhook being looked at.
struct One<'c> {
    config: &'c Config,
    key: String,
    findings: Vec<Finding>,
}

impl One<'_> {
    fn wrong(&mut self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let key = format!("{}.{key}", self.key);
        let finding = Finding::error("webhook", key, message.into());
        self.findings.push(finding.remedy(remedy.into()));
    }

    fn check(&mut self, before: &[Config], known: &Known<'_>) {
        let config = self.config;
        let name = &config.name;
        if !is_entry_name(name) {
            let message = format!("`{name}` is not lower case letters, digits and `-`");
            self.wrong("name", message, "write it like \"stripe\"");
        }
        if before.iter().any(|other| other.name == *name) {
            let message = format!("two webhooks are called `{name}`");
            self.wrong("name", message, "give each its own name");
        }
        if before.iter().any(|other| other.path == config.path) {
            let message = format!("two webhooks are at `{}`", config.path);
            self.wrong("path", message, "give each its own path");
        }
        let paths = [("path", &config.path)];
        let others = config
            .upstream_path
            .iter()
            .map(|path| ("upstream-path", path));
        for (key, path) in paths.into_iter().chain(others) {
            if !is_plain(path) || (known.is_taken)(path) {
                let message = format!("`{path}` is not a path of the product's own");
                self.wrong(key, message, "write it like \"/webhooks/stripe\": from `/` on, without parameters and without `/` at the end");
            }
        }
        for limit in &config.limits {
            if !known.limits.contains(limit) {
                let message = format!("there is no limit `{limit}`");
                self.wrong("limits", message, format!("define [limits.{limit}]"));
            }
        }
        if let Some(pointer) = [&config.order_by, &config.id_at]
            .into_iter()
            .flatten()
            .find(|pointer| !pointer.starts_with('/'))
        {
            let key = if config.order_by.as_ref() == Some(pointer) {
                "order-by"
            } else {
                "id-at"
            };
            let message = format!("`{pointer}` is not a JSON Pointer");
            self.wrong(key, message, "write it like \"/data/object/id\"");
        }
        self.check_numbers();
    }

    fn check_numbers(&mut self) {
        let config = self.config;
        let spans = [
            ("tolerance", config.tolerance, Span::from_hours(1)),
            ("timeout", config.timeout, Span::from_minutes(5)),
            ("first-wait", config.first_wait, Span::from_days(1)),
            ("longest-wait", config.longest_wait, Span::from_days(1)),
        ];
        for (key, span, most) in spans {
            if span.is_zero() || span > most {
                let message = format!("`{span}` is not more than nothing and at most {most}");
                self.wrong(key, message, "take the key out for its default");
            }
        }
        // SECURITY: what is forgotten while its signature still counts could be delivered twice.
        let twice = Span::from_micros(config.tolerance.as_micros().saturating_mul(2));
        let least = twice.max(Span::from_hours(2));
        if config.retention < least {
            let message = format!("`{}` is shorter than {least}", config.retention);
            self.wrong("retention", message, "write \"30d\"");
        }
        for (key, number, most) in [
            ("attempts", config.attempts, 100),
            ("at-once", config.at_once, 64),
        ] {
            if !(1..=most).contains(&number) {
                let message = format!("`{number}` is not 1 to {most}");
                self.wrong(key, message, "take the key out for its default");
            }
        }
        if config.max_body == ByteSize::bytes(0) || config.max_body > ByteSize::mib(25) {
            self.wrong(
                "max-body",
                "is not more than nothing and at most 25MiB",
                "write \"1MiB\"",
            );
        }
    }

    fn verifier(&mut self, secrets: &[Secret<String>]) -> Option<Verifier> {
        let config = self.config;
        if config.secrets.is_empty() {
            let remedy = "write secrets = [{ env = \"STRIPE_WEBHOOK_SECRET\" }]";
            self.wrong(
                "secrets",
                "there is none: nothing could be verified",
                remedy,
            );
            return None;
        }
        let form = self.form().ok()?;
        let verifier = Verifier::new(config.scheme, form, secrets, config.tolerance);
        match verifier {
            // One that could not be read has been told of.
            Ok(verifier) => (secrets.len() == config.secrets.len()).then_some(verifier),
            Err((position, message)) => {
                let key = format!("secrets.{position}");
                self.wrong(&key, message, "take the secret that the sender shows");
                None
            }
        }
    }

    /// What only `hmac` has. Nothing on a mistake.
    fn form(&mut self) -> Result<Option<Form>, Mistake> {
        let config = self.config;
        if config.scheme != Scheme::Hmac {
            let given = [
                ("signature-header", config.signature_header.is_some()),
                ("signature-prefix", config.signature_prefix.is_some()),
                ("signature-encoding", config.signature_encoding.is_some()),
                ("timestamp-header", config.timestamp_header.is_some()),
                ("id-at", config.id_at.is_some()),
            ];
            for (key, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
                let message = "is for scheme = \"hmac\" alone: the others say it themselves";
                self.wrong(key, message, "take the key out");
            }
            return Ok(None);
        }
        let Some(header) = &config.signature_header else {
            let remedy = "write signature-header = \"X-Signature\"";
            self.wrong("signature-header", "scheme = \"hmac\" needs it", remedy);
            return Err(Mistake);
        };
        let header = self.header("signature-header", header)?;
        let timestamp = match &config.timestamp_header {
            None => None,
            Some(name) => Some(self.header("timestamp-header", name)?),
        };
        Ok(Some(Form {
            header,
            prefix: config.signature_prefix.clone().unwrap_or_default(),
            encoding: config.signature_encoding.unwrap_or_default(),
            timestamp,
        }))
    }

    fn header(&mut self, key: &str, name: &str) -> Result<HeaderName, Mistake> {
        let header = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes());
        if header.is_err() {
            let message = format!("`{name}` is not a header name");
            self.wrong(key, message, "use letters, digits and `-`");
        }
        header.map_err(|_| Mistake)
    }

    fn upstream(&mut self, upstreams: &[Arc<Upstream>]) -> Option<Arc<Upstream>> {
        self.upstream_of("upstream", upstreams)
    }

    fn upstream_of(&mut self, key: &str, upstreams: &[Arc<Upstream>]) -> Option<Arc<Upstream>> {
        let found = match (&self.config.upstream, upstreams) {
            (Some(name), _) => upstreams.iter().find(|upstream| upstream.name() == name),
            (None, [only]) => Some(only),
            (None, _) => upstreams
                .iter()
                .find(|upstream| upstream.name() == "default"),
        };
        // Without any upstream the file has a finding already.
        if found.is_none() && !upstreams.is_empty() {
            let names: Vec<&str> = upstreams.iter().map(|upstream| upstream.name()).collect();
            let message = "does not name an upstream";
            self.wrong(key, message, format!("take one of {}", names.join(", ")));
        }
        found.cloned()
    }
}

fn is_plain(text: &str) -> bool {
    text.len() > 1
        && path::canonicalize(text).is_ok_and(|path| path == *text)
        && !text.ends_with('/')
        && !text.contains(['{', '}', '?', '#'])
}
