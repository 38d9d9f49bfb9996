//! Keeps secrets and e-mail addresses out of whatever is written down.
//!
//! Masked: values beside a telling field name (`password=..`, `"token": ".."`, `Cookie: ..`),
//! `Bearer` and `Basic` credentials, JWTs, keys with a known prefix, long opaque tokens, user
//! information and query strings of URLs, and the local part of e-mail addresses. Control
//! characters become U+FFFD, so that no text can start a line of its own (CWE-117).
//!
//! Masks too much rather than too little. Never fails. It does not find a password that stands
//! alone in prose: nothing can, so callers never pass one.

mod names;
mod scan;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use names::is_sensitive as is_sensitive_name;

/// Stands where a secret stood.
pub const MASK: &str = "[redacted]";

/// The longest text that [`text`] returns, in bytes, give or take a mask.
pub const MAX_TEXT_BYTES: usize = 1024;

const MAX_DEPTH: usize = 4;
const MAX_ITEMS: usize = 16;

/// `input` without secrets, on one line, at most [`MAX_TEXT_BYTES`] of it.
pub fn text(input: &str) -> String {
    bounded(input, MAX_TEXT_BYTES)
}

/// As [`text`], with another bound.
pub fn bounded(input: &str, max_bytes: usize) -> String {
    let printable = scan::printable(input, max_bytes);
    scan::mask_runs(&scan::mask_named(&printable))
}

/// A JSON value that belongs to the field `name`. Deep and long values are cut.
pub fn value(name: &str, value: Value) -> Value {
    nested(name, value, 0)
}

fn nested(name: &str, value: Value, depth: usize) -> Value {
    if is_sensitive_name(name) {
        return match value {
            Value::Null | Value::Bool(_) => value,
            Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => MASK.into(),
        };
    }
    let deeper = depth.saturating_add(1);
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
        Value::String(string) => bounded(&string, crate::audit::Metadata::MAX_TEXT_BYTES).into(),
        Value::Array(_) | Value::Object(_) if deeper > MAX_DEPTH => "[cut]".into(),
        Value::Array(items) => items
            .into_iter()
            .take(MAX_ITEMS)
            .map(|item| nested(name, item, deeper))
            .collect(),
        Value::Object(fields) => fields
            .into_iter()
            .take(MAX_ITEMS)
            .map(|(name, value)| {
                let value = nested(&name, value, deeper);
                (bounded(&name, 64), value)
            })
            .collect(),
    }
}

/// `alice@example.com` as `a***@example.com`. What is not an address becomes `***`.
pub fn mask_email(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => {
            let first = local.chars().next().filter(|c| !c.is_control());
            let mut masked: String = first.into_iter().collect();
            masked.push_str("***@");
            masked.push_str(domain);
            scan::printable(&masked, 128)
        }
        None => "***".to_owned(),
    }
}

/// Whether `path` plainly holds nothing to mask: the fast way past [`text`] for paths of requests.
pub(crate) fn is_plain_path(path: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.');
    !path.bytes().fold(false, |odd, byte| odd | !plain(byte))
        && path
            .as_bytes()
            .split(|byte| *byte == b'/')
            .all(|segment| segment.len() < 16 || scan::is_uuid(segment))
}
