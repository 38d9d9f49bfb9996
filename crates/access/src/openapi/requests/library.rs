//! The library that knows JSON Schema, where it is built in (the feature `schema`).
//!
//! A build without it has the types, and nobody can have a value of one: no document compiles.

#[cfg(not(feature = "schema"))]
pub(super) use absent::*;
#[cfg(feature = "schema")]
pub(super) use present::*;

/// Whether this build knows JSON Schema.
pub const IS_BUILT_IN: bool = cfg!(feature = "schema");

/// One rule that a value breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where: a JSON Pointer (RFC 6901) into the body, or the name of a parameter.
    pub(super) place: String,
    pub(super) rule: String,
}

#[cfg(feature = "schema")]
mod present {
    use std::fmt;

    use jsonschema::{Draft, PatternOptions, Registry};
    use serde_json::{Value, json};

    use super::super::MOST_FAULTS;
    use super::Fault;

    /// The document, by a name of ours: it has no address.
    const DOCUMENT: &str = "urn:portcullis:openapi";

    /// SECURITY: patterns with look-around are tried by backtracking, and what they are tried on is
    /// the client's. A value that takes more steps breaks the rule.
    const MOST_STEPS: usize = 100_000;

    pub(in super::super) struct Compiler<'d> {
        registry: Registry<'d>,
        draft: Draft,
        formats: bool,
    }

    pub(in super::super) struct Validator(jsonschema::Validator);

    impl Compiler<'_> {
        pub(in super::super) fn new(root: &Value, formats: bool) -> Result<Self, String> {
            // OpenAPI 3.0 says "Wright-00", which is Draft 4 in all that is used of it, and `nullable`.
            let is_old = root
                .get("openapi")
                .and_then(Value::as_str)
                .is_some_and(|version| version.starts_with("3.0."));
            let (draft, document) = if is_old {
                (Draft::Draft4, with_null(root))
            } else {
                (Draft::Draft202012, root.clone())
            };
            let registry = Registry::new()
                .draft(draft)
                .add(DOCUMENT, draft.create_resource(document))
                .and_then(jsonschema::RegistryBuilder::prepare)
                .map_err(|error| error.to_string())?;
            Ok(Compiler {
                registry,
                draft,
                formats,
            })
        }

        /// The rules that stand at `pointer` in the document.
        pub(in super::super) fn compile(&self, pointer: &str) -> Result<Validator, String> {
            // A fragment is percent-encoded (RFC 6901 section 6).
            let pointer = portcullis_core::path::encode_fragment(pointer);
            let schema = json!({ "$ref": format!("{DOCUMENT}#{pointer}") });
            jsonschema::options()
                .with_draft(self.draft)
                .with_registry(&self.registry)
                .offline()
                .should_validate_formats(self.formats)
                .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(MOST_STEPS))
                .build(&schema)
                .map(Validator)
                .map_err(|error| error.to_string())
        }
    }

    impl Validator {
        pub(in super::super) fn faults(&self, value: &Value) -> Vec<Fault> {
            let errors = self.0.iter_errors(value).take(MOST_FAULTS);
            errors
                .map(|error| Fault {
                    place: error.instance_path().as_str().to_owned(),
                    rule: error.masked_with("the value").to_string(),
                })
                .collect()
        }

        pub(in super::super) fn admits(&self, value: &Value) -> bool {
            self.0.is_valid(value)
        }
    }

    impl fmt::Debug for Validator {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Validator(..)")
        }
    }

    /// `nullable: true` of OpenAPI 3.0 in the words of JSON Schema. Beside a reference or a
    /// combination it means nothing to the letter, and `or null` to everybody who writes it.
    fn with_null(value: &Value) -> Value {
        match value {
            Value::Array(items) => Value::Array(items.iter().map(with_null).collect()),
            Value::Object(object) => {
                let is_nullable = object.get("nullable") == Some(&Value::Bool(true));
                let mut rest = object.clone();
                for part in rest.values_mut() {
                    *part = with_null(part);
                }
                if is_nullable {
                    rest.remove("nullable");
                    json!({ "anyOf": [rest, { "type": "null" }] })
                } else {
                    Value::Object(rest)
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }
}

#[cfg(not(feature = "schema"))]
mod absent {
    use std::marker::PhantomData;

    use serde_json::Value;

    use super::Fault;

    pub(in super::super) struct Compiler<'d>(Never, PhantomData<&'d ()>);

    #[derive(Debug)]
    pub(in super::super) struct Validator(Never);

    #[derive(Debug)]
    enum Never {}

    impl Compiler<'_> {
        pub(in super::super) fn new(_: &Value, _: bool) -> Result<Self, String> {
            Err("this program was built without JSON Schema: build it with `--features schema`, or with `full`".to_owned())
        }

        pub(in super::super) fn compile(&self, _: &str) -> Result<Validator, String> {
            match self.0 {}
        }
    }

    impl Validator {
        pub(in super::super) fn faults(&self, _: &Value) -> Vec<Fault> {
            match self.0 {}
        }

        pub(in super::super) fn admits(&self, _: &Value) -> bool {
            match self.0 {}
        }
    }
}
