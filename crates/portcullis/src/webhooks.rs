//! `[[webhook]]`: its secrets are read, and its endpoints compiled.

use std::sync::Arc;

use portcullis_core::finding::Finding;
use portcullis_edge::Upstream;
use portcullis_events::webhooks::{self, Endpoints, Known, SECRET_HOOK, Stamp};

use crate::config::{Config, Loaded, read_secret};
use crate::own;
use crate::snapshot::Assertion;

pub(crate) fn read_secrets(loaded: &mut Loaded) {
    for (position, webhook) in loaded.config.webhooks.clone().iter().enumerate() {
        let mut secrets = Vec::new();
        for (at, reference) in webhook.secrets.iter().enumerate() {
            let key = format!("webhook.{position}.secrets.{at}");
            secrets.extend(read_secret(loaded, &key, reference));
        }
        loaded.secrets.webhooks.push(secrets);
    }
}

pub(crate) fn compile(
    config: &Config,
    loaded: &Loaded,
    upstreams: Option<&[Arc<Upstream>]>,
    assertion: Option<&Assertion>,
    limits: &[String],
    findings: &mut Vec<Finding>,
) -> Option<Arc<Endpoints>> {
    let assertion = assertion?;
    let reserved = own::reserved(&config.auth_api.mounts);
    let known = Known {
        upstreams: upstreams.unwrap_or_default(),
        limits,
        is_taken: &|path| reserved.iter().any(|root| own::has_root(path, root)),
        stamp: Stamp {
            header: assertion.header.clone(),
            issuer: assertion.config.issuer.clone(),
            lifetime: assertion.config.lifetime,
        },
    };
    match webhooks::compile(&config.webhooks, &loaded.secrets.webhooks, &known) {
        Ok(endpoints) => with_hook(config, endpoints, &known, findings).map(Arc::new),
        Err(more) => {
            findings.extend(more);
            None
        }
    }
}

/// Where the product hears of new values of its secrets.
fn with_hook(
    config: &Config,
    endpoints: Endpoints,
    known: &Known<'_>,
    findings: &mut Vec<Finding>,
) -> Option<Endpoints> {
    let store = config.secret_store.as_ref();
    let Some((store, path)) = store.and_then(|store| Some((store, store.hook_path.as_deref()?)))
    else {
        return Some(endpoints);
    };
    let place = (store.hook_upstream.as_ref(), path);
    match webhooks::own(SECRET_HOOK, "secret-store", place, known) {
        Ok(hook) => Some(endpoints.and(hook)),
        Err(more) => {
            findings.extend(more);
            None
        }
    }
}
