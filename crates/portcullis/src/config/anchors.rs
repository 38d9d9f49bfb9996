//! Where checkpoints of the audit log are kept outside: `audit.anchor-file` and `[audit.anchor-bucket]`.

use std::sync::Arc;

use portcullis_core::Clock;
use portcullis_core::finding::Finding;
use portcullis_core::time::SystemClock;
use portcullis_events::audit::anchor::{Anchor, Kept};

use super::kek::credentials;
use super::{Config, Loaded, Secrets};

/// Reads what the table refers to.
pub(super) fn read_secrets(loaded: &mut Loaded) {
    let Some(placed) = loaded.config.audit.anchor_bucket.clone() else {
        return;
    };
    loaded.secrets.anchor_bucket = credentials(loaded, placed.credentials_file.as_deref());
}

/// The bucket, where there is one, or all that is wrong with it.
pub(crate) fn bucket(
    config: &Config,
    secrets: &Secrets,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Kept>, Vec<Finding>> {
    let Some(placed) = &config.audit.anchor_bucket else {
        return Ok(None);
    };
    let credentials = secrets.anchor_bucket.as_ref();
    placed.compile(credentials, clock).map(Some)
}

/// Every place. What is wrong with one kept the gate from starting.
pub(crate) fn all(loaded: &Loaded, clock: &Arc<dyn Clock>) -> Vec<Anchor> {
    let file = loaded.config.audit.anchor_file.as_deref();
    let file = file.map(|file| Anchor::File(loaded.path(file)));
    let bucket = bucket(&loaded.config, &loaded.secrets, clock);
    let bucket = bucket.ok().flatten().map(Box::new).map(Anchor::Bucket);
    file.into_iter().chain(bucket).collect()
}

/// What is wrong with them.
pub(crate) fn findings(config: &Config, secrets: &Secrets) -> Vec<Finding> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    bucket(config, secrets, &clock).err().unwrap_or_default()
}
