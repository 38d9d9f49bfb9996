//! `portcullis check`: everything that `serve` would refuse, and everything that a hole in
//! production begins with. The same code runs before `serve` listens.

mod beside;
mod environment;
mod guardrails;
mod in_git;
mod sarif;

use std::fmt;
use std::path::{Path, PathBuf};

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
    /// The configuration of another environment, such as that of staging: a secret that both have is an
    /// error. May be given several times.
    #[arg(long, value_name = "FILE")]
    pub(crate) beside: Vec<PathBuf>,
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
pub(crate) fn run(
    file: &Path,
    others: &[PathBuf],
    environment: &Environment,
) -> anyhow::Result<Report> {
    let mut loaded = crate::serve::load(file, environment.clone())?;
    secret_files(&mut loaded);
    judge(&mut loaded);
    for other in others {
        beside::check(&mut loaded, other, environment.clone())?;
    }
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
    crate::backup::check(loaded);
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

/// Files of the store of secrets have to be right at the start. A reload does not look: the last good
/// values are served then.
pub(crate) fn secret_files(loaded: &mut Loaded) {
    let store = loaded.config.secret_store.as_ref();
    let Some(folder) = store.and_then(|store| store.files.as_deref()) else {
        return;
    };
    let folder = loaded.path(folder);
    if let Some(fault) = portcullis_events::secret_store::files::fault_of(&folder) {
        loaded.report(
            Finding::error("secret-files", "secret-store.files", fault.to_string())
                .remedy("mend the file, or take `files` out"),
        );
    }
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
