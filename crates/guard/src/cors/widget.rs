//! Calls that only the pages of a widget's tenant may make, whatever `[cors]` says.
//!
//! 1. The one `Origin` is one that the tenant has named, byte for byte. None, two, `null`, and the
//!    gate's own are strangers.
//! 2. A stranger is refused whatever the method: what is called here begins something.
//! 3. The pages send no cookies here, and are not told to.

use http::{HeaderMap, HeaderValue, Method, header, request::Parts};

use super::{Error, Grant, Granted, Outcome};

/// What those pages may read of an answer, besides what browsers always show.
pub(super) const EXPOSED: HeaderValue = HeaderValue::from_static("Retry-After, X-Request-Id");
/// Short, so that an origin that is taken out is soon out.
const MAX_AGE: HeaderValue = HeaderValue::from_static("60");

/// Whether this call may be made, by what `is_named` says of its origin.
pub fn check(head: &Parts, is_named: impl FnOnce(&[u8]) -> bool) -> Result<Outcome, Error> {
    let mut origins = head.headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Err(Error::OriginNotAllowed);
    };
    if origins.next().is_some() {
        return Err(Error::Ambiguous);
    }
    if !is_named(origin.as_bytes()) {
        return Err(Error::OriginNotAllowed);
    }
    let is_preflight = head.method == Method::OPTIONS
        && head
            .headers
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    Ok(if is_preflight {
        Outcome::Preflight(preflight(origin))
    } else {
        Outcome::Pass(Grant(Granted::Widget(origin.clone())))
    })
}

fn preflight(origin: &HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(5);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Content-Type"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    headers
}
