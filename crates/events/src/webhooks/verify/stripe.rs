//! `Stripe-Signature: t=1700000000,v1=HEX,v1=HEX`: HMAC-SHA256 of `t.body` under the endpoint's secret,
//! `whsec_` included. `v0` is of test events of old and counts for nothing.

use http::HeaderMap;

use super::{Key, Refused, Verified, from_hex, is_tagged, needed, seconds};

const HEADER: &str = "stripe-signature";
/// Stripe sends one for each live secret: two during a rotation.
const MOST_SIGNATURES: usize = 16;

pub(super) fn verify(
    keys: &[Key],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Verified, Option<i64>), Refused> {
    let mut timestamp = None;
    let mut tags = Vec::new();
    for part in needed(headers, HEADER)?.split(',') {
        match part.split_once('=').ok_or(Refused::Form)? {
            // SECURITY: of two, the one that is signed might not be the one whose age is judged.
            ("t", _) if timestamp.is_some() => return Err(Refused::Form),
            ("t", text) => timestamp = Some(text),
            ("v1", text) => tags.push(from_hex(text)?),
            // Schemes that are not looked at: an older one proves nothing (a downgrade).
            (_, _) => {}
        }
    }
    let timestamp = timestamp.ok_or(Refused::Form)?;
    let signed_at = seconds(timestamp)?;
    if tags.is_empty() || tags.len() > MOST_SIGNATURES {
        return Err(Refused::Form);
    }
    is_tagged(keys, &[timestamp.as_bytes(), b".", body], &tags)?;
    let verified = Verified {
        id: None,
        kind: None,
    };
    Ok((verified, Some(signed_at)))
}
