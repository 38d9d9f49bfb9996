//! The document, read leniently: a part that is malformed counts as the more dangerous thing.

use http::Method;
use serde_json::{Map, Value};

use super::{Api, At, BasePath, Error, Note, Operation, Parameter, Security};

/// How many references are followed in a row: a circle is left out, and noted.
const MAX_REFERENCES: usize = 16;

/// Reads a document.
pub fn read(text: &str, base: &BasePath) -> Result<Api, Error> {
    read_value(&serde_json::from_str(text)?, base)
}

pub(super) fn read_value(root: &Value, base: &BasePath) -> Result<Api, Error> {
    let version = root
        .get("openapi")
        .and_then(Value::as_str)
        .ok_or(Error::NoVersion)?;
    if !(version.starts_with("3.0.") || version.starts_with("3.1.")) {
        return Err(Error::Version(version.to_owned()));
    }
    let paths = root
        .get("paths")
        .and_then(Value::as_object)
        .ok_or(Error::NoPaths)?;
    let mut reader = Reader {
        root,
        base,
        operations: Vec::new(),
        notes: Vec::new(),
    };
    for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("x-")) {
        reader.path_item(path, item);
    }
    let Reader {
        mut operations,
        notes,
        ..
    } = reader;
    operations.sort_by(|a, b| (&a.path, rank(&a.method)).cmp(&(&b.path, rank(&b.method))));
    Ok(Api {
        title: text_of(root.get("info").unwrap_or(&Value::Null), "title").unwrap_or_default(),
        operations,
        notes,
    })
}

const METHODS: [(&str, Method); 8] = [
    ("get", Method::GET),
    ("head", Method::HEAD),
    ("post", Method::POST),
    ("put", Method::PUT),
    ("patch", Method::PATCH),
    ("delete", Method::DELETE),
    ("options", Method::OPTIONS),
    ("trace", Method::TRACE),
];

/// Keys of a path item that are no methods.
const OTHER_KEYS: [&str; 5] = ["$ref", "summary", "description", "servers", "parameters"];

/// The place of a method in lists.
pub(super) fn rank(method: &Method) -> usize {
    METHODS
        .iter()
        .position(|(_, known)| known == method)
        .unwrap_or(METHODS.len())
}

struct Reader<'d> {
    root: &'d Value,
    base: &'d BasePath,
    operations: Vec<Operation>,
    notes: Vec<Note>,
}

impl<'d> Reader<'d> {
    fn path_item(&mut self, path: &str, item: &'d Value) {
        if path.contains(char::is_control) {
            self.leave_out(path, "the path has control characters");
            return;
        }
        // OpenAPI 3.1 lets keys stand beside `$ref`; those nearer to the path win.
        let mut layers: Vec<(String, &Map<String, Value>)> = Vec::new();
        let mut at = (below("/paths", path), item);
        loop {
            let Some(object) = at.1.as_object() else {
                self.leave_out(path, "the path item is not an object");
                return;
            };
            layers.push((at.0, object));
            let Some(reference) = object.get("$ref") else {
                break;
            };
            let target = reference.as_str().and_then(pointer_of);
            let target = target.and_then(|to| self.root.pointer(&to).map(|value| (to, value)));
            match target {
                Some(target) if layers.len() < MAX_REFERENCES => at = target,
                Some(_) | None => {
                    self.leave_out(path, &format!("the reference {reference} leads nowhere"));
                    break;
                }
            }
        }
        let key = |name: &str| {
            let mut layers = layers.iter();
            layers.find_map(|(at, layer)| Some((below(at, name), layer.get(name)?)))
        };
        for (name, method) in &METHODS {
            if let Some(operation) = key(name) {
                let servers = key("servers").map(|(_, servers)| servers);
                self.operation(path, method, operation, servers, key("parameters"));
            }
        }
        let mut strange: Vec<&str> = layers
            .iter()
            .flat_map(|(_, layer)| layer.keys())
            .map(String::as_str)
            .filter(|name| {
                !name.starts_with("x-")
                    && !OTHER_KEYS.contains(name)
                    && !METHODS.iter().any(|(known, _)| known == name)
            })
            .collect();
        strange.sort_unstable();
        strange.dedup();
        for name in strange {
            self.leave_out(
                &format!("{name} {path}"),
                "not a method of OpenAPI 3.0 or 3.1",
            );
        }
    }

