//! Any text as a bounded piece of one line.

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
