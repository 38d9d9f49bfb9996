//! Keys and cryptography: password hashing, tokens, derived keys, signing.
//!
//! Nothing here knows a user or a request. Randomness, SHA-256, HMAC, HKDF and Ed25519 come from
//! aws-lc; comparisons of secrets take the same time whatever they compare.

pub mod fernet;
pub mod fields;
pub mod foreign;
mod gcm;
pub mod jws;
pub mod kek;
pub mod keys;
pub mod note;
pub mod passwords;
pub mod ring;
pub mod seal;
pub mod signing;
pub mod strength;
pub mod tokens;
#[cfg(test)]
mod wycheproof;

pub use fields::Fields;
pub use kek::Keks;
pub use keys::Keys;
pub use passwords::Passwords;
pub use ring::KeyRing;
pub use seal::Sealer;
pub use signing::SigningKey;
pub use tokens::{Token, TokenHash};

use subtle::ConstantTimeEq;

/// Whether two secrets are equal, in a time that depends on their lengths alone.
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}
