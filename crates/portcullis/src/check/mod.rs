//! `portcullis check`: everything that `serve` would refuse, and everything that a hole in
//! production begins with. The same code runs before `serve` listens.

mod environment;
mod guardrails;
mod sarif;

use std::fmt;
use std::path::Path;

use portcullis_core::Secret;
use portcullis_core::finding::{Finding, Severity};
use portcullis_vault::keys::Keys;
use serde::Serialize;

use crate::config::Loaded;
use crate::config::document::Environment;
use crate::snapshot::Snapshot;

use guardrails::guardrails;

/// What `check` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How findings are written; instead of `--output`. `sarif` is what code hosts show beside the file.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
    Sarif,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
    pub(crate) file: String,
    pub(crate) errors: usize,
    pub(crate) warnings: usize,
    pub(crate) findings: Vec<Finding>,
}

/// Reads, compiles and judges a configuration; opens no socket and no database.
pub(crate) fn run(file: &Path, environment: Environment) -> anyhow::Result<Report> {
    let mut loaded = crate::serve::load(file, environment)?;
    judge(&mut loaded);
    let mut findings = loaded.findings;
    findings.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.line));
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    Ok(Report {
        file: file.display().to_string(),
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        findings,
    })
}

/// Everything that is judged before the gate starts, by `check`, by `serve` and on every reload.
/// Nothing comes back where there is a single error; `loaded` then holds all of them.
pub(crate) fn judge(loaded: &mut Loaded) -> Option<(Snapshot, Keys)> {
    let keys = keys(loaded);
    let snapshot = match &keys {
        Some(keys) => Snapshot::compile(loaded, keys),
        // What else is wrong is said as well: any key will do for that, and it guards nothing.
        None => stand_in().and_then(|keys| Snapshot::compile(loaded, &keys)),
    };
    files(loaded);
    guardrails(loaded);
    snapshot.zip(keys).filter(|_| !loaded.has_errors())
}

fn stand_in() -> Option<Keys> {
    let token = portcullis_vault::Token::generate().ok()?;
    Some(Keys::new(
        Secret::new(token.text().expose().to_owned()),
        Vec::new(),
    ))
}

/// The keys, or a finding: without a master secret there is nothing to start with.
pub(crate) fn keys(loaded: &mut Loaded) -> Option<Keys> {
    if loaded.config.secrets.master.is_none() {
        loaded.report(
            Finding::error("master-secret-missing", "secrets.master", "there is no master secret to derive keys from")
                .remedy("write `master = { env = \"SECRET_KEY\" }` under [secrets], and set the variable to the output of `openssl rand -hex 32`"),
        );
    }
    let master = loaded.secrets.master.clone()?;
    let previous: Vec<Secret> = loaded.secrets.previous.clone();
    Some(Keys::new(master, previous))
}

/// Certificate and key are opened as `serve` opens them.
fn files(loaded: &mut Loaded) {
    if let Err(findings) = portcullis_edge::Settings::compile(&loaded.listen(), 1) {
        for finding in findings {
            let known = loaded
                .findings
                .iter()
                .any(|known| known.key == finding.key && known.message == finding.message);
            if !known {
                loaded.report(finding);
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        match (self.errors, self.warnings) {
            (0, 0) => write!(f, "{}: nothing to mend", self.file),
            (0, warnings) => write!(f, "{}: the gate starts; {warnings} to look at", self.file),
            (errors, warnings) => write!(
                f,
                "{}: {errors} to mend before the gate starts, {warnings} to look at",
                self.file
            ),
        }
    }
}

impl Report {
    pub(crate) fn sarif(&self) -> serde_json::Value {
        sarif::document(&self.file, &self.findings)
    }
}
