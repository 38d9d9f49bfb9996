//! `[kek]` and `[[previous-kek]]`: what may be written, and the settings that become of it.

use std::path::PathBuf;
use std::time::Duration;

use portcullis_core::{Secret, SecretRef, Span};
use portcullis_edge::aws::{self, Credentials};
use portcullis_edge::openbao::Token;
use portcullis_edge::outbound::{Reach, Target};
use serde::Deserialize;

use super::KekKind;

/// `[kek]`, and one `[[previous-kek]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Where the key is that data keys are wrapped under: `"master"` (default), derived from
    /// `secrets.master`; `"secret"`, derived from a secret of its own; `"transit"`, in an OpenBao or
    /// Vault server; `"aws-kms"`, in AWS. With the last two nothing that the gate stores opens without
    /// that service.
    pub kind: KekKind,
    /// For `"secret"`: where the secret is, at least 32 characters (`openssl rand -hex 32`).
    pub secret: Option<SecretRef>,
    /// For `"transit"`: where the server is. `https`, or `http` on this machine (an agent beside the
    /// gate). It may be a private address.
    pub address: Option<String>,
    /// The key's name: of the transit engine, or for `"aws-kms"` its ARN. An alias that is pointed at
    /// another key later does not open what the first one wrapped.
    pub key: Option<String>,
    /// For `"transit"`: where the engine is mounted. Default `"transit"`.
    pub mount: String,
    /// For `"transit"`: the namespace, where the server has some. Default: none.
    pub namespace: Option<String>,
    /// For `"transit"`: the token that may encrypt and decrypt with the key, and nothing else. A file is
    /// read at each call, so that an agent can replace it. Or `role-id` and `secret-id`.
    pub token: Option<SecretRef>,
    /// For `"transit"`: the role by which the gate signs in (AppRole). Default: it has a token.
    pub role_id: Option<String>,
    /// For `"transit"`: the secret of that role.
    pub secret_id: Option<SecretRef>,
    /// For `"transit"`: the certificate authority to believe, a PEM file. Default: those of the operating
    /// system.
    pub ca: Option<PathBuf>,
    /// For `"aws-kms"`: the region. Default: that of the key's ARN.
    pub region: Option<String>,
    /// For `"aws-kms"`: another address of the service, such as a private endpoint. Default: the region's.
    pub endpoint: Option<String>,
    /// For `"aws-kms"`: a file with credentials, in the form of `~/.aws/credentials`. Default: the variables
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`, or else what ECS or EKS hand
    /// to the container (`AWS_CONTAINER_CREDENTIALS_FULL_URI`, `.._RELATIVE_URI`).
    pub credentials_file: Option<PathBuf>,
    /// How long the service may take to wrap or unwrap one key. Default `"3s"`, from `"50ms"` to `"30s"`.
    /// Requests that need the key wait for it.
    pub timeout: Span,
    /// How long an unwrapped data key stays in memory. Default `"15m"`, from `"1s"` to `"1d"`. While the
    /// service is away, fields open and close for this long; longer also keeps keys in memory for longer
    /// after they were taken away there.
    pub remember_for: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            kind: KekKind::default(),
            secret: None,
            address: None,
            key: None,
            mount: "transit".to_owned(),
            namespace: None,
            token: None,
            role_id: None,
            secret_id: None,
            ca: None,
            region: None,
            endpoint: None,
            credentials_file: None,
            timeout: Span::from_seconds(3),
            remember_for: Span::from_minutes(15),
        }
    }
}

/// What the configuration only refers to, read.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    pub secret: Option<Secret>,
    pub token: Option<Token>,
    pub secret_id: Option<Token>,
    pub ca: Option<PathBuf>,
    pub aws: Option<Credentials>,
}

/// A KEK that can be set up.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(super) kind: KekKind,
    pub(super) config: Config,
    pub(super) secrets: Secrets,
    pub(super) timeout: Duration,
}

/// What is wrong: the key below `[kek]`, and what to do about it.
pub type Fault = (&'static str, String);

/// Shortest secret that a KEK is derived from, as for `secrets.master`.
const SHORTEST_SECRET: usize = 32;

impl Settings {
    pub fn of(kind: KekKind) -> Self {
        Settings {
            kind,
            config: Config {
                kind,
                ..Config::default()
            },
            secrets: Secrets::default(),
            timeout: Config::default().timeout.as_duration(),
        }
    }

    pub const fn kind(&self) -> KekKind {
        self.kind
    }
}

impl Config {
    /// The settings, or all that is wrong.
    pub fn compile(&self, secrets: Secrets) -> Result<Settings, Vec<Fault>> {
        let mut faults = self.strangers();
        if !(Span::from_millis(50)..=Span::from_seconds(30)).contains(&self.timeout) {
            faults.push(("timeout", "must be from 50ms to 30s".to_owned()));
        }
        if !(Span::from_seconds(1)..=Span::from_days(1)).contains(&self.remember_for) {
            faults.push(("remember-for", "must be from 1s to 1d".to_owned()));
        }
        match self.kind {
            KekKind::Master => {}
            KekKind::Secret => {
                let length = secrets.secret.as_ref().map(|secret| secret.expose().len());
                if length.is_some_and(|length| length < SHORTEST_SECRET) {
                    let said = "has fewer than 32 characters: take `openssl rand -hex 32`";
                    faults.push(("secret", said.to_owned()));
                }
            }
            KekKind::Transit => self.check_transit(&mut faults),
            KekKind::AwsKms => self.check_aws(&secrets, &mut faults),
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Settings {
            kind: self.kind,
            config: self.clone(),
            timeout: self.timeout.as_duration(),
            secrets,
        })
    }

    /// Keys that are written and belong to another kind, and those that are missing.
    fn strangers(&self) -> Vec<Fault> {
        use KekKind::{AwsKms, Secret, Transit};
        let (transit, aws) = (&[Transit][..], &[AwsKms][..]);
        let is_login = self.role_id.is_some();
        // Which kinds a key is for, whether it is there, and whether those kinds need it.
        let known: [(&'static str, &[KekKind], bool, bool); 10] = [
            ("secret", &[Secret], self.secret.is_some(), true),
            ("address", transit, self.address.is_some(), true),
            ("key", &[Transit, AwsKms], self.key.is_some(), true),
            ("namespace", transit, self.namespace.is_some(), false),
            ("token", transit, self.token.is_some(), !is_login),
            ("role-id", transit, is_login, false),
            ("secret-id", transit, self.secret_id.is_some(), is_login),
            ("ca", transit, self.ca.is_some(), false),
            ("endpoint", aws, self.endpoint.is_some(), false),
            (
                "credentials-file",
                aws,
                self.credentials_file.is_some(),
                false,
            ),
        ];
        let kind = self.kind;
        let mut faults = Vec::new();
        for (key, kinds, is_there, is_needed) in known {
            match (kinds.contains(&kind), is_there) {
                (false, true) => {
                    faults.push((key, format!("says nothing for `kind = \"{kind}\"`")));
                }
                (true, false) if is_needed => {
                    faults.push((key, format!("is needed for `kind = \"{kind}\"`")));
                }
                (true, _) | (false, false) => {}
            }
        }
        if self.token.is_some() && is_login {
            let said = "is one way to sign in, `token` the other: write one of them";
            faults.push(("role-id", said.to_owned()));
        }
        faults
    }

    fn check_transit(&self, faults: &mut Vec<Fault>) {
        if let Some(address) = &self.address
            && let Err(error) = Target::parse(address, Reach::Configured)
        {
            faults.push(("address", error.to_string()));
        }
        let names = [
            ("key", self.key.as_deref().unwrap_or("x"), false),
            ("mount", self.mount.as_str(), true),
        ];
        for (key, name, may_have_slash) in names {
            let is_name = !name.is_empty()
                && name.len() <= 128
                && name.bytes().all(|byte| {
                    byte.is_ascii_alphanumeric()
                        || matches!(byte, b'-' | b'_' | b'.')
                        || (may_have_slash && byte == b'/')
                });
            if !is_name {
                let said = "is a name of letters, digits, `-`, `_` and `.`";
                faults.push((key, said.to_owned()));
            }
        }
    }

    fn check_aws(&self, secrets: &Secrets, faults: &mut Vec<Fault>) {
        if !aws::IS_BUILT {
            let said = "\"aws-kms\" is not in this program: it was built without the feature `aws` (`full` has it)";
            faults.push(("kind", said.to_owned()));
        }
        let is_region = |region: String| {
            !region.is_empty()
                && region
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !self.aws_region().is_some_and(is_region) {
            let said = "is needed, such as \"eu-central-1\", where `key` is no ARN";
            faults.push(("region", said.to_owned()));
        }
        if let Some(endpoint) = &self.endpoint
            && let Err(error) = Target::parse(endpoint, Reach::Configured)
        {
            faults.push(("endpoint", error.to_string()));
        }
        if secrets.aws.is_none() {
            let said = "there are no credentials: name a file here, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
            faults.push(("credentials-file", said.to_owned()));
        }
    }

    /// `arn:aws:kms:eu-central-1:…`, where no region is written.
    pub(super) fn aws_region(&self) -> Option<String> {
        let of_arn = || {
            let key = self.key.as_deref()?.strip_prefix("arn:")?;
            key.split(':').nth(2).map(str::to_owned)
        };
        self.region.clone().or_else(of_arn)
    }
}
