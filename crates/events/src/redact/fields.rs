//! Values beside a telling name: JSON, `key=value`, queries, headers.

use super::extent::{Extent, Nested, Quoted, is_break};
use super::names;
use super::view::{Cover, End, Found, View, is_name};
use super::{Kind, MASK};

/// Longer names are no names.
const MAX_NAME: usize = 64;
/// So many blanks may stand around a separator.
const MAX_BLANKS: usize = 8;

/// The name around what was found, and what stands between it and its value.
struct Name<'a> {
    text: &'a [u8],
    start: usize,
    /// The quote behind it, and the backslashes before that.
    quote: Option<(u8, usize)>,
    separator: Separator,
    value: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Separator {
    Equals,
    Colon,
    /// `%3D`, `%3A`: a query within a query.
    Encoded,
}

/// The value of the field whose name has a telling part from `start` to `end`.
pub(super) fn part(view: &View<'_>, start: usize, end: usize) -> Option<Found> {
    let rest = view.count(end, MAX_NAME, is_name);
    if rest == MAX_NAME {
        return None;
    }
    let begin = view.back_while(start, MAX_NAME, is_name);
    value(view, &name(view, begin, end + rest)?)
}

/// The same for a name that is telling as a whole alone.
pub(super) fn whole(view: &View<'_>, start: usize, end: usize) -> Option<Found> {
    if view.before(start).is_some_and(is_name) {
        return None;
    }
    value(view, &name(view, start, end)?)
}

/// The same for a name in a query, which begins with `?` or `&` and has its `=` already.
pub(super) fn in_query(view: &View<'_>, end: usize) -> Option<Found> {
    if view.from(end).starts_with(MASK.as_bytes()) {
        return behind_mask(view, end, is_in_word);
    }
    view.mask(Kind::Fields, end, Extent::While(is_in_word))
}

/// What was masked already, and what somebody may have written behind it. Blanks alone are nothing:
/// [`plain`] leaves those behind a value as well.
fn behind_mask(view: &View<'_>, at: usize, is_part: fn(u8) -> bool) -> Option<Found> {
    let behind = at + MASK.len();
    let mut found = view.mask(Kind::Fields, behind, Extent::While(is_part))?;
    if let End::At(end) = &mut found.end {
        *end = behind + view.slice(behind, *end).trim_ascii_end().len();
        if *end == behind {
            return None;
        }
    }
    Some(Found { start: at, ..found })
}

fn name<'a>(view: &View<'a>, start: usize, end: usize) -> Option<Name<'a>> {
    let mut at = end;
    let slashes = view.count(at, 8, |byte| byte == b'\\');
    at += slashes;
    let mut quote = None;
    match view.at(at) {
        Some(mark @ (b'"' | b'\'' | b'`')) => {
            quote = Some((mark, slashes));
            at += 1;
        }
        _ if slashes > 0 => return None,
        Some(b']') => at += 1,
        Some(b'%') if is_encoded(view, at, &["22", "27", "5d"]) => at += 3,
        _ => {}
    }
    at += view.count(at, MAX_BLANKS, is_blank);
    let separator = match view.at(at)? {
        b'=' => Separator::Equals,
        b':' => Separator::Colon,
        b'%' if is_encoded(view, at, &["3d", "3a"]) => Separator::Encoded,
        _ => return None,
    };
    at += if separator == Separator::Encoded {
        3
    } else {
        1
    };
    match (separator, view.at(at)) {
        // A path of a programming language.
        (Separator::Colon, Some(b':')) => return None,
        (Separator::Colon, Some(b'=')) | (Separator::Equals, Some(b'=' | b'>')) => at += 1,
        _ => {}
    }
    at += view.count(at, MAX_BLANKS, is_blank);
    Some(Name {
        text: view.slice(start, end),
        start,
        quote,
        separator,
        value: at,
    })
}

