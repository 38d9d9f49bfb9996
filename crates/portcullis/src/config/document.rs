//! The configuration file as text becomes a table of values that remembers its lines.
//!
//! On the way two things are filled in from the environment: `{ from-env = "NAME" }` stands for a
//! variable's value, and `PORTCULLIS__LISTEN__ADDRESS` overrides `listen.address`. Which
//! variables were asked for is remembered, so that `check` can say which are set for nobody.
//!
//! Beside `from-env` may stand `default`, and how products write what the file writes otherwise:
//! `split = ","` for a list, `unit = "/minute"` for a bare number, `not = true` for a switch that is
//! on here when it is off there.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use portcullis_core::finding::Finding;

/// Prefix of variables that override a key: `PORTCULLIS__` and the key path, `__` between tables.
const OVERRIDE_PREFIX: &str = "PORTCULLIS__";

/// The environment, read once.
#[derive(Debug, Default, Clone)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    pub(crate) fn of_process() -> Self {
        Environment(
            std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        )
    }

    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        Environment(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// A parsed file.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) table: Table,
    pub(crate) lines: Lines,
    /// Variables that the file (or an override) asked for.
    pub(crate) asked: BTreeSet<String>,
    pub(crate) sources: Sources,
    /// Keys that stand on their written default, because their variable is not set.
    pub(crate) defaulted: Vec<(String, String)>,
}

/// Which keys came from the environment: dotted path to variable and text.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sources(BTreeMap<String, Source>);

#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) variable: String,
    pub(crate) text: String,
}

impl Sources {
    pub(crate) fn get(&self, key: &str) -> Option<&Source> {
        self.0.get(key)
    }

    /// The variable that `key`, what is around it or what is in it came from.
    pub(crate) fn variable(&self, key: &str) -> Option<&str> {
        let mut at = key;
        loop {
            if let Some(source) = self.0.get(at) {
                return Some(&source.variable);
            }
            match at.rsplit_once('.') {
                Some((around, _)) => at = around,
                None => break,
            }
        }
        let inside = format!("{key}.");
        self.0
            .iter()
            .find(|(known, _)| known.starts_with(&inside))
            .map(|(_, source)| source.variable.as_str())
    }

    fn note(&mut self, key: &str, variable: &str, text: &str) {
        let source = Source {
            variable: variable.to_owned(),
            text: text.to_owned(),
        };
        self.0.insert(key.to_owned(), source);
    }
}

/// Where each key stands: dotted path, arrays by index (`route.3.path`), to the line from 1 on.
#[derive(Debug, Default, Clone)]
pub(crate) struct Lines(BTreeMap<String, usize>);

impl Lines {
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The line of `key`, or of the closest table around it.
    pub(crate) fn of(&self, key: &str) -> Option<usize> {
        let mut at = key;
        loop {
            if let Some(line) = self.0.get(at) {
                return Some(*line);
            }
            at = at.rsplit_once('.')?.0;
        }
    }
}

impl Document {
    /// Parses the file and fills in the environment. What is wrong is added to `findings`.
    pub(crate) fn parse(
        text: &str,
        environment: &Environment,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut document = match (
            toml_edit::Document::parse(text),
            toml::from_str::<Table>(text),
        ) {
            (Ok(spanned), Ok(table)) => Document {
                table,
                lines: index(&spanned, text),
                ..Document::default()
            },
            (Err(error), _) => {
                let line = error.span().map(|span| line_at(text, span.start));
                findings.push(
                    Finding::error("not-toml", "", error.message().to_owned())
                        .at(line)
                        .remedy("mend the line: the file is TOML 1.0"),
                );
                return Document::default();
            }
            (Ok(_), Err(error)) => {
                findings.push(Finding::error("not-toml", "", error.message().to_owned()));
                return Document::default();
            }
        };
        document.apply_overrides(environment);
        let mut table = std::mem::take(&mut document.table);
        for (key, value) in &mut table {
            document.fill(value, key, environment, findings);
        }
        document.table = table;
        document
    }

