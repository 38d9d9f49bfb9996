//! Random bearer tokens: what the client holds, and the hash that we keep of it.
//!
//! - A token is 256 random bits, so its hash needs neither salt nor stretching.
//! - Its text is unpadded base64url (RFC 4648 section 5), always 43 characters. There is exactly
//!   one text per token: another length, alphabet, padding or trailing bit is refused, so that no
//!   two texts open the same door.
//! - Only the SHA-256 hash is stored or used as a key: who reads the database holds no token.

use std::fmt;
use std::hash::{Hash, Hasher};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{Problem, Secret};
use zeroize::Zeroizing;

use crate::keys::Mac;

/// Length of a token's text, in characters.
pub const TEXT_LEN: usize = 43;

const LEN: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the system's source of randomness failed")]
    Randomness,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Randomness => Problem::unavailable(error),
        }
    }
}

/// A bearer token, as the client holds it. Cannot be printed; wiped when dropped.
pub struct Token(Zeroizing<[u8; LEN]>);

impl Token {
    /// A new token from the system's random source.
    pub fn generate() -> Result<Self, Error> {
        random().map(|bytes| Token(Zeroizing::new(bytes)))
    }

    /// Reads the one canonical text of a token; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_LEN {
            return None;
        }
        let mut bytes = Zeroizing::new([0; LEN]);
        // The engine refuses padding and trailing bits that are not zero.
        match URL_SAFE_NO_PAD.decode_slice(text, bytes.as_mut_slice()) {
            Ok(LEN) => Some(Token(bytes)),
            Ok(_) | Err(_) => None,
        }
    }

    /// The token that follows this one, by a key that is not where the salt is: whoever holds this
    /// token cannot work it out, and whoever has the salt cannot either. The first is made with the
    /// current key, the others with keys of an overlap.
    pub fn successors(&self, mac: &Mac, salt: &[u8]) -> impl Iterator<Item = Token> {
        mac.tags(&[b"successor", self.0.as_slice(), salt])
            .map(|bytes| Token(Zeroizing::new(bytes)))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The text that goes to the client, once.
    pub fn text(&self) -> Secret<String> {
        Secret::new(URL_SAFE_NO_PAD.encode(self.0.as_slice()))
    }

    /// What is stored, and what sessions are found by.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_slice())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// SHA-256 of a token. Opens nothing, yet names a live session, so it is not printed either.
#[derive(Clone, Copy)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a credential that is no [`Token`] of ours, but as good as one.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; LEN];
        for (to, from) in hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
            *to = *from;
        }
        TokenHash(hash)
    }

    /// Reads a stored hash; `None` when it has another length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(TokenHash)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 64 bits: uniformly distributed, so good as they are for a hash table.
    pub fn prefix(&self) -> u64 {
        let mut first = [0; 8];
        for (to, from) in first.iter_mut().zip(self.0) {
            *to = from;
        }
        u64::from_le_bytes(first)
    }
}

/// Takes the same time whatever the hashes are.
impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        crate::ct_eq(&self.0, &other.0)
    }
}

impl Eq for TokenHash {}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.prefix());
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// SHA-256 of a secret that is random enough to need no more.
pub fn sha256(bytes: &[u8]) -> [u8; LEN] {
    let mut hash = [0; LEN];
    for (to, from) in hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    hash
}

/// `N` bytes from the system's random source.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::Randomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Keys, Purpose};

    #[test]
    fn a_token_is_read_back_as_itself() {
        let token = Token::generate().unwrap();
        let text = token.text();
        assert_eq!(text.expose().len(), TEXT_LEN);
        assert_eq!(Token::parse(text.expose()).unwrap().hash(), token.hash());
    }

    #[test]
    fn two_tokens_differ() {
        assert_ne!(
            Token::generate().unwrap().hash(),
            Token::generate().unwrap().hash()
        );
    }

    #[test]
    fn every_prefix_and_every_longer_text_is_refused() {
        let text = Token::generate().unwrap().text();
        for end in 0..TEXT_LEN {
            assert!(
                Token::parse(text.expose().get(..end).unwrap()).is_none(),
                "{end}"
            );
        }
        for tail in ["A", "=", " ", "\n", "\0", ".x"] {
            assert!(Token::parse(&format!("{}{tail}", text.expose())).is_none());
        }
    }

    #[test]
    fn every_bit_flip_is_refused_or_names_another_token() {
        let token = Token::generate().unwrap();
        let text = token.text();
        for at in 0..TEXT_LEN {
            for bit in 0..8 {
                let mut bytes = text.expose().as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                if let Ok(changed) = std::str::from_utf8(&bytes) {
                    let other = Token::parse(changed);
                    assert!(other.is_none_or(|other| other.hash() != token.hash()));
                }
            }
        }
    }

    #[test]
    fn another_alphabet_or_trailing_bits_are_refused() {
        let zeros = "A".repeat(TEXT_LEN);
        assert!(Token::parse(&zeros).is_some());
        for last in ["B", "C", "D", "=", "+", "/", "\u{e9}"] {
            let text = format!("{}{last}", "A".repeat(TEXT_LEN - last.len()));
            assert_eq!(text.len(), TEXT_LEN);
            assert!(Token::parse(&text).is_none(), "{last}");
        }
        assert!(Token::parse(&format!("+{}", "A".repeat(TEXT_LEN - 1))).is_none());
    }

    #[test]
    fn a_successor_is_the_same_for_the_same_salt_and_key_alone() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let mac = |master: &str, previous: &[&str]| {
            let previous = previous.iter().map(|text| secret(text)).collect();
            Keys::new(secret(master), previous)
                .mac(Purpose::RefreshToken)
                .unwrap()
        };
        let token = Token::generate().unwrap();
        let all = |mac: &Mac, salt: &[u8]| -> Vec<TokenHash> {
            token
                .successors(mac, salt)
                .map(|next| next.hash())
                .collect()
        };
        let first = all(&mac("a", &[]), b"1");
        assert_eq!(first, all(&mac("a", &[]), b"1"));
        assert_ne!(first, all(&mac("a", &[]), b"2"));
        assert_ne!(first, all(&mac("b", &[]), b"1"));
        assert_eq!(first[0], all(&mac("b", &["a"]), b"1")[1]);
        assert_ne!(first[0], token.hash());
    }

    #[test]
    fn neither_tokens_nor_hashes_can_be_printed() {
        let token = Token::generate().unwrap();
        assert_eq!(
            format!("{token:?} {:?}", token.hash()),
            "Token(..) TokenHash(..)"
        );
    }
}
