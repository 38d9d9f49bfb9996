//! What was found, as a document: for people, for programs, for auditors.

mod asvs;
pub(crate) mod markdown;
mod oscal;
mod sarif;

use std::fmt;

use portcullis_core::{Clock as _, time::SystemClock};
use portcullis_vault::KeyRing;
use serde::Serialize;
use serde_json::json;

use super::probe::{Finding, Verdict};
use super::requirement::{Group, Id};
use super::wire::Target;
use crate::cli::output;
use crate::config::Loaded;

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// The product's own SECURITY.md, signed.
    Md,
    /// OWASP ASVS 5.0 by the numbers of its requirements, for an audit: what this run shows of each, and whose the
    /// others are. Signed.
    Asvs,
    /// For programs: one JSON document.
    Json,
    /// What code hosts show (SARIF 2.1.0).
    Sarif,
    /// Assessment results for auditors' programs (NIST OSCAL).
    Oscal,
}

/// A whole run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
    /// The gate that was asked.
    pub(crate) gate: String,
    pub(crate) mode: String,
    pub(crate) program: String,
    pub(crate) at: String,
    pub(crate) held: usize,
    pub(crate) failed: usize,
    pub(crate) not_proven: usize,
    pub(crate) not_configured: usize,
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn about(loaded: &Loaded, target: &Target) -> Self {
        Report {
            mode: format!("{:?}", loaded.config.mode).to_lowercase(),
            ..Report::about_origin(target)
        }
    }

    /// In SARIF 2.1.0.
    pub(crate) fn sarif(&self) -> serde_json::Value {
        sarif::document(self)
    }

    /// Of a product that is no gate.
    pub(crate) fn outside(target: &Target) -> Self {
        Report {
            mode: "unknown".to_owned(),
            ..Report::about_origin(target)
        }
    }

    fn about_origin(target: &Target) -> Self {
        Report {
            gate: target.origin.clone(),
            mode: String::new(),
            program: format!("portcullis {}", env!("CARGO_PKG_VERSION")),
            at: SystemClock.now().to_string(),
            held: 0,
            failed: 0,
            not_proven: 0,
            not_configured: 0,
            findings: Vec::new(),
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, findings: Vec<Finding>) -> Self {
        let count = |verdict| {
            findings
                .iter()
                .filter(|found| found.verdict == verdict)
                .count()
        };
        self.held = count(Verdict::Held);
        self.failed = count(Verdict::Failed);
        self.not_proven = count(Verdict::NotProven);
        self.not_configured = count(Verdict::NotConfigured);
        self.findings = findings;
        self
    }

    /// Whether nothing got through, and nothing is unproven that nobody accepted.
    pub(crate) fn is_sound(&self, accepted: &[Id]) -> bool {
        self.findings.iter().all(|found| match found.verdict {
            Verdict::Held | Verdict::NotConfigured => true,
            Verdict::NotProven => accepted.contains(&found.id),
            Verdict::Failed => false,
        })
    }

    pub(crate) fn written(&self, format: Format, ring: &KeyRing) -> anyhow::Result<String> {
        match format {
            Format::Md | Format::Asvs => markdown::signed(&self.unsigned(format)?, self, ring),
            Format::Text | Format::Json | Format::Sarif | Format::Oscal => self.unsigned(format),
        }
    }

    /// Where there is nobody who could sign.
    pub(crate) fn unsigned(&self, format: Format) -> anyhow::Result<String> {
        match format {
            Format::Text => Ok(self.to_string()),
            Format::Md => Ok(markdown::document(self)),
            Format::Asvs => Ok(asvs::document(self)),
            Format::Json => Ok(serde_json::to_string_pretty(self)?),
            Format::Sarif => Ok(serde_json::to_string_pretty(&sarif::document(self))?),
            Format::Oscal => Ok(serde_json::to_string_pretty(&oscal::document(self))?),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in Group::ALL {
            let of_it = self
                .findings
                .iter()
                .filter(|found| found.id.group() == group);
            for (position, found) in of_it.enumerate() {
                if position == 0 {
                    writeln!(f, "{}", group.title())?;
                }
                writeln!(f, "  {}", found.to_string().replace('\n', "\n  "))?;
            }
        }
        let named = |verdict| {
            let ids = self
                .findings
                .iter()
                .filter(|found| found.verdict == verdict);
            ids.map(|found| found.id.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        };
        writeln!(
            f,
            "\n{} in {} mode, asked at {}",
            self.gate, self.mode, self.at
        )?;
        writeln!(f, "  held            {:>3}", self.held)?;
        writeln!(
            f,
            "  FAILED          {:>3}  {}",
            self.failed,
            named(Verdict::Failed)
        )?;
        writeln!(
            f,
            "  NOT PROVEN      {:>3}  {}",
            self.not_proven,
            named(Verdict::NotProven)
        )?;
        write!(
            f,
            "  not configured  {:>3}  {}",
            self.not_configured,
            named(Verdict::NotConfigured)
        )
    }
}

/// The requirements, without any probe.
pub(crate) fn list(format: Format) {
    match format {
        Format::Text => {
            for id in Id::ALL {
                output::line(format_args!("{id:<4} {}", id.sentence()));
            }
        }
        Format::Md | Format::Asvs | Format::Json | Format::Sarif | Format::Oscal => {
            let of = |id: &Id| json!({ "id": id.as_str(), "group": id.group().title(), "sentence": id.sentence(), "shapes": id.shapes().iter().map(|shape| shape.as_str()).collect::<Vec<_>>(), "asvs": id.asvs() });
            output::json(&Id::ALL.iter().map(of).collect::<Vec<_>>());
        }
    }
}
