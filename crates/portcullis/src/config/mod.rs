//! `portcullis.toml`: from text to a configuration in which every key is known and every secret
//! has been read. What is wrong is collected, not thrown: all of it is reported at once.

pub(crate) mod anchors;
mod at_start;
pub(crate) mod bearers;
pub(crate) mod document;
pub(crate) mod kek;
pub(crate) mod mail;
pub(crate) mod remote_secrets;
pub(crate) mod secrets;
mod sections;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portcullis_access::AccessConfig;
use portcullis_access::config::RouteConfig;
use portcullis_core::finding::{Finding, Severity};
use portcullis_core::roles::RoleConfig;
use portcullis_core::{Secret, Span};
use portcullis_guard as guard;
use serde::Deserialize;
use toml::Value;

use self::document::{Document, Environment, Lines, Sources};
use self::secrets::{Read as _, SecretRef};
use self::sections::{Sections, placed};
use crate::forward_auth;

pub(crate) use self::at_start::AT_START;
pub(crate) use portcullis_core::Mode;

/// The whole file.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub(crate) mode: Mode,
    pub(crate) secrets: SecretsConfig,
    pub(crate) listen: portcullis_edge::Config,
    pub(crate) admin: AdminConfig,
    pub(crate) state: portcullis_store::Config,
    pub(crate) upstreams: BTreeMap<String, portcullis_edge::upstream::Config>,
    pub(crate) assertion: AssertionConfig,
    pub(crate) hosts: guard::hosts::Config,
    pub(crate) csrf: guard::csrf::Config,
    pub(crate) cors: guard::cors::Config,
    pub(crate) headers: guard::headers::Config,
    pub(crate) limits: guard::rate_limit::Config,
    pub(crate) body: guard::body::Config,
    pub(crate) openapi: portcullis_access::openapi::requests::Config,
    pub(crate) uploads: guard::uploads::Config,
    pub(crate) sessions: portcullis_identity::sessions::Config,
    pub(crate) accounts: portcullis_identity::accounts::Config,
    pub(crate) passwords: portcullis_identity::password_policy::Config,
    pub(crate) api_keys: portcullis_identity::api_keys::Config,
    /// Nothing where nobody gets tokens.
    pub(crate) tokens: Option<portcullis_identity::tokens::Config>,
    pub(crate) issuers: BTreeMap<String, portcullis_identity::issuers::Config>,
    /// Nothing where nobody visits.
    pub(crate) visitors: Option<portcullis_identity::visitors::Config>,
    /// Nothing where the product seals nothing.
    pub(crate) vault: Option<portcullis_vault::fields::Config>,
    /// Nothing where neither programs nor clients read secrets here.
    pub(crate) secret_store: Option<portcullis_events::secret_store::Config>,
    /// Nothing where the gate keeps no files.
    pub(crate) upload_store: Option<portcullis_events::upload_store::Config>,
    pub(crate) kek: portcullis_vault::kek::Config,
    pub(crate) previous_keks: Vec<portcullis_vault::kek::Config>,
    pub(crate) recovery: portcullis_identity::recovery::Config,
    pub(crate) mfa: portcullis_identity::factors::Config,
    pub(crate) passkeys: portcullis_identity::factors::passkeys::Config,
    pub(crate) mail: mail::MailConfig,
    pub(crate) webhooks: Vec<portcullis_events::webhooks::Config>,
    pub(crate) auth_api: AuthApiConfig,
    pub(crate) forward_auth: forward_auth::Config,
    pub(crate) access: AccessConfig,
    pub(crate) log: portcullis_events::log::Config,
    pub(crate) redaction: portcullis_events::redact::Config,
    pub(crate) error_reports: crate::error_reports::Config,
    pub(crate) audit: portcullis_events::audit::Config,
    /// Nothing where nobody is told where to report a weakness.
    pub(crate) security_txt: Option<crate::security_txt::Config>,
    pub(crate) anomalies: portcullis_events::anomalies::Config,
    pub(crate) places: portcullis_events::places::Config,
    pub(crate) alerts: Vec<portcullis_events::alerts::Config>,
    /// Scans that have to be there.
    pub(crate) scans: Vec<portcullis_events::scans::Scan>,
    pub(crate) backup: crate::backup::Config,
    /// What is personal in the product.
    pub(crate) data: Vec<portcullis_identity::privacy::config::Data>,
    /// What people are asked to agree to.
    pub(crate) purposes: Vec<portcullis_identity::privacy::config::Purpose>,
    pub(crate) retention: portcullis_identity::privacy::config::Retention,
    pub(crate) environment: EnvironmentConfig,
}

