//! OpenAPI path templates into patterns of the route language.

use std::fmt::Write;

use portcullis_core::route::Pattern;

/// A template as the route language says it.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) pattern: Pattern,
    /// Whether the pattern matches what the template does, and no more.
    pub(super) exact: bool,
}

/// The pattern of `template`, or why it has none.
pub(super) fn to_pattern(template: &str) -> Result<Mapped, String> {
    let path = template
        .strip_prefix('/')
        .ok_or_else(|| "the path does not begin with `/`".to_owned())?;
    let (path, mut exact) = without_query(path);
    let mut text = String::with_capacity(template.len());
    let mut names = Vec::new();
    let mut parts = path.strip_suffix('/').unwrap_or(path).split('/').peekable();
    while let Some(part) = parts.next().filter(|_| !path.is_empty()) {
        text.push('/');
        let segment = segment(part)?;
        let rest = match segment {
            Segment::Literal(literal) => {
                text.push_str(&literal);
                false
            }
            Segment::Param {
                name,
                rest,
                exact: whole,
            } => {
                exact &= whole;
                let star = if rest { "*" } else { "" };
                let _ = write!(text, "{{{star}{}}}", fresh(&name, &mut names));
                rest
            }
        };
        // What stands behind a parameter of many segments cannot be said; the rest covers it.
        if rest {
            exact &= parts.peek().is_none();
            break;
        }
    }
    if text.is_empty() {
        text.push('/');
    }
    if path.ends_with('/') && text.len() > 1 && !text.ends_with('/') {
        text.push('/');
    }
    let pattern = Pattern::parse(&text).map_err(|error| error.to_string())?;
    Ok(Mapped { pattern, exact })
}

enum Segment {
    Literal(String),
    Param {
        name: String,
        rest: bool,
        exact: bool,
    },
}

fn segment(part: &str) -> Result<Segment, String> {
    let Some((before, after)) = part.split_once('{') else {
        if part.contains('}') {
            return Err(format!("`{part}` closes a brace that it did not open"));
        }
        return literal(part).map(Segment::Literal);
    };
    let (inner, behind) = after
        .split_once('}')
        .ok_or_else(|| format!("`{part}` opens a brace that it does not close"))?;
    let whole = before.is_empty() && behind.is_empty();
    if whole {
        let (name, rest) = variable(inner);
        return Ok(Segment::Param {
            name,
            rest,
            exact: true,
        });
    }
    if before.contains('}') || !balanced(behind) {
        return Err(format!("the braces of `{part}` do not match"));
    }
    // Part of a segment (`{name}.{ext}`): the whole segment becomes one parameter. A variable of
    // many segments inside makes it the rest of the path.
    let rest = part
        .split('{')
        .filter_map(|piece| piece.split_once('}'))
        .any(|(inner, _)| variable(inner).1);
    Ok(Segment::Param {
        name: word(part),
        rest,
        exact: false,
    })
}

/// The name of a variable, and whether it stands for many segments: `{path:path}` (Starlette,
/// Flask writes `<path:path>`), `{+path}` and `{path*}` (RFC 6570), `{*path}`.
fn variable(inner: &str) -> (String, bool) {
    let (name, converter) = inner.split_once(':').unwrap_or((inner, ""));
    let plain = name
        .trim_start_matches(['+', '*', '/'])
        .trim_end_matches('*');
    let rest = plain.len() < name.len() || matches!(converter, "path" | ".*" | ".+");
    (word(plain), rest)
}

/// Letters, digits and `_`, from whatever stood there.
fn word(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
        .filter(|word| !word.is_empty())
        .collect();
    if words.is_empty() {
        "part".to_owned()
    } else {
        words.join("_")
    }
}

/// `name`, or `name_2` where the pattern has it already.
fn fresh(name: &str, names: &mut Vec<String>) -> String {
    let mut unique = name.to_owned();
    let mut count: u32 = 1;
    while names.contains(&unique) {
        count = count.saturating_add(1);
        unique = format!("{name}_{count}");
    }
    names.push(unique.clone());
    unique
}

