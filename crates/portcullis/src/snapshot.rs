//! Everything that a request is judged by, compiled: one immutable value, swapped whole.
//!
//! A reload compiles another one. If that finds a single error, the old one stays.

mod compile;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use portcullis_access::openapi::requests::Requests;
use portcullis_access::{Policy, policy::Route};
use portcullis_core::Mode;
use portcullis_core::decision::Denied;
use portcullis_core::route::Params;
use portcullis_core::size::ByteSize;
use portcullis_edge::{TrustedProxies, Upstream};
use portcullis_events::webhooks::Endpoints;
use portcullis_guard::body::Bounds;
use portcullis_guard::cors::Cors;
use portcullis_guard::csrf::Csrf;
use portcullis_guard::headers::{Headers, RouteHeaders};
use portcullis_guard::hosts::Hosts;
use portcullis_guard::rate_limit::{Limits, RouteLimits};
use portcullis_guard::uploads::{Rules, Uploads};
use portcullis_identity::sessions::Cookies;
use portcullis_vault::keys::Keys;

use crate::config::{AssertionConfig, Loaded};
use crate::own;

use self::compile::compile;
pub(crate) use self::compile::{is_secure, roles_with_second_factor};

/// The name under which the gate's own handlers stand among the upstreams.
pub(crate) const OWN_UPSTREAM: &str = "portcullis";

/// What a request is judged by.
pub(crate) struct Snapshot {
    pub(crate) mode: Mode,
    pub(crate) trusted: TrustedProxies,
    /// Proxies that may ask beside the path.
    pub(crate) asking: TrustedProxies,
    pub(crate) hosts: Hosts,
    pub(crate) csrf: Arc<Csrf>,
    pub(crate) cors: Cors,
    /// For routes that no other origin may call.
    pub(crate) no_cors: Cors,
    pub(crate) headers: Headers,
    pub(crate) limits: Limits,
    /// The product's routes.
    pub(crate) product: RouteSet,
    /// The gate's own routes. They are looked at first.
    pub(crate) own: RouteSet,
    /// The first segments that these have, in lower case: what begins otherwise is the product's.
    own_roots: Box<[Box<str>]>,
    /// For answers to requests that no route names.
    pub(crate) unrouted: RouteGuards,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) assertion: Assertion,
    pub(crate) webhooks: Arc<Endpoints>,
    /// What screens files. Of one snapshot with the routes, so that no route meets another scanner than
    /// the one that it was judged with.
    pub(crate) uploads: Arc<Uploads>,
    /// Names and attributes of the session's cookies.
    pub(crate) cookies: Cookies,
    /// Port of the https listener as clients see it.
    pub(crate) https_port: u16,
}

/// The route of a request.
pub(crate) struct Found<'s, 'p> {
    pub(crate) route: &'s Route,
    /// What the placeholders of its path stand for.
    pub(crate) params: Params<'s, 'p>,
    /// Whether it is one of the gate's own.
    pub(crate) is_own: bool,
}

/// A policy and what guards each of its routes, by the route's position.
pub(crate) struct RouteSet {
    pub(crate) policy: Policy,
    pub(crate) guards: Vec<RouteGuards>,
}

/// What guards one route.
pub(crate) struct RouteGuards {
    pub(crate) limits: RouteLimits,
    pub(crate) headers: RouteHeaders,
    pub(crate) max_body: ByteSize,
    /// What is taken where bodies are files.
    pub(crate) upload: Option<Arc<Rules>>,
    /// What a body for the product may hold.
    pub(crate) structure: Option<Bounds>,
    /// What requests are held against, where the route asks for it.
    pub(crate) requests: Option<Arc<Requests>>,
}

/// How the gate tells an upstream who is calling.
pub(crate) struct Assertion {
    pub(crate) header: HeaderName,
    pub(crate) config: AssertionConfig,
}

impl Snapshot {
    /// Compiles what was loaded. Findings go to `loaded`; without a snapshot there is at least one error.
    pub(crate) fn compile(loaded: &mut Loaded, keys: &Keys) -> Option<Self> {
        let config = std::mem::take(&mut loaded.config);
        let mut findings = Vec::new();
        let snapshot = compile(&config, keys, loaded, &mut findings);
        loaded.config = config;
        for finding in findings {
            loaded.report(finding);
        }
        snapshot.filter(|_| !loaded.has_errors())
    }

    /// The gate's own routes, or the product's.
    pub(crate) const fn set(&self, own: bool) -> &RouteSet {
        if own { &self.own } else { &self.product }
    }

    /// The one route that a request is judged by: the gate's own first, then the product's.
    pub(crate) fn find<'p>(
        &self,
        host: &str,
        method: &Method,
        path: &'p str,
    ) -> Result<Found<'_, 'p>, Denied> {
        // For most requests the answer is no, and spares them a look-up.
        if self.own_roots.iter().any(|root| own::has_root(path, root)) {
            match self.own.policy.find(host, method, path) {
                Ok((route, params)) => {
                    return Ok(Found {
                        route,
                        params,
                        is_own: true,
                    });
                }
                Err(Denied::NoRoute) if !own::is_ours(path) => {}
                Err(denied) => return Err(denied),
            }
        }
        let (route, params) = self.product.policy.find(host, method, path)?;
        Ok(Found {
            route,
            params,
            is_own: false,
        })
    }

    /// The guards of a route of either set.
    pub(crate) fn guards(&self, own: bool, route: usize) -> &RouteGuards {
        self.set(own).guards.get(route).unwrap_or(&self.unrouted)
    }

    /// Takes out what the upstream may not set: cookies of the gate's names.
    pub(crate) fn drop_our_cookies(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(header::SET_COOKIE) {
            return;
        }
        let kept: Vec<HeaderValue> = headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter(|value| !self.is_our_cookie(cookie_name(value.as_bytes())))
            .cloned()
            .collect();
        headers.remove(header::SET_COOKIE);
        for value in kept {
            headers.append(header::SET_COOKIE, value);
        }
    }

    /// Whether this `Set-Cookie` is of the session's cookie.
    pub(crate) fn is_session_cookie(&self, set_cookie: &[u8]) -> bool {
        cookie_name(set_cookie) == self.cookies.name().as_bytes()
    }

    /// Whether a cookie of this name is the gate's own. Prefixes are compared as browsers do, without case.
    pub(crate) fn is_our_cookie(&self, name: &[u8]) -> bool {
        self.cookies
            .own_names()
            .chain([self.csrf.cookie_name()])
            .any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()))
    }
}

fn cookie_name(set_cookie: &[u8]) -> &[u8] {
    set_cookie
        .split(|byte| *byte == b'=' || *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii()
}
