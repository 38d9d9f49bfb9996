//! `X-Slack-Signature: v0=HEX`, `X-Slack-Request-Timestamp`: HMAC-SHA256 of `v0:timestamp:body` under
//! the app's signing secret.

use http::HeaderMap;

use super::{Key, Refused, Verified, from_hex, is_tagged, needed, seconds};

pub(super) const HEADERS: [&str; 4] = [
    "x-slack-signature",
    "x-slack-request-timestamp",
    "x-slack-retry-num",
    "x-slack-retry-reason",
];

pub(super) fn verify(
    keys: &[Key],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Verified, Option<i64>), Refused> {
    let signature = needed(headers, "x-slack-signature")?;
    let timestamp = needed(headers, "x-slack-request-timestamp")?;
    let tag = from_hex(signature.strip_prefix("v0=").ok_or(Refused::Form)?)?;
    let signed_at = seconds(timestamp)?;
    is_tagged(keys, &[b"v0:", timestamp.as_bytes(), b":", body], &[tag])?;
    let verified = Verified {
        id: None,
        kind: None,
    };
    Ok((verified, Some(signed_at)))
}
