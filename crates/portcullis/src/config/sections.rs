//! From the tables of the file to values: each by itself, each mistake with its place.

use std::collections::BTreeSet;

use portcullis_core::finding::Finding;
use serde::de::DeserializeOwned;
use toml::Value;

use super::document::{Lines, Sources};

/// The top-level tables, taken one by one, so that a mistake in one does not hide those in others.
pub(super) struct Sections<'l> {
    pub(super) table: toml::Table,
    pub(super) lines: &'l Lines,
    pub(super) sources: &'l Sources,
    pub(super) findings: Vec<Finding>,
}

impl Sections<'_> {
    pub(super) fn take<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        match self.table.remove(name) {
            None => T::default(),
            Some(value) => self.read(name, value).unwrap_or_default(),
        }
    }

    /// The tables of a list, each with its position: one that is not understood moves no other.
    pub(super) fn take_each<T: DeserializeOwned>(&mut self, name: &str) -> Vec<(usize, T)> {
        match self.table.remove(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .filter_map(|(position, item)| {
                    Some((position, self.read(&format!("{name}.{position}"), item)?))
                })
                .collect(),
            Some(_) => {
                self.findings.push(
                    Finding::error("wrong-shape", name, format!("`{name}` is a list of tables"))
                        .at(self.lines.of(name))
                        .remedy(format!("write `[[{name}]]`")),
                );
                Vec::new()
            }
        }
    }

    fn read<T: DeserializeOwned>(&mut self, key: &str, mut value: Value) -> Option<T> {
        let mut as_text = BTreeSet::new();
        loop {
            let error = match serde_path_to_error::deserialize(value.clone()) {
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            let inner = error.path().to_string();
            let inner = inner.replace('[', ".").replace(']', "");
            let inner = inner.trim_matches('.');
            let whole = if inner.is_empty() {
                key.to_owned()
            } else {
                format!("{key}.{inner}")
            };
            // A variable is text: one that spells a number may be meant as text all the same.
            let source = self.sources.get(&whole);
            if let Some(source) = source.filter(|_| as_text.insert(whole.clone()))
                && put(&mut value, inner, &source.text)
            {
                continue;
            }
            let message = error.into_inner().to_string();
            self.report(not_understood(&whole, message.trim()));
            return None;
        }
    }

    fn report(&mut self, finding: Finding) {
        self.findings
            .push(placed(finding, self.lines, self.sources));
    }

    pub(super) fn refuse_the_rest(&mut self) {
        let names: Vec<String> = self.table.keys().cloned().collect();
        for name in names {
            self.report(unknown_key(&name, format!("there is no key `{name}`")));
        }
    }
}

fn unknown_key(key: &str, message: String) -> Finding {
    Finding::error("unknown-key", key, message)
        .remedy("take it out, or mend its spelling: docs/reference/config.md lists every key")
}

/// What serde says of a value, as a finding.
fn not_understood(key: &str, message: &str) -> Finding {
    // The parser adds the path in its own words; the key says it already.
    let message = message.split("\nin `").next().unwrap_or(message);
    if message.starts_with("unknown field") {
        return unknown_key(key, message.replace("unknown field", "there is no key"));
    }
    Finding::error("not-understood", key, message.to_owned())
}

/// Replaces the value at a dotted path by text. False where there is nothing.
fn put(value: &mut Value, path: &str, text: &str) -> bool {
    let mut at = value;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let next = match at {
            Value::Table(table) => table.get_mut(part),
            Value::Array(items) => part.parse::<usize>().ok().and_then(|at| items.get_mut(at)),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => None,
        };
        match next {
            Some(next) => at = next,
            None => return false,
        }
    }
    *at = Value::String(text.to_owned());
    true
}

/// Says where a finding's key stands: its line, or the variable that set it.
pub(super) fn placed(mut finding: Finding, lines: &Lines, sources: &Sources) -> Finding {
    if finding.remedy.is_empty() {
        finding.remedy = "docs/reference/config.md says what each key takes".into();
    }
    let of_key = lines.of(&finding.key);
    let Some(variable) = sources.variable(&finding.key) else {
        let line = finding.line.or(of_key);
        return finding.at(line);
    };
    finding.message = format!(
        "{} (from the environment variable `{variable}`)",
        finding.message
    )
    .into();
    // The line of the table around it would mislead: the value does not stand there.
    let line = of_key.filter(|_| lines.has(&finding.key));
    finding.at(line)
}
