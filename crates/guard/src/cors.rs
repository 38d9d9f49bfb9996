//! Which foreign origins may call the product from a browser (WHATWG Fetch, CORS protocol).
//!
//! 1. An origin is allowed when it equals one on the list, byte for byte. `null`, a prefix, a
//!    suffix, another scheme or port are strangers.
//! 2. A preflight is answered here, 204 for an allowed origin and a refusal else; it never
//!    reaches the upstream.
//! 3. Allowed origins get the `Access-Control-*` headers of this configuration; what the upstream
//!    wrote there is removed, and `Vary: Origin` keeps caches from mixing answers up.
//! 4. An unsafe request from a stranger is refused. A safe one passes without the headers: the
//!    browser keeps the answer from the page.
//! 5. `*` is for development, and never together with credentials.
//!
//! Deployment: CORS loosens the browser's rule, it guards nothing by itself; a client that is not
//! a browser sends any `Origin` it likes.

pub mod widget;

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use portcullis_core::header_names::NameList;
use portcullis_core::{Problem, Span, problem};
use serde::Deserialize;

use crate::Own;
use crate::csrf::is_safe;
use crate::origin::Origins;
use portcullis_core::Mode;
use portcullis_core::finding::Finding;

/// `[cors]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Origins whose pages may call the product: `"https://app.example.com"`. Default: none. `"*"`
    /// is an error in production. Whoever controls one of them can read what its visitors can.
    pub allow_origins: Vec<String>,
    /// Whether those pages may send cookies. Default `false`.
    pub allow_credentials: bool,
    /// Methods that they may use. Default GET, HEAD, POST, PUT, PATCH, DELETE.
    pub allow_methods: Vec<String>,
    /// Request headers that they may set. Default `Accept`, `Authorization`, `Content-Type`,
    /// `X-CSRF-Token`.
    pub allow_headers: Vec<String>,
    /// Answer headers that they may read, besides the ones that browsers always show. Default
    /// `RateLimit`, `RateLimit-Policy`, `Retry-After`, `X-Request-Id`.
    pub expose_headers: Vec<String>,
    /// How long a browser may keep the answer to a preflight. Default `"10m"`, at most `"24h"`. A
    /// long time delays the effect of a tighter configuration.
    pub max_age: Span,
}

impl Default for Config {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Config {
            allow_origins: Vec::new(),
            allow_credentials: false,
            allow_methods: list(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
            allow_headers: list(&["Accept", "Authorization", "Content-Type", "X-CSRF-Token"]),
            expose_headers: list(&[
                "RateLimit",
                "RateLimit-Policy",
                "Retry-After",
                "X-Request-Id",
            ]),
            max_age: Span::from_minutes(10),
        }
    }
}

/// The compiled protection.
#[derive(Debug)]
pub struct Cors {
    allow: Allow,
    credentials: bool,
    methods: HeaderValue,
    headers: HeaderValue,
    expose: Option<HeaderValue>,
    max_age: HeaderValue,
}

#[derive(Debug)]
enum Allow {
    Listed(Origins),
    Anyone,
}

/// What becomes of a request that is not refused.
#[derive(Debug)]
pub enum Outcome {
    /// To be answered: put the headers on an empty answer with [`Cors::PREFLIGHT_STATUS`].
    Preflight(HeaderMap),
    /// To go on; the grant is for [`Cors::finish`] when the answer is there.
    Pass(Grant),
}

/// Which origin may read the answer, if any.
#[derive(Debug, Clone, Default)]
pub struct Grant(Granted);

#[derive(Debug, Clone, Default)]
enum Granted {
    #[default]
    Nobody,
    /// One that `[cors]` allows.
    Listed(HeaderValue),
    /// One on which a widget opens: for this answer alone, and without cookies.
    Widget(HeaderValue),
}

impl Granted {
    fn listed(origin: Option<HeaderValue>) -> Grant {
        Grant(origin.map_or(Granted::Nobody, Granted::Listed))
    }
}

/// What to do with an unsafe request of a foreign page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Foreign {
    #[default]
    Refuse,
    /// For a route that other sites post to by design and that no cookie opens: a webhook, or an
    /// identity provider that answers by form.
    Pass,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the origin is not on the list")]
    OriginNotAllowed,
    #[error("the request names more than one origin")]
    Ambiguous,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::OriginNotAllowed => Problem::new(&problem::ORIGIN_NOT_ALLOWED),
            Error::Ambiguous => {
                Problem::new(&problem::MALFORMED_REQUEST).detail("`Origin` may be sent only once.")
            }
        }
    }
}

const LONGEST_MAX_AGE: Span = Span::from_hours(24);

