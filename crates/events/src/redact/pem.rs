//! The lines of a private key below its first.

/// The longest key in use has a third of this.
pub(super) const MOST_LINES: u32 = 400;

/// What of a line belongs to the key.
pub(super) struct Part {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) is_last: bool,
}

/// `None`: the line belongs to no key, which broke off before.
pub(super) fn part(line: &[u8]) -> Option<Part> {
    let end = line.trim_ascii_end().len();
    let text = line.get(..end)?;
    if let Some(at) = super::extent::find(text, b"-----END ") {
        let label = text.get(at + 9..)?;
        let close = super::extent::find(label, b"-----");
        let end = close.map_or(end, |close| at + 9 + close + 5);
        return Some(Part {
            start: at,
            end,
            is_last: true,
        });
    }
    let whole = |start| {
        Some(Part {
            start,
            end,
            is_last: false,
        })
    };
    let is_header = [&b"Proc-Type:"[..], b"DEK-Info:", b"Comment:", b"Version:"]
        .iter()
        .any(|header| text.starts_with(header));
    if text.is_empty() || is_header {
        return whole(0);
    }
    // A collector of logs may have written something before each line.
    let start = text
        .iter()
        .rposition(u8::is_ascii_whitespace)
        .map_or(0, |at| at + 1);
    let word = text.get(start..)?;
    let is_base64 = word
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
    let is_mask = word == super::MASK.as_bytes();
    if is_mask || (is_base64 && (start == 0 || word.len() >= 16)) {
        return whole(start);
    }
    None
}
