//! Cross-site request forgery (CWE-352): an unsafe request must come from the product's own pages.
//!
//! 1. First gate, by what the browser says of the page: `Sec-Fetch-Site: same-origin` or `none`
//!    passes. `same-site` and `cross-site` are refused unless `Origin` is a trusted one. Without
//!    it, `Origin` must be the gate's own or a trusted one. Unknown values are refused.
//! 2. Second gate, for requests that a session cookie authenticates: the double submit token. A
//!    cookie and the header must hold the same token, and the token must be bound to this session
//!    by an HMAC, so that a cookie planted from a sibling domain is worth nothing.
//! 3. Requests with neither `Sec-Fetch-Site` nor `Origin` (not a browser of this decade) stand or
//!    fall by the token alone. Where there is no session yet, as at sign-in, they pass: there is
//!    no cookie to ride on, and [`Csrf::check_unauthenticated`] has stopped every browser.
//! 4. `GET`, `HEAD`, `OPTIONS`, `TRACE` are safe (RFC 9110 section 9.2.1); a product that changes
//!    state on them is not protected. A WebSocket handshake is a `GET` that opens a two-way
//!    channel with the cookie on it: run [`Csrf::check_origin`] on it.
//!
//! Deployment: the token travels in a header because checks see the head alone; a form that
//! cannot set a header needs a line of script, or a route with `csrf = false` and the first gate.
//! An origin in `[cors]` that also writes with cookies must stand in `trusted-origins` too.

mod token;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};
use portcullis_core::{Problem, problem};
use portcullis_vault::keys::Mac;
use portcullis_vault::{TokenHash, ct_eq};
use serde::Deserialize;

use crate::Own;
use crate::origin::Origins;
use portcullis_core::Scheme;
use portcullis_core::finding::Finding;

/// `[csrf]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Whether unsafe requests with a session cookie need the token. Default `true`. Without it the
    /// browser's own word on where a request comes from is the only defence.
    pub require_token: bool,
    /// Foreign origins whose pages may send unsafe requests, such as `"https://admin.example.com"`.
    /// Default: none. Whoever controls one of them can act for every user.
    pub trusted_origins: Vec<String>,
    /// Name of the token's cookie. Default `"csrf_token"`.
    pub cookie: String,
    /// Name of the token's header. Default `"X-CSRF-Token"`.
    pub header: String,
    /// `SameSite` of the token's cookie: `"lax"` or `"strict"`. Default `"lax"`.
    pub same_site: SameSite,
}

/// `SameSite` of the token's cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SameSite {
    #[default]
    Lax,
    Strict,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            require_token: true,
            trusted_origins: Vec::new(),
            cookie: "csrf_token".to_owned(),
            header: "X-CSRF-Token".to_owned(),
            same_site: SameSite::Lax,
        }
    }
}

/// The compiled protection.
pub struct Csrf {
    require_token: bool,
    trusted: Origins,
    cookie: Box<str>,
    header: HeaderName,
    same_site: SameSite,
    mac: Mac,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the request came from a page of another site")]
    CrossSite,
    #[error("the request says nothing about the page it came from, and carries no token")]
    TokenMissing,
    #[error("the CSRF header and cookie differ, or are not of this session")]
    TokenInvalid,
    #[error("no random numbers could be had")]
    NoRandomness,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::CrossSite => Problem::new(&problem::CSRF_CROSS_SITE),
            Error::TokenMissing => Problem::new(&problem::CSRF_TOKEN_MISSING)
                .detail("Send the value of the CSRF cookie in the CSRF header as well."),
            Error::TokenInvalid => Problem::new(&problem::CSRF_TOKEN_INVALID)
                .detail("Fetch a new token and try again."),
            Error::NoRandomness => Problem::internal(error),
        }
    }
}