impl Config {
    pub fn compile(&self, mode: Mode) -> Result<Cors, Vec<Finding>> {
        let mut findings = Vec::new();
        let allow = self.compile_origins(mode, &mut findings);
        let mut list = |key: &str, names: &[String], fold: fn(&str) -> Option<String>| {
            let mut good = Vec::new();
            for (index, name) in names.iter().enumerate() {
                match fold(name) {
                    Some(name) => good.push(name),
                    None => findings.push(
                        Finding::error(
                            "cors-name",
                            format!("cors.{key}.{index}"),
                            format!("`{name}` cannot stand here"),
                        )
                        .remedy("name each method or header; there are no wildcards"),
                    ),
                }
            }
            HeaderValue::try_from(good.join(", ")).unwrap_or(HeaderValue::from_static(""))
        };
        let methods = list("allow-methods", &self.allow_methods, |name| {
            let method = Method::from_bytes(name.as_bytes()).ok()?;
            let forbidden = matches!(method.as_str(), "CONNECT" | "TRACE" | "*");
            (!forbidden).then(|| method.to_string())
        });
        let headers = list("allow-headers", &self.allow_headers, header_name);
        let expose = list("expose-headers", &self.expose_headers, header_name);
        if self.max_age > LONGEST_MAX_AGE {
            findings.push(
                Finding::error(
                    "cors-max-age",
                    "cors.max-age",
                    format!("`{}` is longer than a day", self.max_age),
                )
                .remedy("write \"24h\" or less"),
            );
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        Ok(Cors {
            allow,
            credentials: self.allow_credentials,
            methods,
            headers,
            expose: (!expose.is_empty()).then_some(expose),
            max_age: HeaderValue::from(self.max_age.as_seconds()),
        })
    }

    fn compile_origins(&self, mode: Mode, findings: &mut Vec<Finding>) -> Allow {
        if self.allow_origins.iter().any(|origin| origin == "*") {
            if self.allow_credentials {
                findings.push(
                    Finding::error(
                        "cors-wildcard-credentials",
                        "cors.allow-origins",
                        "`*` together with credentials lets every site act and read as the user",
                    )
                    .remedy("name each origin, or set allow-credentials = false"),
                );
            }
            if mode == Mode::Production {
                findings.push(
                    Finding::error(
                        "cors-wildcard",
                        "cors.allow-origins",
                        "`*` lets every site read what the product answers",
                    )
                    .remedy("name each origin"),
                );
            }
            return Allow::Anyone;
        }
        match Origins::parse(&self.allow_origins) {
            Ok(origins) => {
                if mode == Mode::Production {
                    let plain = origins.iter().filter(|origin| origin.starts_with("http:"));
                    findings.extend(plain.map(|origin| {
                        Finding::error(
                            "cors-plain-http",
                            "cors.allow-origins",
                            format!("pages of `{origin}` can be changed by anyone on the way"),
                        )
                        .remedy("use the https origin")
                    }));
                }
                Allow::Listed(origins)
            }
            Err(faults) => {
                findings.extend(faults.into_iter().map(|(index, fault)| {
                    Finding::error(
                        "cors-origin",
                        format!("cors.allow-origins.{index}"),
                        fault.to_string(),
                    )
                    .remedy("write scheme, host and, if it is not the usual one, port")
                }));
                Allow::Listed(Origins::default())
            }
        }
    }
}

fn header_name(name: &str) -> Option<String> {
    (name != "*" && HeaderName::from_bytes(name.as_bytes()).is_ok()).then(|| name.to_owned())
}

impl Cors {
    pub const PREFLIGHT_STATUS: StatusCode = StatusCode::NO_CONTENT;

    pub fn check(&self, head: &Parts, own: Own<'_>, foreign: Foreign) -> Result<Outcome, Error> {
        let mut origins = head.headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Ok(Outcome::Pass(Grant::default()));
        };
        if origins.next().is_some() {
            return Err(Error::Ambiguous);
        }
        let allowed = self.allows(origin);
        let preflight = head.method == Method::OPTIONS
            && head
                .headers
                .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if preflight {
            return match allowed {
                Some(value) => Ok(Outcome::Preflight(self.preflight(value))),
                None => Err(Error::OriginNotAllowed),
            };
        }
        if own.is_origin(origin.as_bytes()) {
            return Ok(Outcome::Pass(Grant::default()));
        }
        match (allowed, foreign) {
            (Some(value), Foreign::Refuse | Foreign::Pass) => {
                Ok(Outcome::Pass(Granted::listed(Some(value))))
            }
            (None, Foreign::Refuse) if !is_safe(&head.method) => Err(Error::OriginNotAllowed),
            (None, Foreign::Refuse | Foreign::Pass) => Ok(Outcome::Pass(Grant::default())),
        }
    }

    /// Who may read a refusal: the page of an allowed origin, which could not tell its user
    /// otherwise why it was refused.
    pub fn grant_for_refusal(&self, headers: &HeaderMap) -> Grant {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (Some(origin), None) => Granted::listed(self.allows(origin)),
            (None | Some(_), _) => Grant::default(),
        }
    }

    /// Replaces the upstream's CORS headers by the gate's.
    pub fn finish(&self, grant: &Grant, headers: &mut HeaderMap) {
        RESPONSE_HEADERS.remove_from(headers);
        if let Granted::Widget(origin) = &grant.0 {
            vary_by_origin(headers);
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, widget::EXPOSED);
            return;
        }
        if let Allow::Listed(origins) = &self.allow
            && origins.iter().next().is_none()
        {
            return;
        }
        vary_by_origin(headers);
        if let Granted::Listed(origin) = &grant.0 {
            self.grant(origin.clone(), headers);
            if let Some(expose) = &self.expose {
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
            }
        }
    }

    fn allows(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.allow {
            Allow::Listed(origins) => origins.contains(origin.as_bytes()).then(|| origin.clone()),
            Allow::Anyone => Some(HeaderValue::from_static("*")),
        }
    }

    fn grant(&self, origin: HeaderValue, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
    }

    fn preflight(&self, origin: HeaderValue) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(6);
        self.grant(origin, &mut headers);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone());
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        headers
    }
}

/// Everything that a server may say about CORS (WHATWG Fetch section 3.3.3, and the private
/// network drafts).
static RESPONSE_HEADERS: LazyLock<NameList> = LazyLock::new(|| {
    NameList::new([
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderName::from_static("access-control-allow-private-network"),
        HeaderName::from_static("access-control-allow-local-network"),
    ])
});

fn vary_by_origin(headers: &mut HeaderMap) {
    let told = headers
        .get_all(header::VARY)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim() == "*" || name.trim().eq_ignore_ascii_case("origin"));
    if !told {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

#[cfg(test)]
mod tests;
