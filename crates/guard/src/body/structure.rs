//! Counts what JSON (RFC 8259) and forms hold while they pass: nothing is kept and nothing is parsed.
//!
//! A parser that recurses falls at some depth, and one that builds a table pays for each key
//! (CWE-674, CWE-400). Whether the text is well-formed is the parser's matter.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use portcullis_core::{Problem, problem};

/// What a body may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Objects and lists within each other.
    pub max_depth: u32,
    /// Keys of all objects together, or fields of a form.
    pub max_fields: u32,
}

/// A body that holds more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    #[error("the body is nested deeper than {0}")]
    Depth(u32),
    #[error("the body has more than {0} fields")]
    Fields(u32),
}

impl From<TooMuch> for Problem {
    fn from(error: TooMuch) -> Self {
        Problem::new(&problem::MALFORMED_BODY).detail(error.to_string())
    }
}

/// Counts the pieces of one body.
#[derive(Debug)]
pub struct Structure {
    bounds: Bounds,
    form: Form,
    fields: u32,
}

#[derive(Debug)]
enum Form {
    Json { depth: u32, text: Text },
    UrlEncoded,
}

/// Where a JSON text is.
#[derive(Debug, Clone, Copy)]
enum Text {
    Outside,
    InString,
    AfterBackslash,
}

impl Structure {
    /// Nothing where the body is of another kind.
    pub fn of(headers: &HeaderMap, bounds: Bounds) -> Option<Self> {
        let form = form_of(headers.get(CONTENT_TYPE)?.as_bytes())?;
        Some(Structure {
            bounds,
            form,
            fields: 0,
        })
    }

    /// Counts the next piece.
    pub fn count(&mut self, piece: &[u8]) -> Result<(), TooMuch> {
        let too_many = TooMuch::Fields(self.bounds.max_fields);
        match &mut self.form {
            Form::UrlEncoded => {
                for _ in piece.iter().filter(|byte| **byte == b'&') {
                    self.fields = self.fields.saturating_add(1);
                }
                // One more than there are separators.
                if self.fields >= self.bounds.max_fields {
                    return Err(too_many);
                }
            }
            Form::Json { depth, text } => {
                for byte in piece {
                    *text = match (*text, byte) {
                        (Text::InString, b'\\') => Text::AfterBackslash,
                        (Text::InString, b'"') => Text::Outside,
                        (Text::InString | Text::AfterBackslash, _) | (Text::Outside, b'"') => {
                            Text::InString
                        }
                        (Text::Outside, b'{' | b'[') => {
                            *depth = depth.saturating_add(1);
                            if *depth > self.bounds.max_depth {
                                return Err(TooMuch::Depth(self.bounds.max_depth));
                            }
                            Text::Outside
                        }
                        (Text::Outside, b'}' | b']') => {
                            *depth = depth.saturating_sub(1);
                            Text::Outside
                        }
                        (Text::Outside, b':') => {
                            self.fields = self.fields.saturating_add(1);
                            if self.fields > self.bounds.max_fields {
                                return Err(too_many);
                            }
                            Text::Outside
                        }
                        (Text::Outside, _) => Text::Outside,
                    };
                }
            }
        }
        Ok(())
    }
}

fn form_of(content_type: &[u8]) -> Option<Form> {
    let essence = content_type
        .split(|byte| *byte == b';')
        .next()?
        .trim_ascii();
    let is_json = essence.eq_ignore_ascii_case(b"application/json")
        || essence
            .last_chunk::<5>()
            .is_some_and(|end| end.eq_ignore_ascii_case(b"+json"));
    if is_json {
        return Some(Form::Json {
            depth: 0,
            text: Text::Outside,
        });
    }
    essence
        .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
        .then_some(Form::UrlEncoded)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        max_depth: 3,
        max_fields: 4,
    };

    fn count(content_type: &'static str, body: &[u8], size: usize) -> Option<Result<(), TooMuch>> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let mut structure = Structure::of(&headers, BOUNDS)?;
        Some(
            body.chunks(size)
                .try_for_each(|piece| structure.count(piece)),
        )
    }

    #[test]
    fn depth_and_fields_are_counted_in_pieces_of_any_size_and_strings_are_not() {
        for (body, expected) in [
            ("[[[1]]]", Ok(())),
            ("[[[[1]]]]", Err(TooMuch::Depth(3))),
            ("[[],[],[],[[]]]", Ok(())),
            (r#"{"a":1,"b":2,"c":3,"d":4}"#, Ok(())),
            (
                r#"{"a":1,"b":2,"c":3,"d":{"e":5}}"#,
                Err(TooMuch::Fields(4)),
            ),
            (r#"["[[[[", "::::::", "\"[[[[:::::", "\\"]"#, Ok(())),
            (r#"["\\",[[[1]]]]"#, Err(TooMuch::Depth(3))),
        ] {
            for size in 1..body.len() {
                for kind in [
                    "application/json",
                    "Application/Problem+JSON; charset=utf-8",
                ] {
                    assert_eq!(count(kind, body.as_bytes(), size), Some(expected), "{body}");
                }
            }
        }
        let form = "application/x-www-form-urlencoded";
        assert_eq!(count(form, b"a=1&b=2&c=3&d=4", 3), Some(Ok(())));
        assert_eq!(
            count(form, b"a=1&b=2&c&d&e", 3),
            Some(Err(TooMuch::Fields(4)))
        );
        assert_eq!(count("text/plain", b"[[[[[[", 3), None);
    }

    proptest! {
        #[test]
        fn what_a_parser_finds_is_what_is_counted(text in "[\\[\\]{}:,\"a\\\\1 ]{0,40}") {
            let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) else { return Ok(()) };
            let is_within = count("application/json", text.as_bytes(), 7).unwrap().is_ok();
            let (depth, fields) = measured(&value);
            // A key that stands twice is one to the parser.
            if fields > 4 || depth > 3 {
                prop_assert!(!is_within);
            }
        }
    }

    fn measured(value: &serde_json::Value) -> (usize, usize) {
        let parts: Vec<_> = match value {
            serde_json::Value::Array(items) => items.iter().map(measured).collect(),
            serde_json::Value::Object(object) => object.values().map(measured).collect(),
            _ => return (0, 0),
        };
        let own = value.as_object().map_or(0, serde_json::Map::len);
        let depth = parts.iter().map(|(depth, _)| *depth).max().unwrap_or(0);
        (
            depth + 1,
            own + parts.iter().map(|(_, fields)| fields).sum::<usize>(),
        )
    }
}
