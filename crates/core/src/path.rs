//! One spelling per path. The decision is made on exactly the bytes that are forwarded.
//!
//! Path confusion is the largest living class of holes in gateways: the gate reads one path, the
//! product behind it another. So a path is brought into one form here, once, and whatever two
//! servers might read differently is refused instead of repaired:
//!
//! - `.` and `..` segments, empty segments (`//`), in plain or escaped spelling;
//! - escapes that are no UTF-8 (`%C0%AF` is `/` to a lenient decoder), overlong forms included;
//! - escaped separators and escaped escapes (`%2F`, `%5C`, `%3B`, `%25` before two hex digits), NUL
//!   and other control characters;
//! - `\`, `;` (path parameters), `#`, `?` and raw bytes outside of RFC 3986 section 3.3 `pchar`.
//!
//! What is left has one spelling: unreserved characters unescaped, escapes in upper case.

use std::borrow::Cow;

/// Why a path was refused. The display text is written for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    #[error("the path has an empty segment (`//`)")]
    EmptySegment,
    #[error("the path has a `.` or `..` segment")]
    DotSegment,
    #[error("the path has an escaped separator, control character or escape")]
    AmbiguousEscape,
    #[error("the path has escapes that are not UTF-8")]
    NotUtf8,
    #[error("the path has an escape that is not `%` and two hexadecimal digits")]
    BadEscape,
    #[error("the path has a character that must be escaped or is not allowed")]
    ForbiddenCharacter,
}

/// The canonical spelling of `path` (without query), or why it has none.
///
/// Borrows where the path is canonical already, which is nearly always.
pub fn canonicalize(path: &str) -> Result<Cow<'_, str>, PathError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    // All bytes together, not until the first odd one: that can be done many at a time.
    if !bytes.iter().fold(false, |odd, byte| odd | !is_plain(*byte)) {
        check_segments(path)?;
        return Ok(Cow::Borrowed(path));
    }
    let unescaped = unescape(bytes)?;
    check_segments(&unescaped)?;
    Ok(if unescaped == path {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(unescaped)
    })
}

/// The text that a canonical segment stands for, for comparing a path parameter with an id.
pub fn decode_segment(segment: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy()
}

/// Text as the fragment of a URI (RFC 3986 section 3.5).
pub fn encode_fragment(text: &str) -> String {
    const ESCAPED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(text, ESCAPED).to_string()
}

fn check_segments(path: &str) -> Result<(), PathError> {
    let mut left = path.strip_prefix('/');
    while let Some(rest) = left {
        let (segment, after) = first_segment(rest);
        match segment {
            "" if after.is_some() => return Err(PathError::EmptySegment),
            "." | ".." => return Err(PathError::DotSegment),
            _ => {}
        }
        left = after;
    }
    Ok(())
}

/// What stands before the first `/`, and what behind it, if there is one.
///
/// Over bytes: segments are short, and the search of the standard library is made for long texts.
pub(crate) fn first_segment(path: &str) -> (&str, Option<&str>) {
    let slash = path.bytes().position(|byte| byte == b'/');
    match slash.and_then(|at| path.split_at_checked(at)) {
        Some((segment, rest)) => (segment, rest.get(1..)),
        None => (path, None),
    }
}

fn unescape(bytes: &[u8]) -> Result<String, PathError> {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied().enumerate();
    while let Some((at, byte)) = rest.next() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else if byte == b'%' {
            let value = escape_at(bytes, at).ok_or(PathError::BadEscape)?;
            rest.nth(1);
            push_escaped(&mut out, value)?;
        } else {
            return Err(PathError::ForbiddenCharacter);
        }
    }
    // SECURITY: `%252e` is `%2e` to whoever decodes twice. Looked for in what is left, because
    // `%25%32%65` becomes it only here.
    if hides_an_escape(out.as_bytes()) {
        return Err(PathError::AmbiguousEscape);
    }
    // SECURITY: what is no UTF-8 is read as something else by each decoder: overlong forms as the
    // separators that were refused above, the rest as one replacement character for all.
    let decoded = percent_encoding::percent_decode_str(&out);
    if decoded.decode_utf8().is_err() {
        return Err(PathError::NotUtf8);
    }
    Ok(out)
}

