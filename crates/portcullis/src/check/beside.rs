//! The same secret in two environments (X7): whoever has that of staging has that of production.

use std::path::Path;

use portcullis_core::SecretRef;
use portcullis_core::finding::Finding;
use portcullis_vault::ct_eq;

use crate::config::Loaded;
use crate::config::document::Environment;

/// Compares with the configuration of another environment. A variable of the same name says nothing: each
/// environment sets its own.
pub(super) fn check(
    loaded: &mut Loaded,
    other: &Path,
    environment: Environment,
) -> anyhow::Result<()> {
    let there = crate::serve::load(other, environment)?;
    let mut shared = Vec::new();
    for own in &loaded.read {
        let same = there.read.iter().find(|read| {
            ct_eq(
                own.secret.expose().as_bytes(),
                read.secret.expose().as_bytes(),
            ) && !is_same_variable(&own.reference, &read.reference)
        });
        shared.extend(same.map(|read| (own.key.clone(), read.key.clone())));
    }
    for (key, there) in shared {
        let said = format!("`{there}` of {} is the same secret", other.display());
        loaded.report(
            Finding::error("secret-of-another-environment", key, said)
                .remedy("give each environment its own: `openssl rand -hex 32`"),
        );
    }
    Ok(())
}

fn is_same_variable(one: &SecretRef, other: &SecretRef) -> bool {
    one.variable().is_some() && one.variable() == other.variable()
}