/// `[secrets]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct SecretsConfig {
    /// The one secret that every key is derived from: `{ env = "SECRET_KEY" }` or
    /// `{ file = "path" }`, at least 32 characters (`openssl rand -hex 32`). Required. Whoever has
    /// it can forge what the gate signs.
    pub(crate) master: Option<SecretRef>,
    /// Masters that were used before: what they signed is still accepted. Default: none. Take them
    /// out when a day has passed.
    pub(crate) previous: Vec<SecretRef>,
    /// The secret under which another system hashed the API keys that were taken over. Default: none.
    /// Take it out when each of them has been used once.
    pub(crate) imported_api_keys: Option<SecretRef>,
}

/// `[admin]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct AdminConfig {
    /// Address of the listener for metrics and health. Default `"127.0.0.1:9090"`. It has no sign-in:
    /// keep it off the network, or behind your own.
    pub(crate) address: SocketAddr,
}

impl Default for AdminConfig {
    fn default() -> Self {
        AdminConfig {
            address: SocketAddr::from(([127, 0, 0, 1], 9090)),
        }
    }
}

/// `[assertion]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct AssertionConfig {
    /// The header that tells an upstream who is calling, as a signed token. Default
    /// `"X-Portcullis-Assertion"`; it always begins with `X-Portcullis-`.
    pub(crate) header: String,
    /// How long one is valid. Default `"60s"`, at most `"5m"`. Longer helps whoever reads one on the way.
    pub(crate) lifetime: Span,
    /// The `iss` that it bears. Default `"portcullis"`.
    pub(crate) issuer: String,
}

impl Default for AssertionConfig {
    fn default() -> Self {
        AssertionConfig {
            header: "X-Portcullis-Assertion".to_owned(),
            lifetime: Span::from_seconds(60),
            issuer: "portcullis".to_owned(),
        }
    }
}

/// `[auth-api]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct AuthApiConfig {
    /// Paths at which the auth API answers as well, such as `"/api/v1/auth"`, so that a front end
    /// that knows them need not change. Default: only `/.portcullis/auth`.
    pub(crate) mounts: Vec<String>,
}

/// `[environment]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct EnvironmentConfig {
    /// Variables that the product reads, so that `check` does not call them unused. Default: none.
    pub(crate) read_by_the_product: Vec<String>,
}

/// A configuration and everything that was learned while reading it.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) secrets: Secrets,
    pub(crate) findings: Vec<Finding>,
    /// Environment variables that the configuration asked for.
    pub(crate) asked: BTreeSet<String>,
    pub(crate) environment: Environment,
    /// Where the file lies; relative paths start here.
    pub(crate) folder: PathBuf,
    /// Each secret that was read, and from where.
    pub(crate) read: Vec<secrets::WasRead>,
    /// Keys that stand on their written default, with the variable that is not set.
    pub(crate) defaulted: Vec<(String, String)>,
    /// The tables [`AT_START`] as they were written, with the environment's overrides.
    at_start: toml::Table,
    /// The whole file as it was written, with the environment's overrides: for a gate of the same policy.
    pub(crate) written: toml::Table,
    lines: Lines,
    sources: Sources,
}

