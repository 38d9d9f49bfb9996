//! HTTP/1 framing, followed by ourselves in front of hyper.
//!
//! Request smuggling lives where two servers disagree on where a message ends. [`StrictIo`] reads
//! the same bytes as hyper does, refuses every message whose end could be read in two ways, and
//! holds a head back until it is complete and good. RFC 9112 sections 2.2, 3.2, 5.1, 6 and 7.1;
//! CWE-444.

mod chunked;
mod head;
mod strict_io;

#[cfg(test)]
mod tests;

use portcullis_core::{Problem, problem};

pub(crate) use head::{is_host, is_look_alike, is_target_byte};
pub(crate) use strict_io::{Gate, Patience, StrictIo};

/// What is counted and measured in a request head.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes.
    pub head: usize,
    /// Header lines, at most 256.
    pub headers: usize,
    /// Bytes of the request target.
    pub uri: usize,
}

/// What is demanded of a request line, for a method and a target that a proxy tells of in headers.
/// The target must be in origin form: `/path?query`.
pub fn check_request_line(method: &str, target: &str) -> Result<(), Malformed> {
    let unlimited = Limits {
        head: usize::MAX,
        headers: usize::MAX,
        uri: usize::MAX,
    };
    head::check_target(method, target, &unlimited)?;
    if target.starts_with('/') {
        Ok(())
    } else {
        Err(Malformed::Target)
    }
}

/// Where each message in `bytes` ends, by the rules of this gate alone, without socket and hyper:
/// for the fuzz targets. Stops in front of a message that is not whole, or whose body is
/// malformed.
pub fn ends(bytes: &[u8], limits: &Limits) -> Result<Vec<usize>, Malformed> {
    let mut ends = Vec::new();
    let mut at = 0_usize;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let head::Head::Complete { len, following, .. } = head::parse(rest, limits)? else {
            break;
        };
        let body = rest.get(len..).unwrap_or_default();
        let taken = match following {
            head::Following::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
            head::Following::Chunked => match chunked::Chunked::new().advance(body) {
                chunked::Progress::Done(count) => count,
                chunked::Progress::More | chunked::Progress::Wrong(_) => break,
            },
        };
        if taken > body.len() {
            break;
        }
        at = at.saturating_add(len).saturating_add(taken);
        ends.push(at);
    }
    Ok(ends)
}

/// Why a request is not a proper one. The display text is written for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the request line is malformed")]
    RequestLine,
    #[error("only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here")]
    Version,
    #[error("the request target is malformed")]
    Target,
    #[error("the request target is too long")]
    TargetTooLong,
    #[error("CONNECT is not spoken here")]
    Connect,
    #[error("TRACE is not answered here")]
    Trace,
    #[error("a header line is malformed")]
    HeaderLine,
    #[error("a line does not end in CRLF")]
    LineEnd,
    #[error("a header name imitates one that only the gate may set")]
    LookAlike,
    #[error("the request head is too large")]
    HeadTooLarge,
    #[error("there are too many headers")]
    TooManyHeaders,
    #[error("there must be exactly one proper `Host`")]
    Host,
    #[error("`Host` and the request target name different hosts")]
    HostMismatch,
    #[error("there must be at most one `Content-Length`, of plain digits")]
    ContentLength,
    #[error("`Transfer-Encoding` must be `chunked` alone, on HTTP/1.1")]
    TransferEncoding,
    #[error("there are both a `Content-Length` and a `Transfer-Encoding`")]
    AmbiguousLength,
    #[error("there must be at most one `Content-Type`")]
    ContentType,
    #[error("nothing but `100-continue` can be expected")]
    Expectation,
    #[error("a header of one connection has no place in HTTP/2")]
    ConnectionHeader,
    #[error("the request head did not arrive in time")]
    HeadTimeout,
}

impl From<Malformed> for Problem {
    fn from(reason: Malformed) -> Self {
        let kind = match reason {
            Malformed::TargetTooLong => &problem::URI_TOO_LONG,
            Malformed::Connect => &problem::METHOD_NOT_SUPPORTED,
            Malformed::Trace => &problem::METHOD_NOT_ALLOWED,
            Malformed::HeadTooLarge | Malformed::TooManyHeaders => &problem::HEADER_TOO_LARGE,
            Malformed::HeadTimeout => &problem::REQUEST_TIMEOUT,
            Malformed::RequestLine
            | Malformed::Version
            | Malformed::Target
            | Malformed::HeaderLine
            | Malformed::LineEnd
            | Malformed::LookAlike
            | Malformed::Host
            | Malformed::HostMismatch
            | Malformed::ContentLength
            | Malformed::TransferEncoding
            | Malformed::AmbiguousLength
            | Malformed::ContentType
            | Malformed::Expectation
            | Malformed::ConnectionHeader => &problem::MALFORMED_REQUEST,
        };
        let problem = Problem::new(kind).detail(reason.to_string());
        if reason == Malformed::Trace {
            // RFC 9110 section 15.5.6: a 405 bears `Allow`.
            return problem.allowing(&[
                http::Method::GET,
                http::Method::HEAD,
                http::Method::POST,
                http::Method::PUT,
                http::Method::PATCH,
                http::Method::DELETE,
                http::Method::OPTIONS,
            ]);
        }
        problem
    }
}
