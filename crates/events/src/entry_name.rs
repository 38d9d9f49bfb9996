//! What may be called how in the configuration: an entry of a list (`[[webhook]]`, `[[alert]]`), and a place in a
//! store of somebody else.

/// 1 to 60 small letters, digits and hyphens.
pub(crate) fn is_entry_name(text: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=60).contains(&text.len()) && text.bytes().all(is_plain)
}

/// A path of plain parts, as every store takes it.
pub(crate) fn is_path(text: &str) -> bool {
    text.len() <= 128
        && text.split('/').all(|part| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            part.bytes().all(is_plain) && part.bytes().any(|byte| byte != b'.')
        })
}
