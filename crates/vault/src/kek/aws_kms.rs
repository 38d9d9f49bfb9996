//! A KEK in AWS Key Management Service: `Encrypt` and `Decrypt` with an encryption context.
//!
//! - The context binds a data key to its tenant, subject and row. It stands in the service's log, so
//!   a subject goes there as its hash.
//! - `Decrypt` names the key. Without that the service would open what was sealed under any key that
//!   we may use, and whoever can write to our table could bring one of their own.
//! - Data keys are made here, so `GenerateDataKey` is not asked for: one permission less, and a key
//!   that moves from another KEK is wrapped the same way.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::{Clock, Secret, Span};
use portcullis_edge::aws::{self, Caller};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Asked, Error, Kek, KekKind, Settings, Whose, mark_of};
use crate::seal::MARK_LEN;

/// The first byte of what this wraps.
const FORM: u8 = 3;

pub(super) struct AwsKms {
    mark: [u8; MARK_LEN],
    key: String,
    caller: Caller,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypted {
    ciphertext_blob: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypted {
    plaintext: Secret,
}

fn away(said: impl std::fmt::Display) -> Error {
    Error::Away(KekKind::AwsKms, said.to_string().into())
}

impl AwsKms {
    pub(super) fn new(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        let unusable = |said: &str| Error::Settings(KekKind::AwsKms, said.into());
        let config = &settings.config;
        let key = config
            .key
            .clone()
            .ok_or_else(|| unusable("it names no key"))?;
        let credentials = settings.secrets.aws.clone();
        let settings = aws::Settings {
            service: "kms",
            region: config
                .aws_region()
                .ok_or_else(|| unusable("it names no region"))?,
            endpoint: config.endpoint.clone(),
            credentials: credentials.ok_or_else(|| unusable("there are no credentials"))?,
            timeout: Span::from(settings.timeout),
        };
        let caller = Caller::new(settings, Arc::clone(clock));
        Ok(AwsKms {
            mark: mark_of(FORM, &format!("aws-kms\n{key}")),
            key,
            caller: caller.map_err(|error| unusable(&error.to_string()))?,
        })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        body: &Value,
    ) -> Result<T, Error> {
        match self.caller.call(operation, body).await {
            Ok(answer) => Ok(answer),
            Err(aws::Error::Refused { code, .. })
                if code == "InvalidCiphertextException" || code == "IncorrectKeyException" =>
            {
                Err(Error::Refused(KekKind::AwsKms, code.into()))
            }
            Err(error) => Err(away(error)),
        }
    }
}

fn context(whose: &Whose<'_>) -> Value {
    let subject = digest(&SHA256, whose.subject.as_bytes());
    // No value may be empty; none of these is the name of a tenant.
    let tenant = if whose.tenant.is_empty() {
        "none"
    } else {
        whose.tenant
    };
    json!({
        "portcullis:tenant": tenant,
        "portcullis:subject": hex::encode(subject.as_ref()),
        "portcullis:purpose": whose.purpose,
        "portcullis:data-key": whose.id.to_string(),
        "portcullis:version": i64::from_be_bytes(whose.version).to_string(),
    })
}

impl Kek for AwsKms {
    fn kind(&self) -> KekKind {
        KekKind::AwsKms
    }

    fn mark(&self) -> [u8; MARK_LEN] {
        self.mark
    }

    fn wrap<'a>(&'a self, whose: &'a Whose<'_>, key: &'a [u8]) -> Asked<'a, Vec<u8>> {
        Box::pin(async move {
            let plaintext = Zeroizing::new(STANDARD.encode(key));
            let body = json!({
                "KeyId": self.key,
                "Plaintext": plaintext.as_str(),
                "EncryptionContext": context(whose),
            });
            let answer: Encrypted = self.ask("TrentService.Encrypt", &body).await?;
            let blob = STANDARD.decode(answer.ciphertext_blob);
            let blob = blob.map_err(|_| away(aws::Error::NotUnderstood))?;
            Ok([&self.mark[..], &blob].concat())
        })
    }

    fn unwrap<'a>(&'a self, whose: &'a Whose<'_>, wrapped: &'a [u8]) -> Asked<'a, Secret<Vec<u8>>> {
        Box::pin(async move {
            let blob = wrapped.get(MARK_LEN..).unwrap_or_default();
            let body = json!({
                "KeyId": self.key,
                "CiphertextBlob": STANDARD.encode(blob),
                "EncryptionContext": context(whose),
            });
            let answer: Decrypted = self.ask("TrentService.Decrypt", &body).await?;
            let key = STANDARD.decode(answer.plaintext.expose());
            key.map(Secret::new)
                .map_err(|_| away(aws::Error::NotUnderstood))
        })
    }
}
