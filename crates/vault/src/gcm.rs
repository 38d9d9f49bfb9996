//! AES-256-GCM (NIST SP 800-38D) with nonces of 96 and tags of 128 bits, which stand behind the
//! ciphertext. Wycheproof's vectors are held against these two functions.

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

/// The cipher refused: the plaintext is too long, or the text is not what was sealed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// Ciphertext and tag. A nonce is used once.
pub(crate) fn seal(
    key: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, Refused> {
    let mut text = plain.to_vec();
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(aad),
        &mut text,
    )
    .map_err(|_| Refused)?;
    Ok(text)
}

/// The plaintext of ciphertext and tag.
pub(crate) fn open(
    key: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    mut text: Vec<u8>,
) -> Result<Vec<u8>, Refused> {
    let plain = key
        .open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            &mut text,
        )
        .map_err(|_| Refused)?
        .len();
    text.truncate(plain);
    Ok(text)
}
