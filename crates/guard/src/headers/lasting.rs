//! Header values that live as long as the process.
//!
//! Copying an ordinary value raises a counter that all cores share, which costs more than the value
//! is worth when every answer bears ten of them. These values are static: a copy is three words.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use http::HeaderValue;

/// Every text that was ever made to last. Texts come from the configuration alone, so that it
/// grows only when a reload brings a new one.
static TEXTS: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

/// The same value, cheap to copy from any core.
pub(super) fn lasting(value: &HeaderValue) -> HeaderValue {
    // Only visible ASCII can be made static; anything else stays as it is.
    let Ok(text) = value.to_str() else {
        return value.clone();
    };
    if text.contains('\t') {
        return value.clone();
    }
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    let texts = texts.get_or_insert_default();
    let known = texts.get(text).copied().unwrap_or_else(|| {
        let new: &'static str = Box::leak(text.into());
        texts.insert(new);
        new
    });
    HeaderValue::from_static(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_what_it_was_and_is_kept_once() {
        for text in [
            "DENY",
            "default-src 'self'; x=\"y\"",
            "",
            "a\tb",
            "caf\u{e9}",
        ] {
            let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
            assert_eq!(lasting(&value), value);
        }
        let value = HeaderValue::from_static("kept once");
        let first = lasting(&value);
        assert_eq!(
            first.as_bytes().as_ptr(),
            lasting(&value).as_bytes().as_ptr()
        );
    }
}
