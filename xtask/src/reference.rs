//! `cargo xtask docs`: the configuration reference, the annotated sample and the JSON Schema, from the doc comments of
//! the configuration structs, so that they cannot differ. `tidy` finds one that is stale and a key without a comment.

mod sample;
mod schema;

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{say, workspace};

const PAGE: &str = "docs/reference/config.md";
const SAMPLE: &str = "examples/portcullis.full.toml";
const SCHEMA: &str = "docs/reference/portcullis.schema.json";

const INTRO: &str = include_str!("reference/intro.md");

/// A table of the file, and the struct that reads it.
struct Section {
    table: &'static str,
    about: &'static str,
    file: &'static str,
    name: &'static str,
}

const fn section(
    table: &'static str,
    about: &'static str,
    file: &'static str,
    name: &'static str,
) -> Section {
    Section {
        table,
        about,
        file,
        name,
    }
}

const BINARY: &str = "crates/portcullis/src/config/mod.rs";

/// In the order in which one meets them.
const SECTIONS: &[Section] = &[
    section(
        "secrets",
        "The one secret, by reference.",
        BINARY,
        "SecretsConfig",
    ),
    section(
        "listen",
        "Where the gate listens, how long it waits, how much it reads.",
        "crates/edge/src/config.rs",
        "Config",
    ),
    section(
        "listen.tls",
        "Certificate and key.",
        "crates/edge/src/config.rs",
        "TlsConfig",
    ),
    section(
        "admin",
        "The listener for operators.",
        BINARY,
        "AdminConfig",
    ),
    section(
        "upstream.NAME",
        "A product behind the gate. `NAME` is yours; it is the audience of the assertion.",
        "crates/edge/src/upstream.rs",
        "Config",
    ),
    section(
        "assertion",
        "How the product learns who is calling.",
        BINARY,
        "AssertionConfig",
    ),
    section(
        "state",
        "Where things are kept.",
        "crates/store/src/config.rs",
        "Config",
    ),
    section(
        "hosts",
        "Which names are served.",
        "crates/guard/src/hosts.rs",
        "Config",
    ),
    section(
        "[route]",
        "Who may call what. A request that matches no route is refused.",
        "crates/access/src/config.rs",
        "RouteConfig",
    ),
    section(
        "route.upload",
        "What a route takes whose bodies are files. It stands below its `[[route]]`; `upload = {}` there is the same with the usual values.",
        "crates/core/src/upload.rs",
        "UploadConfig",
    ),
    section(
        "uploads",
        "How files are screened that come in on routes with `upload`.",
        "crates/guard/src/uploads.rs",
        "Config",
    ),
    section(
        "roles.NAME",
        "A role. The first one written replaces the built-in ones.",
        "crates/core/src/roles.rs",
        "RoleConfig",
    ),
    section(
        "limits.NAME",
        "A rate limit. Built in, and to be written over: `default`, 600 a minute per address for routes that name no limits; `auth`, 5 a minute per address for sign-in; and `uploads`, 10 an hour per user for routes with `upload`.",
        "crates/guard/src/rate_limit.rs",
        "LimitConfig",
    ),
    section(
        "sessions",
        "How long somebody stays signed in.",
        "crates/identity/src/sessions/config.rs",
        "Config",
    ),
    section(
        "api-keys",
        "Keys of programs.",
        "crates/identity/src/api_keys.rs",
        "Config",
    ),
    section(
        "accounts",
        "Who may have an account.",
        "crates/identity/src/accounts.rs",
        "Config",
    ),
    section(
        "mail",
        "How letters leave: links to a new password, and what an account's owner should know.",
        "crates/portcullis/src/config/mail.rs",
        "MailConfig",
    ),
    section(
        "mfa",
        "Second factors: who must have one.",
        "crates/identity/src/factors.rs",
        "Config",
    ),
    section(
        "passkeys",
        "Passkeys: for which domain they are.",
        "crates/identity/src/factors/passkeys.rs",
        "Config",
    ),
    section(
        "recovery",
        "Forgotten passwords and unproven addresses.",
        "crates/identity/src/recovery.rs",
        "Config",
    ),
    section(
        "auth-api",
        "Where the auth API answers.",
        BINARY,
        "AuthApiConfig",
    ),
    section(
        "forward-auth",
        "The same decision for a proxy that asks beside the path.",
        "crates/portcullis/src/forward_auth.rs",
        "Config",
    ),
    section(
        "passwords",
        "What a new password must be, and who checks it.",
        "crates/identity/src/password_policy.rs",
        "Config",
    ),
    section(
        "tokens",
        "Tokens of the gate's own, for clients that are no browsers. Without this table nobody gets any.",
        "crates/identity/src/tokens/config.rs",
        "Config",
    ),
    section(
        "issuer.NAME",
        "An issuer whose tokens count here. `NAME` is yours.",
        "crates/identity/src/issuers/config.rs",
        "Config",
    ),
    section(
        "issuer.NAME.login",
        "People sign in at the issuer, by authorization code and PKCE. Needs `profile = \"oidc\"` and `accounts.origin`.",
        "crates/identity/src/openid_login/config.rs",
        "Config",
    ),
    section(
        "visitors",
        "People without an account, in a widget that other sites embed. Without this table there are none.",
        "crates/identity/src/visitors.rs",
        "Config",
    ),
    section(
        "[webhook]",
        "What other services tell the product: verified, kept, and delivered until it is taken.",
        "crates/events/src/webhooks/config.rs",
        "Config",
    ),
    section(
        "anomalies",
        "What is looked for in the audit trail. docs/monitoring.md says how.",
        "crates/events/src/anomalies/config.rs",
        "Config",
    ),
    section(
        "anomalies.login-burst",
        "Many refused sign-ins of one account, or from one address.",
        "crates/events/src/anomalies/login_burst.rs",
        "Config",
    ),
    section(
        "anomalies.credential-stuffing",
        "Refused sign-ins of many accounts.",
        "crates/events/src/anomalies/credential_stuffing.rs",
        "Config",
    ),
    section(
        "anomalies.enumeration",
        "Somebody tries out which accounts there are, or which paths.",
        "crates/events/src/anomalies/enumeration.rs",
        "Config",
    ),
    section(
        "anomalies.new-device",
        "A sign-in from a device that the account was not used on before.",
        "crates/events/src/anomalies/new_device.rs",
        "Config",
    ),
    section(
        "anomalies.key-networks",
        "One API key used from many networks.",
        "crates/events/src/anomalies/key_networks.rs",
        "Config",
    ),
    section(
        "anomalies.limit-attack",
        "Somebody goes on and on over a limit.",
        "crates/events/src/anomalies/limit_attack.rs",
        "Config",
    ),
    section(
        "anomalies.denial-surge",
        "Suddenly many more refusals than usual.",
        "crates/events/src/anomalies/denial_surge.rs",
        "Config",
    ),
    section(
        "anomalies.error-surge",
        "Suddenly many more answers of 5xx than usual.",
        "crates/events/src/anomalies/error_surge.rs",
        "Config",
    ),
    section(
        "anomalies.stolen-credential",
        "A refresh token that came twice, a session in another client, a copied passkey. One is enough.",
        "crates/events/src/anomalies/stolen_credential.rs",
        "Config",
    ),
    section(
        "anomalies.impossible-travel",
        "One account signs in from two places that nobody gets between in that time. Wants `[places]`.",
        "crates/events/src/anomalies/impossible_travel.rs",
        "Config",
    ),
    section(
        "places",
        "Where in the world an address is, from a database of your own; for `impossible-travel` alone.",
        "crates/events/src/places.rs",
        "Config",
    ),
    section(
        "[alert]",
        "Who is told of anomalies and of what somebody has to look at.",
        "crates/events/src/alerts/config.rs",
        "Config",
    ),
    section(
        "vault",
        "The product seals its fields here. Without this table there is no field API.",
        "crates/vault/src/fields.rs",
        "Config",
    ),
    section(
        "secret-store",
        "Named secrets of the product and its tenants. Without this table nobody reads any here. The gate's own are `[secrets]`.",
        "crates/events/src/secret_store/config.rs",
        "Config",
    ),
    section(
        "secret-store.remote",
        "The store of somebody else that secrets are carried to. Without this table they are in the gate's own vault alone.",
        "crates/events/src/secret_store/remote/config.rs",
        "Config",
    ),
    section(
        "upload-store",
        "Where the gate keeps files of routes with `upload.store`, sealed, and what is in quarantine. Without this table it keeps none.",
        "crates/events/src/upload_store/config.rs",
        "Config",
    ),
    section(
        "kek",
        "The key that all data keys of the vault are wrapped under.",
        "crates/vault/src/kek/config.rs",
        "Config",
    ),
    section(
        "[previous-kek]",
        "A key that wrapped data keys before `[kek]` did, as long as some are left (`portcullis vault status`). The gate wraps them anew by itself. One that is derived from `secrets.master` need not be named.",
        "crates/vault/src/kek/config.rs",
        "Config",
    ),
    section(
        "csrf",
        "Requests that another site could have caused.",
        "crates/guard/src/csrf.rs",
        "Config",
    ),
    section(
        "cors",
        "Which foreign origins may call the product.",
        "crates/guard/src/cors.rs",
        "Config",
    ),
    section(
        "headers",
        "Security headers on every answer.",
        "crates/guard/src/headers/config.rs",
        "Config",
    ),
    section(
        "headers.hsts",
        "`Strict-Transport-Security`.",
        "crates/guard/src/headers/config.rs",
        "Hsts",
    ),
    section(
        "body",
        "How much a request may bring.",
        "crates/guard/src/body.rs",
        "Config",
    ),
    section(
        "openapi",
        "The product's own description of its requests, for routes with `schema = true`.",
        "crates/access/src/openapi/requests/config.rs",
        "Config",
    ),
    section(
        "audit",
        "The audit trail.",
        "crates/events/src/audit/trail.rs",
        "Config",
    ),
    section(
        "audit.anchor-bucket",
        "A bucket of S3, or of a store that speaks its protocol, that signed checkpoints of the audit log are put into.",
        "crates/events/src/audit/anchor/bucket.rs",
        "Placed",
    ),
    section(
        "[audit.witness]",
        "One who signs checkpoints of the audit log beside the gate, and only where the log goes on (c2sp.org/tlog-witness). docs/protections/audit.md says how.",
        "crates/events/src/audit/witness.rs",
        "Config",
    ),
    section(
        "log",
        "Messages and the access log.",
        "crates/events/src/log.rs",
        "Config",
    ),
    section(
        "redaction",
        "What is kept out of the log, the audit trail and error reports, beside what is known already.",
        "crates/events/src/redact.rs",
        "Config",
    ),
    section(
        "[data]",
        "What is personal, or otherwise worth a class, in the product: the data map. `portcullis privacy map` prints it with what the gate itself keeps.",
        "crates/identity/src/privacy/config.rs",
        "Data",
    ),
    section(
        "[purpose]",
        "What people are asked to agree to: the purposes of the consent ledger.",
        "crates/identity/src/privacy/config.rs",
        "Purpose",
    ),
    section(
        "[scan]",
        "A scan that has to be there: which, how often, and from which level on a finding stops a release.",
        "crates/events/src/scans/config.rs",
        "Scan",
    ),
    section(
        "retention",
        "How long the gate keeps rows of things that are over.",
        "crates/identity/src/privacy/config.rs",
        "Retention",
    ),
    section(
        "error-reports",
        "Where panics and the causes of 5xx are reported.",
        "crates/portcullis/src/error_reports.rs",
        "Config",
    ),
    section(
        "security-txt",
        "Where a weakness of the product is reported: `/.well-known/security.txt`. Without this table there is none.",
        "crates/portcullis/src/security_txt.rs",
        "Config",
    ),
    section(
        "backup",
        "For `portcullis backup`. The gate itself does not use it.",
        "crates/portcullis/src/backup/mod.rs",
        "Config",
    ),
    section(
        "environment",
        "For the checks of the environment.",
        BINARY,
        "EnvironmentConfig",
    ),
];

