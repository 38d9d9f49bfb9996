//! Signature Version 4. This is the seam: the only file that knows the vendor's library.

use http::HeaderMap;
use portcullis_core::Timestamp;

use super::{Error, Fixed};
use crate::outbound::Target;

/// What is to be signed, beside the headers.
#[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "nothing signs"))]
pub(super) struct Unsigned<'a> {
    pub(super) method: &'static str,
    pub(super) service: &'static str,
    pub(super) region: &'a str,
    pub(super) target: &'a Target,
    pub(super) content_type: Option<&'a str>,
    pub(super) body: &'a [u8],
}

#[cfg(not(feature = "aws"))]
pub(super) fn sign(
    _: &Unsigned<'_>,
    _: &mut HeaderMap,
    _: &Fixed,
    _: Timestamp,
) -> Result<(), Error> {
    Err(Error::NotBuilt)
}

/// Adds the headers that say who asks, when, and that nothing was changed.
#[cfg(feature = "aws")]
pub(super) fn sign(
    unsigned: &Unsigned<'_>,
    headers: &mut HeaderMap,
    fixed: &Fixed,
    now: Timestamp,
) -> Result<(), Error> {
    use std::time::{Duration, UNIX_EPOCH};

    use aws_credential_types::Credentials;
    use aws_sigv4::http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    };
    use aws_sigv4::sign::v4::SigningParams;
    use http::{HeaderName, HeaderValue};

    let broken = |error: &dyn std::fmt::Display| Error::Sign(error.to_string());
    let session = fixed.session_token.as_ref();
    let identity = Credentials::new(
        fixed.access_key_id.clone(),
        fixed.secret_access_key.expose().clone(),
        session.map(|token| token.expose().clone()),
        None,
        "portcullis",
    )
    .into();
    let mut settings = SigningSettings::default();
    // S3 takes paths as they are, and the digest of a body as a header of its own.
    if unsigned.service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let seconds = u64::try_from(now.as_seconds()).unwrap_or_default();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(unsigned.region)
        .name(unsigned.service)
        .time(UNIX_EPOCH + Duration::from_secs(seconds))
        .settings(settings)
        .build()
        .map_err(|error| broken(&error))?
        .into();
    let signed = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .chain(unsigned.content_type.map(|kind| ("content-type", kind)));
    let request = SignableRequest::new(
        unsigned.method,
        unsigned.target.url(),
        signed,
        SignableBody::Bytes(unsigned.body),
    )
    .map_err(|error| broken(&error))?;
    let (instructions, _) = sign(request, &params)
        .map_err(|error| broken(&error))?
        .into_parts();
    let added: Vec<_> = instructions
        .headers()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for (name, value) in added {
        let name = HeaderName::try_from(name).map_err(|error| broken(&error))?;
        let value = HeaderValue::try_from(value).map_err(|error| broken(&error))?;
        headers.insert(name, value);
    }
    Ok(())
}

#[cfg(all(test, feature = "aws"))]
mod tests {
    use portcullis_core::Secret;

    use super::*;
    use crate::outbound::Reach;

    /// Computed apart, with Python's `botocore`.
    const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20270115/eu-central-1/kms/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=b7afac36d2beb295263c0ca62fdc3624bc08581237396ce925fb924e015899a0";

    #[test]
    fn a_request_is_signed_as_the_vendors_other_clients_do() {
        let url = "https://kms.eu-central-1.amazonaws.com/";
        let unsigned = Unsigned {
            method: "POST",
            service: "kms",
            region: "eu-central-1",
            target: &Target::parse(url, Reach::Configured).unwrap(),
            content_type: Some("application/x-amz-json-1.1"),
            body: br#"{"KeyId":"a"}"#,
        };
        let fixed = Fixed {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
            session_token: Some(Secret::new("of a session".to_owned())),
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-target", "TrentService.Encrypt".parse().unwrap());
        let now = Timestamp::from_seconds(1_800_000_000);
        sign(&unsigned, &mut headers, &fixed, now).unwrap();
        assert_eq!(headers["authorization"], SIGNED);
        assert_eq!(headers["x-amz-date"], "20270115T080000Z");
        assert_eq!(headers["x-amz-security-token"], "of a session");
    }
}
