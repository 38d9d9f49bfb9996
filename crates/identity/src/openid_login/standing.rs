//! What a session gains, or loses, by who vouched for it.

use std::sync::{Arc, OnceLock};

use crate::Issuers;
use crate::addresses::{self, Addresses};

/// The providers of the configuration, for whoever loads sessions. Cheap to clone.
///
/// SECURITY: administrators by address are looked up with every session that is loaded, and stored
/// nowhere: an address that is taken out of the configuration is nobody's any more after a start. A
/// provider that is taken out takes its sessions along.
#[derive(Clone, Default)]
pub struct Standing(Arc<OnceLock<Vec<Rule>>>);

struct Rule {
    issuer: String,
    administrators: Vec<String>,
    roles: Vec<Arc<str>>,
}

impl Standing {
    pub(super) fn set(&self, issuers: &Issuers) {
        let rules = issuers.providers().map(|provider| Rule {
            issuer: provider.url().to_owned(),
            administrators: provider.administrators().to_vec(),
            roles: provider.administrator_roles().collect(),
        });
        // The second of two, in a test that puts two houses on one, is the same.
        let _ = self.0.set(rules.collect());
    }

    /// Whether this provider is one of the configuration.
    pub(crate) fn knows(&self, issuer: &str) -> bool {
        let known = self.0.get().map_or(&[][..], Vec::as_slice);
        known.iter().any(|rule| rule.issuer == issuer)
    }

    /// Adds to the roles of a session that `issuer` vouched for. False where it is not to be.
    /// `name` is what the session keeps of the address that was verified.
    pub(crate) async fn apply(
        &self,
        issuer: &str,
        (addresses, name): (&Addresses, Option<&str>),
        roles: &mut Vec<Arc<str>>,
    ) -> Result<bool, addresses::Error> {
        let known = self.0.get().map_or(&[][..], Vec::as_slice);
        let Some(rule) = known.iter().find(|rule| rule.issuer == issuer) else {
            return Ok(false);
        };
        let Some(name) = name else {
            return Ok(true);
        };
        for administrator in &rule.administrators {
            if addresses.is_name_of(name, administrator).await? {
                roles.extend(rule.roles.iter().cloned());
                roles.sort();
                roles.dedup();
                break;
            }
        }
        Ok(true)
    }
}
