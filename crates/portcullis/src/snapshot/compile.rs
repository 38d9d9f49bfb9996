//! From a configuration to a [`Snapshot`], with everything that is wrong on the way.

use std::sync::Arc;

use http::HeaderName;
use portcullis_access::openapi::requests::Requests;
use portcullis_access::{AccessConfig, Policy, config::Framing as RouteFraming, policy::Known};
use portcullis_core::finding::Finding;
use portcullis_core::time::SystemClock;
use portcullis_core::{Clock as _, Mode, Span};
use portcullis_edge::{TrustedProxies, Upstream};
use portcullis_events::places;
use portcullis_guard::csrf::Csrf;
use portcullis_guard::headers::{CspChoice, Framing, Headers};
use portcullis_guard::rate_limit::Limits;
use portcullis_identity::privacy;
use portcullis_vault::keys::{Keys, Purpose};

use crate::config::{AssertionConfig, Config, Loaded};
use crate::{described, own, uploads, webhooks};

use super::{Assertion, OWN_UPSTREAM, RouteGuards, RouteSet, Snapshot};

impl RouteSet {
    fn compile(
        config: &AccessConfig,
        known: &Known,
        compiler: &mut Compiler<'_>,
        own: bool,
    ) -> Option<Self> {
        let policy = match Policy::compile(config, known) {
            Ok(policy) => policy,
            Err(mistakes) => {
                compiler
                    .findings
                    .extend(mistakes.into_iter().map(Finding::from));
                return None;
            }
        };
        // What is unusual about our own routes is ours to know: the reader can mend none of it.
        if !own {
            let warnings = policy.warnings().iter().cloned();
            compiler.findings.extend(warnings.map(Finding::from));
        }
        let guards = config
            .routes
            .iter()
            .enumerate()
            .map(|(position, route)| compiler.guards(position, route, own))
            .collect::<Option<Vec<_>>>()?;
        Some(RouteSet { policy, guards })
    }
}

struct Compiler<'c> {
    config: &'c Config,
    headers: &'c Headers,
    limits: Limits,
    /// What the product's document says of requests.
    requests: Option<Arc<Requests>>,
    findings: Vec<Finding>,
}

impl Compiler<'_> {
    fn guards(
        &mut self,
        position: usize,
        route: &portcullis_access::config::RouteConfig,
        own: bool,
    ) -> Option<RouteGuards> {
        let key = format!("route.{position}");
        let names = uploads::limits(route);
        let names = (own || !names.is_empty()).then_some(&*names);
        let limits = self
            .limits
            .for_route(&route.path, &format!("{key}.limits"), names);
        let framing = route.framing.as_ref().map(|framing| match framing {
            // Opened when it is known whose page it is.
            RouteFraming::Deny | RouteFraming::Tenant(_) => Framing::Deny,
            RouteFraming::SameOrigin => Framing::SameOrigin,
        });
        let headers = if own {
            self.headers.for_own_pages()
        } else {
            self.headers
                .for_route(&key, framing.as_ref(), &CspChoice::Gate)
        };
        let upload = uploads::rules(route, &key, &mut self.findings);
        let rules = upload.as_ref().and_then(Option::as_ref);
        let max_body = match (own, route.max_body, rules) {
            (_, Some(size), _) => size,
            (_, None, Some(rules)) => rules.max_body(),
            (true, None, None) => self.config.body.max_own_size,
            (false, None, None) if route.schema => self.config.openapi.max_body,
            (false, None, None) => self.config.body.max_size,
        };
        let limits = self.keep(limits);
        let headers = self.keep(headers);
        Some(RouteGuards {
            limits: limits?,
            headers: headers?,
            max_body,
            upload: upload?,
            structure: (!own).then(|| self.config.body.bounds()),
            requests: self.requests.clone().filter(|_| route.schema),
        })
    }

    fn keep<T, F: Into<Finding>>(&mut self, result: Result<T, Vec<F>>) -> Option<T> {
        keep(result, &mut self.findings)
    }
}

/// Whether cookies are `Secure`: always, but in development without TLS.
pub(crate) fn is_secure(config: &Config) -> bool {
    match config.mode {
        Mode::Production => true,
        Mode::Development => config.listen.tls.is_some(),
    }
}

fn identity_findings(findings: Vec<portcullis_identity::Finding>) -> Vec<Finding> {
    findings
        .into_iter()
        .map(|finding| Finding::error("identity", finding.key, finding.message))
        .collect()
}

