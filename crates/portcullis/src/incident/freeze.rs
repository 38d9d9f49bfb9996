//! Routes that answer nobody while an incident goes on: which may be named.

use portcullis_core::route::Pattern;
use portcullis_events::incidents::alarm::concerns;

use crate::cli::Usage;
use crate::own;
use crate::verbs::Stores;

/// The pattern, where it concerns a route of the policy: a slip of the pen would freeze nothing, and say so to
/// nobody.
pub(super) fn pattern(text: &str, stores: &Stores) -> anyhow::Result<String> {
    let pattern = Pattern::parse(text).map_err(|error| Usage::error(error.to_string()))?;
    if own::is_ours(pattern.as_str()) {
        return Err(Usage::error(format!(
            "`{text}` is the gate's own: by such paths people sign out and revoke, and they are never frozen"
        )));
    }
    let config = &stores.loaded.config;
    let mut routes = config.access.routes.iter();
    if !routes.any(|route| concerns(&pattern, &route.path)) {
        return Err(Usage::error(format!(
            "`{text}` concerns no route of the policy: `portcullis routes list` shows those there are"
        )));
    }
    Ok(pattern.as_str().to_owned())
}
