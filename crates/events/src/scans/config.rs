//! `[[scan]]`: which scans are wanted, and how often.

use portcullis_core::Span;
use portcullis_core::finding::Finding;
use serde::{Deserialize, Serialize};

use super::FindingLevel;

/// How long a finding can be accepted at a time.
pub(super) const LONGEST_ACCEPTANCE: Span = Span::from_days(366);
const LONGEST_EVERY: Span = Span::from_days(366);
const SHORTEST_EVERY: Span = Span::from_hours(1);

/// What a scan looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Covers {
    /// The product's own code.
    Code,
    /// What the product is built with: advisories, versions.
    Dependencies,
    /// Container images.
    Image,
    /// Secrets in code.
    Secrets,
    /// People who tried to get in.
    PenetrationTest,
    /// `portcullis prove`.
    Proof,
}

impl Covers {
    pub const fn as_str(self) -> &'static str {
        match self {
            Covers::Code => "code",
            Covers::Dependencies => "dependencies",
            Covers::Image => "image",
            Covers::Secrets => "secrets",
            Covers::PenetrationTest => "penetration-test",
            Covers::Proof => "proof",
        }
    }
}

/// One `[[scan]]`: a scan that has to be there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scan {
    /// Its name, such as `"trivy"`: small letters, digits and `-`. Required.
    pub name: String,
    /// `"code"`, `"dependencies"`, `"image"`, `"secrets"`, `"penetration-test"` or `"proof"`. Required.
    /// `"proof"` is `portcullis prove`, which hands its own report in.
    pub covers: Covers,
    /// The only tool whose reports count, as SARIF names it (`runs[].tool.driver.name`), such as `"Trivy"`. Default
    /// `""`: any.
    #[serde(default)]
    pub tool: String,
    /// How old the latest report may be, such as `"7d"`: `"1h"` to `"366d"`. Default `"7d"`. An older one is alerted,
    /// and `scan check` refuses.
    #[serde(default = "default_every")]
    pub every: Span,
    /// From which level on a finding is one too many: `"error"`, `"warning"` or `"note"`. Default `"error"`.
    #[serde(default = "default_fail_on")]
    pub fail_on: FindingLevel,
}

const fn default_every() -> Span {
    Span::from_days(7)
}

const fn default_fail_on() -> FindingLevel {
    FindingLevel::Error
}

/// What is wrong with the list.
pub fn findings(scans: &[Scan]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, scan) in scans.iter().enumerate() {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=64).contains(&scan.name.len()) || !scan.name.bytes().all(is_name) {
            findings.push(
                Finding::error(
                    "scan-name",
                    "scan.name",
                    format!("`{}` is no name of a scan", scan.name),
                )
                .remedy("write 1 to 64 small letters, digits and `-`"),
            );
        }
        if scans
            .iter()
            .take(place)
            .any(|other| other.name == scan.name)
        {
            findings.push(
                Finding::error(
                    "scan-twice",
                    "scan.name",
                    format!("the scan `{}` is wanted twice", scan.name),
                )
                .remedy("take one of them out"),
            );
        }
        if scan.every < SHORTEST_EVERY || scan.every > LONGEST_EVERY {
            findings.push(
                Finding::error(
                    "scan-every",
                    "scan.every",
                    format!(
                        "`{}` every {}: it must be 1h to 366d",
                        scan.name, scan.every
                    ),
                )
                .remedy("write a time such as \"7d\""),
            );
        }
    }
    findings
}
