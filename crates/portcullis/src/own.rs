//! The gate's own paths: health, keys, problem pages, the auth API, the sign-in page.
//!
//! They are routes like any other, with a decision, limits and a body limit each, and pass
//! through the same pipeline; only the upstream is ourselves.

use portcullis_access::AccessConfig;
use portcullis_access::config::{Allow, RouteConfig, TenantAt};
use portcullis_core::decision::Scope;
use portcullis_core::principal::CallerKind;
use portcullis_core::size::ByteSize;
use portcullis_core::{Mode, Span};
use portcullis_events::secret_store::{self, served};
use portcullis_events::upload_store::served as uploads_served;
use portcullis_events::webhooks;
use portcullis_identity::admin_pages::Asks;
use portcullis_identity::consents::http as consents;
use portcullis_identity::privacy::subjects::http as subjects;
use portcullis_identity::{admin_api, admin_pages, visitors};

use crate::config::Config;
use crate::{security_txt, vault_api};

/// How recently somebody has to have proved who they are to get all that is held of them.
const RECENT: Span = Span::from_minutes(15);

/// Everything of ours lies below this.
pub(crate) const BASE: &str = "/.portcullis";
/// Where the auth API and the sign-in page always are.
pub(crate) const AUTH: &str = "/.portcullis/auth";
/// Where password managers look for the page that changes a password (W3C, change-password-url).
pub(crate) const CHANGE_PASSWORD: &str = "/.well-known/change-password";
/// Where administrators' pages are.
pub(crate) const CONSOLE: &str = "/.portcullis/console";
pub(crate) const CHOOSE_TENANT: &str = "/.portcullis/auth/choose-tenant";
pub(crate) const SECOND_FACTOR: &str = "/.portcullis/auth/second-factor";
/// Below it the providers that people sign in at.
pub(crate) const OPENID: &str = "/.portcullis/auth/openid";
pub(crate) const SIGN_IN: &str = "/.portcullis/auth/sign-in";

/// Paths that no route of the product can have.
pub(crate) fn reserved(mounts: &[String]) -> Vec<String> {
    let mut reserved = vec![BASE.to_owned(), "/healthz".to_owned(), "/readyz".to_owned()];
    reserved.extend(mounts.iter().cloned());
    reserved
}

/// Whether a canonical path lies below [`BASE`], whatever its case. Nothing there goes further.
pub(crate) fn is_ours(path: &str) -> bool {
    has_root(path, BASE)
}

/// Whether a canonical path is `root` or lies below it, whatever the case.
pub(crate) fn has_root(path: &str, root: &str) -> bool {
    let path = path.as_bytes();
    path.get(..root.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(root.as_bytes()))
        && path.get(root.len()).is_none_or(|next| *next == b'/')
}

/// The first segments of these routes, with their `/`, each once.
pub(crate) fn roots(routes: &[RouteConfig]) -> Box<[Box<str>]> {
    let root = |route: &RouteConfig| {
        let end = route.path.bytes().skip(1).position(|byte| byte == b'/');
        let end = end.map_or(route.path.len(), |end| end.saturating_add(1));
        route.path.get(..end).map(Box::from)
    };
    let roots: std::collections::BTreeSet<Box<str>> = routes.iter().filter_map(root).collect();
    roots.into_iter().collect()
}

