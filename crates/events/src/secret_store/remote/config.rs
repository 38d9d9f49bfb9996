//! `[secret-store.remote]`: what may be written, and the store that becomes of it.

use std::path::PathBuf;
use std::sync::Arc;

use portcullis_core::{Clock, SecretRef, Span};
use portcullis_edge::aws::{self, Credentials};
use portcullis_edge::openbao::{self, Token};
use portcullis_edge::outbound::{Reach, Target};
use serde::Deserialize;

use super::aws::SecretsManager;
use super::kv::Kv;
use super::{Remote, Store};
use crate::entry_name::is_path;

/// Whose store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemoteKind {
    /// AWS Secrets Manager.
    AwsSecretsManager,
    /// The KV engine, version 2, of an OpenBao or Vault server.
    OpenbaoKv,
}

impl RemoteKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            RemoteKind::AwsSecretsManager => "aws-secrets-manager",
            RemoteKind::OpenbaoKv => "openbao-kv",
        }
    }
}

/// `[secret-store.remote]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// The store that every secret is carried to: `"aws-secrets-manager"` or `"openbao-kv"` (KV version 2 of
    /// OpenBao or Vault). Has to be written. What is in the gate's own vault is the truth, there is a copy.
    pub kind: Option<RemoteKind>,
    /// What names begin with there. Default `"portcullis"`: `portcullis/product/NAME`,
    /// `portcullis/tenants/ID/NAME`. Two gates with one prefix get in each other's way.
    pub prefix: String,
    /// For `"openbao-kv"`: where the server is. `https`, or `http` on this machine (an agent beside the gate).
    /// It may be a private address.
    pub address: Option<String>,
    /// For `"openbao-kv"`: where the engine is mounted. Default `"secret"`.
    pub mount: String,
    /// For `"openbao-kv"`: the namespace, where the server has some. Default: none.
    pub namespace: Option<String>,
    /// For `"openbao-kv"`: a token that may create, update and read `MOUNT/data/PREFIX/*` and read
    /// `MOUNT/metadata/PREFIX/*`, and nothing else. A file is read at each call. Or `role-id` and `secret-id`.
    pub token: Option<SecretRef>,
    /// For `"openbao-kv"`: the role by which the gate signs in (AppRole). Default: it has a token.
    pub role_id: Option<String>,
    /// For `"openbao-kv"`: the secret of that role.
    pub secret_id: Option<SecretRef>,
    /// For `"openbao-kv"`: the certificate authority to believe, a PEM file. Default: those of the operating
    /// system.
    pub ca: Option<PathBuf>,
    /// For `"aws-secrets-manager"`: the region, such as `"eu-central-1"`.
    pub region: Option<String>,
    /// For `"aws-secrets-manager"`: another address of the service, such as a private endpoint. Default: the
    /// region's.
    pub endpoint: Option<String>,
    /// For `"aws-secrets-manager"`: a file with credentials, in the form of `~/.aws/credentials`. Default: the
    /// variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`, or else what ECS or EKS
    /// hand to the container.
    pub credentials_file: Option<PathBuf>,
    /// For `"aws-secrets-manager"`: the KMS key that seals new secrets there. Default: the account's own for
    /// this service.
    pub kms_key: Option<String>,
    /// How long writing one secret may take, with all that it needs. Default `"5s"`, from `"100ms"` to
    /// `"1m"`. Nobody's request waits for it.
    pub timeout: Span,
    /// How often the gate looks whether somebody else changed a secret there. Default `"5m"`, from `"1s"` to
    /// `"1d"`. Such a change is told and never taken over.
    pub check_every: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            kind: None,
            prefix: "portcullis".to_owned(),
            address: None,
            mount: "secret".to_owned(),
            namespace: None,
            token: None,
            role_id: None,
            secret_id: None,
            ca: None,
            region: None,
            endpoint: None,
            credentials_file: None,
            kms_key: None,
            timeout: Span::from_seconds(5),
            check_every: Span::from_minutes(5),
        }
    }
}