/// The secrets, read.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    pub(crate) master: Option<Secret>,
    pub(crate) previous: Vec<Secret>,
    pub(crate) imported_api_keys: Option<Secret>,
    pub(crate) database: Option<Secret>,
    pub(crate) redis: Option<Secret>,
    pub(crate) tokens: portcullis_identity::tokens::Secrets,
    pub(crate) issuers: BTreeMap<String, portcullis_identity::issuers::Secrets>,
    pub(crate) mail_password: Option<Secret>,
    /// Those of each `[[webhook]]`, in its order.
    pub(crate) webhooks: Vec<Vec<Secret>>,
    pub(crate) error_reports: Option<Secret>,
    /// Those of `[kek]`, then of each `[[previous-kek]]`.
    pub(crate) keks: Vec<portcullis_vault::kek::Secrets>,
    /// Those of `[audit.anchor-bucket]`.
    pub(crate) anchor_bucket: Option<portcullis_edge::aws::Credentials>,
    /// Those of `[secret-store.remote]`.
    pub(crate) remote: portcullis_events::secret_store::remote::Secrets,
    pub(crate) fernet_keys: Vec<Secret>,
    /// Those of each `[[alert]]`, in its order.
    pub(crate) alerts: Vec<portcullis_events::alerts::config::Secrets>,
}

impl Loaded {
    /// An environment variable that is not the product's alone.
    pub(crate) fn variable_of_the_gate(&self, name: &str) -> Option<String> {
        let of_the_product = &self.config.environment.read_by_the_product;
        let is_ours = !of_the_product.iter().any(|known| known == name);
        self.environment
            .get(name)
            .filter(|_| is_ours)
            .map(ToOwned::to_owned)
    }

    /// Adds a finding, with the line of its key and the variable that its value came from.
    pub(crate) fn report(&mut self, finding: Finding) {
        self.findings
            .push(placed(finding, &self.lines, &self.sources));
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }

    /// Keys that `new` gives another value and that this running gate reads at its start alone.
    pub(crate) fn waiting_in(&self, new: &Loaded) -> Vec<String> {
        let mut keys = Vec::new();
        for name in AT_START {
            differing(
                name,
                self.at_start.get(name),
                new.at_start.get(name),
                &mut keys,
            );
        }
        // A secret is a reference in the file: what it leads to can change by itself.
        let (old, new) = (&self.secrets, &new.secrets);
        for (key, differs) in [
            ("secrets.master", old.master != new.master),
            ("secrets.previous", old.previous != new.previous),
            (
                "secrets.imported-api-keys",
                old.imported_api_keys != new.imported_api_keys,
            ),
            ("state.database", old.database != new.database),
            ("state.redis", old.redis != new.redis),
            ("mail.password", old.mail_password != new.mail_password),
        ] {
            if differs && !keys.iter().any(|known| known == key) {
                keys.push(key.to_owned());
            }
        }
        keys
    }

    /// `[listen]`, with its files found from where the configuration lies.
    pub(crate) fn listen(&self) -> portcullis_edge::Config {
        let mut listen = self.config.listen.clone();
        if let Some(tls) = &mut listen.tls {
            tls.cert = self.path(&tls.cert);
            tls.key = self.path(&tls.key);
        }
        listen
    }

    pub(crate) fn path(&self, relative: &Path) -> PathBuf {
        self.folder.join(relative)
    }
}

/// The keys below `name` whose values differ.
fn differing(name: &str, old: Option<&Value>, new: Option<&Value>, keys: &mut Vec<String>) {
    let none = toml::Table::new();
    match (as_table(old, &none), as_table(new, &none)) {
        (Some(old), Some(new)) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in names {
                if old.get(key) != new.get(key) {
                    keys.push(format!("{name}.{key}"));
                }
            }
        }
        (Some(_) | None, Some(_) | None) => {
            if old != new {
                keys.push(name.to_owned());
            }
        }
    }
}

/// A table that is not there is an empty one.
fn as_table<'v>(value: Option<&'v Value>, none: &'v toml::Table) -> Option<&'v toml::Table> {
    match value {
        None => Some(none),
        Some(value) => value.as_table(),
    }
}

/// Reads a configuration file.
pub(crate) fn load(file: &Path, environment: Environment) -> std::io::Result<Loaded> {
    let text = std::fs::read_to_string(file)?;
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok(parse(&text, folder, environment))
}