fn is_encoded(view: &View<'_>, at: usize, codes: &[&str]) -> bool {
    let code = view.slice(at + 1, at + 3);
    codes
        .iter()
        .any(|known| code.eq_ignore_ascii_case(known.as_bytes()))
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn value(view: &View<'_>, name: &Name<'_>) -> Option<Found> {
    let at = name.value;
    let slashes = view.count(at, 8, |byte| byte == b'\\');
    if let Some(quote @ (b'"' | b'\'' | b'`')) = view.at(at + slashes) {
        let content = at + slashes + 1;
        return view.mask(
            Kind::Fields,
            content,
            Extent::Quoted(Quoted::new(quote, slashes)),
        );
    }
    let is_header = name.quote.is_none() && name.separator != Separator::Encoded && {
        let folded = String::from_utf8_lossy(name.text).to_ascii_lowercase();
        folded.contains("cookie")
            || (folded.contains("authorization") && name.separator == Separator::Colon)
    };
    if is_header {
        return view.mask(Kind::Fields, at, header(view, name.start));
    }
    let is_part = match (name.quote, name.separator) {
        (Some(_), _) => is_in_json,
        (None, Separator::Colon) => is_in_clause,
        (None, Separator::Equals) => is_in_word,
        (None, Separator::Encoded) => is_in_encoded,
    };
    let mut found = match view.at(at)? {
        b'{' | b'[' if !view.from(at).starts_with(MASK.as_bytes()) => {
            let slashes = name.quote.map_or(0, |(_, slashes)| slashes);
            let tail = name.quote.is_none().then_some(is_part);
            view.mask(Kind::Fields, at, Extent::Nested(Nested::new(slashes, tail)))?
        }
        b'[' => behind_mask(view, at, is_part)?,
        _ => plain(view, name, at, is_part)?,
    };
    if let Some((quote, slashes)) = name.quote {
        found.cover = Cover::Quoted { quote, slashes };
    }
    Some(found)
}

/// A value without quotes.
fn plain(view: &View<'_>, name: &Name<'_>, at: usize, is_part: fn(u8) -> bool) -> Option<Found> {
    let found = view.mask(Kind::Fields, at, Extent::While(is_part))?;
    let End::At(end) = found.end else {
        return Some(found);
    };
    let word = view.slice(at, end).trim_ascii();
    if word.is_empty() || says_nothing(word) || (is_plural(name.text) && is_number(word)) {
        return None;
    }
    // `authorization=Bearer abc`: the credentials are the next word.
    if is_scheme(word) && view.at(end) == Some(b' ') {
        let next = view.mask(Kind::Fields, end + 1, Extent::While(is_part));
        if let Some(next) = next {
            return Some(Found { start: at, ..next });
        }
    }
    let end = at + word.len();
    Some(Found {
        end: End::At(end),
        ..found
    })
    .filter(|_| word != MASK.as_bytes())
}

fn says_nothing(word: &[u8]) -> bool {
    ["null", "true", "false", "none", "nil", "undefined", "-"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

fn is_scheme(word: &[u8]) -> bool {
    ["bearer", "basic", "digest", "dpop", "token"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

/// `max_tokens`, `cookies`: a count, where a number follows.
fn is_plural(name: &[u8]) -> bool {
    name.last().is_some_and(|byte| matches!(byte, b's' | b'S'))
        && !name.to_ascii_lowercase().ends_with(b"pass")
}

fn is_number(word: &[u8]) -> bool {
    word.iter()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
}

/// To where a header ends: its line, or the string that it stands in.
fn header(view: &View<'_>, start: usize) -> Extent {
    if let Some(quote @ (b'"' | b'\'' | b'`')) = view.before(start) {
        let slashes = view.slice(view.floor, start.saturating_sub(1));
        let slashes = slashes.iter().rev().take_while(|byte| **byte == b'\\');
        return Extent::Quoted(Quoted::new(quote, slashes.count()));
    }
    let before = view.slice(start.saturating_sub(4096), start);
    let line = before.rsplit(|byte| is_break(*byte)).next();
    if line.unwrap_or(before).trim_ascii_start().first() == Some(&b'{') {
        // Within a string of a JSON line.
        return Extent::Quoted(Quoted::new(b'"', 0));
    }
    Extent::While(|byte| !is_break(byte))
}

/// In a query or between blanks.
const fn is_in_word(byte: u8) -> bool {
    !byte.is_ascii_whitespace()
        && byte >= b' '
        && !matches!(
            byte,
            b'&' | b';' | b',' | b'}' | b')' | b']' | b'"' | b'\'' | b'`' | b'<' | b'>' | b'|'
        )
}

const fn is_in_encoded(byte: u8) -> bool {
    is_in_word(byte)
}

/// After a colon, words may follow each other.
const fn is_in_clause(byte: u8) -> bool {
    byte >= b' '
        && !matches!(
            byte,
            b'&' | b';' | b',' | b'}' | b')' | b'"' | b'`' | b'<' | b'>'
        )
}

const fn is_in_json(byte: u8) -> bool {
    byte > b' ' && !matches!(byte, b',' | b'}' | b']' | b'"' | b'\'' | b'\\')
}

/// Names of the configuration beside those that everybody has.
pub(super) fn literals(extra: &[String]) -> Vec<String> {
    let mut all = names::spellings();
    all.extend(extra.iter().flat_map(|name| names::spellings_of(name)));
    all
}
