//! What a configuration may not have in production (G1, J4, J5, H2, X7), beyond what each slice
//! refuses by itself. In development the same things are warnings.

use portcullis_access::config::Allow;
use portcullis_core::Mode;
use portcullis_core::finding::{Finding, Severity};
use portcullis_identity::accounts::Registration;
use portcullis_store::Location;
use portcullis_vault::strength;

use super::{environment, in_git};
use crate::config::Loaded;

/// Judges what was loaded.
pub(crate) fn guardrails(loaded: &mut Loaded) {
    let mut found = Vec::new();
    secrets(loaded, &mut found);
    transport(loaded, &mut found);
    transport_of_stores(loaded, &mut found);
    cookies(loaded, &mut found);
    state(loaded, &mut found);
    routes(loaded, &mut found);
    registration(loaded, &mut found);
    leftovers(loaded, &mut found);
    environment::check(loaded, &mut found);
    in_git::check(loaded, &mut found);
    for finding in found {
        let relaxed = match loaded.config.mode {
            Mode::Production => finding,
            Mode::Development => Finding {
                severity: finding.severity.min(Severity::Warning),
                ..finding
            },
        };
        loaded.report(relaxed);
    }
    for finding in environment::traces(loaded) {
        loaded.report(finding);
    }
    development_is_local(loaded);
}

fn secrets(loaded: &Loaded, found: &mut Vec<Finding>) {
    let named = std::iter::once(("secrets.master".to_owned(), loaded.secrets.master.as_ref()))
        .chain(
            loaded
                .secrets
                .previous
                .iter()
                .enumerate()
                .map(|(position, secret)| (format!("secrets.previous.{position}"), Some(secret))),
        )
        .chain(
            loaded
                .secrets
                .tokens
                .0
                .iter()
                .enumerate()
                .map(|(position, secret)| match position.checked_sub(1) {
                    None => ("tokens.secret".to_owned(), Some(secret)),
                    Some(at) => (format!("tokens.previous-secrets.{at}"), Some(secret)),
                }),
        )
        .chain(
            loaded
                .secrets
                .issuers
                .iter()
                .map(|(name, secrets)| (format!("issuer.{name}.secret"), secrets.secret.as_ref())),
        )
        .chain(loaded.secrets.issuers.iter().map(|(name, secrets)| {
            let key = format!("issuer.{name}.login.client-secret");
            (key, secrets.client_secret.as_ref())
        }));
    let named: Vec<_> = named
        .filter_map(|(key, secret)| Some((key, secret?)))
        .collect();
    for (key, secret) in &named {
        for weakness in strength::weaknesses(secret.expose()) {
            found.push(
                Finding::error("weak-secret", key.clone(), weakness.to_string())
                    .remedy("make one with `openssl rand -hex 32`"),
            );
        }
    }
    for (position, (key, secret)) in named.iter().enumerate() {
        let twin = named
            .iter()
            .take(position)
            .find(|(_, other)| other == secret);
        if let Some((other, _)) = twin {
            found.push(
                Finding::error(
                    "secret-used-twice",
                    key.clone(),
                    format!("it is the same as `{other}`"),
                )
                .remedy("give each its own value"),
            );
        }
    }
    let master = loaded
        .secrets
        .master
        .as_ref()
        .map(|secret| secret.expose().as_str());
    for (key, url) in [
        ("state.database", &loaded.secrets.database),
        ("state.redis", &loaded.secrets.redis),
    ] {
        let password = url
            .as_ref()
            .and_then(|url| url::Url::parse(url.expose()).ok())
            .and_then(|url| url.password().map(str::to_owned));
        if password.is_some() && password.as_deref() == master {
            found.push(
                Finding::error(
                    "secret-used-twice",
                    key,
                    "its password is the master secret",
                )
                .remedy("give each its own value"),
            );
        }
    }
}

