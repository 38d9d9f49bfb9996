//! The passes over a text. Each takes the whole and returns the whole.

use super::{MASK, mask_email, names};

/// Keys that say what they are by how they begin, and how much has to follow.
const KEYS: &[(&str, usize)] = &[
    ("sk_live_", 8),
    ("sk_test_", 8),
    ("rk_live_", 8),
    ("rk_test_", 8),
    ("whsec_", 8),
    ("sk-ant-", 8),
    ("sk-proj-", 8),
    ("sb_secret_", 8),
    ("sbp_", 16),
    ("AIza", 16),
    ("AKIA", 12),
    ("ASIA", 12),
    ("ghp_", 16),
    ("gho_", 16),
    ("ghs_", 16),
    ("ghu_", 16),
    ("ghr_", 16),
    ("github_pat_", 16),
    ("glpat-", 12),
    ("xoxb-", 8),
    ("xoxp-", 8),
    ("npm_", 24),
    ("pypi-", 24),
    ("SG.", 16),
];

/// At most `max_bytes`, without control characters and without those that turn the direction of
/// writing. A cut never leaves half of a word, which might be half of a key that nobody knows then.
pub(super) fn printable(input: &str, max_bytes: usize) -> String {
    let mut kept = input;
    if input.len() > max_bytes {
        let end = (0..=max_bytes).rev().find(|at| input.is_char_boundary(*at));
        kept = end.and_then(|end| input.get(..end)).unwrap_or("");
        kept = kept.trim_end_matches(|c: char| !c.is_whitespace() && c != '/');
    }
    let mut out = String::with_capacity(kept.len().saturating_add(3));
    out.extend(
        kept.chars()
            .map(|c| if is_hostile(c) { '\u{fffd}' } else { c }),
    );
    if kept.len() < input.len() {
        out.push('\u{2026}');
    }
    out
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Masks what follows `name=`, `name:` and `"name":` where the name is sensitive.
pub(super) fn mask_named(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, separator, after)) = split_at_separator(rest) {
        out.push_str(before);
        out.push(separator);
        let name = before.trim_end_matches(|c: char| !is_name(c));
        let name = name.rsplit(|c: char| !is_name(c)).next().unwrap_or(name);
        rest = if names::is_sensitive(name) {
            out.push_str(MASK);
            after_value(after, name)
        } else {
            after
        };
    }
    out.push_str(rest);
    out
}

fn split_at_separator(text: &str) -> Option<(&str, char, &str)> {
    let at = text.find(['=', ':'])?;
    let (before, after) = text.split_at_checked(at)?;
    let mut chars = after.chars();
    let separator = chars.next()?;
    Some((before, separator, chars.as_str()))
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

/// What is left after the value: to its closing quote, else to the next separator of fields. The
/// value of a cookie header is the rest: it has separators of its own.
fn after_value<'a>(text: &'a str, name: &str) -> &'a str {
    let trimmed = text.trim_start();
    let mut chars = trimmed.chars();
    match chars.next() {
        Some(quote @ ('"' | '\'')) => {
            let mut escaped = false;
            for c in chars.by_ref() {
                if c == quote && !escaped {
                    break;
                }
                escaped = c == '\\' && !escaped;
            }
            chars.as_str()
        }
        Some('{' | '[') | None => "",
        Some(_) if name.to_lowercase().contains("cookie") => "",
        Some(_) => {
            let end = trimmed.find(['&', ';', ',', '}', ')', '"', '\u{fffd}']);
            end.and_then(|end| trimmed.get(end..)).unwrap_or("")
        }
    }
}

