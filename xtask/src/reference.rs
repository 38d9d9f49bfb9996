//! `cargo xtask docs`: the configuration reference, from the doc comments of the configuration structs, so that
//! the two cannot differ. `tidy` finds a reference that is stale and a key without a comment.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{say, workspace};

/// The page that is written.
pub(crate) const PAGE: &str = "docs/reference/config.md";

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
        "roles.NAME",
        "A role. The first one written replaces the built-in ones.",
        "crates/core/src/roles.rs",
        "RoleConfig",
    ),
    section(
        "limits.NAME",
        "A rate limit. `default` and `auth` are built in and can be written over.",
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
        "accounts",
        "Who may have an account.",
        "crates/identity/src/accounts.rs",
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
        "audit",
        "The audit trail.",
        "crates/events/src/audit/trail.rs",
        "Config",
    ),
    section(
        "log",
        "Messages and the access log.",
        "crates/events/src/log.rs",
        "Config",
    ),
    section(
        "environment",
        "For the checks of the environment.",
        BINARY,
        "EnvironmentConfig",
    ),
];

/// Write what is generated: the configuration reference.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write nothing; end with 1 if the page is stale.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let root = workspace::root();
    let page = render(|path| fs::read_to_string(root.join(path)).ok())?;
    let path = root.join(PAGE);
    if fs::read_to_string(&path).is_ok_and(|old| old == page) {
        say::line(format!("{PAGE} is up to date"));
        return Ok(());
    }
    if options.check {
        bail!("{PAGE} is stale: run `cargo xtask docs`");
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, page).with_context(|| format!("cannot write {PAGE}"))?;
    say::line(format!("{PAGE} written"));
    Ok(())
}

/// The page, from the sources that `read` hands out.
pub(crate) fn render(read: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut page = INTRO.to_owned();
    for section in SECTIONS {
        let source = read(section.file).with_context(|| format!("{} is not here", section.file))?;
        let keys = keys(&source, section.name)
            .with_context(|| format!("{} has no `pub struct {}`", section.file, section.name))?;
        let _ = write!(page, "\n## `[{}]`\n\n{}\n", section.table, section.about);
        for Key { name, about } in keys {
            if about.is_empty() {
                bail!(
                    "{}: `{name}` of `{}` has no doc comment",
                    section.file,
                    section.name
                );
            }
            let _ = write!(page, "\n**`{name}`**: {about}\n");
        }
    }
    Ok(page)
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    name: String,
    about: String,
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
        } else if let Some(field) = field(line) {
            if !skipped {
                let name = renamed.unwrap_or_else(|| field.replace('_', "-"));
                keys.push(Key {
                    name,
                    about: about.join(" "),
                });
            }
            (about, renamed, skipped) = (Vec::new(), None, false);
        }
    }
    found.then_some(keys)
}

/// The name in `pub name: Type,` and `pub(crate) name: Type,`.
fn field(line: &str) -> Option<&str> {
    let rest = line
        .strip_prefix("pub(crate) ")
        .or_else(|| line.strip_prefix("pub "))?;
    rest.split_once(": ").map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "struct Config {\n    /// No.\n    pub no: u8,\n}\n\npub struct Config {\n    /// How long. Default\n    /// `\"1s\"`.\n    pub idle_timeout: Span,\n    #[serde(skip)]\n    pub line: usize,\n    /// Routes.\n    #[serde(rename = \"route\", default)]\n    pub(crate) routes: Vec<Route>,\n}\n\npub struct Other {\n    pub more: u8,\n}\n";

    #[test]
    fn fields_become_keys_with_their_comments() {
        let key = |name: &str, about: &str| Key {
            name: name.to_owned(),
            about: about.to_owned(),
        };
        let expected = vec![
            key("idle-timeout", "How long. Default `\"1s\"`."),
            key("route", "Routes."),
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
