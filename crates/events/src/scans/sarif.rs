//! The part of SARIF 2.1.0 (OASIS) that is read: who scanned, and what was found, by rule and level.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{FindingLevel, Found};

/// Longest name of a rule, tool or version that is kept, in bytes.
pub(super) const LONGEST_RULE: usize = 200;
/// Most rules of one level that are kept by name; the rest is counted as one.
const MOST_RULES: usize = 500;
/// What is not kept by name. Nobody can accept it.
pub(super) const REST: &str = "*";

#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("its version is `{0}`, not `2.1.0`")]
    Version(String),
    #[error("it has no run")]
    NoRun,
    #[error("its runs are of several tools: hand each in by itself")]
    SeveralTools,
    #[error("a run says that it did not succeed (`invocations[].executionSuccessful`)")]
    DidNotRun,
}

/// What is kept of a report.
pub(super) struct Summary {
    pub(super) tool: String,
    pub(super) version: String,
    pub(super) found: Vec<Found>,
    pub(super) passed: u64,
    pub(super) open: u64,
}

#[derive(Deserialize)]
struct Document {
    version: String,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    #[serde(default)]
    results: Vec<Outcome>,
    #[serde(default)]
    invocations: Vec<Invocation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
}

#[derive(Deserialize)]
struct Tool {
    driver: Driver,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: String,
    version: Option<String>,
    semantic_version: Option<String>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    default_configuration: Option<Defaults>,
}

#[derive(Deserialize)]
struct Defaults {
    level: Option<Word>,
}

/// The levels of the standard.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Word {
    None,
    Note,
    Warning,
    Error,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Pass,
    Open,
    Informational,
    NotApplicable,
    Review,
    Fail,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    rule_id: Option<String>,
    rule_index: Option<usize>,
    rule: Option<Reference>,
    kind: Option<Kind>,
    level: Option<Word>,
    #[serde(default)]
    locations: Vec<Location>,
    #[serde(default)]
    suppressions: Option<Vec<Suppression>>,
}

#[derive(Deserialize)]
struct Reference {
    id: Option<String>,
    index: Option<usize>,
}

#[derive(Deserialize)]
struct Suppression {
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: Option<Physical>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Option<Artifact>,
    region: Option<Region>,
}

#[derive(Deserialize)]
struct Artifact {
    uri: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: Option<u64>,
}

impl Outcome {
    fn rule<'r>(&'r self, rules: &'r [Rule]) -> (Option<&'r Rule>, &'r str) {
        let reference = self.rule.as_ref();
        let index = self.rule_index.or_else(|| reference?.index);
        let by_index = index.and_then(|index| rules.get(index));
        let id = self.rule_id.as_deref();
        let id = id.or_else(|| reference?.id.as_deref());
        let id = id.or_else(|| by_index.map(|rule| &*rule.id)).unwrap_or("");
        // A result may name a part of a rule: `CA1000/1` (3.27.5).
        let is_it = |rule: &&Rule| {
            id == rule.id
                || id
                    .strip_prefix(&*rule.id)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        let rule = by_index.or_else(|| rules.iter().find(is_it));
        (rule, id)
    }

    /// Section 3.27.10: its own level, else that of its rule, else a warning.
    fn level(&self, rule: Option<&Rule>) -> Option<FindingLevel> {
        let of_rule = rule.and_then(|rule| rule.default_configuration.as_ref()?.level);
        match self.level.or(of_rule).unwrap_or(Word::Warning) {
            Word::None => None,
            Word::Note => Some(FindingLevel::Note),
            Word::Warning => Some(FindingLevel::Warning),
            Word::Error => Some(FindingLevel::Error),
        }
    }

    fn place(&self) -> String {
        let physical = self
            .locations
            .first()
            .and_then(|one| one.physical_location.as_ref());
        let Some(uri) = physical.and_then(|one| one.artifact_location.as_ref()?.uri.as_deref())
        else {
            return String::new();
        };
        let line = physical.and_then(|one| one.region.as_ref()?.start_line);
        let uri = short(uri);
        line.map_or_else(|| uri.clone(), |line| format!("{uri}:{line}"))
    }

    /// Whether the scanner's own user has set it aside (3.27.23): what is under review or rejected counts.
    fn is_suppressed(&self) -> bool {
        let all = self.suppressions.as_deref().unwrap_or_default();
        let counts = |one: &Suppression| {
            one.status
                .as_deref()
                .is_none_or(|status| status == "accepted")
        };
        !all.is_empty() && all.iter().all(counts)
    }
}

fn short(text: &str) -> String {
    let mut end = text.len().min(LONGEST_RULE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end)
        .unwrap_or_default()
        .chars()
        .filter(|letter| !letter.is_control())
        .collect()
}

/// Reads a report.
pub(super) fn summary(report: &[u8]) -> Result<Summary, Unreadable> {
    let document: Document = serde_json::from_slice(report)?;
    if document.version != "2.1.0" {
        return Err(Unreadable::Version(short(&document.version)));
    }
    let first = document.runs.first().ok_or(Unreadable::NoRun)?;
    let driver = &first.tool.driver;
    let version = driver
        .semantic_version
        .as_deref()
        .or(driver.version.as_deref());
    let (tool, version) = (short(&driver.name), short(version.unwrap_or_default()));
    let mut by_rule: BTreeMap<(FindingLevel, String), Found> = BTreeMap::new();
    let (mut passed, mut open) = (0_u64, 0_u64);
    for run in &document.runs {
        // SECURITY: a run that broke off found less than there is.
        if run.invocations.iter().any(|one| !one.execution_successful) {
            return Err(Unreadable::DidNotRun);
        }
        if short(&run.tool.driver.name) != tool {
            return Err(Unreadable::SeveralTools);
        }
        for outcome in &run.results {
            match outcome.kind.unwrap_or(Kind::Fail) {
                Kind::Pass => passed = passed.saturating_add(1),
                Kind::Open | Kind::Review => open = open.saturating_add(1),
                Kind::Informational | Kind::NotApplicable => {}
                Kind::Fail => {
                    let (rule, id) = outcome.rule(&run.tool.driver.rules);
                    let Some(level) = outcome.level(rule).filter(|_| !outcome.is_suppressed())
                    else {
                        continue;
                    };
                    let mut name = short(id);
                    let kept = by_rule.keys().filter(|(of, _)| *of == level).count();
                    if name.is_empty()
                        || (kept >= MOST_RULES && !by_rule.contains_key(&(level, name.clone())))
                    {
                        REST.clone_into(&mut name);
                    }
                    let found = by_rule
                        .entry((level, name.clone()))
                        .or_insert_with(|| Found {
                            rule: name,
                            level,
                            count: 0,
                            place: outcome.place(),
                        });
                    found.count = found.count.saturating_add(1);
                }
            }
        }
    }
    let mut found: Vec<Found> = by_rule.into_values().collect();
    found.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| a.rule.cmp(&b.rule)));
    Ok(Summary {
        tool,
        version,
        found,
        passed,
        open,
    })
}