    fn apply_overrides(&mut self, environment: &Environment) {
        for (name, text) in &environment.0 {
            let Some(path) = name.strip_prefix(OVERRIDE_PREFIX) else {
                continue;
            };
            let keys: Vec<String> = path
                .split("__")
                .map(|part| part.to_ascii_lowercase().replace('_', "-"))
                .collect();
            let Some((last, tables)) = keys.split_last() else {
                continue;
            };
            let mut at = Some(&mut self.table);
            for key in tables {
                at = at.and_then(|table| {
                    table
                        .entry(key.clone())
                        .or_insert_with(|| Value::Table(Table::new()))
                        .as_table_mut()
                });
            }
            if let Some(table) = at {
                table.insert(last.clone(), value(text));
                self.asked.insert(name.clone());
                self.sources.note(&keys.join("."), name, text);
            }
        }
    }

    fn fill(
        &mut self,
        value: &mut Value,
        key: &str,
        environment: &Environment,
        findings: &mut Vec<Finding>,
    ) {
        if let Some(name) = value
            .get("from-env")
            .and_then(Value::as_str)
            .map(str::to_owned)
        {
            self.asked.insert(name.clone());
            let spelling = Spelling::of(value);
            let default = value.get("default").cloned();
            if let Some(text) = environment.get(&name) {
                self.sources.note(key, &name, &spelling.text(text));
            } else if default.is_some() {
                self.defaulted.push((key.to_owned(), name.clone()));
            }
            *value = match (environment.get(&name), default) {
                (Some(text), _) => spelling.value(text),
                (None, Some(default)) => default,
                (None, None) => {
                    findings.push(
                        Finding::error(
                            "environment-variable-missing",
                            key,
                            format!("the environment variable `{name}` is not set"),
                        )
                        .at(self.lines.of(key))
                        .remedy(format!(
                            "set `{name}`, or write `{{ from-env = \"{name}\", default = … }}`"
                        )),
                    );
                    Value::String(String::new())
                }
            };
            return;
        }
        match value {
            Value::Table(table) => {
                for (name, inner) in table {
                    self.fill(inner, &format!("{key}.{name}"), environment, findings);
                }
            }
            Value::Array(items) => {
                for (position, inner) in items.iter_mut().enumerate() {
                    self.fill(inner, &format!("{key}.{position}"), environment, findings);
                }
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }
}

/// How a variable says its value, beside `from-env`.
struct Spelling {
    split: Option<String>,
    unit: String,
    negated: bool,
}

impl Spelling {
    fn of(table: &Value) -> Self {
        let text = |key| table.get(key).and_then(Value::as_str).map(str::to_owned);
        Spelling {
            split: text("split"),
            unit: text("unit").unwrap_or_default(),
            negated: table.get("not").and_then(Value::as_bool) == Some(true),
        }
    }

    fn text(&self, text: &str) -> String {
        format!("{text}{}", self.unit)
    }

    fn value(&self, text: &str) -> Value {
        if let Some(mark) = &self.split {
            let parts = text.split(&**mark).map(str::trim);
            let parts = parts.filter(|part| !part.is_empty());
            return Value::Array(parts.map(|part| Value::String(self.text(part))).collect());
        }
        match truth(text) {
            // What is neither is left as it is: no key that is a switch takes it.
            Some(is_on) if self.negated => Value::Boolean(!is_on),
            Some(_) | None => scalar(&self.text(text)),
        }
    }
}

/// A switch as products write it.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// An override's text: a list or a table as TOML writes it, or what [`scalar`] makes of it.
fn value(text: &str) -> Value {
    let written = text.trim_start();
    if written.starts_with('[') || written.starts_with('{') {
        let table = toml::from_str::<Table>(&format!("value = {written}"));
        if let Some(value) = table.ok().and_then(|mut table| table.remove("value")) {
            return value;
        }
    }
    scalar(text)
}

/// A variable's text as the value it spells: a number, a truth value (Python's spelling too), or itself.
fn scalar(text: &str) -> Value {
    match text {
        "true" | "True" => Value::Boolean(true),
        "false" | "False" => Value::Boolean(false),
        _ => text
            .parse()
            .map_or_else(|_| Value::String(text.to_owned()), Value::Integer),
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        .saturating_add(1)
}

fn index(document: &toml_edit::Document<&str>, text: &str) -> Lines {
    let mut lines = BTreeMap::new();
    index_table(document.as_table(), "", text, &mut lines);
    Lines(lines)
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

fn index_table(
    table: &dyn toml_edit::TableLike,
    prefix: &str,
    text: &str,
    lines: &mut BTreeMap<String, usize>,
) {
    for (name, item) in table.iter() {
        let key = join(prefix, name);
        let start = table
            .key(name)
            .and_then(toml_edit::Key::span)
            .or_else(|| item.span())
            .map(|span| span.start);
        if let Some(start) = start {
            lines.insert(key.clone(), line_at(text, start));
        }
        if let Some(inner) = item.as_table_like() {
            index_table(inner, &key, text, lines);
        }
        if let Some(tables) = item.as_array_of_tables() {
            for (position, inner) in tables.iter().enumerate() {
                let key = join(&key, &position.to_string());
                if let Some(span) = inner.span() {
                    lines.insert(key.clone(), line_at(text, span.start));
                }
                index_table(inner, &key, text, lines);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "mode = \"production\"\n\n[listen]\naddress = \"127.0.0.1:80\"\n\n[cors]\norigins = { from-env = \"ORIGINS\", split = \",\" }\n\n[[route]]\npath = \"/a\"\n\n[[route]]\npath = \"/b\"\nallow = \"user\"\n";

    fn parse(environment: &Environment) -> (Document, Vec<Finding>) {
        let mut findings = Vec::new();
        let document = Document::parse(FILE, environment, &mut findings);
        (document, findings)
    }

    #[test]
    fn keys_know_their_lines() {
        let (document, _) = parse(&Environment::default());
        for (key, line) in [
            ("mode", 1),
            ("listen.address", 4),
            ("route.0.path", 10),
            ("route.1.allow", 14),
            ("route.1.nothing", 12),
        ] {
            assert_eq!(document.lines.of(key), Some(line), "{key}");
        }
    }

    #[test]
    fn the_environment_fills_in_and_overrides() {
        let environment = Environment::of(&[
            ("ORIGINS", "https://a.example, https://b.example"),
            ("PORTCULLIS__LISTEN__ADDRESS", "127.0.0.1:81"),
            ("PORTCULLIS__SESSIONS__IDLE_TIMEOUT", "5m"),
        ]);
        let (document, findings) = parse(&environment);
        assert!(findings.is_empty());
        assert_eq!(
            document.table["cors"]["origins"].as_array().unwrap().len(),
            2
        );
        assert_eq!(
            document.table["listen"]["address"].as_str(),
            Some("127.0.0.1:81")
        );
        assert_eq!(
            document.table["sessions"]["idle-timeout"].as_str(),
            Some("5m")
        );
        assert!(document.asked.contains("ORIGINS"));
    }

    #[test]
    fn variables_are_read_as_products_write_them() {
        let file = r#"
rate = { from-env = "PER_MINUTE", unit = "/minute", default = "60/minute" }
hour = { from-env = "PER_HOUR", unit = "/hour", default = "1000/hour" }
off = { from-env = "ENABLED", not = true, default = false }
on = { from-env = "WITH_COOKIES", default = false }
"#;
        let environment = Environment::of(&[
            ("PER_MINUTE", "30"),
            ("ENABLED", "False"),
            ("WITH_COOKIES", "True"),
        ]);
        let mut findings = Vec::new();
        let table = Document::parse(file, &environment, &mut findings).table;
        assert!(findings.is_empty());
        assert_eq!(table["rate"].as_str(), Some("30/minute"));
        assert_eq!(table["hour"].as_str(), Some("1000/hour"));
        assert_eq!(table["off"].as_bool(), Some(true));
        assert_eq!(table["on"].as_bool(), Some(true));
        let odd = Environment::of(&[("ENABLED", "perhaps")]);
        let table = Document::parse(file, &odd, &mut findings).table;
        assert_eq!(table["off"].as_str(), Some("perhaps"), "no key takes that");
    }

    #[test]
    fn a_missing_variable_is_a_finding_with_its_line() {
        let (_, findings) = parse(&Environment::default());
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (findings[0].line, findings[0].key.as_str()),
            (Some(7), "cors.origins")
        );
    }
}
