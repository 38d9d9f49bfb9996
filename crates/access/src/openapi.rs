//! OpenAPI 3.0 and 3.1 (JSON) into operations, and operations into a deny-by-default route table.
//!
//! - An operation is *secured* where its effective `security` (its own, else the document's) names
//!   at least one requirement and no empty alternative: `{}` makes a credential optional.
//! - Nothing is dropped silently: what the route language cannot say is widened and then closed,
//!   or left out, and either way noted by name.
//! - Operations that the gate cannot tell apart (`/Users` and `/users/`) get one decision, the
//!   stricter one.
//!
//! References are followed inside the document only; nothing is fetched.

pub mod diff;
mod plan;
mod read;
pub mod requests;
mod template;

use std::fmt;

use serde::{Serialize, Serializer};

pub use self::plan::{Decision, Plan, Planned, plan};
pub use self::read::read;

/// How the paths of the document become the paths that the gate sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BasePath {
    /// Each path below the path of its `servers`, as the standard says.
    #[default]
    Servers,
    /// Each path below this one, whatever `servers` says. Empty: as written.
    Given(String),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the document is not JSON: {0}; a YAML document has to be converted first")]
    NotJson(#[from] serde_json::Error),
    #[error("the document has no `openapi` version; Swagger 2.0 has to be converted to OpenAPI 3")]
    NoVersion,
    #[error("OpenAPI `{0}` is not read; 3.0 and 3.1 are")]
    Version(String),
    #[error("the document has no `paths`")]
    NoPaths,
    #[error("its schemas cannot be used: {0}")]
    Schema(String),
}

/// What was read of a document.
#[derive(Debug, Clone, Serialize)]
pub struct Api {
    pub title: String,
    /// Ordered by path, then by method.
    pub operations: Vec<Operation>,
    pub notes: Vec<Note>,
}

/// One method of one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    #[serde(serialize_with = "as_text")]
    pub method: http::Method,
    /// The path template with its base path, otherwise as written.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    pub tags: Vec<String>,
    pub security: Security,
    /// Ordered by place and name.
    pub parameters: Vec<Parameter>,
    /// Where in the document it stands.
    #[serde(skip)]
    pub(in crate::openapi) at: At,
}

/// JSON Pointers (RFC 6901) into the document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct At {
    operation: String,
    /// The parameters that it shares with the other methods of its path.
    shared_parameters: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// Whoever asks is answered.
    Open,
    /// A credential is needed.
    Secured,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Parameter {
    /// `path`, `query`, `header` or `cookie`.
    pub place: String,
    pub name: String,
    pub required: bool,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let required = if self.required { ", required" } else { "" };
        write!(f, "`{}` ({}{required})", self.name, self.place)
    }
}

/// Something of the document that did not come over one to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "note", rename_all = "kebab-case")]
pub enum Note {
    /// A template that the route language cannot say; the route matches more than it did.
    Widened { operation: String, pattern: String },
    /// No route was made: requests to it are refused.
    LeftOut { operation: String, reason: String },
    /// Operations that the gate cannot tell apart have one decision.
    Merged {
        operations: Vec<String>,
        secured: bool,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Widened { operation, pattern } => {
                write!(f, "{operation}: written as `{pattern}`, which matches more")
            }
            Note::LeftOut { operation, reason } => {
                write!(f, "{operation}: left out, so it is refused: {reason}")
            }
            Note::Merged {
                operations,
                secured,
            } => {
                let decision = if *secured {
                    "the stricter one, a user"
                } else {
                    "closed"
                };
                write!(
                    f,
                    "{}: one path to the gate, so one decision: {decision}",
                    operations.join(" and ")
                )
            }
        }
    }
}

fn as_text<S: Serializer>(method: &http::Method, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(method.as_str())
}

#[cfg(test)]
mod tests;
