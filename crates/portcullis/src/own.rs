//! The gate's own paths: health, keys, problem pages, the auth API, the sign-in page.
//!
//! They are routes like any other, with a decision, limits and a body limit each, and pass
//! through the same pipeline; only the upstream is ourselves.

use portcullis_access::AccessConfig;
use portcullis_access::config::{Allow, RouteConfig};
use portcullis_identity::accounts;

/// Everything of ours lies below this.
pub(crate) const BASE: &str = "/.portcullis";
pub(crate) const SIGN_IN: &str = "/.portcullis/sign-in";
pub(crate) const FORWARD_AUTH: &str = "/.portcullis/forward-auth";

/// Paths that no route of the product can have.
pub(crate) fn reserved(accounts: &accounts::Config) -> Vec<String> {
    let mut reserved = vec![BASE.to_owned(), "/healthz".to_owned(), "/readyz".to_owned()];
    reserved.extend(accounts.mounts.iter().cloned());
    reserved
}

/// Our routes. `/health` is ours only where the product does not name it.
pub(crate) fn routes(accounts: &accounts::Config, product: &AccessConfig) -> Vec<RouteConfig> {
    let mut routes = Vec::new();
    let mut add = |methods: &[&str], path: String, allow: Allow, limit: Option<&str>| {
        let mut route = RouteConfig::new(&path, allow);
        route.methods = Some(methods.iter().map(ToString::to_string).collect());
        route.limits = limit.map(str::to_owned).into_iter().collect();
        routes.push(route);
    };
    for path in ["/healthz", "/readyz"] {
        add(&["GET"], path.to_owned(), Allow::Public, None);
    }
    if !product.routes.iter().any(|route| route.path.eq_ignore_ascii_case("/health")) {
        add(&["GET"], "/health".to_owned(), Allow::Public, None);
    }
    add(&["GET"], format!("{BASE}/jwks.json"), Allow::Public, Some("default"));
    add(&["GET"], format!("{BASE}/problems/{{slug}}"), Allow::Public, Some("default"));
    add(&["GET"], SIGN_IN.to_owned(), Allow::Public, Some("default"));
    add(&["POST"], SIGN_IN.to_owned(), Allow::Public, Some("auth"));
    add(&["POST"], format!("{BASE}/sign-out"), Allow::Public, Some("default"));
    add(&["GET"], format!("{BASE}/account"), Allow::User, Some("default"));
    let builtin = format!("{BASE}/auth");
    for mount in std::iter::once(&builtin).chain(&accounts.mounts) {
        add(&["POST"], format!("{mount}/login"), Allow::Public, Some("auth"));
        add(&["POST"], format!("{mount}/register"), Allow::Public, Some("auth"));
        add(&["GET"], format!("{mount}/me"), Allow::User, Some("default"));
        add(&["GET"], format!("{mount}/csrf-token"), Allow::User, Some("default"));
        add(&["POST"], format!("{mount}/logout"), Allow::Public, Some("default"));
        add(&["POST"], format!("{mount}/change-password"), Allow::User, Some("auth"));
        add(&["GET", "DELETE"], format!("{mount}/sessions"), Allow::User, Some("default"));
        add(&["DELETE"], format!("{mount}/sessions/{{id}}"), Allow::User, Some("default"));
    }
    for route in &mut routes {
        // Nobody has a token yet, or a page without JavaScript cannot send one: the Origin decides.
        route.csrf = !(route.path.ends_with("/login") || route.path.ends_with("/register") || route.path == SIGN_IN || route.path.ends_with("/sign-out"));
    }
    routes
}
