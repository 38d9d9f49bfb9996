//! What a proxy tells of the original request, in headers, and how that becomes its head again. A file of
//! its own, because a fuzz target reads it by its path: it names nothing of this crate.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use portcullis_core::path::{self, PathError};
use portcullis_core::{Problem, problem};
use portcullis_edge::forward::WebSocketAsked;
use portcullis_edge::framing::check_request_line;
use portcullis_edge::headers::is_reserved;
use portcullis_edge::{Body, Malformed};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
/// The status of a refusal, for proxies that cannot hand on every status.
pub(super) const X_PORTCULLIS_STATUS: HeaderName = HeaderName::from_static("x-portcullis-status");

/// Reserved headers that proxies set themselves. All other reserved ones are the client's.
const OF_PROXIES: &[&str] = &[
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-uri",
    "x-original-method",
    "x-original-uri",
    "x-real-ip",
    "x-request-id",
];

/// How a proxy tells of the original request, and so what it makes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Convention {
    /// `X-Original-Method` and `X-Original-URI`: nginx, which knows 2xx, 401 and 403 alone.
    Original,
    /// `X-Forwarded-Method` and `X-Forwarded-Uri`: Caddy, Traefik; any answer reaches the client.
    Forwarded,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the proxy does not say `{0}`")]
    Missing(HeaderName),
    #[error("`{0}` is there more than once")]
    Repeated(HeaderName),
    #[error("`{0}` is not understood")]
    Unreadable(HeaderName),
    #[error("there are both `X-Original-` and `X-Forwarded-` headers for method and target")]
    TwoConventions,
    #[error("the proxy did not take out `{0}`")]
    LeftIn(HeaderName),
    #[error(transparent)]
    RequestLine(#[from] Malformed),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("the path is not in its canonical spelling, `{0}`")]
    NotCanonical(String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::RequestLine(malformed) => return (*malformed).into(),
            Error::Path(_) | Error::NotCanonical(_) => &problem::AMBIGUOUS_PATH,
            Error::Missing(_)
            | Error::Repeated(_)
            | Error::Unreadable(_)
            | Error::TwoConventions
            | Error::LeftIn(_) => &problem::MALFORMED_REQUEST,
        };
        Problem::new(kind).detail(error.to_string())
    }
}

impl Convention {
    /// Which one a head speaks.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let any = |convention: Convention| {
            let (method, target) = convention.names();
            headers.contains_key(method) || headers.contains_key(target)
        };
        match (any(Convention::Original), any(Convention::Forwarded)) {
            (true, false) => Ok(Convention::Original),
            (false, true) => Ok(Convention::Forwarded),
            // SECURITY: one of them is the client's, and nobody knows which.
            (true, true) => Err(Error::TwoConventions),
            (false, false) => Err(Error::Missing(X_ORIGINAL_URI)),
        }
    }

    const fn names(self) -> (HeaderName, HeaderName) {
        match self {
            Convention::Original => (X_ORIGINAL_METHOD, X_ORIGINAL_URI),
            Convention::Forwarded => (X_FORWARDED_METHOD, X_FORWARDED_URI),
        }
    }

    /// Makes of the question's head that of the original request, or leaves it as it is.
    pub(crate) fn restore(self, head: &mut Parts) -> Result<(), Error> {
        let headers = &mut head.headers;
        if let Some(left_in) = headers.keys().find(|name| is_the_clients(name)) {
            return Err(Error::LeftIn(left_in.clone()));
        }
        let (method_name, target_name) = self.names();
        let method = one(headers, &method_name)?;
        let target = one(headers, &target_name)?;
        let host = one(headers, &X_FORWARDED_HOST)?;
        let scheme = scheme(one(headers, &X_FORWARDED_PROTO)?)?;
        one(headers, &X_FORWARDED_FOR)?;
        check_request_line(method, target)?;
        let uri = uri(target).ok_or(Error::Unreadable(target_name))?;
        // SECURITY: the proxy forwards the target as it came. Deciding on another spelling of it
        // would be deciding on another path than the product sees. CWE-436.
        let canonical = path::canonicalize(uri.path())?;
        if canonical != uri.path() {
            return Err(Error::NotCanonical(canonical.into_owned()));
        }
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| Error::Unreadable(method_name))?;
        let host = HeaderValue::from_str(host).map_err(|_| Error::Unreadable(X_FORWARDED_HOST))?;
        headers.insert(header::HOST, host);
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
        for name in [
            X_FORWARDED_METHOD,
            X_FORWARDED_URI,
            X_FORWARDED_HOST,
            X_ORIGINAL_METHOD,
            X_ORIGINAL_URI,
        ] {
            headers.remove(name);
        }
        head.method = method;
        head.uri = uri;
        head.version = http::Version::HTTP_11;
        // SECURITY: proxies keep `Upgrade` to themselves when they ask, and pass the handshake on
        // when they were told to. Browsers send these headers with a handshake and no other request.
        let is_handshake = |name: &HeaderName| name.as_str().starts_with("sec-websocket-");
        if head.headers.keys().any(is_handshake) {
            head.extensions.insert(WebSocketAsked);
        }
        Ok(())
    }

    /// Says a refusal in the words that the proxy knows.
    pub(crate) fn speak(self, response: &mut Response<Body>) {
        let status = response.status();
        if status.is_success() {
            return;
        }
        let told = response.headers_mut().entry(X_PORTCULLIS_STATUS);
        told.or_insert(HeaderValue::from(status.as_u16()));
        let is_known = status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN;
        match self {
            Convention::Original if !is_known => *response.status_mut() = StatusCode::FORBIDDEN,
            Convention::Original | Convention::Forwarded => {}
        }
    }
}

/// Whether this header would be taken out in the path, and is none that a proxy sets.
fn is_the_clients(name: &HeaderName) -> bool {
    is_reserved(name.as_str().as_bytes()) && !OF_PROXIES.contains(&name.as_str())
}

/// The value of a header that is there exactly once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, Error> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or_else(|| Error::Missing(name.clone()))?;
    if values.next().is_some() {
        return Err(Error::Repeated(name.clone()));
    }
    match value.to_str() {
        Ok("") => Err(Error::Missing(name.clone())),
        Ok(text) => Ok(text),
        Err(_) => Err(Error::Unreadable(name.clone())),
    }
}

/// Traefik names the scheme of a handshake `ws` or `wss`.
fn scheme(told: &str) -> Result<&'static str, Error> {
    match told {
        "https" | "wss" => Ok("https"),
        "http" | "ws" => Ok("http"),
        _ => Err(Error::Unreadable(X_FORWARDED_PROTO)),
    }
}

/// The target as an address, if that is the target to the last byte.
fn uri(target: &str) -> Option<Uri> {
    let uri: http::uri::PathAndQuery = target.parse().ok()?;
    (uri.as_str() == target).then(|| Uri::from(uri))
}