/// The value, or nothing and its findings noted.
fn keep<T, F: Into<Finding>>(result: Result<T, Vec<F>>, findings: &mut Vec<Finding>) -> Option<T> {
    result
        .map_err(|faults| findings.extend(faults.into_iter().map(Into::into)))
        .ok()
}

/// What stands on the way to the gate, and who may ask beside it.
fn proxy_findings(config: &Config) -> Vec<Finding> {
    let mut findings = config.listen.findings();
    let trusted = &config.listen.trusted_proxies;
    findings.extend(config.forward_auth.findings(trusted));
    findings
}

/// The database of places: it has to be there, and places move.
fn places_finding(config: &Config, loaded: &Loaded) -> Option<Finding> {
    const KEY: &str = "places.database";
    const OLD: Span = Span::from_days(90);
    match places::made_at(&config.places, &loaded.folder) {
        Ok(None) => None,
        Ok(Some(made)) if SystemClock.now().since(made) < OLD => None,
        Ok(Some(made)) => Some(
            Finding::warning(
                "places-old",
                KEY,
                format!("the database of places is of {made}"),
            )
            .remedy("fetch a newer one: addresses change hands"),
        ),
        Err(error) => Some(
            Finding::error("places", KEY, error.to_string())
                .remedy("name a database in the MaxMind DB format, or remove the key"),
        ),
    }
}

/// Where things are kept, and who looks at them.
fn state_findings(config: &Config, loaded: &Loaded) -> Vec<Finding> {
    let state = config.state.findings().into_iter();
    let mut findings: Vec<Finding> = state
        .map(|(key, message)| Finding::error("state", format!("state.{key}"), message))
        .collect();
    findings.extend(config.audit.findings(config.mode == Mode::Production));
    findings.extend(crate::config::anchors::findings(config, &loaded.secrets));
    findings.extend(uploads::findings(config));
    findings.extend(config.anomalies.findings());
    findings.extend(portcullis_events::scans::config::findings(&config.scans));
    findings.extend(places_finding(config, loaded));
    if let Err(more) = crate::alerts::compile(config, loaded) {
        findings.extend(more);
    }
    findings
}

pub(super) fn compile(
    config: &Config,
    keys: &Keys,
    loaded: &Loaded,
    findings: &mut Vec<Finding>,
) -> Option<Snapshot> {
    findings.extend(proxy_findings(config));
    findings.extend(state_findings(config, loaded));
    findings.extend(crate::vault_api::findings(config, &loaded.secrets, keys));
    let cookies = config
        .sessions
        .compile(is_secure(config))
        .map(|settings| settings.cookies);
    let cookies = keep(cookies.map_err(identity_findings), findings);
    findings.extend(accounts(config, loaded));
    findings.extend(crate::widget::findings(config));
    if let Err(more) = crate::config::bearers::compile(config, &loaded.secrets) {
        findings.extend(more);
    }
    let mounts_are_right = mounts(&config.auth_api.mounts, findings);
    let upstreams = compile_upstreams(config, loaded, findings);
    let hosts = keep(config.hosts.compile(config.mode), findings);
    let csrf = compile_csrf(config, keys, findings);
    let cors = keep(config.cors.compile(config.mode), findings);
    let no_cors = keep(
        portcullis_guard::cors::Config::default().compile(config.mode),
        findings,
    );
    let assertion = compile_assertion(&config.assertion, findings);
    let limits = keep(config.limits.compile(), findings);
    let named = limit_names(config, limits.as_ref());
    let (behind, stamp) = (upstreams.as_deref(), assertion.as_ref());
    let webhooks = webhooks::compile(config, loaded, behind, stamp, &named, findings);
    let requests = described::compile(config, loaded, findings);
    let headers = keep(config.headers.compile(), findings);
    findings.extend(config.headers.advise());
    let known = known(config, named, findings);
    let (Some(limits), Some(headers)) = (limits, headers) else {
        // Nothing comes of it, but what is wrong with the routes is said in the same breath.
        if let Err(mistakes) = Policy::compile(&config.access, &known) {
            findings.extend(mistakes.into_iter().map(Finding::from));
        }
        return None;
    };
    let mut compiler = Compiler {
        config,
        headers: &headers,
        limits,
        requests,
        findings: Vec::new(),
    };
    let product = RouteSet::compile(&config.access, &known, &mut compiler, false);
    let own_config = AccessConfig {
        roles: config.access.roles.clone(),
        routes: own::routes(config),
    };
    let own_known = Known {
        upstreams: vec![OWN_UPSTREAM.to_owned()],
        reserved: Vec::new(),
        ..known
    };
    let own_roots = own::roots(&own_config.routes);
    let own = mounts_are_right
        .then(|| RouteSet::compile(&own_config, &own_known, &mut compiler, true))
        .flatten();
    let unrouted_limits = compiler.limits.for_route("", "limits", None);
    let unrouted = RouteGuards {
        limits: compiler.keep(unrouted_limits)?,
        headers: keep(headers.for_own_pages(), findings)?,
        max_body: config.body.max_size,
        upload: None,
        structure: None,
        requests: None,
    };
    let limits = compiler.limits;
    findings.append(&mut compiler.findings);
    Some(Snapshot {
        mode: config.mode,
        trusted: TrustedProxies::new(config.listen.trusted_proxies.clone()),
        asking: TrustedProxies::new(config.forward_auth.proxies.clone()),
        hosts: hosts?,
        csrf: Arc::new(csrf?),
        cors: cors?,
        no_cors: no_cors?,
        limits,
        product: product?,
        own: own?,
        own_roots,
        unrouted,
        upstreams: upstreams?,
        assertion: assertion?,
        webhooks: webhooks?,
        uploads: Arc::new(config.uploads.start(&loaded.folder)),
        cookies: cookies?,
        https_port: if config.listen.tls.is_some() {
            config.listen.address.port()
        } else {
            443
        },
        headers,
    })
}

