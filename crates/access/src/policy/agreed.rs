//! `consent` of a route: a purpose of the policy, in the version that is shown now.

use portcullis_core::decision::Consent;
use portcullis_core::principal::CallerKind;

use super::Known;
use crate::config::{Allow, RouteConfig};

/// Why a route may not ask for this, and what to do.
pub(super) struct Wrong {
    pub(super) reason: String,
    pub(super) remedy: String,
}

fn wrong<T>(reason: String, remedy: &str) -> Result<T, Wrong> {
    let remedy = remedy.to_owned();
    Err(Wrong { reason, remedy })
}

/// What people must have agreed to.
pub(super) fn compile(written: &RouteConfig, known: &Known) -> Result<Option<Consent>, Wrong> {
    let Some(asked) = &written.consent else {
        return Ok(None);
    };
    let (purpose, version) = match asked.split_once('@') {
        Some((purpose, version)) => (purpose, Some(version)),
        None => (asked.as_str(), None),
    };
    let Some((_, current)) = known.purposes.iter().find(|(name, _)| name == purpose) else {
        return wrong(
            format!("`{purpose}` is no purpose of the policy, so nobody could agree to it"),
            "add a [[purpose]] of this name, or name another one",
        );
    };
    if let Some(version) = version
        && version != current
    {
        return wrong(
            format!(
                "`{purpose}` is shown in version `{current}`, so nobody could agree to `{version}`"
            ),
            "write the version that [[purpose]] has, or the purpose alone for whichever is shown",
        );
    }
    // SECURITY: nobody is known there, so that nobody could be asked: it would be open all the same.
    if written.allow.as_ref().is_some_and(Allow::is_public) {
        return wrong(
            "a public route asks nobody who they are, and so not what they agreed to".to_owned(),
            "write `allow = \"user\"`, or leave the key out",
        );
    }
    if written.callers.contains(&CallerKind::Visitor) {
        return wrong(
            "a visitor has no account and so no consents: none could come".to_owned(),
            "leave \"visitor\" out of `callers`, or leave the key out",
        );
    }
    Ok(Some(Consent {
        purpose: purpose.into(),
        version: current.as_str().into(),
    }))
}
