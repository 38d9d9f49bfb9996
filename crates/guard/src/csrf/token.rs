//! The double submit token: `base64url(nonce) "." base64url(HMAC-SHA256(key, session || nonce))`.
//!
//! The nonce makes each token another one, so that compression of a page that shows it leaks
//! nothing (BREACH), and several tabs may hold several. Nothing is stored.

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const NONCE: usize = 16;
const TAG: usize = 32;

/// What a token is bound to: the SHA-256 hash of the session's token. It changes with every
/// sign-in, so a token from before does not work after.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionBinding([u8; 32]);

impl SessionBinding {
    pub const fn from_token_hash(hash: [u8; 32]) -> Self {
        SessionBinding(hash)
    }
}

impl std::fmt::Debug for SessionBinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionBinding(..)")
    }
}

#[derive(Debug)]
pub(super) struct Tokens {
    signing: hmac::Key,
    previous: Box<[hmac::Key]>,
}

impl Tokens {
    /// Nothing without a key, or with one shorter than 32 bytes.
    pub(super) fn new(keys: &[&[u8]]) -> Option<Self> {
        if keys.iter().any(|key| key.len() < 32) {
            return None;
        }
        let mut keys = keys
            .iter()
            .map(|key| hmac::Key::new(hmac::HMAC_SHA256, key));
        Some(Tokens {
            signing: keys.next()?,
            previous: keys.collect(),
        })
    }

    pub(super) fn issue(&self, session: &SessionBinding) -> Option<String> {
        let mut nonce = [0_u8; NONCE];
        rand::fill(&mut nonce).ok()?;
        let tag = hmac::sign(&self.signing, &message(session, &nonce));
        let mut token = String::with_capacity(66);
        URL_SAFE_NO_PAD.encode_string(nonce, &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(tag.as_ref(), &mut token);
        Some(token)
    }

    /// Constant time in the tag. Does not allocate.
    pub(super) fn verify(&self, token: &str, session: &SessionBinding) -> bool {
        let Some((nonce_text, tag_text)) = token.split_once('.') else {
            return false;
        };
        let mut nonce = [0_u8; NONCE];
        let mut tag = [0_u8; TAG];
        if !decode(nonce_text, &mut nonce) || !decode(tag_text, &mut tag) {
            return false;
        }
        let message = message(session, &nonce);
        std::iter::once(&self.signing)
            .chain(&self.previous)
            .any(|key| hmac::verify(key, &message, &tag).is_ok())
    }
}

fn message(session: &SessionBinding, nonce: &[u8; NONCE]) -> [u8; 32 + NONCE] {
    let mut message = [0_u8; 32 + NONCE];
    let (head, tail) = message.split_at_mut(32);
    head.copy_from_slice(&session.0);
    tail.copy_from_slice(nonce);
    message
}

/// Whether `text` is the encoding of exactly as many bytes as `into` holds.
fn decode(text: &str, into: &mut [u8]) -> bool {
    // One spelling only: the engine refuses padding and stray bits in the last character.
    let length = into.len();
    text.len() == length.saturating_mul(4).div_ceil(3)
        && URL_SAFE_NO_PAD.decode_slice(text, into) == Ok(length)
}
