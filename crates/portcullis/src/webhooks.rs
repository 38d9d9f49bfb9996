//! `[[webhook]]`: its secrets are read, and its endpoints compiled.

use std::sync::Arc;

use portcullis_core::finding::Finding;
use portcullis_edge::Upstream;
use portcullis_events::webhooks::{self, Endpoints, Known, Stamp};

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
        Ok(endpoints) => Some(Arc::new(endpoints)),
        Err(more) => {
            findings.extend(more);
            None
        }
    }
}