fn compile_csrf(config: &Config, keys: &Keys, findings: &mut Vec<Finding>) -> Option<Csrf> {
    match keys.mac(Purpose::Csrf) {
        Ok(mac) => keep(config.csrf.compile(mac), findings),
        Err(error) => {
            let told = Finding::error("csrf-key", "secrets.master", error.to_string());
            findings.push(told);
            None
        }
    }
}

/// The same, for what has been found right already.
pub(crate) fn roles_with_second_factor(config: &Config) -> Vec<String> {
    second_factor_for(config, &mut Vec::new())
}

/// What routes may refer to.
fn known(config: &Config, limits: Vec<String>, findings: &mut Vec<Finding>) -> Known {
    Known {
        upstreams: config.upstreams.keys().cloned().collect(),
        limits,
        hosts: config.hosts.allow.clone(),
        reserved: own::reserved(&config.auth_api.mounts),
        second_factor_for: second_factor_for(config, findings),
        purposes: purposes(config),
    }
}

/// What people are asked to agree to, with the version that is shown now.
fn purposes(config: &Config) -> Vec<(String, String)> {
    let of = |purpose: &portcullis_identity::privacy::config::Purpose| {
        (purpose.name.clone(), purpose.version.clone())
    };
    config.purposes.iter().map(of).collect()
}

/// Roles whose holders must prove a second factor: in production those of `[mfa]`, in development
/// none. Says what is wrong with them, and what an empty list means.
fn second_factor_for(config: &Config, findings: &mut Vec<Finding>) -> Vec<String> {
    let defined = config.access.roles();
    let Some(written) = &config.mfa.required_for else {
        let usual = "admin".to_owned();
        let is_on = config.mode == Mode::Production && defined.contains_key(&usual);
        return is_on.then_some(usual).into_iter().collect();
    };
    for (position, role) in written.iter().enumerate() {
        if !defined.contains_key(role) {
            let key = format!("mfa.required-for.{position}");
            findings.push(
                Finding::error("unknown-role", key, format!("no role `{role}` is defined")).remedy(
                    format!("define [roles.{role}], or take one of {}", names(&defined)),
                ),
            );
        }
    }
    match config.mode {
        Mode::Production if written.is_empty() => {
            findings.push(
                Finding::warning(
                    "mfa-not-required",
                    "mfa.required-for",
                    "administrators need a password alone: whoever learns it is one",
                )
                .remedy("write required-for = [\"admin\"]"),
            );
            Vec::new()
        }
        Mode::Production => written.clone(),
        Mode::Development => Vec::new(),
    }
}

