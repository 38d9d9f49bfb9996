//! Tokens that a test makes up, and the keys of a running gate to sign them with.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{Secret, Timestamp};
use portcullis_store::Db;
use portcullis_vault::keys::{Keys, Purpose};
use serde_json::Value;

/// The master secret that the harness gives to every gate.
pub(crate) const MASTER: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0";

/// The seed of the running gate's newest signing key, from its master secret and what its database
/// holds.
pub(crate) async fn seed_of(folder: &Path) -> [u8; 32] {
    let url = Secret::new(std::fs::read_to_string(folder.join("database")).unwrap());
    let config = portcullis_store::Config::default();
    let db = Db::open(&config, &url, Timestamp::EPOCH).await.unwrap();
    let sql = "SELECT salt FROM signing_key ORDER BY generation DESC LIMIT 1";
    let row = db.fetch_optional(sql, &[]).await.unwrap();
    let salt = row.unwrap().bytes("salt").unwrap();
    let keys = Keys::new(Secret::new(MASTER.to_owned()), Vec::new());
    let seeds = keys.derive_salted(Purpose::SigningKey, &salt).unwrap();
    *seeds[0].expose()
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn decode(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).unwrap()
}

/// Header and claims of a token, whoever signed it.
pub(crate) fn read(token: &str) -> (Value, Value) {
    let mut parts = token
        .split('.')
        .map(|part| serde_json::from_slice(&decode(part)));
    let mut next = || parts.next().unwrap().unwrap();
    (next(), next())
}

pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

/// An Ed25519 key of a seed, for the library of others.
pub(crate) fn ed25519(seed: &[u8; 32]) -> jsonwebtoken::EncodingKey {
    let pkcs8 = [
        &b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..],
        seed,
    ]
    .concat();
    jsonwebtoken::EncodingKey::from_ed_der(&pkcs8)
}

/// The signature, base64url, of these bytes.
pub(crate) fn sign(
    message: &str,
    key: &jsonwebtoken::EncodingKey,
    algorithm: jsonwebtoken::Algorithm,
) -> String {
    jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap()
}
