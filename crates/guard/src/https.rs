//! Plain HTTP on a production gate: a page is sent on to HTTPS, everything else is refused.
//!
//! 1. `GET` and `HEAD` get 301 to the same address under `https`.
//! 2. Every other method is refused: its body, and perhaps a credential, has already crossed the
//!    wire in the clear, and a redirect would hide that from whoever wrote the client.
//!
//! Deployment: only the scheme that a trusted proxy tells counts. Check the host first: the
//! redirect's target is built from it.

use http::{HeaderValue, Method, request::Parts};
use portcullis_core::{Problem, problem};

use crate::Own;
use portcullis_core::{Mode, Scheme};

/// What to do with a request, by how it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    /// Answer 301 with this `Location`.
    Redirect(HeaderValue),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request that is not a plain read came over http")]
pub struct Error;

impl From<Error> for Problem {
    fn from(_: Error) -> Self {
        Problem::new(&problem::HTTPS_REQUIRED)
    }
}

/// `https_port` is the port of the HTTPS listener as clients see it: 443 is left out.
pub fn check(head: &Parts, own: Own<'_>, mode: Mode, https_port: u16) -> Result<Outcome, Error> {
    match (own.scheme, mode) {
        (Scheme::Https, Mode::Production | Mode::Development)
        | (Scheme::Http, Mode::Development) => return Ok(Outcome::Pass),
        (Scheme::Http, Mode::Production) => {}
    }
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(Error);
    }
    let path = head
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let host = own.authority.host;
    let target = if https_port == Scheme::Https.default_port() {
        format!("https://{host}{path}")
    } else {
        format!("https://{host}:{https_port}{path}")
    };
    HeaderValue::try_from(target)
        .map(Outcome::Redirect)
        .map_err(|_| Error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    fn run(method: &str, target: &str, scheme: Scheme, mode: Mode) -> Result<Outcome, Error> {
        let (head, ()) = http::Request::builder()
            .method(method)
            .uri(target)
            .body(())
            .unwrap()
            .into_parts();
        let authority = Authority::parse("app.example.com:8080").unwrap();
        check(&head, Own { scheme, authority }, mode, 443)
    }

    #[test]
    fn a_plain_read_is_sent_on_with_its_query_and_without_the_plain_port() {
        for method in ["GET", "HEAD"] {
            let outcome = run(method, "/a/b?c=d", Scheme::Http, Mode::Production).unwrap();
            let target = HeaderValue::from_static("https://app.example.com/a/b?c=d");
            assert_eq!(outcome, Outcome::Redirect(target));
        }
    }

    #[test]
    fn every_other_plain_method_is_refused() {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"] {
            assert_eq!(
                run(method, "/", Scheme::Http, Mode::Production),
                Err(Error),
                "{method}"
            );
        }
    }

    #[test]
    fn https_and_development_pass() {
        for (scheme, mode) in [
            (Scheme::Https, Mode::Production),
            (Scheme::Https, Mode::Development),
            (Scheme::Http, Mode::Development),
        ] {
            assert_eq!(run("POST", "/", scheme, mode), Ok(Outcome::Pass));
        }
    }

    #[test]
    fn a_redirect_names_the_port_of_the_https_listener_when_it_is_not_443() {
        let (head, ()) = http::Request::get("/x").body(()).unwrap().into_parts();
        let own = Own {
            scheme: Scheme::Http,
            authority: Authority::parse("[::1]:80").unwrap(),
        };
        let target = HeaderValue::from_static("https://[::1]:8443/x");
        assert_eq!(
            check(&head, own, Mode::Production, 8443),
            Ok(Outcome::Redirect(target))
        );
    }
}
