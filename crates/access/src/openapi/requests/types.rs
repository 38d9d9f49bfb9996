//! Text into values. A query and a form know only text; what it stands for is said by the schema.

use serde_json::{Number, Value};

use super::super::read::{below, elements, follow};

/// Schemas within schemas that are looked into.
const MOST_DEPTH: usize = 8;

/// The types that a schema admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Types {
    of_one: Scalars,
    /// Those of the items, where a list is admitted.
    of_items: Option<Scalars>,
}

#[expect(clippy::struct_excessive_bools, reason = "a set of four")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Scalars {
    number: bool,
    boolean: bool,
    null: bool,
    string: bool,
}

impl Types {
    /// What the schema at `pointer` admits, as far as it says so.
    pub(super) fn of(root: &Value, pointer: &str) -> Self {
        let mut types = Types::default();
        types.add(root, pointer.to_owned(), MOST_DEPTH);
        types
    }

    fn add(&mut self, root: &Value, pointer: String, depth: usize) {
        let Some((pointer, schema)) = follow(root, pointer) else {
            return;
        };
        let Some(left) = depth.checked_sub(1) else {
            return;
        };
        let written = match schema.get("type") {
            Some(Value::Array(several)) => several.iter().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        };
        for name in written.into_iter().filter_map(Value::as_str) {
            match name {
                "integer" | "number" => self.of_one.number = true,
                "boolean" => self.of_one.boolean = true,
                "null" => self.of_one.null = true,
                "string" => self.of_one.string = true,
                "array" => {
                    let mut items = Types::default();
                    items.add(root, below(&pointer, "items"), left);
                    self.of_items = Some(items.of_one);
                }
                _ => {}
            }
        }
        self.of_one.null |= schema.get("nullable") == Some(&Value::Bool(true));
        let listed = schema.get("enum").and_then(Value::as_array);
        let listed = listed.into_iter().flatten().chain(schema.get("const"));
        for value in listed {
            self.of_one.number |= value.is_number();
            self.of_one.boolean |= value.is_boolean();
            self.of_one.string |= value.is_string();
        }
        for several in ["anyOf", "oneOf", "allOf"] {
            for one in elements(root, &below(&pointer, several)) {
                self.add(root, one, left);
            }
        }
    }

    pub(super) const fn is_list(self) -> bool {
        self.of_items.is_some()
    }

    /// What `text` may stand for, the likeliest first.
    pub(super) fn readings(self, text: &str) -> Vec<Value> {
        let mut readings: Vec<Value> = self.of_one.typed(text).into_iter().collect();
        if self.of_one.string || readings.is_empty() {
            readings.push(Value::String(text.to_owned()));
        }
        readings
    }

    /// What these stand for together.
    pub(super) fn list(self, texts: &[&str]) -> Value {
        let items = self.of_items.unwrap_or_default();
        let value = |text: &&str| match items.typed(text) {
            Some(value) => value,
            None => Value::String((*text).to_owned()),
        };
        Value::Array(texts.iter().map(value).collect())
    }
}

impl Scalars {
    fn typed(self, text: &str) -> Option<Value> {
        // The parser would pass over blanks and line ends around it, which no product has to expect.
        if self.number
            && !text.contains(char::is_whitespace)
            && let Ok(number) = serde_json::from_str::<Number>(text)
        {
            return Some(Value::Number(number));
        }
        if self.boolean
            && let Some(value) = boolean(text)
        {
            return Some(Value::Bool(value));
        }
        (self.null && matches!(text, "" | "null")).then_some(Value::Null)
    }
}

/// What forms and frameworks write for yes and no.
fn boolean(text: &str) -> Option<bool> {
    let is_one_of = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match () {
        () if is_one_of(["true", "1", "yes", "on"]) => Some(true),
        () if is_one_of(["false", "0", "no", "off"]) => Some(false),
        () => None,
    }
}
