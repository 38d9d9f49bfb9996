//! `cargo xtask tidy`: the rules that the compiler cannot see, one file each.
//!
//! A rule is a function from the [`Tree`] of the repository's text files to its findings, so that a test can hand it
//! a tree of three lines. Errors fail the command, warnings do not.

mod arrows;
mod failures;
mod ignored;
mod migrations;
mod names;
mod orphans;
mod problems;
mod reference;
mod sizes;
mod tree;
mod words;

use std::fmt;
use std::time::Instant;

use anyhow::{Result, bail};

use self::tree::Tree;
use crate::{say, workspace};

/// All rules.
const RULES: &[fn(&Tree) -> Vec<Finding>] = &[
    arrows::check,
    sizes::check,
    names::check,
    migrations::check,
    problems::check,
    reference::check,
    failures::check,
    orphans::check,
    ignored::check,
    words::check,
];

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// From 1. Findings about a whole file point to its first line.
    line: usize,
    reason: String,
    weight: Weight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Error,
    Warning,
}

impl Finding {
    fn error(path: &str, line: usize, reason: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            reason: reason.into(),
            weight: Weight::Error,
        }
    }

    fn warning(path: &str, line: usize, reason: impl Into<String>) -> Self {
        Self {
            weight: Weight::Warning,
            ..Self::error(path, line, reason)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Error => "",
            Weight::Warning => "warning: ",
        };
        write!(f, "{}:{}: {weight}{}", self.path, self.line, self.reason)
    }
}

pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    let tree = Tree::read(workspace::root())?;
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    findings.sort_unstable_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for finding in &findings {
        say::line(finding);
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.weight == Weight::Error)
        .count();
    if errors > 0 {
        bail!("not tidy: {errors} to mend");
    }
    say::line(format!(
        "tidy: {} files in {}",
        tree.len(),
        say::seconds(start.elapsed())
    ));
    Ok(())
}
