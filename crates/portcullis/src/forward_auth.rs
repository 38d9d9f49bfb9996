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

mod convention;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use ipnet::IpNet;
use portcullis_core::finding::Finding;
use portcullis_core::{Problem, problem};
use portcullis_edge::headers::remove_cookies;
use portcullis_edge::{Body, Inbound};
use portcullis_events::metrics::Stage;
use serde::Deserialize;

use crate::lane::Lane;
use crate::pipeline::{self, Decided, Permitted};
use crate::snapshot::Snapshot;
use crate::story::Story;
use convention::X_PORTCULLIS_STATUS;

pub(crate) use convention::{Convention, Error};

/// Where proxies ask. Compared byte for byte: another spelling is just a path of ours without a route.
pub(crate) const PATH: &str = "/.portcullis/forward-auth";

/// The client's cookies without ours, for the proxy to hand on in place of `Cookie`.
const X_PORTCULLIS_COOKIE: HeaderName = HeaderName::from_static("x-portcullis-cookie");

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

/// A question of a proxy.
pub(crate) struct Question {
    pub(crate) convention: Convention,
    /// Whether the original request could be put together.
    pub(crate) request: Result<(), Error>,
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

#[cfg(test)]
mod tests;
