//! What an entry of a list in the configuration may be called: `[[webhook]]`, `[[alert]]`.

/// 1 to 60 small letters, digits and hyphens.
pub(crate) fn is_entry_name(text: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=60).contains(&text.len()) && text.bytes().all(is_plain)
}
