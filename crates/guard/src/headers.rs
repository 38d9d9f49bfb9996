//! Security headers on every answer (H6-H9), and a fresh CSP nonce for every page.
//!
//! 1. The gate's value replaces the upstream's, so that no header stands twice. Only the CSP of a
//!    route marked `csp = "upstream"` is the upstream's own.
//! 2. `Server`, `X-Powered-By` and their like are removed.
//! 3. `Strict-Transport-Security` goes out over HTTPS only (RFC 6797 section 7.2).
//! 4. Framing is decided per route, in `X-Frame-Options` and `frame-ancestors` alike.
//! 5. `{nonce}` in the policy is 128 fresh random bits for each HTML answer; other answers get the
//!    policy without the nonce, which allows no inline script at all.
//! 6. Nonces go into the upstream's HTML only as `nonces` says, see [`nonce`].
//!
//! Deployment: a policy with `'unsafe-inline'` or a wide host list stops little; `check` warns. HTML
//! that is to get nonces must come uncompressed: see [`Headers::wants_identity`].

mod config;
pub mod framing;
mod lasting;
pub mod nonce;

use http::{HeaderMap, HeaderName, HeaderValue, header, response};
use portcullis_core::RequestId;
use portcullis_core::header_names::NameList;

use portcullis_core::Scheme;

pub use config::{Config, CspChoice, Framing, Hsts, Nonces};
pub use nonce::{Nonce, NonceBody, Rewrite};

/// The compiled protection.
#[derive(Debug)]
pub struct Headers {
    fixed: Box<[(HeaderName, HeaderValue)]>,
    hsts: Option<HeaderValue>,
    remove: NameList,
    template: Box<str>,
    framing: Framing,
    rewrite: nonce::Plan,
}

/// The settings of one route, from [`Headers::for_route`].
#[derive(Debug, Clone)]
pub struct RouteHeaders {
    frame_options: Option<HeaderValue>,
    csp: Csp,
}

#[derive(Debug, Clone)]
enum Csp {
    Upstream,
    Gate(Policy),
}

#[derive(Debug, Clone)]
struct Policy {
    /// The text between the nonces; one piece alone has none.
    pieces: Box<[Box<str>]>,
    /// For everything but HTML.
    plain: HeaderValue,
}

/// For a file of somebody's, which is never shown in place: no script of it runs, and no other site embeds it.
pub fn download(headers: &mut HeaderMap) {
    let policy = HeaderValue::from_static("sandbox; default-src 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
}

/// Whose answer it is.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    Upstream,
    /// A page of the gate, written with this nonce.
    Own(&'a Nonce),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no random numbers could be had")]
    NoRandomness,
}

impl From<Error> for portcullis_core::Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NoRandomness => portcullis_core::Problem::internal(error),
        }
    }
}

/// Headers beside the fixed ones, at most: growing once is cheaper than growing with each.
const MORE: usize = 6;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl Headers {
    /// Writes the headers. Where the answer is HTML that has to get nonces, the body must be passed
    /// through [`NonceBody`] with the rewrite that comes back.
    pub fn harden(
        &self,
        route: &RouteHeaders,
        scheme: Scheme,
        source: Source<'_>,
        head: &mut response::Parts,
        request_id: RequestId,
    ) -> Result<Option<Rewrite>, Error> {
        let headers = &mut head.headers;
        headers.reserve(self.fixed.len().saturating_add(MORE));
        self.remove.remove_from(headers);
        for (name, value) in &self.fixed {
            headers.insert(name.clone(), value.clone());
        }
        match (&self.hsts, scheme) {
            (Some(value), Scheme::Https) => {
                headers.insert(header::STRICT_TRANSPORT_SECURITY, value.clone());
            }
            (None, Scheme::Https) | (Some(_) | None, Scheme::Http) => {
                headers.remove(header::STRICT_TRANSPORT_SECURITY);
            }
        }
        match &route.frame_options {
            Some(value) => headers.insert(header::X_FRAME_OPTIONS, value.clone()),
            None => headers.remove(header::X_FRAME_OPTIONS),
        };
        headers.insert(REQUEST_ID, request_id.to_header());
        self.write_policy(route, source, headers)
    }

    fn write_policy(
        &self,
        route: &RouteHeaders,
        source: Source<'_>,
        headers: &mut HeaderMap,
    ) -> Result<Option<Rewrite>, Error> {
        let policy = match &route.csp {
            Csp::Upstream => return Ok(None),
            Csp::Gate(policy) => policy,
        };
        if policy.pieces.len() < 2 || !nonce::is_html(headers) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy.plain.clone());
            return Ok(None);
        }
        let fresh;
        let nonce = match source {
            Source::Own(nonce) => nonce,
            Source::Upstream => {
                fresh = Nonce::generate().ok_or(Error::NoRandomness)?;
                &fresh
            }
        };
        headers.insert(header::CONTENT_SECURITY_POLICY, policy.with(nonce));
        match source {
            Source::Own(_) => Ok(None),
            Source::Upstream => Ok(self.rewrite.start(nonce, headers)),
        }
    }

    /// Whether the upstream must be asked for an uncompressed answer (`Accept-Encoding: identity`),
    /// because its HTML is to get nonces.
    pub fn wants_identity(&self, route: &RouteHeaders) -> bool {
        match &route.csp {
            Csp::Upstream => false,
            Csp::Gate(policy) => policy.pieces.len() > 1 && self.rewrite.is_active(),
        }
    }
}

impl Policy {
    fn with(&self, nonce: &Nonce) -> HeaderValue {
        let length = self.pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let nonces = self.pieces.len().saturating_sub(1);
        let mut text = String::with_capacity(
            length.saturating_add(nonces.saturating_mul(nonce.as_str().len())),
        );
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                text.push_str(nonce.as_str());
            }
            text.push_str(piece);
        }
        // The pieces were checked when they were compiled, and a nonce is base64: the fallback is
        // never taken, and allows nothing inline.
        HeaderValue::try_from(text).unwrap_or_else(|_| self.plain.clone())
    }
}

#[cfg(test)]
mod tests;