fn transport(loaded: &Loaded, found: &mut Vec<Finding>) {
    let listen = &loaded.config.listen;
    if listen.tls.is_none() && listen.trusted_proxies.is_empty() {
        found.push(
            Finding::error("no-tls", "listen.tls", "clients would speak plain http: there is no certificate and no proxy in front that does TLS")
                .remedy("write [listen.tls] with cert and key, or name the proxy's network in listen.trusted-proxies"),
        );
    }
    if !loaded.config.admin.address.ip().is_loopback() {
        found.push(
            Finding::warning(
                "admin-on-the-network",
                "admin.address",
                format!(
                    "metrics are readable by whoever reaches {}",
                    loaded.config.admin.address
                ),
            )
            .remedy("use a loopback address, or let only your monitoring reach it"),
        );
    }
    for (name, upstream) in &loaded.config.upstreams {
        let plain_and_remote = url::Url::parse(&upstream.url).is_ok_and(|url| {
            url.scheme() == "http" && !is_near(url.host_str().unwrap_or_default())
        });
        if plain_and_remote {
            found.push(
                Finding::warning(
                    "plain-upstream",
                    format!("upstream.{name}.url"),
                    "requests and assertions cross the network in the clear",
                )
                .remedy("use https, or keep gate and product on one private network"),
            );
        }
    }
}

/// Sessions, hashes and passwords of databases do not cross a network in the clear (E1, E2).
fn transport_of_stores(loaded: &Loaded, found: &mut Vec<Finding>) {
    let remote = |url: &Option<portcullis_core::Secret>| {
        let url = url::Url::parse(url.as_ref()?.expose()).ok()?;
        let is_remote = url.host_str().is_some_and(|host| !is_near(host));
        is_remote.then_some(url)
    };
    if let Some(url) = remote(&loaded.secrets.redis)
        && url.scheme() == "redis"
    {
        found.push(
            Finding::error("plain-store", "state.redis", "Redis is asked across the network in the clear")
                .remedy("use a rediss:// address, with state.redis-ca where its certificate is of a private authority"),
        );
    }
    if let Some(url) = remote(&loaded.secrets.database) {
        let mode = url
            .query_pairs()
            .find(|(key, _)| matches!(&**key, "sslmode" | "ssl-mode"))
            .map(|(_, mode)| mode.into_owned());
        let remedy = "write sslmode=verify-full, with sslrootcert=PATH where its certificate is of a private authority";
        match mode.as_deref() {
            Some("disable" | "allow" | "prefer") => found.push(
                Finding::error("plain-store", "state.database", "PostgreSQL may be asked across the network in the clear")
                    .remedy(remedy),
            ),
            Some("require") => found.push(
                Finding::warning("unverified-store", "state.database", "whoever stands between can pass for PostgreSQL: its certificate is not verified")
                    .remedy(remedy),
            ),
            // Verified, or nothing: then the gate asks for verify-full by itself.
            Some(_) | None => {}
        }
    }
}

/// In production cookies are `Secure` whatever the file says; what can be lost is the prefix.
fn cookies(loaded: &Loaded, found: &mut Vec<Finding>) {
    if !crate::snapshot::is_secure(&loaded.config) {
        found.push(
            Finding::warning(
                "cookie-not-secure",
                "mode",
                "session cookies travel over plain http: they are not Secure",
            )
            .remedy("write mode = \"production\" before anybody else uses it"),
        );
        return;
    }
    let name = &loaded.config.sessions.cookie;
    if !name.starts_with("__Host-") {
        found.push(
            Finding::warning("cookie-without-prefix", "sessions.cookie", format!("a sibling host, or a page fetched over plain http, can plant a cookie named `{name}`"))
                .remedy("use the default \"__Host-session\", unless the product insists on the name"),
        );
    }
}