fn balanced(text: &str) -> bool {
    let mut open = false;
    for c in text.chars() {
        match (c, open) {
            ('{', false) => open = true,
            ('}', true) => open = false,
            ('{', true) | ('}', false) => return false,
            _ => {}
        }
    }
    !open
}

/// The path before a `?`, `#` or `{?query}` outside of other braces, and whether that was all.
fn without_query(path: &str) -> (&str, bool) {
    let mut depth: u32 = 0;
    for (at, c) in path.char_indices() {
        let rest = path.get(at..).unwrap_or("");
        let ends = depth == 0
            && (matches!(c, '?' | '#')
                || ["{?", "{&", "{#"].iter().any(|mark| rest.starts_with(mark)));
        if ends {
            return (path.get(..at).unwrap_or(path), false);
        }
        match c {
            '{' => depth = depth.saturating_add(1),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    (path, true)
}

/// A literal as it appears on the wire.
fn literal(part: &str) -> Result<String, String> {
    let mut escaped = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_graphic() && byte != b'"' {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    if escaped.is_empty() {
        return Err("the path has an empty segment (`//`)".to_owned());
    }
    portcullis_core::path::canonicalize(&format!("/{escaped}"))
        .map(|canonical| canonical.trim_start_matches('/').to_owned())
        .map_err(|error| format!("the gate refuses such paths: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mapped(template: &str) -> (String, bool) {
        let mapped = to_pattern(template).unwrap();
        (mapped.pattern.as_str().to_owned(), mapped.exact)
    }

    #[test]
    fn templates_become_patterns() {
        for (template, pattern, exact) in [
            ("/", "/", true),
            ("/users/{user_id}", "/users/{user_id}", true),
            ("/users/", "/users/", true),
            ("/files/{path:path}", "/files/{*path}", true),
            ("/files/{+path}", "/files/{*path}", true),
            ("/files/{path*}", "/files/{*path}", true),
            ("/items/{id:int}", "/items/{id}", true),
            ("/items/{item.id}", "/items/{item_id}", true),
            ("/a/{id}/b/{id}", "/a/{id}/b/{id_2}", true),
            ("/caf\u{e9} au lait", "/caf%C3%A9%20au%20lait", true),
            ("/files/{name}.{ext}", "/files/{name_ext}", false),
            ("/v{version}/x", "/{v_version}/x", false),
            ("/f/{p:path}/meta", "/f/{*p}", false),
            ("/f/x{p:path}", "/f/{*x_p_path}", false),
            ("/users?active", "/users", false),
            ("/users{?page}", "/users", false),
            ("/{}", "/{part}", true),
        ] {
            assert_eq!(mapped(template), (pattern.to_owned(), exact), "{template}");
        }
    }

    #[test]
    fn what_the_gate_would_refuse_has_no_pattern() {
        for template in [
            "users", "/a//b", "/a/../b", "/a%2Fb", "/a/{b", "/a/b}", "/a;b", "/a\\b",
        ] {
            assert!(to_pattern(template).is_err(), "{template}");
        }
    }

    proptest! {
        #[test]
        fn every_template_becomes_a_pattern_or_a_reason(template in "(/?([a-zA-Z.%2{}:*+?#; é]|\\{[a-z.:*+]{0,5}\\}){0,8}){0,5}") {
            match to_pattern(&template) {
                Ok(mapped) => prop_assert!(Pattern::parse(mapped.pattern.as_str()).is_ok()),
                Err(reason) => prop_assert!(!reason.is_empty()),
            }
        }

        #[test]
        fn a_template_of_plain_words_keeps_its_segments(words in prop::collection::vec("[a-z]{1,6}", 1..5)) {
            let template = format!("/{}", words.join("/"));
            let mapped = to_pattern(&template).unwrap();
            prop_assert_eq!(mapped.pattern.as_str(), template.as_str());
            prop_assert!(mapped.exact);
        }
    }
}
