//! Where to go after signing in: only to a path on this very origin (CWE-601).
//!
//! Browsers read `\` as `/`, drop tabs and line feeds, and take `//host` for another site; so the
//! rule is a short list of what is accepted, not a list of tricks.

/// The target if it is a local absolute path, else `/`.
pub fn local_or_root(target: Option<&str>) -> &str {
    match target {
        Some(target) if is_local(target) => target,
        Some(_) | None => "/",
    }
}

fn is_local(target: &str) -> bool {
    // SECURITY: `//host` and `/\host` lead to another site.
    target.len() <= 2048
        && target.starts_with('/')
        && !target.starts_with("//")
        && target
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'<' | b'>'))
        // A dot segment before an empty one is resolved to `//host` by whoever resolves first.
        && !path_of(target).contains("//")
        && !path_of(target).split('/').any(is_dot_segment)
        && !path_of(target).contains('@')
}

fn path_of(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or(target)
}

fn is_dot_segment(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_paths_are_kept() {
        for target in [
            "/",
            "/a",
            "/a/b?c=d&e=%2F",
            "/a#part",
            "/search?q=https://x.example",
        ] {
            assert_eq!(local_or_root(Some(target)), target);
        }
    }

    #[test]
    fn whatever_may_lead_elsewhere_becomes_the_root() {
        for target in [
            "",
            "a",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "\\/evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            " //evil.example",
            "/.//evil.example",
            "/..//evil.example",
            "/%2e%2e//evil.example",
            "/a/../../x",
            "/%2E/x",
            "/x//evil.example",
            "/user:pass@evil.example",
            "@evil.example",
            "/a\r\nSet-Cookie: a=b",
            "/\u{e9}",
            "/\u{2215}evil.example",
            "/\"><script>",
        ] {
            assert_eq!(local_or_root(Some(target)), "/", "{target:?}");
        }
        assert_eq!(local_or_root(None), "/");
        assert_eq!(local_or_root(Some(&format!("/{}", "a".repeat(3000)))), "/");
    }
}
