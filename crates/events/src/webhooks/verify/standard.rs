//! Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature: v1,BASE64 v1a,BASE64`.
//! Signed is `id.timestamp.body`: `v1` by HMAC-SHA256 under a secret `whsec_BASE64`, `v1a` by Ed25519,
//! verified with a public key `whpk_BASE64`. Svix calls the same headers `svix-…`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use portcullis_core::Secret;
use portcullis_vault::keys::ForeignMac;

use super::{Key, Refused, Verified, is_signed, is_tagged, needed, seconds};

pub(super) const HEADERS: [&str; 6] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "svix-id",
    "svix-timestamp",
    "svix-signature",
];
const MOST_SIGNATURES: usize = 16;
const LONGEST_ID: usize = 200;

/// What the prefix says decides what a secret can verify: an HMAC secret no `v1a`, a public key no
/// `v1` (whose "secret" everybody would know).
pub(super) fn key(secret: &Secret<String>) -> Result<Key, &'static str> {
    const WRONG: &str = "is not `whsec_` (or `whpk_` for a public key) and base64 behind it: give it as the sender shows it";
    let text = secret.expose();
    if let Some(encoded) = text.strip_prefix("whpk_") {
        let bytes = STANDARD.decode(encoded).map_err(|_| WRONG)?;
        let public = bytes
            .try_into()
            .map_err(|_| "is a public key that has not 32 bytes")?;
        return Ok(Key::Public(public));
    }
    let encoded = text.strip_prefix("whsec_").ok_or(WRONG)?;
    let bytes = Secret::new(STANDARD.decode(encoded).map_err(|_| WRONG)?);
    if bytes.expose().len() < super::SHORTEST {
        return Err("is shorter than 16 bytes: it could be guessed");
    }
    Ok(Key::Mac(Box::new(ForeignMac::of_bytes(&bytes))))
}

pub(super) fn verify(
    keys: &[Key],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Verified, Option<i64>), Refused> {
    let [own @ .., svix_id, svix_timestamp, svix_signature] = HEADERS;
    let names = if own.iter().any(|name| headers.contains_key(*name)) {
        own
    } else {
        [svix_id, svix_timestamp, svix_signature]
    };
    let [id, timestamp, signature] = names;
    let (id, timestamp) = (needed(headers, id)?, needed(headers, timestamp)?);
    let signature = needed(headers, signature)?;
    // SECURITY: the parts are joined by dots. An id with one in it could be read as an id and a time.
    if id.contains('.') || id.len() > LONGEST_ID {
        return Err(Refused::Form);
    }
    let signed_at = seconds(timestamp)?;
    let (mut tags, mut signatures) = (Vec::new(), Vec::new());
    for part in signature.split(' ') {
        let (version, text) = part.split_once(',').ok_or(Refused::Form)?;
        let list = match version {
            "v1" => &mut tags,
            "v1a" => &mut signatures,
            _ => continue,
        };
        list.push(STANDARD.decode(text).map_err(|_| Refused::Form)?);
    }
    if tags.len().saturating_add(signatures.len()) > MOST_SIGNATURES {
        return Err(Refused::Form);
    }
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let is_signed = !signatures.is_empty() && is_signed(keys, &parts.concat(), &signatures);
    if !is_signed {
        is_tagged(keys, &parts, &tags)?;
    }
    let verified = Verified {
        id: Some(id.to_owned()),
        kind: None,
    };
    Ok((verified, Some(signed_at)))
}