/// Write what is generated: the configuration reference and the failure table.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write nothing; end with 1 if the page is stale.
    #[arg(long)]
    pub(crate) check: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let root = workspace::root();
    let mut stale = Vec::new();
    for (name, content) in render(|path| fs::read_to_string(root.join(path)).ok())? {
        let path = root.join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == content) {
            say::line(format!("{name} is up to date"));
        } else if options.check {
            stale.push(name);
        } else {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&path, content).with_context(|| format!("cannot write {name}"))?;
            say::line(format!("{name} written"));
        }
    }
    if stale.is_empty() {
        Ok(())
    } else {
        bail!("stale: {}; run `cargo xtask docs`", stale.join(", "));
    }
}

/// Each file that is generated, from the sources that `read` hands out.
pub(crate) fn render(read: impl Fn(&str) -> Option<String>) -> Result<[(&'static str, String); 3]> {
    let mut tables = Vec::new();
    for section in SECTIONS {
        let source = read(section.file).with_context(|| format!("{} is not here", section.file))?;
        let keys = keys(&source, section.name)
            .with_context(|| format!("{} has no `pub struct {}`", section.file, section.name))?;
        if let Some(key) = keys.iter().find(|key| key.about.is_empty()) {
            bail!(
                "{}: `{}` of `{}` has no doc comment",
                section.file,
                key.name,
                section.name
            );
        }
        tables.push((section, keys));
    }
    Ok([
        (PAGE, page(&tables)),
        (SAMPLE, sample::render(&tables)?),
        (SCHEMA, schema::render(&tables)?),
    ])
}

type Tables = [(&'static Section, Vec<Key>)];

fn page(tables: &Tables) -> String {
    let mut page = INTRO.to_owned();
    for (section, keys) in tables {
        let _ = write!(page, "\n## `[{}]`\n\n{}\n", section.table, section.about);
        for Key { name, about, .. } in keys {
            let _ = write!(page, "\n**`{name}`**: {about}\n");
        }
    }
    page
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    name: String,
    about: String,
    /// The type of the field, as it is written.
    kind: String,
}

/// The fields of a struct with their doc comments, as keys of the file. Nothing when the struct is not there.
fn keys(source: &str, name: &str) -> Option<Vec<Key>> {
    let opening = format!("struct {name} {{");
    let body = source
        .lines()
        .skip_while(|line| !(line.starts_with("pub") && line.ends_with(&opening)));
    let mut keys = Vec::new();
    let mut about: Vec<&str> = Vec::new();
    let mut renamed = None;
    let mut skipped = false;
    let mut found = false;
    for line in body.skip(1).take_while(|line| *line != "}").map(str::trim) {
        found = true;
        if let Some(text) = line.strip_prefix("///") {
            about.push(text.trim());
        } else if line.starts_with("#[serde(") {
            skipped |= line.contains("(skip)");
            renamed = line
                .split_once("rename = \"")
                .and_then(|(_, rest)| rest.split_once('"'))
                .map(|(name, _)| name.to_owned())
                .or(renamed);
        } else if let Some((field, kind)) = field(line) {
            if !skipped {
                let name = renamed.unwrap_or_else(|| field.replace('_', "-"));
                keys.push(Key {
                    name,
                    about: about.join(" "),
                    kind: kind.trim_end_matches(',').to_owned(),
                });
            }
            (about, renamed, skipped) = (Vec::new(), None, false);
        }
    }
    found.then_some(keys)
}

/// Name and type in `pub name: Type,` and `pub(crate) name: Type,`.
fn field(line: &str) -> Option<(&str, &str)> {
    let rest = line
        .strip_prefix("pub(crate) ")
        .or_else(|| line.strip_prefix("pub "))?;
    rest.split_once(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "struct Config {\n    /// No.\n    pub no: u8,\n}\n\npub struct Config {\n    /// How long. Default\n    /// `\"1s\"`.\n    pub idle_timeout: Span,\n    #[serde(skip)]\n    pub line: usize,\n    /// Routes.\n    #[serde(rename = \"route\", default)]\n    pub(crate) routes: Vec<Route>,\n}\n\npub struct Other {\n    pub more: u8,\n}\n";

    #[test]
    fn fields_become_keys_with_their_comments() {
        let key = |name: &str, about: &str, kind: &str| Key {
            name: name.to_owned(),
            about: about.to_owned(),
            kind: kind.to_owned(),
        };
        let expected = vec![
            key("idle-timeout", "How long. Default `\"1s\"`.", "Span"),
            key("route", "Routes.", "Vec<Route>"),
        ];
        assert_eq!(keys(SOURCE, "Config"), Some(expected));
        assert_eq!(keys(SOURCE, "Missing"), None);
    }

    #[test]
    fn a_key_without_a_comment_is_refused() {
        let sources = |path: &str| {
            let text: Vec<String> = SECTIONS
                .iter()
                .filter(|section| section.file == path)
                .map(|section| format!("pub struct {} {{\n    pub key: u8,\n}}\n", section.name))
                .collect();
            Some(text.concat())
        };
        assert!(render(sources).unwrap_err().to_string().contains("`key`"));
    }
}
