//! The body of an operation.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_core::problem::{self, Problem};
use serde_json::{Map, Value};

use super::super::Operation;
use super::super::read::{below, elements, follow};
use super::Body;
use super::argument::{pairs, values};
use super::library::{Compiler, Fault, Validator};
use super::types::Types;

#[derive(Debug)]
pub(super) struct Payload {
    required: bool,
    /// By media range, as described.
    forms: Vec<(String, Arc<Form>)>,
}

/// What the bytes of one media type are held against.
#[derive(Debug)]
pub(super) enum Form {
    Json(Validator),
    Fields {
        types: BTreeMap<String, Types>,
        validator: Validator,
    },
    /// Of a kind that is not looked into, or without a schema.
    Unread,
}

impl Payload {
    pub(super) fn compile(
        root: &Value,
        compiler: &Compiler<'_>,
        operation: &Operation,
    ) -> Result<Option<Self>, String> {
        let pointer = below(&operation.at.operation, "requestBody");
        if root.pointer(&pointer).is_none() {
            return Ok(None);
        }
        let (pointer, body) = follow(root, pointer)
            .ok_or_else(|| "the reference of its body leads nowhere".to_owned())?;
        let content = below(&pointer, "content");
        let mut forms = Vec::new();
        let written = body.get("content").and_then(Value::as_object);
        for name in written.into_iter().flat_map(Map::keys) {
            let range = essence(name);
            let schema = below(&below(&content, name), "schema");
            let form = if root.pointer(&schema).is_none() {
                Form::Unread
            } else if is_json(&range) {
                Form::Json(compiler.compile(&schema)?)
            } else if range == "application/x-www-form-urlencoded" {
                Form::Fields {
                    types: fields(root, schema.clone()),
                    validator: compiler.compile(&schema)?,
                }
            } else {
                Form::Unread
            };
            forms.push((range, Arc::new(form)));
        }
        // The narrowest range that fits decides.
        forms.sort_by_key(|(range, _)| range.matches('*').count());
        Ok(Some(Payload {
            required: body.get("required") == Some(&Value::Bool(true)),
            forms,
        }))
    }

    /// What a body of this type is held against; nothing where there is none and need not be one.
    pub(super) fn form(
        &self,
        content_type: Option<&[u8]>,
        has_body: bool,
    ) -> Result<Option<Arc<Form>>, Problem> {
        if !has_body {
            return if self.required {
                Err(Problem::new(&problem::INVALID_INPUT).field("", "a body is required"))
            } else {
                Ok(None)
            };
        }
        let sent = content_type.and_then(|sent| std::str::from_utf8(sent).ok());
        let sent = sent.map(essence).unwrap_or_default();
        let fitting = self.forms.iter().find(|(range, _)| covers(range, &sent));
        let (_, form) = fitting.ok_or_else(|| {
            let known: Vec<&str> = self.forms.iter().map(|(range, _)| range.as_str()).collect();
            Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE)
                .detail(format!("Accepted here: {}.", known.join(", ")))
        })?;
        Ok(Some(Arc::clone(form)))
    }
}

impl Form {
    pub(super) const fn body(&self) -> Body {
        match self {
            Form::Json(_) => Body::Json,
            Form::Fields { .. } => Body::Form,
            Form::Unread => Body::Passed,
        }
    }

    pub(super) fn check(&self, body: &[u8], faults: &mut Vec<Fault>) -> Result<(), Problem> {
        match self {
            Form::Unread => {}
            Form::Json(validator) => {
                let value = serde_json::from_slice(body).map_err(|_| {
                    Problem::new(&problem::MALFORMED_BODY).detail("The body is not JSON.")
                })?;
                faults.extend(validator.faults(&value));
            }
            Form::Fields { types, validator } => {
                let text = std::str::from_utf8(body).map_err(|_| {
                    Problem::new(&problem::MALFORMED_BODY).detail("The body is not a form.")
                })?;
                let value = object(types, &pairs(text), faults);
                faults.extend(validator.faults(&value));
            }
        }
        Ok(())
    }
}

fn object(
    types: &BTreeMap<String, Types>,
    pairs: &[(String, String)],
    faults: &mut Vec<Fault>,
) -> Value {
    let mut object = Map::new();
    for (name, value) in pairs {
        if object.contains_key(name) {
            continue;
        }
        let types = types.get(name).copied().unwrap_or_default();
        let all = values(pairs, name);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let value = if types.is_list() {
            types.list(&all)
        } else {
            if all.len() > 1 {
                // SECURITY: products differ in which of them they take (CWE-235).
                faults.push(Fault {
                    place: below("", name),
                    rule: "it is given more than once".to_owned(),
                });
            }
            types.readings(value).into_iter().next().unwrap_or_default()
        };
        object.insert(name.clone(), value);
    }
    Value::Object(object)
}

/// The types of the properties that a schema names.
fn fields(root: &Value, pointer: String) -> BTreeMap<String, Types> {
    let mut found = BTreeMap::new();
    let mut left = vec![(pointer, 4_usize)];
    while let Some((pointer, depth)) = left.pop() {
        let Some((pointer, schema)) = follow(root, pointer) else {
            continue;
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        for name in properties.into_iter().flat_map(Map::keys) {
            let property = below(&below(&pointer, "properties"), name);
            found.insert(name.clone(), Types::of(root, &property));
        }
        let Some(depth) = depth.checked_sub(1) else {
            continue;
        };
        for several in ["allOf", "anyOf", "oneOf"] {
            let parts = elements(root, &below(&pointer, several));
            left.extend(parts.into_iter().map(|one| (one, depth)));
        }
    }
    found
}

/// A media type without its parameters.
fn essence(text: &str) -> String {
    let essence = text.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

fn is_json(essence: &str) -> bool {
    essence == "application/json" || essence.ends_with("+json")
}

/// Whether a media range (RFC 9110 section 12.5.1) covers a media type.
fn covers(range: &str, sent: &str) -> bool {
    match range.split_once('/') {
        Some(("*", "*")) => !sent.is_empty(),
        Some((kind, "*")) => sent.split_once('/').is_some_and(|(of, _)| of == kind),
        Some(_) | None => range == sent,
    }
}
