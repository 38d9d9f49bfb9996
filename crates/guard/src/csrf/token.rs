//! The double submit token: `base64url(nonce) "." base64url(HMAC-SHA256(key, session, nonce))`.
//!
//! The session stands in it as the hash of its token, which changes with every sign-in: a token from
//! before does not work after. The nonce makes each token another one, so that compression of a
//! page that shows it leaks nothing (BREACH), and several tabs may hold several. Nothing is stored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_vault::TokenHash;
use portcullis_vault::keys::Mac;
use portcullis_vault::tokens::random;

const NONCE: usize = 16;
const TAG: usize = 32;
/// Characters: 22 for the nonce, a dot, 43 for the tag.
const LENGTH: usize = 66;

/// A token of `session`; nothing when there are no random numbers.
pub(super) fn issue(mac: &Mac, session: &TokenHash) -> Option<String> {
    let nonce: [u8; NONCE] = random().ok()?;
    let tag = mac.tag(&[session.as_bytes(), &nonce]);
    let mut token = String::with_capacity(LENGTH);
    URL_SAFE_NO_PAD.encode_string(nonce, &mut token);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(tag, &mut token);
    Some(token)
}

/// Constant time in the tag. Does not allocate.
pub(super) fn verify(mac: &Mac, token: &str, session: &TokenHash) -> bool {
    let Some((nonce_text, tag_text)) = token.split_once('.') else {
        return false;
    };
    let mut nonce = [0_u8; NONCE];
    let mut tag = [0_u8; TAG];
    decode(nonce_text, &mut nonce)
        && decode(tag_text, &mut tag)
        && mac.verify(&[session.as_bytes(), &nonce], &tag)
}

/// Whether `text` is the one encoding of exactly as many bytes as `into` holds: the engine refuses
/// padding and stray bits in the last character.
fn decode(text: &str, into: &mut [u8]) -> bool {
    let length = into.len();
    text.len() == length.saturating_mul(4).div_ceil(3)
        && URL_SAFE_NO_PAD.decode_slice(text, into) == Ok(length)
}
