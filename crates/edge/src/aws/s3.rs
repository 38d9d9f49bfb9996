//! Small objects in a bucket of S3, or of a store that speaks its protocol: read whole, and put.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use portcullis_core::{Clock, Span};

use super::credentials::Kept;
use super::sign::{self, Unsigned};
use super::{Credentials, Error};
use crate::outbound::{Answer, Outbound, Reach, Target};

const SERVICE: &str = "s3";
const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// What a bucket is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Letters, digits and `-`: with a dot in it no certificate of the service is for its host.
    pub name: String,
    /// Such as `eu-central-1`.
    pub region: String,
    /// Another store's address, below which the bucket is a path. Nothing for the service's own in its region,
    /// where the bucket is in the host's name.
    pub endpoint: Option<String>,
    pub credentials: Credentials,
    /// How long one exchange may take.
    pub timeout: Span,
}

/// One bucket.
pub struct Bucket {
    name: String,
    region: String,
    /// Before the keys of its objects.
    base: String,
    credentials: Kept,
    outbound: Outbound,
    clock: Arc<dyn Clock>,
}

/// What may be written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Whatever is there.
    Anything,
    /// Nothing: an object that is there stays as it is.
    Nothing,
}

impl Bucket {
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let (name, region) = (settings.name, settings.region);
        let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
        let base = match settings.endpoint {
            Some(endpoint) => format!("{}/{name}", endpoint.trim_end_matches('/')),
            None => format!("https://{name}.s3.{region}.amazonaws.com{suffix}"),
        };
        // What is wrong with it is known before the first object.
        Target::parse(&base, Reach::Configured)?;
        Ok(Bucket {
            name,
            region,
            base,
            credentials: Kept::new(settings.credentials),
            outbound: Outbound::new(settings.timeout.as_duration(), None),
            clock,
        })
    }

    /// The object, whole. Nothing where there is none, which the service says only to those who may list the
    /// bucket, and says as well where there is no bucket.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        let target = self.target(key)?;
        let mut headers = HeaderMap::new();
        self.sign("GET", &target, None, &[], &mut headers).await?;
        let answer = self.outbound.get_with(&target, headers).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.body)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.refused(&answer)),
        }
    }

    /// Puts an object. `false` where one is there that may not be written over.
    pub async fn put(&self, key: &str, body: Bytes, over: Over) -> Result<bool, Error> {
        let target = self.target(key)?;
        let mut headers = HeaderMap::new();
        if over == Over::Nothing {
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let kind = Some(CONTENT_TYPE);
        self.sign("PUT", &target, kind, &body, &mut headers).await?;
        let put = self.outbound.put_with(&target, headers, CONTENT_TYPE, body);
        let answer = put.await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::PRECONDITION_FAILED if over == Over::Nothing => Ok(false),
            _ => Err(self.refused(&answer)),
        }
    }

    fn target(&self, key: &str) -> Result<Target, Error> {
        let url = format!("{}/{key}", self.base);
        Ok(Target::parse(&url, Reach::Configured)?)
    }

    async fn sign(
        &self,
        method: &'static str,
        target: &Target,
        content_type: Option<&str>,
        body: &[u8],
        headers: &mut HeaderMap,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let fixed = self.credentials.get(&self.outbound, now).await?;
        let unsigned = Unsigned {
            method,
            service: SERVICE,
            region: &self.region,
            target,
            content_type,
            body,
        };
        sign::sign(&unsigned, headers, &fixed, now)
    }

    fn refused(&self, answer: &Answer) -> Error {
        // What was refused may be the credentials: they are read again.
        self.credentials.forget();
        let reason = answer.status.canonical_reason();
        Error::Refused {
            code: reason.unwrap_or("an unknown status").to_owned(),
            status: answer.status,
        }
    }
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bucket({} in {})", self.name, self.region)
    }
}