impl Config {
    /// `mac` is that of [`portcullis_vault::keys::Purpose::Csrf`]. It verifies under previous keys too,
    /// so that a change of the master secret breaks no open form.
    pub fn compile(&self, mac: Mac) -> Result<Csrf, Vec<Finding>> {
        let mut findings = Vec::new();
        let trusted = Origins::parse(&self.trusted_origins).unwrap_or_else(|faults| {
            findings.extend(faults.into_iter().map(|(index, fault)| {
                Finding::error(
                    "csrf-origin",
                    format!("csrf.trusted-origins.{index}"),
                    fault.to_string(),
                )
                .remedy("write scheme, host and, if it is not the usual one, port")
            }));
            Origins::default()
        });
        if !is_cookie_name(&self.cookie) {
            findings.push(
                Finding::error(
                    "csrf-cookie",
                    "csrf.cookie",
                    format!("`{}` is not a cookie name", self.cookie),
                )
                .remedy("use letters, digits, `-` and `_`"),
            );
        }
        let header = HeaderName::from_bytes(self.header.as_bytes());
        if header.is_err() {
            findings.push(
                Finding::error(
                    "csrf-header",
                    "csrf.header",
                    format!("`{}` is not a header name", self.header),
                )
                .remedy("use letters, digits and `-`"),
            );
        }
        match (header, findings.is_empty()) {
            (Ok(header), true) => Ok(Csrf {
                require_token: self.require_token,
                trusted,
                cookie: self.cookie.as_str().into(),
                header,
                same_site: self.same_site,
                mac,
            }),
            (Ok(_) | Err(_), true | false) => Err(findings),
        }
    }
}

/// What the browser said about the page behind a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Own,
    Trusted,
    Foreign,
    Unsaid,
}

impl Csrf {
    /// For a request that a session cookie authenticates. Safe methods pass.
    pub fn check(&self, head: &Parts, own: Own<'_>, session: &TokenHash) -> Result<(), Error> {
        if is_safe(&head.method) {
            return Ok(());
        }
        match self.page(&head.headers, own) {
            Page::Foreign => Err(Error::CrossSite),
            Page::Own | Page::Trusted if !self.require_token => Ok(()),
            Page::Own | Page::Trusted | Page::Unsaid => self.check_token(&head.headers, session),
        }
    }

    /// For a request without a session, such as sign-in: the first gate alone. Safe methods pass.
    pub fn check_unauthenticated(&self, head: &Parts, own: Own<'_>) -> Result<(), Error> {
        if is_safe(&head.method) {
            Ok(())
        } else {
            self.check_origin(head, own)
        }
    }

    /// The first gate, whatever the method: for WebSocket handshakes.
    pub fn check_origin(&self, head: &Parts, own: Own<'_>) -> Result<(), Error> {
        match self.page(&head.headers, own) {
            Page::Foreign => Err(Error::CrossSite),
            Page::Own | Page::Trusted | Page::Unsaid => Ok(()),
        }
    }

    /// Whether the request comes from a page of a trusted foreign origin.
    pub fn trusts(&self, headers: &HeaderMap) -> bool {
        matches!(
            single(headers, &header::ORIGIN),
            Ok(Some(origin)) if self.trusted.contains(origin.as_bytes())
        )
    }

    /// A new token for a session. Earlier ones stay valid as long as the session does.
    pub fn issue(&self, session: &TokenHash) -> Result<String, Error> {
        token::issue(&self.mac, session).ok_or(Error::NoRandomness)
    }

    /// `Set-Cookie` for a token. The page's script has to read it, so it is not `HttpOnly`.
    pub fn set_cookie(&self, token: &str, scheme: Scheme) -> Option<HeaderValue> {
        self.cookie_value(token, scheme, "")
    }

    /// `Set-Cookie` that takes the token away, for sign-out.
    pub fn clear_cookie(&self, scheme: Scheme) -> Option<HeaderValue> {
        self.cookie_value("", scheme, "; Max-Age=0")
    }

    pub fn cookie_name(&self) -> &str {
        &self.cookie
    }

