//! `[kek]` and `[[previous-kek]]`: what they refer to is read, and KEKs are made of them.

use std::path::Path;
use std::sync::Arc;

use portcullis_core::finding::Finding;
use portcullis_core::time::SystemClock;
use portcullis_core::{Clock, SecretRef};
use portcullis_edge::aws::{Credentials, Fixed};
use portcullis_edge::openbao::Token;
use portcullis_vault::kek::{self, KekKind, Keks, Settings};
use portcullis_vault::keys::Keys;

use super::{Config, Loaded, Secrets, read_secret};

/// The KEK in use and those before it, each with where it is written.
fn all(config: &Config) -> Vec<(String, kek::Config)> {
    let previous = config.previous_keks.iter().enumerate();
    let previous = previous.map(|(at, kek)| (format!("previous-kek.{at}"), kek.clone()));
    std::iter::once(("kek".to_owned(), config.kek.clone()))
        .chain(previous)
        .collect()
}

/// Reads what the tables refer to.
pub(super) fn read_secrets(loaded: &mut Loaded) {
    for (key, kek) in all(&loaded.config) {
        let secret = kek.secret.as_ref();
        let secrets = kek::Secrets {
            secret: secret
                .and_then(|reference| read_secret(loaded, &format!("{key}.secret"), reference)),
            token: token(loaded, &format!("{key}.token"), kek.token.as_ref()),
            secret_id: token(loaded, &format!("{key}.secret-id"), kek.secret_id.as_ref()),
            ca: kek.ca.as_ref().map(|file| loaded.path(file)),
            aws: (kek.kind == KekKind::AwsKms)
                .then(|| credentials(loaded, kek.credentials_file.as_deref()))
                .flatten(),
        };
        loaded.secrets.keks.push(secrets);
    }
}

/// What a file holds is read when it is needed, but has to be there now.
pub(super) fn token(
    loaded: &mut Loaded,
    key: &str,
    reference: Option<&SecretRef>,
) -> Option<Token> {
    let reference = reference?;
    let secret = read_secret(loaded, key, reference)?;
    Some(match reference {
        SecretRef::Env { .. } => Token::Fixed(secret),
        SecretRef::File { file } => Token::File(loaded.path(file)),
    })
}

/// A file, or variables under the names that every program for AWS reads.
pub(super) fn credentials(loaded: &mut Loaded, file: Option<&Path>) -> Option<Credentials> {
    if let Some(file) = file {
        return Some(Credentials::File(loaded.path(file)));
    }
    let mut get = |name: &str| {
        loaded.asked.insert(name.to_owned());
        let value = loaded.environment.get(name);
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let id = get("AWS_ACCESS_KEY_ID");
    let secret = get("AWS_SECRET_ACCESS_KEY");
    let session_token = get("AWS_SESSION_TOKEN");
    let full = get("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    let relative = get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let token = get("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    let token_file = get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    if let (Some(access_key_id), Some(secret)) = (id, secret) {
        return Some(Credentials::Fixed(Fixed {
            access_key_id,
            secret_access_key: portcullis_core::Secret::new(secret),
            session_token: session_token.map(portcullis_core::Secret::new),
        }));
    }
    let of_host = |path: String| format!("http://169.254.170.2{path}");
    Some(Credentials::Container {
        url: full.or_else(|| relative.map(of_host))?,
        token: token.map(portcullis_core::Secret::new),
        token_file: token_file.map(Into::into),
    })
}

/// The KEKs, or all that is wrong with them.
pub(crate) fn compile(
    config: &Config,
    secrets: &Secrets,
    keys: &Keys,
    clock: &Arc<dyn Clock>,
) -> Result<Keks, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut settings: Vec<Settings> = Vec::new();
    for (position, (table, kek)) in all(config).iter().enumerate() {
        let read = secrets.keks.get(position).cloned();
        if position > 0 && kek.remember_for != kek::Config::default().remember_for {
            let key = format!("{table}.remember-for");
            findings.push(Finding::error("kek", key, "is said once, in [kek]"));
        }
        match kek.compile(read.unwrap_or_default()) {
            Ok(compiled) => settings.push(compiled),
            Err(faults) => findings.extend(
                faults
                    .into_iter()
                    .map(|(key, said)| Finding::error("kek", format!("{table}.{key}"), said)),
            ),
        }
    }
    let Some((current, previous)) = settings.split_first().filter(|_| findings.is_empty()) else {
        return Err(findings);
    };
    Keks::new(current, previous, keys, clock)
        .map_err(|error| vec![Finding::error("kek", "kek", error.to_string())])
}

/// What is wrong with them.
pub(crate) fn findings(config: &Config, secrets: &Secrets, keys: &Keys) -> Vec<Finding> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    compile(config, secrets, keys, &clock)
        .err()
        .unwrap_or_default()
}
