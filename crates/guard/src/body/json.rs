//! Measures JSON (RFC 8259) before anything is built from it: one pass, no recursion, memory
//! bounded by the limits.
//!
//! It is stricter than a parser needs to be in one way: a key may stand only once in an object,
//! whatever way it is escaped. Whether numbers and escapes are well-formed is left to the parser.

use std::collections::HashSet;

use portcullis_core::size::ByteSize;
use portcullis_core::{Problem, problem};

/// What own API bodies may hold.
#[derive(Debug, Clone, Copy)]
pub struct JsonBounds {
    pub max_size: ByteSize,
    /// Objects and lists within each other.
    pub max_depth: usize,
    /// Keys in the whole document.
    pub max_keys: usize,
}

impl Default for JsonBounds {
    fn default() -> Self {
        JsonBounds {
            max_size: ByteSize::kib(64),
            max_depth: 16,
            max_keys: 256,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("the document is longer than {0}")]
    TooLarge(ByteSize),
    #[error("the document is nested deeper than {0}")]
    TooDeep(usize),
    #[error("the document has more than {0} keys")]
    TooManyKeys(usize),
    #[error("an object has a key twice")]
    DuplicateKey,
    #[error("the document is not JSON")]
    Malformed,
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::TooLarge(size) => Problem::new(&problem::BODY_TOO_LARGE)
                .detail(format!("At most {size} are accepted here.")),
            JsonError::TooDeep(_)
            | JsonError::TooManyKeys(_)
            | JsonError::DuplicateKey
            | JsonError::Malformed => {
                Problem::new(&problem::MALFORMED_BODY).detail(error.to_string())
            }
        }
    }
}

enum Level {
    /// Keys seen so far, and whether the next string is a key.
    Object {
        keys: HashSet<String>,
        key_next: bool,
    },
    List,
}

impl JsonBounds {
    /// Whether `body` may be handed to the parser.
    pub fn check(&self, body: &[u8]) -> Result<(), JsonError> {
        if body.len() > self.max_size.as_usize() {
            return Err(JsonError::TooLarge(self.max_size));
        }
        let text = std::str::from_utf8(body).map_err(|_| JsonError::Malformed)?;
        let mut levels: Vec<Level> = Vec::new();
        let mut keys_left = self.max_keys;
        let mut rest = text;
        while let Some(first) = rest.bytes().next() {
            let length = match first {
                b'"' => {
                    let length = string_length(rest).ok_or(JsonError::Malformed)?;
                    let literal = rest.get(..length).ok_or(JsonError::Malformed)?;
                    if let Some(Level::Object { keys, key_next }) = levels.last_mut()
                        && std::mem::replace(key_next, false)
                    {
                        keys_left = keys_left
                            .checked_sub(1)
                            .ok_or(JsonError::TooManyKeys(self.max_keys))?;
                        let key = unescape(literal).ok_or(JsonError::Malformed)?;
                        if !keys.insert(key) {
                            return Err(JsonError::DuplicateKey);
                        }
                    }
                    length
                }
                b'{' | b'[' => {
                    if levels.len() >= self.max_depth {
                        return Err(JsonError::TooDeep(self.max_depth));
                    }
                    levels.push(if first == b'{' {
                        Level::Object {
                            keys: HashSet::new(),
                            key_next: true,
                        }
                    } else {
                        Level::List
                    });
                    1
                }
                b'}' | b']' => {
                    match (first, levels.pop()) {
                        (b'}', Some(Level::Object { .. })) | (b']', Some(Level::List)) => {}
                        (_, Some(Level::Object { .. } | Level::List) | None) => {
                            return Err(JsonError::Malformed);
                        }
                    }
                    1
                }
                b',' => {
                    if let Some(Level::Object { key_next, .. }) = levels.last_mut() {
                        *key_next = true;
                    }
                    1
                }
                _ => rest.chars().next().map_or(1, char::len_utf8),
            };
            rest = rest.get(length..).ok_or(JsonError::Malformed)?;
        }
        if levels.is_empty() {
            Ok(())
        } else {
            Err(JsonError::Malformed)
        }
    }
}

/// Bytes of the string literal at the start of `text`, quotes counted.
fn string_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at.checked_add(1),
            _ => {}
        }
    }
    None
}

/// What a string literal means, so that `"\u0061"` and `"a"` are one key.
fn unescape(literal: &str) -> Option<String> {
    serde_json::from_str(literal).ok()
}