    pub fn header_name(&self) -> &HeaderName {
        &self.header
    }

    /// Whether the request already bears a token of this session: no new one has to be issued.
    pub fn has_token(&self, headers: &HeaderMap, session: &TokenHash) -> bool {
        self.token_of(headers, session).is_some()
    }

    /// The token of this session that the request's cookie holds.
    pub fn token_of<'h>(&self, headers: &'h HeaderMap, session: &TokenHash) -> Option<&'h str> {
        cookies(headers, &self.cookie).find(|token| token::verify(&self.mac, token, session))
    }

    /// Whether this token, which a form of the gate's own pages bears, is one of this session. It needs
    /// no cookie beside it: nobody but the session's own pages could have read it.
    pub fn is_token_of(&self, token: &str, session: &TokenHash) -> bool {
        token::verify(&self.mac, token, session)
    }

    fn cookie_value(&self, token: &str, scheme: Scheme, end: &str) -> Option<HeaderValue> {
        let same_site = match self.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
        };
        let secure = match scheme {
            Scheme::Https => "; Secure",
            Scheme::Http => "",
        };
        let text = format!(
            "{}={token}; Path=/; SameSite={same_site}{secure}{end}",
            self.cookie
        );
        HeaderValue::try_from(text).ok()
    }

    fn page(&self, headers: &HeaderMap, own: Own<'_>) -> Page {
        let trusts = |origin: &HeaderValue| self.trusted.contains(origin.as_bytes());
        let (Ok(site), Ok(origin)) = (
            single(headers, &HeaderName::from_static("sec-fetch-site")),
            single(headers, &header::ORIGIN),
        ) else {
            return Page::Foreign;
        };
        match (site.map(HeaderValue::as_bytes), origin) {
            (Some(b"same-origin" | b"none"), _) => Page::Own,
            // SECURITY: everything else, known (`same-site`, `cross-site`) or not, is a stranger
            // unless its origin is trusted. A sibling domain may be a customer's page.
            (Some(_), origin) => match origin {
                Some(origin) if trusts(origin) => Page::Trusted,
                Some(_) | None => Page::Foreign,
            },
            (None, Some(origin)) if own.is_origin(origin.as_bytes()) => Page::Own,
            (None, Some(origin)) if trusts(origin) => Page::Trusted,
            (None, Some(_)) => Page::Foreign,
            (None, None) => Page::Unsaid,
        }
    }

    fn check_token(&self, headers: &HeaderMap, session: &TokenHash) -> Result<(), Error> {
        let Ok(Some(sent)) = single(headers, &self.header) else {
            return Err(Error::TokenMissing);
        };
        let sent = sent.as_bytes();
        let mut cookies = cookies(headers, &self.cookie).peekable();
        if cookies.peek().is_none() {
            return Err(Error::TokenMissing);
        }
        // Any cookie of the name may match: another path or domain can add one of its own, which
        // must neither lock the user out nor count for anything.
        let doubled = cookies.any(|cookie| ct_eq(cookie.as_bytes(), sent));
        let bound =
            std::str::from_utf8(sent).is_ok_and(|sent| token::verify(&self.mac, sent, session));
        // SECURITY: both. Without `doubled` a token seen once serves for ever from anywhere;
        // without `bound` a sibling domain plants its own cookie (CWE-565).
        if doubled && bound {
            Ok(())
        } else {
            Err(Error::TokenInvalid)
        }
    }
}

/// Methods that must change nothing (RFC 9110 section 9.2.1).
pub fn is_safe(method: &Method) -> bool {
    *method == Method::GET
        || *method == Method::HEAD
        || *method == Method::OPTIONS
        || *method == Method::TRACE
}

/// At most one value; two are an error, since the upstream might read the other one.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, ()> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(()),
    }
}

/// Values of the cookies of one name, over all `Cookie` headers (RFC 6265 section 5.4).
fn cookies<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(move |pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then_some(value)
        })
}

fn is_cookie_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests;
