//! Forward-auth: the same decision for a proxy that asks beside the path.
//!
//! The proxy sends the original request's head to [`PATH`] and tells method, target, host, scheme
//! and address in headers. They are put back where they came from, and [`pipeline::decide`] answers
//! as it does in the path. Only a permit becomes a 2xx, because to a proxy that means "let it pass".
//!
//! 1. Only `forward-auth.proxies` are heard. To everybody else the path does not exist.
//! 2. One convention at a time, each header exactly once: what could be read twice is refused.
//! 3. The path must be canonical already: the proxy forwards the bytes it got, not ours.
//! 4. Headers that the gate would take out in the path, and that the proxy left in, are refused.
//!
//! It cannot keep what happens to bodies and answers: `docs/howto/behind-nginx.md` says what is left
//! to the proxy. Deployment: the proxy must not let clients ask at [`PATH`] through it.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use ipnet::IpNet;
use portcullis_core::finding::Finding;
use portcullis_core::path::{self, PathError};
use portcullis_core::{Problem, problem};
use portcullis_edge::forward::WebSocketAsked;
use portcullis_edge::framing::check_request_line;
use portcullis_edge::headers::{is_reserved, remove_cookies};
use portcullis_edge::{Body, Inbound, Malformed};
use portcullis_events::metrics::Stage;
use serde::Deserialize;

use crate::lane::Lane;
use crate::pipeline::{self, Decided, Permitted};
use crate::snapshot::Snapshot;
use crate::story::Story;

/// Where proxies ask. Compared byte for byte: another spelling is just a path of ours without a route.
pub(crate) const PATH: &str = "/.portcullis/forward-auth";

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
/// The status of a refusal, for proxies that cannot hand on every status.
const X_PORTCULLIS_STATUS: HeaderName = HeaderName::from_static("x-portcullis-status");
/// The client's cookies without ours, for the proxy to hand on in place of `Cookie`.
const X_PORTCULLIS_COOKIE: HeaderName = HeaderName::from_static("x-portcullis-cookie");

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

/// `[forward-auth]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Config {
    /// Networks of the proxies that may ask for decisions at `/.portcullis/forward-auth`. Default:
    /// none, nobody may. Each must lie within `listen.trusted-proxies`. Whoever can connect from one
    /// of these can ask what any address and session may do, and is given their assertions.
    pub(crate) proxies: Vec<IpNet>,
}

impl Config {
    /// `trusted` is `listen.trusted-proxies`.
    pub(crate) fn findings(&self, trusted: &[IpNet]) -> Vec<Finding> {
        let is_trusted = |proxies: &IpNet| trusted.iter().any(|network| network.contains(proxies));
        let unknown = self.proxies.iter().enumerate();
        unknown
            .filter(|(_, proxies)| !is_trusted(proxies))
            .map(|(position, proxies)| {
                Finding::error(
                    "forward-auth-proxies",
                    format!("forward-auth.proxies.{position}"),
                    format!("`{proxies}` is not within `listen.trusted-proxies`: every client would have the proxy's address"),
                )
                .remedy("add it to `listen.trusted-proxies`")
            })
            .collect()
    }
}

/// How a proxy tells of the original request, and so what it makes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Convention {
    /// `X-Original-Method` and `X-Original-URI`: nginx, which knows 2xx, 401 and 403 alone.
    Original,
    /// `X-Forwarded-Method` and `X-Forwarded-Uri`: Caddy, Traefik; any answer reaches the client.
    Forwarded,
}

/// A question of a proxy.
pub(crate) struct Question {
    pub(crate) convention: Convention,
    /// Whether the original request could be put together.
    pub(crate) request: Result<(), Error>,
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

/// Whether a proxy asks. If so, `inbound`'s head becomes that of the original request.
pub(crate) fn question(snapshot: &Snapshot, inbound: &mut Inbound) -> Option<Question> {
    // SECURITY: by the TCP peer, never by an address in a header. For all others this path goes the
    // usual way, where no route names it.
    if inbound.head.uri.path() != PATH || !snapshot.asking.trusts(inbound.peer.addr.ip()) {
        return None;
    }
    Some(match Convention::of(&inbound.head.headers) {
        Ok(convention) => Question {
            convention,
            request: convention.restore(&mut inbound.head),
        },
        // The answer that every proxy understands.
        Err(error) => Question {
            convention: Convention::Original,
            request: Err(error),
        },
    })
}

/// The answer to a question: 200 with what the product is to be told, or why not.
pub(crate) async fn answer<'s>(
    lane: &Lane,
    snapshot: &'s Snapshot,
    question: Question,
    inbound: Box<Inbound>,
    story: &mut Story<'s>,
) -> Result<Response<Body>, Problem> {
    question.request?;
    match pipeline::decide(lane, snapshot, &inbound.head, &inbound.peer, story).await? {
        Decided::Answered(response) => Ok(not_a_permit(response)),
        Decided::Permitted(permitted) => {
            permit(lane, snapshot, *permitted, inbound.head.headers, story)
        }
    }
}

fn permit(
    lane: &Lane,
    snapshot: &Snapshot,
    permitted: Permitted,
    mut original: HeaderMap,
    story: &mut Story<'_>,
) -> Result<Response<Body>, Problem> {
    if permitted.is_own {
        return Err(Problem::new(&problem::NO_ROUTE)
            .detail("This path is the gate's own: the proxy has to send it to the gate."));
    }
    // SECURITY: the body goes past us. A permit would let a file through that nobody looked at.
    if snapshot.guards(false, permitted.route.id).upload.is_some() {
        return Err(Problem::new(&problem::NO_ROUTE).detail(
            "Files that come in here are screened: the proxy has to send them to the gate.",
        ));
    }
    let assertion = lane.assertion(snapshot, &permitted, story.at)?;
    remove_cookies(&mut original, |name| snapshot.is_our_cookie(name));
    let cookies: Vec<&[u8]> = original
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    if let Ok(cookies) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        headers.insert(X_PORTCULLIS_COOKIE, cookies);
    }
    headers.insert(snapshot.assertion.header.clone(), assertion);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    story.grant = permitted.grant;
    story.charged = Some(permitted.charged);
    story.stage = Stage::Harden;
    Ok(response)
}

/// SECURITY: what the gate answers by itself, such as 204 to a CORS preflight, permits nothing.
fn not_a_permit(response: Response<Bytes>) -> Response<Body> {
    let mut response = response.map(Body::full);
    let status = response.status();
    if status.is_success() {
        let headers = response.headers_mut();
        headers.insert(X_PORTCULLIS_STATUS, HeaderValue::from(status.as_u16()));
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    response
}

impl Convention {
    fn of(headers: &HeaderMap) -> Result<Self, Error> {
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
    fn restore(self, head: &mut Parts) -> Result<(), Error> {
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

#[cfg(test)]
mod tests;
