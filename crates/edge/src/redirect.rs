//! The plaintext listener beside TLS: it sends browsers to https and serves nothing else.
//!
//! Only GET and HEAD are redirected: the body and the credentials of anything else have crossed
//! the network in the clear already, and a redirect would hide that. Only known hosts are, so
//! that `Host` cannot make the gate point anywhere else (CWE-601).

use http::{HeaderValue, Method, Response, StatusCode, header};
use portcullis_core::{Problem, problem};

use crate::body::Body;
use crate::connection::{Arrival, Inbound};

/// What the plaintext listener answers: a redirect, or the problem to answer instead.
///
/// `is_known` says whether a host name (without port) is one of ours.
pub fn redirect(
    arrival: Arrival,
    https_port: u16,
    is_known: impl Fn(&str) -> bool,
) -> Result<Response<Body>, Problem> {
    let Inbound { head, .. } = match arrival {
        Arrival::Request(inbound) => inbound,
        Arrival::Malformed { reason, .. } => return Err(reason.into()),
    };
    let host = head
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| host.parse::<http::uri::Authority>().ok())
        .ok_or_else(|| Problem::new(&problem::MALFORMED_REQUEST))?;
    if !is_known(host.host()) {
        return Err(Problem::new(&problem::UNKNOWN_HOST));
    }
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(Problem::new(&problem::HTTPS_REQUIRED));
    }
    let path = head
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let name = host.host();
    let location = if https_port == 443 {
        format!("https://{name}{path}")
    } else {
        format!("https://{name}:{https_port}{path}")
    };
    let location =
        HeaderValue::try_from(location).map_err(|_| Problem::new(&problem::MALFORMED_REQUEST))?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}
