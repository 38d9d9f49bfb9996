//! What is wrong (or worth knowing) about a configuration: one value for `check`, `serve` and `doctor`.

use std::fmt;

use serde::Serialize;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    Note,
    Warning,
    /// `serve` does not start in production.
    Error,
}

/// One finding: where, what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// Stable name of the rule, for filters and for SARIF.
    pub(crate) rule: &'static str,
    /// Dotted path of the key to change; empty for the whole file.
    pub(crate) key: String,
    pub(crate) line: Option<usize>,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

impl Finding {
    fn new(severity: Severity, rule: &'static str, key: impl Into<String>, message: impl Into<String>) -> Self {
        Finding { severity, rule, key: key.into(), line: None, message: message.into(), remedy: String::new() }
    }

    pub(crate) fn error(rule: &'static str, key: impl Into<String>, message: impl Into<String>) -> Self {
        Finding::new(Severity::Error, rule, key, message)
    }

    pub(crate) fn warning(rule: &'static str, key: impl Into<String>, message: impl Into<String>) -> Self {
        Finding::new(Severity::Warning, rule, key, message)
    }

    pub(crate) fn note(rule: &'static str, key: impl Into<String>, message: impl Into<String>) -> Self {
        Finding::new(Severity::Note, rule, key, message)
    }

    pub(crate) fn at(mut self, line: Option<usize>) -> Self {
        self.line = line;
        self
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        write!(f, "{severity}[{}]", self.rule)?;
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "\n    {}", self.remedy) }
    }
}
