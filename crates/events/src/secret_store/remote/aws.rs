//! AWS Secrets Manager: one secret for each of ours, its value as it is.
//!
//! - A version there has the name that we give it (`ClientRequestToken`): to write the same again is no second
//!   one, and a version that we did not write is known by its name.
//! - No value is ever asked for. The gate needs `DescribeSecret`, `CreateSecret` and `PutSecretValue`.

use std::collections::HashMap;

use portcullis_core::Secret;
use portcullis_edge::aws::{self, Caller};
use serde::Deserialize;
use serde_json::json;

use super::{Fault, Known, Put};

pub(super) struct SecretsManager {
    caller: Caller,
    kms_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    deleted_date: Option<f64>,
    #[serde(default)]
    version_ids_to_stages: HashMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    version_id: String,
}

impl Described {
    /// The version in use.
    fn current(&self) -> Option<&str> {
        let mut all = self.version_ids_to_stages.iter();
        let current = all.find(|(_, stages)| stages.iter().any(|stage| stage == "AWSCURRENT"));
        current.map(|(version, _)| version.as_str())
    }
}

fn fault(error: aws::Error) -> Fault {
    match error {
        aws::Error::Refused { code, status } if !status.is_server_error() && !is_passing(&code) => {
            Fault::Refused(code)
        }
        error => Fault::Away(error.to_string()),
    }
}

/// Refusals that are about everything, and for a while.
fn is_passing(code: &str) -> bool {
    matches!(
        code,
        "ThrottlingException" | "RequestLimitExceeded" | "LimitExceededException"
    )
}

impl SecretsManager {
    pub(super) fn new(caller: Caller, kms_key: Option<String>) -> Self {
        SecretsManager { caller, kms_key }
    }

    /// Nothing where there is no such secret.
    async fn describe(&self, path: &str) -> Result<Option<Described>, Fault> {
        let body = json!({ "SecretId": path });
        match self
            .caller
            .call("secretsmanager.DescribeSecret", &body)
            .await
        {
            Ok(described) => Ok(Some(described)),
            Err(aws::Error::Refused { code, .. }) if code == "ResourceNotFoundException" => {
                Ok(None)
            }
            Err(error) => Err(fault(error)),
        }
    }

    pub(super) async fn put(
        &self,
        path: &str,
        known: &Known<'_>,
        value: &Secret<String>,
    ) -> Result<Put, Fault> {
        let described = self.describe(path).await?;
        if described
            .as_ref()
            .is_some_and(|one| one.deleted_date.is_some())
        {
            let said = "it is deleted there, and the time in which it can be restored is not over";
            return Err(Fault::Refused(said.to_owned()));
        }
        let (operation, body) = match described.as_ref().map(Described::current) {
            Some(Some(current)) if current == known.token => {
                return Ok(Put::Written(known.token.to_owned()));
            }
            Some(Some(current)) if !known.may_replace(current) => return Ok(Put::Drifted),
            Some(_) => {
                let body = json!({
                    "SecretId": path,
                    "SecretString": value.expose(),
                    "ClientRequestToken": known.token,
                });
                ("secretsmanager.PutSecretValue", body)
            }
            None => {
                let mut body = json!({
                    "Name": path,
                    "SecretString": value.expose(),
                    "ClientRequestToken": known.token,
                });
                if let (Some(key), Some(body)) = (&self.kms_key, body.as_object_mut()) {
                    body.insert("KmsKeyId".to_owned(), key.as_str().into());
                }
                ("secretsmanager.CreateSecret", body)
            }
        };
        let written: Written = self.caller.call(operation, &body).await.map_err(fault)?;
        if written.version_id == known.token {
            Ok(Put::Written(written.version_id))
        } else {
            Err(Fault::Away(aws::Error::NotUnderstood.to_string()))
        }
    }

    /// Whether this version is in use there still.
    pub(super) async fn has(&self, path: &str, version: &str) -> Result<bool, Fault> {
        let described = self.describe(path).await?;
        Ok(described
            .is_some_and(|one| one.deleted_date.is_none() && one.current() == Some(version)))
    }

    /// Asks about a secret that is not there, and would write to it: who may do neither is told so.
    pub(super) async fn try_out(&self, path: &str) -> Result<(), Fault> {
        if self.describe(path).await?.is_some() {
            return Err(Fault::Away(aws::Error::NotUnderstood.to_string()));
        }
        let body = json!({
            "SecretId": path,
            "SecretString": "a trial of `doctor`",
            "ClientRequestToken": uuid::Uuid::new_v4().to_string(),
        });
        let written = self
            .caller
            .call::<Written>("secretsmanager.PutSecretValue", &body);
        match written.await {
            Err(aws::Error::Refused { code, .. }) if code == "ResourceNotFoundException" => Ok(()),
            Err(error) => Err(fault(error)),
            Ok(_) => Err(Fault::Away(aws::Error::NotUnderstood.to_string())),
        }
    }
}
