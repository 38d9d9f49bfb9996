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

pub(crate) use guardrails::guardrails;

/// What `check` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How findings are written. `sarif` is what code hosts show beside the file.
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
    if let Some(keys) = keys(&mut loaded) {
        Snapshot::compile(&mut loaded, &keys);
        files(&mut loaded);
    }
    guardrails(&mut loaded);
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
