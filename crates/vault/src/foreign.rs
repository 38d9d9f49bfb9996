//! What other products made, for taking it over: their signatures, and hashes of what they signed.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use portcullis_core::Secret;

use crate::TokenHash;

/// HMAC-SHA256 (RFC 2104) under another product's key.
pub fn hmac_sha256(key: &Secret<String>, data: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
    hmac::sign(&key, data).as_ref().to_vec()
}

/// Whether `signature` is the Ed25519 signature (RFC 8032) of `data` under a public key.
pub fn is_ed25519_of(key: &[u8; 32], data: &[u8], signature: &[u8]) -> bool {
    let key = UnparsedPublicKey::new(&ED25519, key);
    key.verify(data, signature).is_ok()
}

/// The hash of a bearer's text that is no token of ours.
///
/// SECURITY: the word before it keeps it apart from the hashes of tokens, which are of 32 bytes: no
/// token of ours has the hash of a foreign text.
pub fn text_hash(text: &str) -> TokenHash {
    let hash = digest(
        &SHA256,
        [b"portcullis/foreign/v1\0", text.as_bytes()]
            .concat()
            .as_slice(),
    );
    TokenHash::from_slice(hash.as_ref()).unwrap_or(TokenHash([0; 32]))
}