/// Loopback, or a name without a dot, as on a container network.
fn is_near(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    !host.contains('.') && !host.contains(':')
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn state(loaded: &Loaded, found: &mut Vec<Finding>) {
    let state = &loaded.config.state;
    if state.nodes > 1 && state.redis.is_none() {
        found.push(
            Finding::error("limits-per-node", "state.redis", format!("{} nodes each count limits by themselves: every limit is {} times what it says", state.nodes, state.nodes))
                .remedy("name a Redis all nodes share, or write nodes = 1"),
        );
    }
    let on_file = loaded
        .secrets
        .database
        .as_ref()
        .is_some_and(|url| url.expose().starts_with("sqlite"));
    if state.nodes > 1 && on_file {
        found.push(
            Finding::error(
                "sqlite-for-many",
                "state.database",
                format!("{} nodes cannot share a SQLite file", state.nodes),
            )
            .remedy("name a PostgreSQL database all nodes share"),
        );
    }
    if let Location::Plain(url) = &state.database
        && url.contains(":memory:")
    {
        found.push(
            Finding::error(
                "database-in-memory",
                "state.database",
                "accounts and sessions would be gone with the process",
            )
            .remedy("name a file"),
        );
    }
}

fn routes(loaded: &Loaded, found: &mut Vec<Finding>) {
    if loaded.config.access.routes.is_empty() {
        found.push(
            Finding::error(
                "no-routes",
                "route",
                "no route is open: every request is refused",
            )
            .remedy("write [[route]] tables, or let `portcullis init` write them"),
        );
    }
    for (position, route) in loaded.config.access.routes.iter().enumerate() {
        let is_catch_all = route.path.contains("{*");
        if is_catch_all
            && route.allow.as_ref().is_some_and(Allow::is_public)
            && route.path.starts_with("/{*")
        {
            found.push(
                Finding::error(
                    "everything-public",
                    format!("route.{position}.allow"),
                    "every path that no other route names is open to the whole internet",
                )
                .remedy("write allow = \"user\", and open public paths one by one"),
            );
        }
    }
}

/// Values from examples, and the placeholder of secrets, left where real ones belong.
fn registration(loaded: &Loaded, found: &mut Vec<Finding>) {
    if loaded.config.accounts.registration == Registration::Open {
        found.push(
            Finding::warning(
                "open-registration",
                "accounts.registration",
                "whoever registers is told that an address has an account already",
            )
            .remedy("write registration = \"confirmed\" and configure [mail]: accounts are then opened by a link in a letter"),
        );
    }
}

fn leftovers(loaded: &Loaded, found: &mut Vec<Finding>) {
    let hosts = loaded
        .config
        .hosts
        .allow
        .iter()
        .enumerate()
        .map(|(position, host)| (format!("hosts.allow.{position}"), host.as_str()));
    let origins = loaded
        .config
        .cors
        .allow_origins
        .iter()
        .enumerate()
        .map(|(position, origin)| (format!("cors.allow-origins.{position}"), origin.as_str()));
    let upstreams = loaded
        .config
        .upstreams
        .iter()
        .map(|(name, upstream)| (format!("upstream.{name}.url"), upstream.url.as_str()));
    for (key, value) in hosts.chain(origins).chain(upstreams) {
        let host = value
            .rsplit("//")
            .next()
            .unwrap_or(value)
            .split([':', '/'])
            .next()
            .unwrap_or_default();
        let reserved = ["example.com", "example.org", "example.net"]
            .iter()
            .any(|name| host == *name || host.ends_with(&format!(".{name}")))
            || host.ends_with(".example");
        if reserved {
            found.push(
                Finding::error("example-value", key, format!("`{value}` is an example's"))
                    .remedy("write your own, or take it out"),
            );
        }
    }
}

/// Development mode is never reachable from another machine.
fn development_is_local(loaded: &mut Loaded) {
    if loaded.config.mode == Mode::Production {
        return;
    }
    for (key, address) in [
        ("listen.address", loaded.config.listen.address),
        ("admin.address", loaded.config.admin.address),
    ] {
        if !address.ip().is_loopback() {
            loaded.report(
                Finding::error("development-on-the-network", key, format!("development mode relaxes protections and binds loopback only, not {address}"))
                    .remedy("use 127.0.0.1, or write mode = \"production\""),
            );
        }
    }
}