/// Reads a configuration from its text.
pub(crate) fn parse(text: &str, folder: &Path, environment: Environment) -> Loaded {
    let mut findings = Vec::new();
    let document = Document::parse(text, &environment, &mut findings);
    let at_start = AT_START
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), document.table.get(*name)?.clone())))
        .collect();
    let written = document.table.clone();
    let mut sections = Sections {
        table: document.table,
        lines: &document.lines,
        sources: &document.sources,
        findings,
    };
    let routes: Vec<(usize, RouteConfig)> = sections.take_each("route");
    let config = Config {
        mode: sections.take("mode"),
        secrets: sections.take("secrets"),
        listen: sections.take("listen"),
        admin: sections.take("admin"),
        state: sections.take("state"),
        upstreams: sections.take("upstream"),
        assertion: sections.take("assertion"),
        hosts: sections.take("hosts"),
        csrf: sections.take("csrf"),
        cors: sections.take("cors"),
        headers: sections.take("headers"),
        limits: sections.take("limits"),
        body: sections.take("body"),
        openapi: sections.take("openapi"),
        uploads: sections.take("uploads"),
        sessions: sections.take("sessions"),
        accounts: sections.take("accounts"),
        passwords: sections.take("passwords"),
        api_keys: sections.take("api-keys"),
        tokens: sections.take("tokens"),
        issuers: sections.take("issuer"),
        visitors: sections.take("visitors"),
        vault: sections.take("vault"),
        secret_store: sections.take("secret-store"),
        upload_store: sections.take("upload-store"),
        kek: sections.take("kek"),
        previous_keks: only(sections.take_each("previous-kek")),
        recovery: sections.take("recovery"),
        mfa: sections.take("mfa"),
        passkeys: sections.take("passkeys"),
        mail: sections.take("mail"),
        webhooks: only(sections.take_each("webhook")),
        auth_api: sections.take("auth-api"),
        forward_auth: sections.take("forward-auth"),
        access: AccessConfig {
            roles: sections.take::<Option<BTreeMap<String, RoleConfig>>>("roles"),
            routes: located(routes, &document.lines),
        },
        log: sections.take("log"),
        redaction: sections.take("redaction"),
        error_reports: sections.take("error-reports"),
        audit: sections.take("audit"),
        security_txt: sections.take("security-txt"),
        anomalies: sections.take("anomalies"),
        places: sections.take("places"),
        alerts: only(sections.take_each("alert")),
        scans: only(sections.take_each("scan")),
        backup: sections.take("backup"),
        data: only(sections.take_each("data")),
        purposes: only(sections.take_each("purpose")),
        retention: sections.take("retention"),
        environment: sections.take("environment"),
    };
    sections.refuse_the_rest();
    let findings = sections.findings;
    let mut loaded = Loaded {
        config,
        secrets: Secrets::default(),
        findings,
        asked: document.asked,
        environment,
        folder: folder.to_owned(),
        read: Vec::new(),
        defaulted: document.defaulted,
        at_start,
        written,
        lines: document.lines,
        sources: document.sources,
    };
    read_by_name(&mut loaded);
    read_secrets(&mut loaded);
    loaded
}

/// Switches that products of this kind have for what is always on here, and what that is.
const ALWAYS_ON: [(&str, &str, &str); 3] = [
    ("ENABLE_AUDIT_LOGGING", "audit", "the audit trail is"),
    (
        "SECURITY_HEADERS_ENABLED",
        "headers",
        "security headers are",
    ),
    ("FEATURE_RATE_LIMIT", "limits", "limits are"),
];

/// Variables that are read under their own names, whatever the file says.
fn read_by_name(loaded: &mut Loaded) {
    if let Some(level) = loaded.environment.get("LOG_LEVEL").map(str::to_owned) {
        loaded.asked.insert("LOG_LEVEL".to_owned());
        match level.parse() {
            Ok(level) => loaded.config.log.level = level,
            Err(error) => loaded.report(
                Finding::error("log-level", "log.level", error.to_string())
                    .remedy("mend or unset `LOG_LEVEL`"),
            ),
        }
    }
    for (name, key, what) in ALWAYS_ON {
        let Some(text) = loaded.environment.get(name).map(str::to_owned) else {
            continue;
        };
        loaded.asked.insert(name.to_owned());
        if document::truth(&text) != Some(true) {
            loaded.report(
                Finding::warning(
                    "variable-without-effect",
                    key,
                    format!("`{name}` does not say `true`, and {what} always on here"),
                )
                .remedy(format!("take `{name}` out; [{key}] has what can be chosen")),
            );
        }
    }
}

