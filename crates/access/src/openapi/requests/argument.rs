//! One parameter of the path or of the query.

use serde_json::Value;
use url::form_urlencoded;

use super::super::Operation;
use super::super::read::{below, elements, follow};
use super::library::{Compiler, Fault, Validator};
use super::types::Types;

#[derive(Debug)]
pub(super) struct Argument {
    pub(super) place: Place,
    pub(super) name: String,
    required: bool,
    form: Form,
    validator: Validator,
}

#[derive(Debug)]
pub(super) enum Place {
    /// By the name that the pattern has for it.
    Path {
        param: String,
    },
    Query,
}

/// How a value is written.
#[derive(Debug)]
enum Form {
    /// As text; lists by repetition, or with something between the items.
    Text {
        types: Types,
        separator: Option<char>,
    },
    /// As a JSON document (`content`).
    Json,
}

pub(super) enum Error {
    /// A way to write values that is not read here.
    Unread(String),
    Schema(String),
}

/// Where a parameter of an operation is described.
pub(super) struct Written<'d> {
    pointer: String,
    value: &'d Value,
}

/// The parameters of an operation, its own before those that it shares.
pub(super) fn written<'d>(root: &'d Value, operation: &Operation) -> Vec<Written<'d>> {
    let own = below(&operation.at.operation, "parameters");
    let lists = [Some(own), operation.at.shared_parameters.clone()];
    let mut found: Vec<Written<'d>> = Vec::new();
    for list in lists.into_iter().flatten() {
        for one in elements(root, &list) {
            let Some((pointer, value)) = follow(root, one) else {
                continue;
            };
            let name = |value: &Value| Some((value.get("in")?.clone(), value.get("name")?.clone()));
            if found.iter().all(|known| name(known.value) != name(value)) {
                found.push(Written { pointer, value });
            }
        }
    }
    found
}

impl Argument {
    /// Nothing where it stands in a header or a cookie.
    pub(super) fn compile(
        root: &Value,
        compiler: &Compiler<'_>,
        written: &Written<'_>,
        template: &str,
        params: &[String],
    ) -> Result<Option<Self>, Error> {
        let text = |key: &str| written.value.get(key).and_then(Value::as_str);
        let Some(name) = text("name") else {
            return Ok(None);
        };
        let style = text("style");
        let is_exploded = written.value.get("explode").and_then(Value::as_bool);
        let unread = |why: &str| Err(Error::Unread(format!("`{name}` is not checked: {why}")));
        let (place, separator) = match text("in") {
            Some("path") => {
                let position = variables(template).iter().position(|known| *known == name);
                let Some(param) = position.and_then(|position| params.get(position)) else {
                    return unread("it is not one whole segment of the path");
                };
                if style.is_some_and(|style| style != "simple") {
                    return unread("its style is not `simple`");
                }
                let param = param.clone();
                (Place::Path { param }, Some(','))
            }
            Some("query") => {
                let separator = match (style.unwrap_or("form"), is_exploded.unwrap_or(true)) {
                    ("form" | "spaceDelimited" | "pipeDelimited", true) => None,
                    ("form", false) => Some(','),
                    ("spaceDelimited", false) => Some(' '),
                    ("pipeDelimited", false) => Some('|'),
                    _ => return unread("its style is neither `form` nor a list with separators"),
                };
                (Place::Query, separator)
            }
            Some(_) | None => return Ok(None),
        };
        let (pointer, form) = match written.value.get("content").and_then(Value::as_object) {
            Some(content) if content.keys().eq(["application/json"]) => {
                let media = below(&below(&written.pointer, "content"), "application/json");
                (below(&media, "schema"), Form::Json)
            }
            Some(_) => return unread("its content is not JSON"),
            None => {
                let pointer = below(&written.pointer, "schema");
                let types = Types::of(root, &pointer);
                (pointer, Form::Text { types, separator })
            }
        };
        if root.pointer(&pointer).is_none() {
            return unread("it has no schema");
        }
        Ok(Some(Argument {
            name: name.to_owned(),
            required: matches!(place, Place::Path { .. })
                || written.value.get("required") == Some(&Value::Bool(true)),
            place,
            form,
            validator: compiler.compile(&pointer).map_err(Error::Schema)?,
        }))
    }

    /// Notes what is wrong with the values that were written for it.
    pub(super) fn check(&self, written: &[String], faults: &mut Vec<Fault>) {
        let Some(last) = written.last() else {
            if self.required {
                faults.push(self.fault("", "it is required"));
            }
            return;
        };
        let readings = match &self.form {
            Form::Json => match serde_json::from_str(last) {
                Ok(value) => vec![value],
                Err(_) => return faults.push(self.fault("", "it is not JSON")),
            },
            Form::Text { types, separator } if types.is_list() => {
                let split = |text: &'_ String| -> Vec<String> {
                    let parts = separator.map(|separator| text.split(separator).map(str::to_owned));
                    parts.map_or_else(|| vec![text.clone()], Iterator::collect)
                };
                let items: Vec<String> = written.iter().flat_map(split).collect();
                let items: Vec<&str> = items.iter().map(String::as_str).collect();
                vec![types.list(&items)]
            }
            Form::Text { .. } if written.len() > 1 => {
                // SECURITY: products differ in which of them they take (CWE-235).
                return faults.push(self.fault("", "it is given more than once"));
            }
            Form::Text { types, .. } => types.readings(last),
        };
        if readings.iter().any(|value| self.validator.admits(value)) {
            return;
        }
        let likeliest = readings.first().unwrap_or(&Value::Null);
        for fault in self.validator.faults(likeliest) {
            faults.push(self.fault(&fault.place, &fault.rule));
        }
    }

    fn fault(&self, inside: &str, rule: &str) -> Fault {
        let place = match self.place {
            Place::Path { .. } => "path",
            Place::Query => "query",
        };
        Fault {
            place: format!("{place}.{}{inside}", self.name),
            rule: rule.to_owned(),
        }
    }
}

/// The names in the braces of a template, in their order.
fn variables(template: &str) -> Vec<&str> {
    let pieces = template.split('{').skip(1);
    pieces
        .filter_map(|piece| piece.split_once('}'))
        .map(|(inner, _)| {
            let name = inner.split_once(':').map_or(inner, |(name, _)| name);
            name.trim_start_matches(['+', '*', '/'])
                .trim_end_matches('*')
        })
        .collect()
}

/// The names and values of a query or of a form.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

pub(super) fn values(pairs: &[(String, String)], name: &str) -> Vec<String> {
    let named = pairs.iter().filter(|(known, _)| known == name);
    named.map(|(_, value)| value.clone()).collect()
}

/// What a segment of the path stands for.
pub(super) fn decoded(segment: &str) -> String {
    portcullis_core::path::decode_segment(segment).into_owned()
}
