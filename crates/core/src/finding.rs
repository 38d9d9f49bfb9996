//! What is wrong (or worth knowing) about a configuration: one value for every slice, for `check`,
//! `serve` and `doctor`.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Note,
    Warning,
    /// `serve` does not start.
    Error,
}

/// One finding: where, what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    pub severity: Severity,
    /// Stable name of the rule, kebab-case, for filters and for SARIF.
    pub rule: &'static str,
    /// Dotted path of the key to change, arrays by position (`route.3.path`); empty for the whole file.
    pub key: String,
    /// Counted from 1. Filled in by whoever has the file.
    pub line: Option<usize>,
    pub message: Cow<'static, str>,
    /// What to do. Empty where the message says it.
    pub remedy: Cow<'static, str>,
}

impl Finding {
    fn new(
        severity: Severity,
        rule: &'static str,
        key: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Finding {
            severity,
            rule,
            key: key.into(),
            line: None,
            message: message.into(),
            remedy: Cow::Borrowed(""),
        }
    }

    pub fn error(
        rule: &'static str,
        key: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Finding::new(Severity::Error, rule, key, message)
    }

    pub fn warning(
        rule: &'static str,
        key: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Finding::new(Severity::Warning, rule, key, message)
    }

    pub fn note(
        rule: &'static str,
        key: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Finding::new(Severity::Note, rule, key, message)
    }

    #[must_use]
    pub fn at(mut self, line: Option<usize>) -> Self {
        self.line = line;
        self
    }

    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
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
        if self.remedy.is_empty() {
            Ok(())
        } else {
            write!(f, "\n    {}", self.remedy)
        }
    }
}