/// Without their positions.
fn only<T>(items: Vec<(usize, T)>) -> Vec<T> {
    items.into_iter().map(|(_, item)| item).collect()
}

/// Routes that know their lines.
fn located(routes: Vec<(usize, RouteConfig)>, lines: &Lines) -> Vec<RouteConfig> {
    let locate = |(position, route)| RouteConfig {
        line: lines.of(&format!("route.{position}")),
        ..route
    };
    routes.into_iter().map(locate).collect()
}

fn read_secrets(loaded: &mut Loaded) {
    let master = loaded.config.secrets.master.clone();
    loaded.secrets.master =
        master.and_then(|reference| read_secret(loaded, "secrets.master", &reference));
    for (position, reference) in loaded.config.secrets.previous.clone().iter().enumerate() {
        let secret = read_secret(loaded, &format!("secrets.previous.{position}"), reference);
        loaded.secrets.previous.extend(secret);
    }
    if let Some(reference) = loaded.config.secrets.imported_api_keys.clone() {
        loaded.secrets.imported_api_keys =
            read_secret(loaded, "secrets.imported-api-keys", &reference);
    }
    let database = loaded.config.state.database.clone();
    loaded.secrets.database = read_location(loaded, "state.database", &database);
    let ca = loaded.config.state.redis_ca.take();
    loaded.config.state.redis_ca = ca.map(|file| loaded.path(&file));
    if let Some(redis) = loaded.config.state.redis.clone() {
        loaded.secrets.redis = read_location(loaded, "state.redis", &redis);
    }
    bearers::read_secrets(loaded);
    crate::webhooks::read_secrets(loaded);
    crate::alerts::read_secrets(loaded);
    kek::read_secrets(loaded);
    anchors::read_secrets(loaded);
    remote_secrets::read_secrets(loaded);
    crate::vault_api::import_fernet::read_secrets(loaded);
    if let Some(password) = loaded.config.mail.password.clone() {
        loaded.secrets.mail_password = read_secret(loaded, "mail.password", &password);
    }
    if let Some(dsn) = loaded.config.error_reports.dsn.clone() {
        loaded.secrets.error_reports = read_secret(loaded, "error-reports.dsn", &dsn);
    }
}

fn read_location(
    loaded: &mut Loaded,
    key: &str,
    location: &portcullis_store::Location,
) -> Option<Secret> {
    use portcullis_store::Location;
    match location {
        Location::Plain(url) => Some(Secret::new(in_folder(url, &loaded.folder))),
        Location::Env(env) => read_secret(loaded, key, &SecretRef::Env { env: env.clone() }),
        Location::File(file) => read_secret(loaded, key, &SecretRef::File { file: file.clone() }),
    }
}

/// A relative SQLite path starts where the configuration lies, wherever the gate was started.
fn in_folder(url: &str, folder: &Path) -> String {
    match url.strip_prefix("sqlite://") {
        Some(path) if Path::new(path).is_relative() && !path.starts_with(':') => {
            format!("sqlite://{}", folder.join(path).display())
        }
        Some(_) | None => url.to_owned(),
    }
}

pub(crate) fn read_secret(loaded: &mut Loaded, key: &str, reference: &SecretRef) -> Option<Secret> {
    loaded.asked.extend(reference.variable().map(str::to_owned));
    match reference.read(&loaded.environment, &loaded.folder) {
        Ok(secret) => {
            loaded.read.push(secrets::WasRead {
                key: key.to_owned(),
                reference: reference.clone(),
                secret: secret.clone(),
            });
            Some(secret)
        }
        Err(error) => {
            let remedy = format!("provide it, or change `{key}`");
            loaded.report(Finding::error("secret-missing", key, error.to_string()).remedy(remedy));
            None
        }
    }
}