/// Our routes. `/health` is ours only where the product does not name it.
pub(crate) fn routes(config: &Config) -> Vec<RouteConfig> {
    let (mounts, product) = (&config.auth_api.mounts, &config.access);
    let mut routes = Routes(Vec::new());
    for path in ["/healthz", "/readyz"] {
        routes.add(&["GET"], path, Allow::Public, None);
    }
    if !names(product, "/health") {
        routes.add(&["GET"], "/health", Allow::Public, None);
    }
    routes.add(
        &["GET"],
        &format!("{BASE}/jwks.json"),
        Allow::Public,
        Some("default"),
    );
    routes.add(
        &["GET"],
        &format!("{BASE}/problems/{{slug}}"),
        Allow::Public,
        Some("default"),
    );
    for mount in std::iter::once(AUTH).chain(mounts.iter().map(String::as_str)) {
        routes.auth_api(mount);
        routes.recovery(mount);
        routes.factors(mount);
        routes.passkeys(mount);
    }
    routes.openid_login();
    if !names(product, CHANGE_PASSWORD) {
        routes.add(&["GET"], CHANGE_PASSWORD, Allow::Public, Some("default"));
    }
    if config.security_txt.is_some() {
        let page = format!("{BASE}{}", security_txt::PAGE);
        for path in [security_txt::PATH, &page] {
            routes.add(&["GET"], path, Allow::Public, Some("default"));
        }
    }
    if config.visitors.is_some() {
        routes.visitors();
    }
    routes.webhooks(&config.webhooks);
    if config.vault.is_some() {
        routes.vault(product);
    }
    if !config.purposes.is_empty() {
        routes.consents(product);
    }
    routes.subjects(product);
    if let Some(store) = &config.secret_store {
        routes.secret_store(product, store);
    }
    if config.upload_store.is_some() {
        routes.upload_store(product);
    }
    routes.admin_api(product, config.mode);
    routes.console(product, config.mode);
    routes.0
}

/// Whether the product has a route of its own at `path`.
fn names(product: &AccessConfig, path: &str) -> bool {
    product
        .routes
        .iter()
        .any(|route| route.path.eq_ignore_ascii_case(path))
}

struct Routes(Vec<RouteConfig>);

impl Routes {
    fn add(
        &mut self,
        methods: &[&str],
        path: &str,
        allow: Allow,
        limit: Option<&str>,
    ) -> &mut RouteConfig {
        let mut route = RouteConfig::new(path, allow);
        route.methods = Some(methods.iter().map(ToString::to_string).collect());
        // SECURITY: what is said of none of our routes is that it is about every tenant.
        route.scope = Scope::Gate;
        route.limits = limit.map(str::to_owned).into_iter().collect();
        self.0.push_mut(route)
    }

    /// Forms and calls that come without a CSRF token, because nobody has one yet or because a page
    /// without script cannot send one: their `Origin` decides.
    fn form(&mut self, path: &str, limit: &str) -> &mut RouteConfig {
        let route = self.add(&["POST"], path, Allow::Public, Some(limit));
        route.csrf = false;
        route
    }

    /// Forgotten passwords, unproven addresses, and accounts that a letter opens.
    fn recovery(&mut self, mount: &str) {
        let at = |name: &str| format!("{mount}/{name}");
        for page in ["forgot-password", "new-password", "verify-email"] {
            self.add(&["GET"], &at(page), Allow::Public, Some("default"));
            self.form(&at(page), "auth");
        }
        for page in ["create-account", "open-account"] {
            self.add(&["GET"], &at(page), Allow::Public, Some("default"));
            self.form(&at(page), "auth");
        }
        self.form(&at("request-registration"), "auth");
        self.form(&at("request-password-reset"), "auth");
        self.form(&at("reset-password"), "auth");
        let ask = at("request-email-verification");
        self.add(&["POST"], &ask, Allow::User, Some("auth"));
        self.add(&["GET"], &at("password"), Allow::User, Some("default"));
        self.form(&at("password"), "auth").allow = Some(Allow::User);
    }

    /// Second factors, and the page about an account's security. Whoever has to prove a second factor
    /// before anything else can do that here.
    fn factors(&mut self, mount: &str) {
        let first = self.0.len();
        let at = |name: &str| format!("{mount}/{name}");
        self.add(
            &["GET"],
            &at("second-factor"),
            Allow::Public,
            Some("default"),
        );
        // A challenge is no session, so there is no token to send: the `Origin` decides.
        self.form(&at("second-factor"), "auth");
        self.form(&at("second-factor/prove"), "auth");
        self.add(&["GET"], &at("factors"), Allow::User, Some("default"));
        self.add(
            &["POST", "DELETE"],
            &at("factors/totp"),
            Allow::User,
            Some("auth"),
        );
        for name in ["factors/totp/confirm", "factors/recovery-codes"] {
            self.add(&["POST"], &at(name), Allow::User, Some("auth"));
        }
        self.add(&["GET"], &at("security"), Allow::User, Some("default"));
        for (name, limit) in [
            ("security/totp", "auth"),
            ("security/totp/confirm", "auth"),
            ("security/totp/remove", "auth"),
            ("security/recovery-codes", "auth"),
            ("security/sessions/end", "default"),
            ("security/sessions/end-others", "default"),
        ] {
            self.form(&at(name), limit).allow = Some(Allow::User);
        }
        for route in self.0.iter_mut().skip(first) {
            route.is_way_to_factor = true;
        }
    }