/// What the table only refers to, read.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    pub token: Option<Token>,
    pub secret_id: Option<Token>,
    pub ca: Option<PathBuf>,
    pub aws: Option<Credentials>,
}

/// What is wrong: the key below `[secret-store.remote]`, and what to do about it.
pub type Fault = (&'static str, String);

impl Config {
    /// The store, or all that is wrong.
    pub fn compile(&self, secrets: &Secrets, clock: &Arc<dyn Clock>) -> Result<Remote, Vec<Fault>> {
        let Some(kind) = self.kind else {
            let said = "is needed: \"aws-secrets-manager\" or \"openbao-kv\"";
            return Err(vec![("kind", said.to_owned())]);
        };
        let mut faults = self.strangers(kind);
        if !(Span::from_millis(100)..=Span::from_minutes(1)).contains(&self.timeout) {
            faults.push(("timeout", "must be from 100ms to 1m".to_owned()));
        }
        if !(Span::from_seconds(1)..=Span::from_days(1)).contains(&self.check_every) {
            faults.push(("check-every", "must be from 1s to 1d".to_owned()));
        }
        for (key, path) in [("prefix", &self.prefix), ("mount", &self.mount)] {
            if !is_path(path) {
                let said = "is a path of letters, digits, `-`, `_`, `.` and single `/`";
                faults.push((key, said.to_owned()));
            }
        }
        let named = match kind {
            RemoteKind::AwsSecretsManager => ("endpoint", &self.endpoint),
            RemoteKind::OpenbaoKv => ("address", &self.address),
        };
        if let (key, Some(url)) = named
            && let Err(error) = Target::parse(url, Reach::Configured)
        {
            faults.push((key, error.to_string()));
        }
        if kind == RemoteKind::AwsSecretsManager && secrets.aws.is_none() {
            let said = "there are no credentials: name a file here, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
            faults.push(("credentials-file", said.to_owned()));
        }
        if kind == RemoteKind::AwsSecretsManager && !aws::IS_BUILT {
            let said = "\"aws-secrets-manager\" is not in this program: it was built without the feature `aws` (`full` has it)";
            faults.push(("kind", said.to_owned()));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let store = self.store(kind, secrets, clock);
        let (store, name) = store.map_err(|said| vec![("kind", said)])?;
        Ok(Remote {
            kind,
            // Another store, or another place in it, begins anew.
            name: format!("{}\n{name}\n{}", kind.as_str(), self.prefix),
            store,
            prefix: self.prefix.clone(),
            timeout: self.timeout,
            check_every: self.check_every,
        })
    }

    /// Keys that are written and belong to another kind, and those that are missing.
    fn strangers(&self, kind: RemoteKind) -> Vec<Fault> {
        use RemoteKind::{AwsSecretsManager as Aws, OpenbaoKv as Bao};
        let is_login = self.role_id.is_some();
        // Which kind a key is for, whether it is there, and whether that kind needs it.
        let known: [(&'static str, RemoteKind, bool, bool); 10] = [
            ("address", Bao, self.address.is_some(), true),
            ("namespace", Bao, self.namespace.is_some(), false),
            ("token", Bao, self.token.is_some(), !is_login),
            ("role-id", Bao, is_login, false),
            ("secret-id", Bao, self.secret_id.is_some(), is_login),
            ("ca", Bao, self.ca.is_some(), false),
            ("region", Aws, self.region.is_some(), true),
            ("endpoint", Aws, self.endpoint.is_some(), false),
            (
                "credentials-file",
                Aws,
                self.credentials_file.is_some(),
                false,
            ),
            ("kms-key", Aws, self.kms_key.is_some(), false),
        ];
        let mut faults = Vec::new();
        for (key, of, is_there, is_needed) in known {
            if of != kind && is_there {
                faults.push((
                    key,
                    format!("says nothing for `kind = \"{}\"`", kind.as_str()),
                ));
            }
            if of == kind && is_needed && !is_there {
                faults.push((key, format!("is needed for `kind = \"{}\"`", kind.as_str())));
            }
        }
        if self.token.is_some() && is_login {
            let said = "is one way to sign in, `token` the other: write one of them";
            faults.push(("role-id", said.to_owned()));
        }
        faults
    }

    fn store(
        &self,
        kind: RemoteKind,
        secrets: &Secrets,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Store, String), String> {
        // What `strangers` would have found.
        let missing = || "something is missing".to_owned();
        match kind {
            RemoteKind::AwsSecretsManager => {
                let region = self.region.clone().ok_or_else(missing)?;
                let name = format!("{region}\n{}", self.endpoint.as_deref().unwrap_or_default());
                let settings = aws::Settings {
                    service: "secretsmanager",
                    region,
                    endpoint: self.endpoint.clone(),
                    credentials: secrets.aws.clone().ok_or_else(missing)?,
                    timeout: self.timeout,
                };
                let caller = aws::Caller::new(settings, Arc::clone(clock));
                let caller = caller.map_err(|error| error.to_string())?;
                let store = SecretsManager::new(caller, self.kms_key.clone());
                Ok((Store::Aws(store), name))
            }
            RemoteKind::OpenbaoKv => {
                let (token, secret_id) = (secrets.token.as_ref(), secrets.secret_id.as_ref());
                let sign_in = openbao::SignIn::of(self.role_id.as_deref(), token, secret_id);
                let settings = openbao::Settings {
                    address: self.address.clone().ok_or_else(missing)?,
                    namespace: self.namespace.clone(),
                    sign_in: sign_in.ok_or_else(missing)?,
                    ca: secrets.ca.clone(),
                    timeout: self.timeout.as_duration(),
                };
                let server = openbao::Server::new(settings, Arc::clone(clock));
                let server = server.map_err(|error| error.to_string())?;
                // Not the address: the same server may be reached by another name one day.
                let namespace = self.namespace.as_deref().unwrap_or_default();
                let name = format!("{namespace}\n{}", self.mount);
                Ok((Store::Kv(Kv::new(server, self.mount.clone())), name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::Secret;
    use portcullis_core::time::SystemClock;

    use super::*;

    fn faults(text: &str, secrets: &Secrets) -> Vec<&'static str> {
        let config: Config = toml::from_str(text).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let faults = config.compile(secrets, &clock).err().unwrap_or_default();
        faults.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn what_is_missing_or_belongs_to_the_other_kind_is_named() {
        let none = Secrets::default();
        let token = Secrets {
            token: Some(Token::Fixed(Secret::new("t".to_owned()))),
            ..Secrets::default()
        };
        let bao =
            "kind = \"openbao-kv\"\naddress = \"https://bao.test\"\ntoken = { env = \"T\" }\n";
        assert_eq!(faults(bao, &token), [""; 0]);
        for (text, secrets, key) in [
            ("", &none, "kind"),
            (
                "kind = \"openbao-kv\"\ntoken = { env = \"T\" }",
                &token,
                "address",
            ),
            (&format!("{bao}region = \"x\""), &token, "region"),
            (&format!("{bao}role-id = \"x\""), &token, "secret-id"),
            (&format!("{bao}prefix = \"a/../b\""), &token, "prefix"),
            (&format!("{bao}mount = \"a//b\""), &token, "mount"),
            (&format!("{bao}timeout = \"5m\""), &token, "timeout"),
            (&format!("{bao}check-every = \"0s\""), &token, "check-every"),
            (
                "kind = \"openbao-kv\"\naddress = \"ftp://x\"\ntoken = { env = \"T\" }",
                &token,
                "address",
            ),
            (
                "kind = \"aws-secrets-manager\"\nregion = \"x\"",
                &none,
                "credentials-file",
            ),
        ] {
            assert!(faults(text, secrets).contains(&key), "{text}: {key}");
        }
    }
}