    fn operation(
        &mut self,
        path: &str,
        method: &Method,
        (at, operation): (String, &'d Value),
        item_servers: Option<&Value>,
        item_parameters: Option<(String, &'d Value)>,
    ) {
        if *method == Method::TRACE {
            self.leave_out(&format!("TRACE {path}"), "the gate never forwards TRACE");
            return;
        }
        let (shared_parameters, item_parameters) = item_parameters.unzip();
        let parameters = self.parameters(item_parameters, operation.get("parameters"));
        let at = At {
            operation: at,
            shared_parameters,
        };
        let servers = operation
            .get("servers")
            .or(item_servers)
            .or_else(|| self.root.get("servers"));
        let security = operation
            .get("security")
            .or_else(|| self.root.get("security"))
            .map_or(Security::Open, security_of);
        for base in bases(self.base, servers) {
            self.operations.push(Operation {
                method: method.clone(),
                path: format!("{base}{path}"),
                id: text_of(operation, "operationId"),
                summary: text_of(operation, "summary"),
                tags: strings(operation.get("tags")),
                security,
                parameters: parameters.clone(),
                at: at.clone(),
            });
        }
    }

    fn parameters(&self, item: Option<&'d Value>, own: Option<&'d Value>) -> Vec<Parameter> {
        let mut found: Vec<Parameter> = Vec::new();
        for list in [own, item].into_iter().flatten() {
            for written in list.as_array().into_iter().flatten() {
                let Some(parameter) = self.parameter(written) else {
                    continue;
                };
                let known = found
                    .iter()
                    .any(|known| known.name == parameter.name && known.place == parameter.place);
                if !known {
                    found.push(parameter);
                }
            }
        }
        found.sort();
        found
    }

    fn parameter(&self, written: &'d Value) -> Option<Parameter> {
        let at = match written.get("$ref").and_then(Value::as_str) {
            Some(reference) => follow(self.root, pointer_of(reference)?)?.1,
            None => written,
        };
        Some(Parameter {
            place: text_of(at, "in")?,
            name: text_of(at, "name")?,
            required: at.get("required").and_then(Value::as_bool).unwrap_or(false),
        })
    }

    fn leave_out(&mut self, operation: &str, reason: &str) {
        self.notes.push(Note::LeftOut {
            operation: printable(operation),
            reason: reason.to_owned(),
        });
    }
}

/// The JSON Pointer in `#/a/b` (RFC 6901; the fragment may be percent-encoded).
fn pointer_of(reference: &str) -> Option<String> {
    let pointer = reference.strip_prefix('#')?;
    Some(portcullis_core::path::decode_segment(pointer).into_owned())
}

/// The pointer to `name` in what `pointer` points at.
pub(super) fn below(pointer: &str, name: &str) -> String {
    let name = name.replace('~', "~0").replace('/', "~1");
    format!("{pointer}/{name}")
}

/// What a pointer points at, and whither its references led.
pub(super) fn follow(root: &Value, mut pointer: String) -> Option<(String, &Value)> {
    for _ in 0..MAX_REFERENCES {
        let value = root.pointer(&pointer)?;
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => pointer = pointer_of(reference)?,
            None => return Some((pointer, value)),
        }
    }
    None
}

/// Pointers to the elements of the list that `pointer` points at; none where it is no list.
pub(super) fn elements(root: &Value, pointer: &str) -> Vec<String> {
    let list = root.pointer(pointer).and_then(Value::as_array);
    let number = list.map_or(0, Vec::len);
    (0..number)
        .map(|index| format!("{pointer}/{index}"))
        .collect()
}

/// SECURITY: an empty alternative means that no credential is needed; and what is malformed does
/// not count as a protection.
fn security_of(written: &Value) -> Security {
    let Some(alternatives) = written.as_array() else {
        return Security::Open;
    };
    let needs = |alternative: &Value| {
        alternative
            .as_object()
            .is_some_and(|schemes| !schemes.is_empty())
    };
    if !alternatives.is_empty() && alternatives.iter().all(needs) {
        Security::Secured
    } else {
        Security::Open
    }
}

/// The base paths below which an operation is served, each without a slash at the end.
fn bases(base: &BasePath, servers: Option<&Value>) -> Vec<String> {
    let given = match base {
        BasePath::Given(path) => return vec![trimmed(path)],
        BasePath::Servers => servers.and_then(Value::as_array),
    };
    let mut found: Vec<String> = Vec::new();
    for server in given.into_iter().flatten() {
        let path = server_path(server);
        if !found.contains(&path) {
            found.push(path);
        }
    }
    if found.is_empty() {
        found.push(String::new());
    }
    found
}

fn server_path(server: &Value) -> String {
    let mut url = text_of(server, "url").unwrap_or_default();
    let variables = server.get("variables").and_then(Value::as_object);
    for (name, variable) in variables.into_iter().flatten() {
        let default = text_of(variable, "default").unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), &default);
    }
    let after_host = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => url.as_str(),
    };
    let path = after_host.split(['?', '#']).next().unwrap_or("");
    trimmed(path)
}

fn trimmed(path: &str) -> String {
    let path = path.trim().trim_matches('/');
    if path.is_empty() || path == "." {
        String::new()
    } else {
        format!("/{path}")
    }
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(printable)
}

/// SECURITY: a document's text is shown on a terminal, which obeys control characters.
fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
