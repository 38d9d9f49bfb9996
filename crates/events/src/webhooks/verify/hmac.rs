//! HMAC-SHA256 in a header of the sender's choice: of the body, or where the sender sends a time of
//! `timestamp.body`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use serde::Deserialize;

use super::{Key, Refused, Verified, from_hex, is_tagged, needed, seconds};

/// How the signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    #[default]
    Hex,
    Base64,
}

/// Where the signature stands and how it looks.
#[derive(Debug, Clone)]
pub struct Form {
    pub header: HeaderName,
    pub prefix: String,
    pub encoding: Encoding,
    pub timestamp: Option<HeaderName>,
}

impl Form {
    pub(super) fn names(&self, name: &str) -> bool {
        self.header == name || self.timestamp.as_ref().is_some_and(|own| own == name)
    }

    pub(super) const fn has_timestamp(&self) -> bool {
        self.timestamp.is_some()
    }
}

pub(super) fn verify(
    form: &Form,
    keys: &[Key],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Verified, Option<i64>), Refused> {
    let signature = needed(headers, form.header.as_str())?;
    let text = signature.strip_prefix(&form.prefix).ok_or(Refused::Form)?;
    let tag = match form.encoding {
        Encoding::Hex => from_hex(text)?,
        Encoding::Base64 => STANDARD.decode(text).map_err(|_| Refused::Form)?,
    };
    let verified = Verified {
        id: None,
        kind: None,
    };
    let Some(name) = &form.timestamp else {
        is_tagged(keys, &[body], &[tag])?;
        return Ok((verified, None));
    };
    let timestamp = needed(headers, name.as_str())?;
    let signed_at = seconds(timestamp)?;
    is_tagged(keys, &[timestamp.as_bytes(), b".", body], &[tag])?;
    Ok((verified, Some(signed_at)))
}
