//! What is wrong, or worth knowing, about a protection's configuration.

use std::fmt;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The gate starts, and says so.
    Warning,
    /// The gate does not start.
    Error,
}

/// One finding: where, what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// Stable name of the rule, in kebab-case.
    pub rule: &'static str,
    /// Dotted path of the key to change, from the root of the file.
    pub key: String,
    pub message: String,
    /// What the operator should do.
    pub remedy: &'static str,
}

impl Finding {
    pub(crate) fn error(
        rule: &'static str,
        key: impl Into<String>,
        message: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Finding {
            severity: Severity::Error,
            rule,
            key: key.into(),
            message: message.into(),
            remedy,
        }
    }

    pub(crate) fn warning(
        rule: &'static str,
        key: impl Into<String>,
        message: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Finding {
            severity: Severity::Warning,
            ..Finding::error(rule, key, message, remedy)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.key, self.message, self.remedy)
    }
}
