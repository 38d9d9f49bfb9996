//! `X-Hub-Signature-256: sha256=HEX`: HMAC-SHA256 of the body. `X-Hub-Signature` (SHA-1) counts for
//! nothing. There is no time in it, and the id of the delivery is not signed.

use http::HeaderMap;

use super::{Key, Refused, Verified, from_hex, is_tagged, label, needed};

pub(super) const HEADERS: [&str; 6] = [
    "x-hub-signature-256",
    "x-github-event",
    "x-github-delivery",
    "x-github-hook-id",
    "x-github-hook-installation-target-id",
    "x-github-hook-installation-target-type",
];

pub(super) fn verify(
    keys: &[Key],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Verified, Option<i64>), Refused> {
    let signature = needed(headers, "x-hub-signature-256")?;
    let tag = from_hex(signature.strip_prefix("sha256=").ok_or(Refused::Form)?)?;
    is_tagged(keys, &[body], &[tag])?;
    let verified = Verified {
        id: None,
        kind: label(headers, "x-github-event"),
    };
    Ok((verified, None))
}
