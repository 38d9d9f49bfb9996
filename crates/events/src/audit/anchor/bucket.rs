//! `[audit.anchor-bucket]`: checkpoints as objects in a bucket.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use portcullis_core::finding::Finding;
use portcullis_core::{Clock, Span};
use portcullis_edge::aws::s3::{Bucket, Over, Settings};
use portcullis_edge::aws::{self, Credentials};
use serde::Deserialize;

use super::super::Error;
use super::super::checkpoint::Checkpoint;
use crate::entry_name::is_path;

const TABLE: &str = "audit.anchor-bucket";

/// `[audit.anchor-bucket]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Placed {
    /// The bucket's name: 3 to 63 letters in lower case, digits and `-`. Has to be written. Give it object lock,
    /// and the gate `s3:PutObject` and `s3:GetObject` for `PREFIX/*` and `s3:ListBucket`, and nothing else.
    pub name: String,
    /// What names begin with there. Default `"portcullis"`: `portcullis/latest`, `portcullis/checkpoints/SIZE`.
    /// Two logs with one prefix get in each other's way.
    pub prefix: String,
    /// The region, such as `"eu-central-1"`. Has to be written.
    pub region: String,
    /// Another store that speaks the protocol of S3, such as `"https://minio.internal:9000"`. Default: the
    /// region's.
    pub endpoint: Option<String>,
    /// A file with credentials, in the form of `~/.aws/credentials`. Default: the variables `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`, or else what ECS or EKS hand to the container.
    pub credentials_file: Option<PathBuf>,
    /// How long one exchange may take. Default `"5s"`, from `"100ms"` to `"1m"`. Nobody's request waits for it.
    pub timeout: Span,
}

impl Default for Placed {
    fn default() -> Self {
        Placed {
            name: String::new(),
            prefix: "portcullis".to_owned(),
            region: String::new(),
            endpoint: None,
            credentials_file: None,
            timeout: Span::from_seconds(5),
        }
    }
}

impl Placed {
    /// The place, or all that is wrong with it.
    pub fn compile(
        &self,
        credentials: Option<&Credentials>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Kept, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut refuse = |key: &str, said: &'static str| {
            findings.push(Finding::error("audit", format!("{TABLE}.{key}"), said));
        };
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(3..=63).contains(&self.name.len()) || !self.name.bytes().all(is_name) {
            refuse("name", "is 3 to 63 letters in lower case, digits and `-`");
        }
        if !is_path(&self.prefix) {
            refuse(
                "prefix",
                "is a path of letters, digits, `-`, `_`, `.` and single `/`",
            );
        }
        if self.region.is_empty() || !self.region.bytes().all(is_name) {
            refuse("region", "is needed, such as \"eu-central-1\"");
        }
        if !(Span::from_millis(100)..=Span::from_minutes(1)).contains(&self.timeout) {
            refuse("timeout", "must be from 100ms to 1m");
        }
        if !aws::IS_BUILT {
            refuse(
                "name",
                "is not in this program: it was built without the feature `aws` (`full` has it)",
            );
        }
        let Some(credentials) = credentials else {
            refuse(
                "credentials-file",
                "there are no credentials: name a file here, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            );
            return Err(findings);
        };
        if !findings.is_empty() {
            return Err(findings);
        }
        let settings = Settings {
            name: self.name.clone(),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            credentials: credentials.clone(),
            timeout: self.timeout,
        };
        let bucket = Bucket::new(settings, Arc::clone(clock)).map_err(|error| {
            let key = format!("{TABLE}.endpoint");
            vec![Finding::error("audit", key, error.to_string())]
        })?;
        Ok(Kept {
            bucket,
            prefix: self.prefix.clone(),
        })
    }
}

/// A place in a bucket.
#[derive(Debug)]
pub struct Kept {
    bucket: Bucket,
    prefix: String,
}

impl Kept {
    fn latest(&self) -> String {
        format!("{}/latest", self.prefix)
    }

    async fn read(&self, key: &str) -> Result<Option<String>, Error> {
        let found = self.bucket.get(key).await.map_err(|error| told(&error))?;
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec());
        let found = found.map(text).transpose();
        found.map_err(|_| Error::Anchor("holds something that is no checkpoint"))
    }

    pub(super) async fn newest(&self) -> Result<Option<String>, Error> {
        self.read(&self.latest()).await
    }

    pub(super) async fn add(&self, checkpoint: &Checkpoint, signed: &str) -> Result<(), Error> {
        // As many digits as the largest number has, so that names are in the order of sizes.
        let key = format!("{}/checkpoints/{:020}", self.prefix, checkpoint.size);
        let body = Bytes::from(signed.to_owned());
        let put = self.bucket.put(&key, body.clone(), Over::Nothing).await;
        // Another node was faster, or this log had another history once.
        if !put.map_err(|error| told(&error))? {
            let there = self.read(&key).await?;
            let says_so = there.is_some_and(|there| there.starts_with(&checkpoint.text()));
            if !says_so {
                return Err(Error::Anchor("has another checkpoint of the same size"));
            }
        }
        let put = self.bucket.put(&self.latest(), body, Over::Anything).await;
        put.map(|_| ()).map_err(|error| told(&error))
    }

    /// Whether it answers: for `doctor`. Writes nothing.
    pub async fn try_out(&self) -> Result<bool, String> {
        let found = self.bucket.get(&self.latest()).await;
        Ok(found.map_err(|error| error.to_string())?.is_some())
    }
}

fn told(error: &aws::Error) -> Error {
    tracing::warn!(%error, "the bucket of `audit.anchor-bucket` could not be used");
    Error::Anchor("cannot be read or written")
}
