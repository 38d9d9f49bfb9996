//! What a product that stood here before had made: its cookies, and hashes of its API keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

fn mac(secret: &str, text: &str) -> Vec<u8> {
    let secret = portcullis_core::Secret::new(secret.to_owned());
    portcullis_vault::foreign::hmac_sha256(&secret, text.as_bytes())
}

/// What it had set in the browser: the token, signed with the product's key.
pub(crate) fn cookie(key: &str, token: &str) -> String {
    let payload = URL_SAFE_NO_PAD.encode(token);
    let tag = URL_SAFE_NO_PAD.encode(mac(key, &payload));
    format!("{payload}.{tag}")
}

/// The column `key_hash` of an API key.
pub(crate) fn key_hash(secret: &str, key: &str) -> String {
    hex::encode(mac(secret, key))
}