    /// Visits in a widget, and its scripts.
    fn visitors(&mut self) {
        let at = |name: &str| format!("{BASE}{name}");
        let script = at(visitors::http::EMBED_SCRIPT);
        self.add(&["GET"], &script, Allow::Public, Some("default"))
            .is_shared = true;
        let script = at(visitors::http::FRAME_SCRIPT);
        self.add(&["GET"], &script, Allow::Public, Some("default"));
        let begin = self.form(&at(visitors::http::BEGIN), "visits");
        begin.is_called_by_widget = true;
        begin.max_body = Some(ByteSize::kib(4));
        let own = at(visitors::http::OWN);
        let own = self.add(&["GET", "DELETE"], &own, Allow::User, Some("default"));
        own.callers = vec![CallerKind::Visitor];
    }

    /// Where other services post to. They prove themselves by signatures: no session counts there.
    fn webhooks(&mut self, webhooks: &[webhooks::Config]) {
        for webhook in webhooks {
            let route = self.form(&webhook.path, "default");
            route.limits.clone_from(&webhook.limits);
            route.max_body = Some(webhook.max_body);
            route.cors = false;
            // SECURITY: what comes to this path of the product comes from here alone, verified.
            let target = webhook.upstream_path();
            self.close(target);
        }
    }

    /// Shuts a path of the product, which the gate alone calls.
    fn close(&mut self, path: &str) {
        let is_known = self.0.iter().any(|route| route.path == path);
        if !is_known {
            self.add(&[], path, Allow::Closed, Some("default")).methods = None;
        }
    }

    /// Named secrets: private parts for programs, public ones for a tenant's people and visitors.
    fn secret_store(&mut self, product: &AccessConfig, store: &secret_store::Config) {
        let allow = if is_given(product)(served::OPEN) {
            Allow::Permission(served::OPEN.to_owned())
        } else {
            Allow::Closed
        };
        let path = format!("{BASE}{}", served::PRIVATE_PATH);
        let route = self.add(&["GET"], &path, allow, Some("default"));
        route.callers = vec![CallerKind::ApiKey];
        route.cors = false;
        // A tenant's key works here, for its own tenant: the handlers see to it.
        route.scope = Scope::Tenant;
        let path = format!("{BASE}{}", served::PUBLIC_PATH);
        let route = self.add(&["GET"], &path, Allow::User, Some("default"));
        route.callers = vec![CallerKind::User, CallerKind::Visitor];
        route.scope = Scope::Tenant;
        // SECURITY: what comes to this path of the product comes from the gate alone.
        if let Some(path) = &store.hook_path {
            self.close(path);
        }
    }

    /// Files that the gate keeps: for programs, and for whoever has a permit.
    fn upload_store(&mut self, product: &AccessConfig) {
        let is_given = is_given(product);
        for (method, path, asked) in [
            ("POST", uploads_served::PERMITS_PATH, uploads_served::OPEN),
            ("GET", uploads_served::CONTENT_PATH, uploads_served::OPEN),
            ("DELETE", uploads_served::ONE_PATH, uploads_served::DELETE),
        ] {
            let allow = if is_given(asked) {
                Allow::Permission(asked.to_owned())
            } else {
                Allow::Closed
            };
            let route = self.add(&[method], &format!("{BASE}{path}"), allow, Some("default"));
            route.callers = vec![CallerKind::ApiKey];
            route.cors = false;
            // A tenant's key works here, for its own tenant: the handlers see to it.
            route.scope = Scope::Tenant;
        }
        let path = format!("{BASE}{}", uploads_served::ONE_PATH);
        // The permit is what counts: it is signed, and stands in the query.
        let route = self.add(&["GET"], &path, Allow::Public, Some("default"));
        route.cors = false;
    }

