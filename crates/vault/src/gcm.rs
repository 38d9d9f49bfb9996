//! AES-256-GCM (NIST SP 800-38D) with nonces of 96 and tags of 128 bits, which stand behind the
//! ciphertext. Wycheproof's vectors are held against these two functions.

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

/// The cipher refused: the plaintext is too long, or the text is not what was sealed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// Seals what stands in `text` behind its first `head` bytes, where it is, and puts the tag at the end. A
/// nonce is used once.
pub(crate) fn seal(
    key: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    text: &mut Vec<u8>,
    head: usize,
) -> Result<(), Refused> {
    let plain = text.get_mut(head..).ok_or(Refused)?;
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), plain);
    text.extend_from_slice(tag.map_err(|_| Refused)?.as_ref());
    Ok(())
}

/// The plaintext of the ciphertext and tag that stand in `text` behind its first `head` bytes. It is
/// opened where it is: large values are not copied.
pub(crate) fn open(
    key: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    mut text: Vec<u8>,
    head: usize,
) -> Result<Vec<u8>, Refused> {
    let nonce = Nonce::assume_unique_for_key(nonce);
    let plain = key
        .open_within(nonce, Aad::from(aad), &mut text, head..)
        .map_err(|_| Refused)?
        .len();
    text.truncate(plain);
    Ok(text)
}
