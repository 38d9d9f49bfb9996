//! Fernet tokens, for reading: what products sealed before they had a vault (E6, K3).
//!
//! - Version 0x80, time (8 bytes), IV (16), AES-128-CBC with PKCS#7 padding, HMAC-SHA256 over all of
//!   it (the Fernet specification of 2013, as Python's `cryptography` makes them).
//! - The tag is compared first, in constant time; nothing is decrypted that it does not cover. So the
//!   padding tells nobody anything.
//! - Several keys, as `MultiFernet`: the first that fits.
//! - There is one way to fail, whatever is wrong with a token or its key.
//!
//! This is not the `fernet` crate: beside what is here already it brings second versions of AES, CBC,
//! HMAC and five more crates. New values are never sealed this way.

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use portcullis_core::{Secret, Span, Timestamp};

const VERSION: u8 = 0x80;
const TAG_LEN: usize = 32;
const BLOCK: usize = 16;
/// How far a clock may be ahead of ours (the specification's own number).
const SKEW: Span = Span::from_seconds(60);

/// The keys that tokens may be under.
pub struct Fernet(Vec<Key>);

struct Key {
    tag: hmac::Key,
    cipher: Secret<[u8; BLOCK]>,
}

/// A key that is none.
#[derive(Debug, thiserror::Error)]
#[error("is no Fernet key: 32 bytes in base64, such as `openssl rand -base64 32` makes")]
pub struct NotAKey;

impl Fernet {
    pub fn new(keys: &[Secret]) -> Result<Self, NotAKey> {
        keys.iter()
            .map(Key::read)
            .collect::<Result<_, _>>()
            .map(Fernet)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a token holds. With `max_age`, only where it is not older than that at `now`, nor from
    /// the future.
    pub fn open(
        &self,
        token: &str,
        max_age: Option<Span>,
        now: Timestamp,
    ) -> Option<Secret<Vec<u8>>> {
        let whole = URL_SAFE.decode(token).ok()?;
        let (signed, tag) = whole.split_at_checked(whole.len().checked_sub(TAG_LEN)?)?;
        let (&[version], rest) = signed.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let (iv, text) = rest.split_first_chunk::<BLOCK>()?;
        if version != VERSION {
            return None;
        }
        let made_at = i64::try_from(u64::from_be_bytes(*time)).ok()?;
        if let Some(max_age) = max_age {
            let made_at = Timestamp::from_seconds(made_at);
            if now > made_at + max_age || made_at > now + SKEW {
                return None;
            }
        }
        self.0.iter().find_map(|key| {
            // SECURITY: before anything is decrypted.
            hmac::verify(&key.tag, signed, tag).ok()?;
            key.decrypt(*iv, text)
        })
    }
}

impl Key {
    /// In either alphabet: Python reads both.
    fn read(text: &Secret) -> Result<Self, NotAKey> {
        let text =
            zeroize::Zeroizing::new(text.expose().trim().replace('+', "-").replace('/', "_"));
        let bytes = URL_SAFE.decode(text.as_str()).map_err(|_| NotAKey)?;
        let bytes = zeroize::Zeroizing::new(bytes);
        let (tag, cipher) = bytes.split_first_chunk::<BLOCK>().ok_or(NotAKey)?;
        let cipher: &[u8; BLOCK] = cipher.try_into().map_err(|_| NotAKey)?;
        Ok(Key {
            tag: hmac::Key::new(hmac::HMAC_SHA256, tag),
            cipher: Secret::new(*cipher),
        })
    }

    fn decrypt(&self, iv: [u8; BLOCK], text: &[u8]) -> Option<Secret<Vec<u8>>> {
        let key = UnboundCipherKey::new(&AES_128, self.cipher.expose()).ok()?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
        let mut text = text.to_vec();
        let context = DecryptionContext::Iv128(FixedLength::from(&iv));
        let plain = key.decrypt(&mut text, context).ok()?.len();
        text.truncate(plain);
        Some(Secret::new(text))
    }
}

impl std::fmt::Debug for Fernet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fernet({} keys)", self.0.len())
    }
}

#[cfg(test)]
mod tests;