    /// A route for programs that hold a permission; closed where no role gives it.
    fn program(
        &mut self,
        product: &AccessConfig,
        (method, path): (&str, &str),
        asked: &str,
    ) -> &mut RouteConfig {
        let allow = if is_given(product)(asked) {
            Allow::Permission(asked.to_owned())
        } else {
            Allow::Closed
        };
        let path = format!("{BASE}{path}");
        let route = self.add(&[method], &path, allow, Some("default"));
        route.callers = vec![CallerKind::ApiKey];
        route.cors = false;
        // A tenant's key works here, for its own tenant: the handlers see to it.
        route.scope = Scope::Tenant;
        route
    }

    /// The field API: for programs alone.
    fn vault(&mut self, product: &AccessConfig) {
        for (path, asked) in vault_api::ROUTES {
            let route = self.program(product, ("POST", path), asked);
            route.max_body = Some(ByteSize::kib(1024));
        }
    }

    /// The consent ledger: for programs alone. People have theirs beside their account.
    fn consents(&mut self, product: &AccessConfig) {
        for (method, asked) in [("GET", consents::READ), ("POST", consents::WRITE)] {
            self.program(product, (method, consents::PATH), asked);
        }
    }

    /// The rights of whoever the product alone knows: for programs alone.
    fn subjects(&mut self, product: &AccessConfig) {
        for (path, asked) in subjects::ROUTES {
            let route = self.program(product, ("POST", path), asked);
            route.max_body = Some(ByteSize::kib(16));
        }
    }

    /// Browsers come here by links and redirects of other sites. What binds a sign-in to its browser
    /// is in its state.
    fn openid_login(&mut self) {
        let begin = format!("{OPENID}/{{provider}}");
        self.add(&["GET"], &begin, Allow::Public, Some("default"));
        let callback = format!("{begin}/callback");
        self.add(&["GET"], &callback, Allow::Public, Some("auth"));
    }

    /// Passkeys: the whole sign-in, a second factor, and what is done about them.
    fn passkeys(&mut self, mount: &str) {
        let at = |name: &str| format!("{mount}/{name}");
        self.add(&["GET"], &at("passkeys.js"), Allow::Public, Some("default"))
            .is_way_to_factor = true;
        self.form(&at("passkeys/begin"), "default");
        self.form(&at("passkeys/sign-in"), "auth");
        self.form(&at("sign-in/passkey"), "auth");
        let first = self.0.len();
        self.form(&at("second-factor/passkey/begin"), "default");
        self.form(&at("second-factor/passkey"), "auth");
        self.form(&at("second-factor/prove-passkey"), "auth");
        let keys = at("factors/passkeys");
        self.add(&["GET"], &keys, Allow::User, Some("default"));
        self.add(&["POST"], &keys, Allow::User, Some("auth"));
        let one = at("factors/passkeys/{id}");
        self.add(&["PATCH", "DELETE"], &one, Allow::User, Some("auth"));
        let begin = at("factors/passkeys/begin");
        self.form(&begin, "default").allow = Some(Allow::User);
        for name in [
            "security/passkeys",
            "security/passkeys/rename",
            "security/passkeys/remove",
        ] {
            self.form(&at(name), "auth").allow = Some(Allow::User);
        }
        for route in self.0.iter_mut().skip(first) {
            route.is_way_to_factor = true;
        }
    }

