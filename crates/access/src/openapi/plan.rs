//! Operations into routes: one decision each, gathered by path.

use std::collections::BTreeMap;

use http::Method;
use serde::Serialize;

use super::read::rank;
use super::template::to_pattern;
use super::{Api, Note, Operation, Security, as_text};

/// The routes of a document.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Ordered by path.
    pub routes: Vec<Planned>,
    /// Those of the reading, and what became of templates and twins.
    pub notes: Vec<Note>,
    /// Every operation that the document leaves open, ordered: `GET /path`.
    pub open: Vec<String>,
}

/// One route: the methods of one path that share a decision.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// A pattern of the route language.
    pub path: String,
    #[serde(serialize_with = "methods_as_text")]
    pub methods: Vec<Method>,
    pub decision: Decision,
    pub operations: Vec<Operation>,
}

/// Why a route is planned as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// The document asks for a credential: `allow = "user"`.
    User,
    /// The document leaves it open: `allow = "closed"` until a person opens it.
    ClosedAsOpen,
    /// The pattern matches more than the document describes: `allow = "closed"`, too.
    ClosedAsWidened,
}

struct Candidate<'a> {
    operation: &'a Operation,
    pattern: String,
    exact: bool,
}

/// Plans one decision for each operation.
pub fn plan(api: &Api) -> Plan {
    let mut notes = api.notes.clone();
    let mut twins: BTreeMap<(String, usize), Vec<Candidate<'_>>> = BTreeMap::new();
    for operation in &api.operations {
        let mapped = match to_pattern(&operation.path) {
            Ok(mapped) => mapped,
            Err(reason) => {
                notes.push(Note::LeftOut {
                    operation: operation.to_string(),
                    reason,
                });
                continue;
            }
        };
        let pattern = mapped.pattern.as_str().to_owned();
        if !mapped.exact {
            notes.push(Note::Widened {
                operation: operation.to_string(),
                pattern: pattern.clone(),
            });
        }
        // `HEAD` follows `GET` (RFC 9110 section 9.3.2): the gate does not tell them apart.
        let method = if operation.method == Method::HEAD {
            &Method::GET
        } else {
            &operation.method
        };
        twins
            .entry((mapped.pattern.shape(), rank(method)))
            .or_default()
            .push(Candidate {
                operation,
                pattern,
                exact: mapped.exact,
            });
    }
    let mut routes: BTreeMap<(String, Decision), Planned> = BTreeMap::new();
    for ((shape, _), candidates) in &twins {
        let decision = decision(candidates);
        notes.extend(merged(candidates, decision));
        let planned = routes
            .entry((shape.clone(), decision))
            .or_insert_with(|| Planned {
                path: best_text(candidates),
                methods: Vec::new(),
                decision,
                operations: Vec::new(),
            });
        planned.methods.extend(method_of(candidates));
        planned.operations.extend(
            candidates
                .iter()
                .map(|candidate| candidate.operation.clone()),
        );
    }
    let open = api
        .operations
        .iter()
        .filter(|operation| operation.security == Security::Open)
        .map(ToString::to_string)
        .collect();
    Plan {
        routes: routes.into_values().collect(),
        notes,
        open,
    }
}

/// The stricter one of those that cannot be told apart.
fn decision(candidates: &[Candidate<'_>]) -> Decision {
    let secured = candidates
        .iter()
        .any(|candidate| candidate.operation.security == Security::Secured);
    if !secured {
        Decision::ClosedAsOpen
    } else if candidates.iter().any(|candidate| candidate.exact) {
        Decision::User
    } else {
        Decision::ClosedAsWidened
    }
}

fn merged(candidates: &[Candidate<'_>], decision: Decision) -> Option<Note> {
    (candidates.len() > 1).then(|| Note::Merged {
        operations: candidates
            .iter()
            .map(|candidate| candidate.operation.to_string())
            .collect(),
        secured: decision == Decision::User,
    })
}

fn best_text(candidates: &[Candidate<'_>]) -> String {
    candidates
        .iter()
        .find(|candidate| candidate.exact)
        .or(candidates.first())
        .map(|candidate| candidate.pattern.clone())
        .unwrap_or_default()
}

/// `GET` where one of them is, since it covers `HEAD`.
fn method_of(candidates: &[Candidate<'_>]) -> Option<Method> {
    let mut methods = candidates
        .iter()
        .map(|candidate| &candidate.operation.method);
    methods
        .clone()
        .find(|method| **method != Method::HEAD)
        .or_else(|| methods.next())
        .cloned()
}

fn methods_as_text<S: serde::Serializer>(
    methods: &[Method],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Text<'a>(#[serde(serialize_with = "as_text")] &'a Method);
    serializer.collect_seq(methods.iter().map(Text))
}
