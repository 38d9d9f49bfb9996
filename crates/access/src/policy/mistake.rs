//! What is wrong with a configuration, told so that it can be put right.

use std::fmt;

use portcullis_core::finding::{self, Finding};
use serde::Serialize;

use crate::lines::Lines;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy does not exist with it.
    Error,
    /// Allowed, and deserves a look.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    pub severity: Severity,
    /// Stable name of the rule, kebab-case.
    pub rule: &'static str,
    /// From 1. Nothing where the configuration has no file.
    pub line: Option<usize>,
    /// The key with dots, routes by position from 0: `route.3.allow`, `roles.admin`.
    pub key: String,
    pub reason: String,
    pub remedy: String,
}

impl Mistake {
    /// Replaces the line of the route by that of the key itself, where the file has the key.
    pub fn locate(&mut self, lines: &Lines) {
        self.line = lines.find_dotted(&self.key).or(self.line);
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}: {}; {}", self.key, self.reason, self.remedy)
    }
}

impl From<Mistake> for Finding {
    fn from(mistake: Mistake) -> Self {
        Finding {
            severity: match mistake.severity {
                Severity::Error => finding::Severity::Error,
                Severity::Warning => finding::Severity::Warning,
            },
            rule: mistake.rule,
            key: mistake.key,
            line: mistake.line,
            message: mistake.reason.into(),
            remedy: mistake.remedy.into(),
        }
    }
}