fn hides_an_escape(canonical: &[u8]) -> bool {
    canonical.windows(5).any(|window| {
        matches!(window, [b'%', b'2', b'5', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
    })
}

fn push_escaped(out: &mut String, value: u8) -> Result<(), PathError> {
    match value {
        // SECURITY: a product that unescapes before it drops path parameters reads `/admin%3bx` as
        // `/admin`.
        b'/' | b'\\' | b';' | 0..=0x1f | 0x7f => Err(PathError::AmbiguousEscape),
        b'.' => {
            out.push('.');
            Ok(())
        }
        unreserved
            if unreserved.is_ascii_alphanumeric() || matches!(unreserved, b'-' | b'_' | b'~') =>
        {
            out.push(char::from(unreserved));
            Ok(())
        }
        other => {
            out.push('%');
            for digit in [other >> 4, other & 0xf] {
                out.push(
                    char::from_digit(u32::from(digit), 16)
                        .unwrap_or('0')
                        .to_ascii_uppercase(),
                );
            }
            Ok(())
        }
    }
}

fn escape_at(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |offset: usize| {
        let byte = *bytes.get(at.checked_add(offset)?)?;
        u8::try_from(char::from(byte).to_digit(16)?).ok()
    };
    Some(digit(1)?.checked_mul(16)?.saturating_add(digit(2)?))
}

/// `pchar` of RFC 3986 section 3.3 without `%` and without `;`, and the separator.
const fn is_plain(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'='
        | b':' | b'@' | b'/')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_paths_stay_as_they_are() {
        for path in [
            "/",
            "/a",
            "/a/b/",
            "/a-b_c~d.e/@me:1",
            "/.well-known/x",
            "/..a/b..",
            "/...",
            "/a%20b",
            "/caf%C3%A9",
            "/100%25",
            "/100%25-off",
        ] {
            assert!(
                matches!(canonicalize(path), Ok(Cow::Borrowed(same)) if same == path),
                "{path}"
            );
        }
    }

    #[test]
    fn one_spelling_is_left() {
        assert_eq!(canonicalize("/%61dmin").unwrap(), "/admin");
        assert_eq!(canonicalize("/%7Ejo/%c3%a9").unwrap(), "/~jo/%C3%A9");
    }

    #[test]
    fn what_two_servers_could_read_differently_is_refused() {
        use PathError::{
            AmbiguousEscape, BadEscape, DotSegment, EmptySegment, ForbiddenCharacter, NotAbsolute,
            NotUtf8,
        };
        for (path, error) in [
            ("", NotAbsolute),
            ("a", NotAbsolute),
            ("*", NotAbsolute),
            ("//a", EmptySegment),
            ("/a//b", EmptySegment),
            ("/a//", EmptySegment),
            ("/./a", DotSegment),
            ("/a/..", DotSegment),
            ("/a/../b", DotSegment),
            ("/a/%2e%2e/b", DotSegment),
            ("/a/.%2E/b", DotSegment),
            ("/a%2fb", AmbiguousEscape),
            ("/a%5Cb", AmbiguousEscape),
            ("/a%3bb", AmbiguousEscape),
            ("/a%00", AmbiguousEscape),
            ("/a%0d%0a", AmbiguousEscape),
            ("/a%252e", AmbiguousEscape),
            ("/a%25%32e", AmbiguousEscape),
            ("/a%25%32%65", AmbiguousEscape),
            ("/a%2525", AmbiguousEscape),
            ("/a%7f", AmbiguousEscape),
            ("/a%C0%AFb", NotUtf8),
            ("/a%e0%80%af", NotUtf8),
            ("/%ff", NotUtf8),
            ("/%C3", NotUtf8),
            ("/%C3/%A9", NotUtf8),
            ("/%ED%A0%80", NotUtf8),
            ("/a%", BadEscape),
            ("/a%2", BadEscape),
            ("/a%zz", BadEscape),
            ("/a\\b", ForbiddenCharacter),
            ("/a;b", ForbiddenCharacter),
            ("/a#b", ForbiddenCharacter),
            ("/a b", ForbiddenCharacter),
            ("/é", ForbiddenCharacter),
            ("/a|b", ForbiddenCharacter),
        ] {
            assert_eq!(canonicalize(path), Err(error), "{path}");
        }
    }

    proptest! {
        #[test]
        fn canonical_paths_are_fixed_points(path in "(/[a-z%0-9.A-F~;]{0,6}){1,5}") {
            if let Ok(once) = canonicalize(&path) {
                prop_assert_eq!(canonicalize(&once).unwrap(), once.clone());
            }
        }

        #[test]
        fn no_canonical_path_climbs(path in "(/[.%2eEfF5cC]{0,9}){1,4}") {
            if let Ok(canonical) = canonicalize(&path) {
                let decoded = decode_segment(&canonical).into_owned();
                prop_assert!(!decoded.split(['/', '\\']).any(|segment| segment == ".." || segment == "."));
            }
        }

        #[test]
        fn any_bytes_are_answered(path in "\\PC*") {
            let _ = canonicalize(&path);
        }
    }
}
