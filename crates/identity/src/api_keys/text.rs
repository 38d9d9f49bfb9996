//! What a key looks like.
//!
//! ```text
//! pck_7nZ0fXnUO4iE2bQwq3m0b7dRkT9xYvLhJcPa5sGe8Wu1Fz6
//! ^^^                                            ^^^^^^
//! prefix  43 random characters: 256 bits         checksum
//! ```
//!
//! - Letters and digits alone, so that a double click selects the whole key.
//! - The checksum is the first 32 bits of the SHA-256 of all before it, in base 62. It tells a typing
//!   mistake from a wrong key without asking anybody, and lets scanners of source code know a key
//!   from a lookalike. It keeps nobody out: anybody can compute it.
//! - There is exactly one text per key, since the whole text is what is hashed.

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_core::Secret;
use portcullis_vault::tokens::{Error, random};
use zeroize::Zeroizing;

/// 62^43 is a little more than 2^256.
const BODY: usize = 43;
const CHECKSUM: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Longest key of another make.
const MOST: usize = 256;

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// No key of ours or of the make that was taken over.
    Foreign,
    /// It begins as a key of ours and cannot be one: cut off, or mistyped.
    Broken,
    Own,
    /// Of the make that was taken over.
    Imported,
}

/// The prefixes that keys bear here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefixes {
    pub own: String,
    pub imported: Option<String>,
}

impl Prefixes {
    pub fn shape(&self, text: &str) -> Shape {
        let after = |prefix: &str| text.strip_prefix(prefix)?.strip_prefix('_');
        let own = after(&self.own);
        if own.is_some_and(|rest| is_own(text, rest)) {
            return Shape::Own;
        }
        let imported = self.imported.as_deref().and_then(after);
        if imported.is_some_and(|rest| is_imported(text, rest)) {
            return Shape::Imported;
        }
        if own.is_some() || imported.is_some() {
            Shape::Broken
        } else {
            Shape::Foreign
        }
    }
}

fn is_own(text: &str, rest: &str) -> bool {
    let Some(split) = text.len().checked_sub(CHECKSUM) else {
        return false;
    };
    rest.len() == BODY.saturating_add(CHECKSUM)
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && text
            .split_at_checked(split)
            .is_some_and(|(body, sum)| checksum(body) == sum)
}

fn is_imported(text: &str, rest: &str) -> bool {
    (16..).contains(&rest.len())
        && text.len() <= MOST
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// A new key's text.
pub fn generate(prefix: &str) -> Result<Secret<String>, Error> {
    let mut text = String::with_capacity(prefix.len().saturating_add(64));
    text.push_str(prefix);
    text.push('_');
    let full = text.len().saturating_add(BODY);
    while text.len() < full {
        let bytes = Zeroizing::new(random::<64>()?);
        let digits = bytes
            .iter()
            // The greatest multiple of 62 below 256: each digit is as likely as any other.
            .filter(|byte| **byte < 248)
            .filter_map(|byte| DIGITS.get(usize::from(byte % 62)));
        text.extend(
            digits
                .take(full.saturating_sub(text.len()))
                .map(|digit| char::from(*digit)),
        );
    }
    let sum = checksum(&text);
    text.push_str(&sum);
    Ok(Secret::new(text))
}

fn checksum(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    let first = hash.as_ref().first_chunk::<4>().copied();
    let mut left = u32::from_be_bytes(first.unwrap_or_default());
    let mut sum = [b'0'; CHECKSUM];
    for place in sum.iter_mut().rev() {
        let digit = usize::try_from(left % 62).unwrap_or_default();
        *place = DIGITS.get(digit).copied().unwrap_or(b'0');
        left /= 62;
    }
    sum.iter().map(|byte| char::from(*byte)).collect()
}

/// So much of a key as tells its owner which one it is: the prefix and four characters.
pub(super) fn hint(text: &str) -> String {
    let end = text.find('_').map_or(0, |at| at.saturating_add(5));
    text.chars().take(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes() -> Prefixes {
        Prefixes {
            own: "pck".to_owned(),
            imported: Some("shop".to_owned()),
        }
    }

    #[test]
    fn a_key_is_long_and_of_letters_and_digits_alone() {
        let one = generate("pck").unwrap();
        let other = generate("pck").unwrap();
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 4 + 43 + 6);
        assert_eq!(prefixes().shape(one.expose()), Shape::Own);
        assert_eq!(hint(one.expose()).len(), 8);
    }

    #[test]
    fn the_checksum_never_changes() {
        // Computed apart, with Python's `hashlib`.
        assert_eq!(checksum(&format!("pck_{}", "A".repeat(43))), VECTOR);
    }

    const VECTOR: &str = "3eFv93";

    #[test]
    fn no_prefix_no_longer_text_and_no_flipped_bit_is_a_key() {
        let key = generate("pck").unwrap();
        let text = key.expose();
        for end in 0..text.len() {
            let start = text.get(..end).unwrap();
            assert_ne!(prefixes().shape(start), Shape::Own, "{end}");
        }
        for tail in ["A", "0", " ", "\n", "_", "\u{e9}"] {
            assert_eq!(prefixes().shape(&format!("{text}{tail}")), Shape::Broken);
        }
        for at in 4..text.len() {
            for bit in 0..7 {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                let flipped = String::from_utf8(bytes).unwrap();
                // One in four thousand million mistakes has the right checksum.
                assert_eq!(prefixes().shape(&flipped), Shape::Broken, "{at} {bit}");
            }
        }
    }

    #[test]
    fn what_begins_otherwise_is_not_ours() {
        for text in [
            "",
            "pck",
            "PCK_x",
            "sk_live_abc",
            "eyJhbGciOiJIUzI1NiJ9.e30.x",
            "pckx_abc",
        ] {
            assert_eq!(prefixes().shape(text), Shape::Foreign, "{text}");
        }
    }

    #[test]
    fn keys_of_the_make_that_was_taken_over_are_known_by_their_prefix() {
        let long = format!("shop_{}", "x".repeat(300));
        for (text, shape) in [
            (
                "shop_6Zq1cM3kFh0-2rXv_T8aJ5uYw9sPdLbGeNiQoRtKzBc",
                Shape::Imported,
            ),
            ("shop_short", Shape::Broken),
            ("shop_6Zq1cM3kFh0 2rXv8aJ5uYw9sPd", Shape::Broken),
            (&long, Shape::Broken),
        ] {
            assert_eq!(prefixes().shape(text), shape, "{text}");
        }
    }
}