/// What is wrong with passwords, with letters, and with the roles of those who register themselves.
fn accounts(config: &Config, loaded: &Loaded) -> Vec<Finding> {
    let mut findings = identity_findings(config.passwords.findings());
    findings.extend(identity_findings(config.recovery.findings()));
    let origin = config.accounts.origin.as_deref();
    let is_production = config.mode == Mode::Production;
    findings.extend(identity_findings(
        config.passkeys.findings(origin, is_production),
    ));
    crate::config::mail::compile(config, loaded, &mut findings);
    findings.extend(identity_findings(config.api_keys.findings()));
    findings.extend(
        (config.redaction.mistakes().into_iter())
            .map(|(key, why)| Finding::error("redaction", key, why)),
    );
    findings.extend(crate::error_reports::findings(loaded, config.mode));
    findings.extend(crate::security_txt::findings(config, SystemClock.now()));
    let defined = config.access.roles();
    findings.extend(privacy::config::findings(
        (&config.data, &config.purposes, &config.retention),
        &defined,
        config.vault.is_some(),
    ));
    for (position, role) in config.accounts.registration_roles.iter().enumerate() {
        if !defined.contains_key(role) {
            findings.push(
                Finding::error(
                    "unknown-role",
                    format!("accounts.registration-roles.{position}"),
                    format!("no role `{role}` is defined"),
                )
                .remedy(format!(
                    "define [roles.{role}], or take one of {}",
                    names(&defined)
                )),
            );
        }
    }
    findings
}

fn names<T>(defined: &std::collections::BTreeMap<String, T>) -> String {
    defined.keys().cloned().collect::<Vec<_>>().join(", ")
}

/// Whether the auth API can be put where the file says: a plain path, once.
fn mounts(mounts: &[String], findings: &mut Vec<Finding>) -> bool {
    let before = findings.len();
    for (position, mount) in mounts.iter().enumerate() {
        let is_plain = portcullis_core::path::canonicalize(mount).is_ok_and(|path| path == *mount)
            && !mount.ends_with('/')
            && !mount.contains(['{', '}', '?', '#'])
            && !own::is_ours(mount);
        let is_twin = mounts.iter().take(position).any(|other| other == mount);
        if !is_plain || is_twin {
            findings.push(
                Finding::error(
                    "auth-api-mount",
                    format!("auth-api.mounts.{position}"),
                    format!("`{mount}` is not a path of the product's own, given once"),
                )
                .remedy("write it like \"/api/v1/auth\": from `/` on, without parameters and without `/` at the end"),
            );
        }
    }
    findings.len() == before
}

/// Names that a route may give under `limits`, also where the table itself is wrong.
fn limit_names(config: &Config, limits: Option<&Limits>) -> Vec<String> {
    limits.map_or_else(
        || {
            let built_in = ["default", "auth", "visits", "uploads"]
                .into_iter()
                .map(str::to_owned);
            config.limits.0.keys().cloned().chain(built_in).collect()
        },
        |limits| limits.known().map(str::to_owned).collect(),
    )
}

fn compile_upstreams(
    config: &Config,
    loaded: &Loaded,
    findings: &mut Vec<Finding>,
) -> Option<Vec<Arc<Upstream>>> {
    if config.upstreams.is_empty() {
        findings.push(
            Finding::error(
                "no-upstream",
                "upstream",
                "there is nothing to stand in front of",
            )
            .remedy("write [upstream.app] with url = \"http://127.0.0.1:8000\""),
        );
    }
    let compiled: Vec<Option<Arc<Upstream>>> = config
        .upstreams
        .iter()
        .map(|(name, upstream)| {
            let mut upstream = upstream.clone();
            upstream.ca = upstream.ca.map(|ca| loaded.path(&ca));
            if name == OWN_UPSTREAM {
                findings.push(
                    Finding::error(
                        "upstream-name",
                        format!("upstream.{name}"),
                        "this name is the gate's own",
                    )
                    .remedy("give it another name"),
                );
            }
            keep(Upstream::compile(name, &upstream), findings)
        })
        .collect();
    compiled.into_iter().collect()
}

fn compile_assertion(config: &AssertionConfig, findings: &mut Vec<Finding>) -> Option<Assertion> {
    let name = config.header.to_ascii_lowercase();
    if !name.starts_with("x-portcullis-") {
        // SECURITY: only names with this beginning are taken from every client's request.
        findings.push(
            Finding::error(
                "assertion-header",
                "assertion.header",
                format!("`{}` could be sent by a client", config.header),
            )
            .remedy("begin it with `X-Portcullis-`"),
        );
        return None;
    }
    if config.lifetime.is_zero() || config.lifetime > portcullis_core::Span::from_minutes(5) {
        findings.push(
            Finding::error(
                "assertion-lifetime",
                "assertion.lifetime",
                format!(
                    "`{}` is not more than nothing and at most 5m",
                    config.lifetime
                ),
            )
            .remedy("write \"60s\""),
        );
        return None;
    }
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        let message = format!("`{}` is not a header name", config.header);
        findings.push(
            Finding::error("assertion-header", "assertion.header", message)
                .remedy("use letters, digits and `-`"),
        );
        return None;
    };
    Some(Assertion {
        header,
        config: config.clone(),
    })
}
