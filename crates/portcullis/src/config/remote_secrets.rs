//! `[secret-store.remote]`: what it refers to is read, and the store that becomes of it.

use std::sync::Arc;

use portcullis_core::Clock;
use portcullis_core::finding::Finding;
use portcullis_core::time::SystemClock;
use portcullis_events::secret_store::remote::{Remote, RemoteKind, Secrets as Read};

use super::kek::{credentials, token};
use super::{Config, Loaded, Secrets};

const TABLE: &str = "secret-store.remote";

/// Reads what the table refers to.
pub(super) fn read_secrets(loaded: &mut Loaded) {
    let store = loaded.config.secret_store.as_ref();
    let Some(remote) = store.and_then(|store| store.remote.clone()) else {
        return;
    };
    let key = |name: &str| format!("{TABLE}.{name}");
    let is_aws = remote.kind == Some(RemoteKind::AwsSecretsManager);
    loaded.secrets.remote = Read {
        token: token(loaded, &key("token"), remote.token.as_ref()),
        secret_id: token(loaded, &key("secret-id"), remote.secret_id.as_ref()),
        ca: remote.ca.as_ref().map(|file| loaded.path(file)),
        aws: is_aws
            .then(|| credentials(loaded, remote.credentials_file.as_deref()))
            .flatten(),
    };
}

/// The store, where there is one, or all that is wrong with it.
pub(crate) fn compile(
    config: &Config,
    secrets: &Secrets,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Remote>, Vec<Finding>> {
    let store = config.secret_store.as_ref();
    let Some(remote) = store.and_then(|store| store.remote.as_ref()) else {
        return Ok(None);
    };
    let compiled = remote.compile(&secrets.remote, clock);
    compiled.map(Some).map_err(|faults| {
        let faults = faults.into_iter();
        faults
            .map(|(key, said)| Finding::error("secret-store", format!("{TABLE}.{key}"), said))
            .collect()
    })
}

/// What is wrong with it.
pub(crate) fn findings(config: &Config, secrets: &Secrets) -> Vec<Finding> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    compile(config, secrets, &clock).err().unwrap_or_default()
}