    fn auth_api(&mut self, mount: &str) {
        let at = |name: &str| format!("{mount}/{name}");
        self.form(&at("login"), "auth");
        self.form(&at("register"), "auth");
        self.form(&at("logout"), "default");
        self.form(&at("refresh"), "default");
        self.add(&["POST"], &at("token"), Allow::User, Some("default"));
        self.form(&at("sign-out"), "default");
        self.add(&["GET"], &at("sign-in"), Allow::Public, Some("default"));
        self.form(&at("sign-in"), "auth");
        self.add(&["GET"], &at("account"), Allow::User, Some("default"));
        for page in ["account/sessions", "account/notices"] {
            self.add(&["POST"], &at(page), Allow::User, Some("default"))
                .csrf = false;
        }
        self.add(
            &["GET", "DELETE"],
            &at("notices"),
            Allow::User,
            Some("default"),
        );
        // Who one is, a page may ask before it knows what is missing.
        self.add(&["GET"], &at("me"), Allow::User, Some("default"))
            .is_way_to_factor = true;
        self.add(&["POST"], &at("change-password"), Allow::User, Some("auth"));
        // SECURITY: everything about somebody, in one file: not for whoever finds a session open.
        self.add(&["GET"], &at("personal-data"), Allow::User, Some("auth"))
            .max_age = Some(RECENT);
        self.add(
            &["GET", "POST"],
            &at("consents"),
            Allow::User,
            Some("default"),
        );
        let choose = at("choose-tenant");
        self.add(&["GET"], &choose, Allow::User, Some("default"));
        self.form(&choose, "default").allow = Some(Allow::User);
        self.add(&["GET"], &at("tenants"), Allow::User, Some("default"));
        self.add(&["POST"], &at("tenant"), Allow::User, Some("default"));
        self.add(&["POST"], &at("invitation"), Allow::User, Some("auth"));
        self.add(
            &["GET", "DELETE"],
            &at("sessions"),
            Allow::User,
            Some("default"),
        );
        self.form(&at("revoke-key"), "default");
        self.add(&["GET", "POST"], &at("keys"), Allow::User, Some("default"));
        self.add(&["DELETE"], &at("keys/{id}"), Allow::User, Some("default"));
        self.add(
            &["DELETE"],
            &at("sessions/{id}"),
            Allow::User,
            Some("default"),
        );
    }
}

impl Routes {
    /// One route with a permission for each operation of the admin API. Where no role gives the
    /// permission, nobody could hold it, and the route is closed.
    fn admin_api(&mut self, product: &AccessConfig, mode: Mode) {
        let is_given = is_given(product);
        for operation in admin_api::operations() {
            let path = format!("{BASE}{}{}", admin_api::MOUNT, operation.path);
            let max_body = operation.max_body();
            let allow = match operation.permission {
                Some(permission) if is_given(&permission) => Allow::Permission(permission),
                // Also an operation that names no permission: what nobody thought of is shut.
                Some(_) | None => Allow::Closed,
            };
            let route = self.add(&[operation.method.as_str()], &path, allow, Some("default"));
            route.callers = vec![CallerKind::User, CallerKind::ApiKey];
            route.cors = false;
            route.max_body = max_body.map(|bytes| ByteSize::bytes(bytes as u64));
            // Whatever roles lead here: in production a password alone does not.
            route.mfa = mode == Mode::Production;
            if operation.path.contains("{tenant}") {
                route.tenant = Some(TenantAt::Path("tenant".to_owned()));
                route.scope = Scope::Tenant;
            }
        }
    }

    /// The console's pages, as guarded as the admin API beside them: the same permissions, a second
    /// factor, the same tenant. They are for people alone.
    fn console(&mut self, product: &AccessConfig, mode: Mode) {
        let is_given = is_given(product);
        for page in admin_pages::routes() {
            let path = format!("{CONSOLE}{}", page.path.trim_end_matches('/'));
            let allow = match page.asks {
                Asks::SignedIn => Allow::User,
                Asks::Permission(asked) if is_given(asked) => Allow::Permission(asked.to_owned()),
                Asks::Permission(_) => Allow::Closed,
            };
            let route = self.add(&[page.method.as_str()], &path, allow, Some("default"));
            route.callers = vec![CallerKind::User];
            route.cors = false;
            route.mfa = mode == Mode::Production;
            // A page without script cannot send a header: the token stands in the form, and the layer
            // around the pages looks at it. Here the `Origin` decides.
            route.csrf = page.method == "GET";
            if page.path.contains("{tenant}") {
                route.tenant = Some(TenantAt::Path("tenant".to_owned()));
                route.scope = Scope::Tenant;
            }
        }
    }
}

/// Whether some role of the policy gives a permission. What none gives nobody could hold.
fn is_given(product: &AccessConfig) -> impl Fn(&str) -> bool {
    let roles = product.roles();
    move |permission| {
        let mut given = roles.values().flat_map(|role| &role.permissions);
        given.any(|given| given == permission)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_ours_in_any_case_and_nothing_more_is() {
        for (path, expected) in [
            ("/.portcullis", true),
            ("/.PORTCULLIS/auth", true),
            ("/.portcullis/x", true),
            ("/.portcullisx", false),
            ("/a", false),
            ("/", false),
        ] {
            assert_eq!(is_ours(path), expected, "{path}");
        }
    }
}