/// Masks what gives itself away by its own form.
pub(super) fn mask_runs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_scheme = false;
    for piece in text.split_inclusive(is_delimiter) {
        let run = piece.trim_end_matches(is_delimiter);
        if run.is_empty() {
            out.push_str(piece);
            continue;
        }
        if after_scheme && run != MASK {
            out.push_str(MASK);
        } else {
            out.push_str(&mask_run(run));
        }
        out.push_str(piece.get(run.len()..).unwrap_or(""));
        let word = run.rsplit([':', '=']).next().unwrap_or(run);
        after_scheme = ["bearer", "basic", "digest", "dpop"]
            .iter()
            .any(|scheme| word.eq_ignore_ascii_case(scheme));
    }
    out
}

fn is_delimiter(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '"' | '\''
                | '`'
                | '<'
                | '>'
                | '('
                | ')'
                | '{'
                | '}'
                | '['
                | ']'
                | ','
                | ';'
                | '|'
                | '\\'
                | '\u{fffd}'
        )
}

/// One word: perhaps a URL, a path with a query, an address, a key.
fn mask_run(run: &str) -> String {
    let (head, tail) = match run.split_once('?') {
        Some((head, query)) if head.contains('/') && !query.is_empty() => (head, "?[redacted]"),
        Some(_) | None => (run, ""),
    };
    let mut out = String::with_capacity(head.len().saturating_add(16));
    let rest = match head.split_once("://") {
        Some((scheme, rest)) => {
            out.push_str(&mask_parts(scheme));
            out.push_str("://");
            let end = rest.find(['/', '#']).unwrap_or(rest.len());
            let authority = rest.get(..end).unwrap_or(rest);
            match authority.rfind('@') {
                Some(at) => {
                    out.push_str(MASK);
                    rest.get(at..).unwrap_or("")
                }
                None => rest,
            }
        }
        None => head,
    };
    match rest.strip_prefix('@') {
        Some(host) => {
            out.push('@');
            out.push_str(&mask_parts(host));
        }
        None => out.push_str(&mask_parts(rest)),
    }
    out.push_str(tail);
    out
}

fn mask_parts(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_joint) {
        let part = piece.trim_end_matches(is_joint);
        out.push_str(&mask_part(part));
        out.push_str(piece.get(part.len()..).unwrap_or(""));
    }
    out
}

fn is_joint(c: char) -> bool {
    matches!(c, ':' | '/' | '=' | '&' | '?' | '#')
}

fn mask_part(part: &str) -> String {
    if is_jwt(part) || is_key(part) || part.split(['.', '@', '%']).any(is_opaque) {
        MASK.to_owned()
    } else if part.contains('@') {
        mask_email(part)
    } else if part.contains("%40") {
        mask_email(&part.replace("%40", "@"))
    } else {
        part.to_owned()
    }
}

/// `eyJ` is how base64 of `{"` begins: a JOSE header (RFC 7515 section 3.1).
fn is_jwt(part: &str) -> bool {
    part.match_indices("eyJ").any(|(at, _)| {
        let token = part.get(at..).unwrap_or("");
        token.len() >= 16
    })
}

fn is_key(part: &str) -> bool {
    let known = KEYS.iter().any(|(prefix, least)| {
        part.split_once(prefix)
            .is_some_and(|(_, tail)| tail.len() >= *least)
    });
    // Too short a prefix to be looked for inside words such as `task-force-management`.
    let general = part
        .strip_prefix("sk-")
        .is_some_and(|tail| tail.len() >= 16);
    known || general
}

/// Long, and of letters that look drawn by lot. UUIDs are names here, not secrets.
fn is_opaque(part: &str) -> bool {
    let token =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'~');
    if part.len() < 32 || !part.bytes().all(token) || is_uuid(part.as_bytes()) {
        return false;
    }
    let digit = part.bytes().any(|byte| byte.is_ascii_digit());
    let lower = part.bytes().any(|byte| byte.is_ascii_lowercase());
    let upper = part.bytes().any(|byte| byte.is_ascii_uppercase());
    (digit && (lower || upper)) || (lower && upper)
}

pub(super) fn is_uuid(part: &[u8]) -> bool {
    part.len() == 36 && uuid::Uuid::try_parse_ascii(part).is_ok()
}
