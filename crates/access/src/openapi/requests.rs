//! Whether requests are as the product's OpenAPI document describes them (H11; CWE-20).
//!
//! - What is checked: values in the path and in the query, and bodies of JSON and of forms, by the
//!   JSON Schema of the operation. Headers, cookies and other bodies are not looked at.
//! - A request that the document knows no operation for is not as described, and refused.
//! - References are followed inside of the document alone; nothing is fetched.
//! - What is said of a fault names its place and the rule, never the value.
//!
//! A check says what a value may be, not what it is good for: this filters no words and no markup.
//! What people write is made harmless where it is shown.

mod argument;
mod config;
mod library;
mod payload;
mod types;

use std::sync::Arc;

use http::Method;
use portcullis_core::problem::{self, Problem};
use portcullis_core::route::{Found, Methods, RouteTable};
use serde_json::Value;

use self::argument::{Argument, Place};
pub use self::config::Config;
pub use self::library::IS_BUILT_IN;
use self::library::{Compiler, Fault};
use self::payload::{Form, Payload};
use super::template::to_pattern;
use super::{BasePath, Error, Operation, read};

/// So many faults of a request are told.
const MOST_FAULTS: usize = 8;
/// So long may what is told of one be.
const MOST_TOLD: usize = 200;

/// What a document says of requests, compiled.
#[derive(Debug)]
pub struct Requests {
    operations: RouteTable<Described>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Described {
    arguments: Vec<Argument>,
    payload: Option<Payload>,
}

/// What is to become of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// JSON. It has to be read whole, and given to [`Checked::check_body`].
    Json,
    /// A form, which is dealt with alike.
    Form,
    /// It is of a kind that is not looked into, or there is none.
    Passed,
}

/// A request whose head is as described.
#[derive(Debug)]
pub struct Checked {
    form: Option<Arc<Form>>,
}

impl Requests {
    /// Compiles the document. `formats`: whether `format` is a rule or a remark.
    pub fn compile(text: &str, base: &BasePath, formats: bool) -> Result<Self, Error> {
        let root: Value = serde_json::from_str(text)?;
        let api = read::read_value(&root, base)?;
        let compiler = Compiler::new(&root, formats).map_err(Error::Schema)?;
        let mut requests = Requests {
            operations: RouteTable::default(),
            notes: Vec::new(),
        };
        for operation in &api.operations {
            requests.add(&root, &compiler, operation)?;
        }
        Ok(requests)
    }

    /// What of the document is not checked, and why.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn add(
        &mut self,
        root: &Value,
        compiler: &Compiler<'_>,
        operation: &Operation,
    ) -> Result<(), Error> {
        // `HEAD` follows `GET` (RFC 9110 section 9.3.2), as everywhere in the gate.
        if operation.method == Method::HEAD {
            return Ok(());
        }
        let schema = |why: String| Error::Schema(format!("{operation}: {why}"));
        let mapped = match to_pattern(&operation.path) {
            Ok(mapped) => mapped,
            Err(why) => {
                self.notes.push(format!("{operation}: {why}"));
                return Ok(());
            }
        };
        // Where the pattern is wider than the template, its parameters are not those of the document.
        let names = mapped.exact.then(|| mapped.pattern.params());
        let names: Vec<String> = names.into_iter().flatten().map(str::to_owned).collect();
        let mut arguments = Vec::new();
        for written in argument::written(root, operation) {
            match Argument::compile(root, compiler, &written, &operation.path, &names) {
                Ok(Some(argument)) => arguments.push(argument),
                Ok(None) => {}
                Err(argument::Error::Unread(why)) => {
                    self.notes.push(format!("{operation}: {why}"));
                }
                Err(argument::Error::Schema(why)) => return Err(schema(why)),
            }
        }
        let payload = Payload::compile(root, compiler, operation).map_err(schema)?;
        let methods = Methods::Only(vec![operation.method.clone()]);
        let described = Described { arguments, payload };
        if let Err(conflict) = self.operations.insert(mapped.pattern, methods, described) {
            // One of them would be checked by what the other says.
            self.notes.push(format!("{operation}: {conflict}"));
        }
        Ok(())
    }

    /// Whether the request's head is as described: 404, 415 or 422 where it is not. `path` is the
    /// canonical one; `has_body`: whether one follows.
    pub fn check_head(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        content_type: Option<&[u8]>,
        has_body: bool,
    ) -> Result<Checked, Problem> {
        let (described, params) = match self.operations.find(method, path) {
            Found::Route { route, params } => (route, params),
            Found::WrongMethod { allow } => {
                return Err(Problem::new(&problem::METHOD_NOT_ALLOWED).allowing(&allow));
            }
            Found::Nothing => return Err(Problem::new(&problem::NOT_FOUND)),
        };
        let query = argument::pairs(query.unwrap_or_default());
        let mut faults = Vec::new();
        for argument in &described.arguments {
            let written = match &argument.place {
                Place::Path { param } => params
                    .get(param)
                    .map(argument::decoded)
                    .into_iter()
                    .collect(),
                Place::Query => argument::values(&query, &argument.name),
            };
            argument.check(&written, &mut faults);
        }
        refuse(faults)?;
        let Some(payload) = &described.payload else {
            return if has_body {
                Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE)
                    .detail("No body is described for this request."))
            } else {
                Ok(Checked { form: None })
            };
        };
        let form = payload.form(content_type, has_body)?;
        Ok(Checked { form })
    }
}

impl Checked {
    /// What is to become of the body.
    pub fn body(&self) -> Body {
        self.form.as_ref().map_or(Body::Passed, |form| form.body())
    }

    /// Whether the body is as described: 400 where it is not even JSON, else 422.
    pub fn check_body(&self, body: &[u8]) -> Result<(), Problem> {
        let mut faults = Vec::new();
        if let Some(form) = &self.form {
            form.check(body, &mut faults)?;
        }
        refuse(faults)
    }
}

fn refuse(faults: Vec<Fault>) -> Result<(), Problem> {
    if faults.is_empty() {
        return Ok(());
    }
    let told = faults.into_iter().take(MOST_FAULTS);
    Err(
        told.fold(Problem::new(&problem::INVALID_INPUT), |problem, fault| {
            problem.field(shown(&fault.place), shown(&fault.rule))
        }),
    )
}

/// Names in it may be the client's.
fn shown(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MOST_TOLD).collect()
}

#[cfg(test)]
#[cfg(feature = "schema")]
mod tests;
