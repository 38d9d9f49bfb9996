//! Calls to AWS services that speak its JSON protocol (KMS, Secrets Manager), and to S3 ([`s3`]), through
//! [`Outbound`](crate::Outbound).
//!
//! - Requests are signed (Signature Version 4) by the vendor's own `aws-sigv4`, which the cargo
//!   feature `aws` brings. Without it every call is an error that says so.
//! - The endpoint is the service's own in its region, or the one that the operator wrote down.
//! - Credentials are given, or in a file that is read again, or handed out to the container that
//!   we run in ([`Credentials`]). No other way is tried: none is asked for that nobody configured.
//! - An answer is read up to a limit, and only its error's code is passed on.
//!
//! Why not the vendor's whole client: ADR 13.

mod credentials;
pub mod s3;
mod sign;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use portcullis_core::{Clock, Span};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::outbound::{self, Outbound, Reach, Target};
pub use credentials::{Credentials, Fixed};

/// Whether requests can be signed: the feature `aws` is in this build.
pub const IS_BUILT: bool = cfg!(feature = "aws");

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the program was built without the feature `aws`")]
    NotBuilt,
    #[error("there are no credentials: {0}")]
    Credentials(String),
    #[error("the request cannot be signed: {0}")]
    Sign(String),
    #[error(transparent)]
    Outbound(#[from] outbound::Error),
    /// The service's own word for it, such as `AccessDeniedException`.
    #[error("{code} (status {status})")]
    Refused { code: String, status: StatusCode },
    #[error("the answer is not what the service's documentation says")]
    NotUnderstood,
}

/// What a caller is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Such as `kms`.
    pub service: &'static str,
    /// Such as `eu-central-1`.
    pub region: String,
    /// Nothing for the service's own in its region.
    pub endpoint: Option<String>,
    pub credentials: Credentials,
    /// How long one exchange may take.
    pub timeout: Span,
}

/// Calls one service in one region.
pub struct Caller {
    service: &'static str,
    region: String,
    target: Target,
    credentials: credentials::Kept,
    outbound: Outbound,
    clock: Arc<dyn Clock>,
}

impl Caller {
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let endpoint = settings.endpoint.unwrap_or_else(|| {
            let suffix = if settings.region.starts_with("cn-") {
                ".cn"
            } else {
                ""
            };
            let (service, region) = (settings.service, &settings.region);
            format!("https://{service}.{region}.amazonaws.com{suffix}/")
        });
        let outbound = Outbound::new(settings.timeout.as_duration(), None);
        Ok(Caller {
            service: settings.service,
            region: settings.region,
            target: Target::parse(&endpoint, Reach::Configured)?,
            credentials: credentials::Kept::new(settings.credentials),
            outbound,
            clock,
        })
    }

    /// One operation, such as `TrentService.Decrypt`.
    pub async fn call<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        body: &serde_json::Value,
    ) -> Result<T, Error> {
        let now = self.clock.now();
        let fixed = self.credentials.get(&self.outbound, now).await?;
        let body = Bytes::from(body.to_string());
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-target", HeaderValue::from_static(operation));
        let unsigned = sign::Unsigned {
            method: "POST",
            service: self.service,
            region: &self.region,
            target: &self.target,
            content_type: Some(CONTENT_TYPE),
            body: &body,
        };
        sign::sign(&unsigned, &mut headers, &fixed, now)?;
        let answer = self
            .outbound
            .post_with(&self.target, headers, CONTENT_TYPE, body)
            .await?;
        if answer.status == StatusCode::OK {
            return serde_json::from_slice(&answer.body).map_err(|_| Error::NotUnderstood);
        }
        // What was refused may be the credentials: they are read again.
        self.credentials.forget();
        Err(refused(answer.status, &answer.body))
    }
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "__type")]
    kind: String,
}

/// `{"__type": "com.amazonaws.kms#NotFoundException", ..}`.
fn refused(status: StatusCode, body: &[u8]) -> Error {
    let Ok(Refusal { kind }) = serde_json::from_slice(body) else {
        return Error::NotUnderstood;
    };
    let code = kind.rsplit('#').next().unwrap_or_default();
    let is_code =
        (1..=100).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_code {
        let code = code.to_owned();
        Error::Refused { code, status }
    } else {
        Error::NotUnderstood
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Caller({} in {})", self.service, self.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_refusal_is_passed_on_and_nothing_else_of_it() {
        let code = |body: &str| match refused(StatusCode::BAD_REQUEST, body.as_bytes()) {
            Error::Refused { code, .. } => Some(code),
            _ => None,
        };
        let full = r#"{"__type": "com.amazonaws.kms#NotFoundException", "message": "secret"}"#;
        assert_eq!(code(full).as_deref(), Some("NotFoundException"));
        let short = r#"{"__type": "AccessDeniedException"}"#;
        assert_eq!(code(short).as_deref(), Some("AccessDeniedException"));
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"__type": ""}"#,
            r#"{"__type": "a b\n"}"#,
        ] {
            assert_eq!(code(body), None, "{body}");
        }
    }
}
