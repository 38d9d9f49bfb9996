//! Whether a text names a person: for their export, and for their erasure.
//!
//! - A name counts where it stands by itself: `customer-7` is not in `customer-71`, and `ana@corp.test` not in
//!   `susana@corp.test`.
//! - ASCII letters count in either case. In JSON every string and key is looked at as it reads, without
//!   escapes; in a form what is percent-encoded is looked at decoded.
//! - A name of fewer than [`SHORTEST`] bytes is never looked for: it would be found in texts about others.

use std::borrow::Cow;

use portcullis_core::path::decode_segment;
use serde_json::Value;

/// Bytes. What is shorter names nobody.
pub const SHORTEST: usize = 6;
/// Stands where a name stood.
pub const MARK: &str = "[erased]";

/// By what somebody is called.
#[derive(Clone, Default)]
pub struct Mentions {
    /// In small letters, the longest first, so that what is replaced is replaced whole.
    names: Vec<String>,
}

/// Without the names.
impl std::fmt::Debug for Mentions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mentions({} names)", self.names.len())
    }
}

impl Mentions {
    pub fn of<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        let mut names: Vec<String> = names
            .into_iter()
            .map(|name| name.as_ref().trim().to_ascii_lowercase())
            .filter(|name| name.len() >= SHORTEST)
            .collect();
        names.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        names.dedup();
        Mentions { names }
    }

    /// Whether nothing would be found anywhere.
    pub const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether somebody is named in a text as it reads.
    pub fn is_in(&self, text: &str) -> bool {
        let text = lower(text);
        self.names.iter().any(|name| find(&text, name).is_some())
    }

    /// The same in a body of any kind.
    pub fn is_in_body(&self, body: &[u8]) -> bool {
        let text = String::from_utf8_lossy(body);
        if self.is_in(&text) {
            return true;
        }
        if let Ok(json) = serde_json::from_slice::<Value>(body) {
            return self.is_in_json(&json);
        }
        (text.contains('%') || text.contains('+'))
            && self.is_in(&decode_segment(&text.replace('+', " ")))
    }

    fn is_in_json(&self, json: &Value) -> bool {
        match json {
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
            Value::String(text) => self.is_in(text),
            Value::Array(items) => items.iter().any(|item| self.is_in_json(item)),
            Value::Object(fields) => fields
                .iter()
                .any(|(name, value)| self.is_in(name) || self.is_in_json(value)),
        }
    }

    /// The text with [`MARK`] for each name; nothing where there is none in it.
    pub fn taken_out(&self, text: &str) -> Option<String> {
        let mut text = Cow::Borrowed(text);
        for name in &self.names {
            let mut done = String::new();
            let mut rest = &*text;
            while let Some((before, after)) = split(rest, name) {
                done.push_str(before);
                done.push_str(MARK);
                rest = after;
            }
            if !done.is_empty() {
                done.push_str(rest);
                text = Cow::Owned(done);
            }
        }
        match text {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text),
        }
    }
}

/// One page of a search.
#[derive(Debug)]
pub struct Page<F, P> {
    pub found: Vec<F>,
    /// Where the next page begins; nothing at the end.
    pub next: Option<P>,
}

impl<F, P> Page<F, P> {
    /// What was found in `read` of `most` rows, of which the last one is at `last`.
    pub(crate) fn of(found: Vec<F>, last: P, read: usize, most: u32) -> Self {
        let is_whole = u32::try_from(read).is_ok_and(|read| read == most);
        Page {
            found,
            next: is_whole.then_some(last),
        }
    }
}

/// Byte for byte as long as the text.
fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// What stands before the first place of a name and behind it.
fn split<'t>(text: &'t str, name: &str) -> Option<(&'t str, &'t str)> {
    let at = find(&lower(text), name)?;
    let (before, rest) = text.split_at_checked(at)?;
    let (_, after) = rest.split_at_checked(name.len())?;
    Some((before, after))
}

/// Where the name stands by itself, both in small letters.
fn find(text: &str, name: &str) -> Option<usize> {
    let stands_alone = |at: &usize| {
        let before = text.get(..*at).and_then(|text| text.chars().next_back());
        let after = text.get(at.saturating_add(name.len())..);
        let mut after = after.unwrap_or_default().chars();
        let begins = !before.is_some_and(|it| it.is_alphanumeric() || "._%+-".contains(it));
        let ends = match (after.next(), after.next()) {
            (Some(next), _) if next.is_alphanumeric() => false,
            (Some(next), Some(second)) => !("._-@".contains(next) && second.is_alphanumeric()),
            (None, _) | (Some(_), None) => true,
        };
        begins && ends
    };
    let mut places = text.match_indices(name).map(|(at, _)| at);
    places.find(stands_alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Mentions {
        Mentions::of(names)
    }

    #[test]
    fn a_name_counts_where_it_stands_by_itself_alone() {
        let ana = of(&["Ana@corp.test", "customer-7", "7"]);
        for text in [
            "ana@corp.test",
            "to <ANA@corp.test>.",
            "by customer-7, today",
            "customer-7",
            "{\"id\":customer-7}",
        ] {
            assert!(ana.is_in(text), "{text}");
        }
        for text in [
            "susana@corp.test",
            "x.ana@corp.test",
            "ana@corp.test.example",
            "customer-71",
            "customer-7-b",
            "a-customer-7",
            "customer-7@corp.test",
            "7",
            "",
        ] {
            assert!(!ana.is_in(text), "{text}");
        }
    }

    #[test]
    fn bodies_are_read_as_whoever_gets_them_reads_them() {
        let ana = of(&["ana@corp.test"]);
        for body in [
            r#"{"to":["ana@corp.test"]}"#,
            r#"{"to":"\u0061na@corp.test"}"#,
            r#"{"by":{"ana@corp.test":1}}"#,
            "to=ana%40corp.test&x=1",
            "to=ana%40corp.test+x",
            "to: ana@corp.test",
        ] {
            assert!(ana.is_in_body(body.as_bytes()), "{body}");
        }
        for body in [r#"{"to":"bo@corp.test"}"#, "to=bo%40corp.test", ""] {
            assert!(!ana.is_in_body(body.as_bytes()), "{body}");
        }
        assert!(ana.is_in_body(b"\xff ana@corp.test \xff"));
    }

    #[test]
    fn what_is_taken_out_is_taken_out_everywhere_and_nothing_else_is() {
        let ana = of(&["ana@corp.test", "customer-7"]);
        let text =
            "Ana@corp.test (customer-7) and susana@corp.test; ana@corp.test, \u{fc} customer-71";
        let left = ana.taken_out(text).unwrap();
        assert_eq!(
            left,
            "[erased] ([erased]) and susana@corp.test; [erased], \u{fc} customer-71"
        );
        assert!(!ana.is_in(&left));
        assert_eq!(ana.taken_out("nobody"), None);
        assert_eq!(of(&["customer-7"]).taken_out("customer-7").unwrap(), MARK);
    }

    #[test]
    fn a_short_name_is_not_looked_for() {
        assert!(of(&["7", "anna", "", "     x"]).is_empty());
        assert!(!of(&["anna-b"]).is_empty());
    }
}
