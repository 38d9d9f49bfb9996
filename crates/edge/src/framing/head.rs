//! One request head: where it ends, how long its body is, and whether it has only one reading.

use std::mem::MaybeUninit;

use crate::framing::{Limits, Malformed};
use crate::headers;

/// What a head says about what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Following {
    Length(u64),
    Chunked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// Not all of it is here yet.
    Partial,
    Complete {
        /// Bytes of the head, with its last empty line.
        len: usize,
        following: Following,
        /// It asks for a `WebSocket`: what follows depends on the answer.
        websocket: bool,
    },
}

const MOST_HEADERS: usize = 256;
const CRLF: &[u8] = b"\r\n";

/// Reads the head at the start of `bytes`.
pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Head, Malformed> {
    let mut space = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let slots = space
        .get_mut(..limits.headers.min(MOST_HEADERS))
        .unwrap_or_default();
    let mut request = httparse::Request::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_request_with_uninit_headers(&mut request, bytes, slots)
        .map_err(|error| match error {
            httparse::Error::HeaderName | httparse::Error::HeaderValue => Malformed::HeaderLine,
            httparse::Error::NewLine => Malformed::LineEnd,
            httparse::Error::Status | httparse::Error::Token => Malformed::RequestLine,
            httparse::Error::TooManyHeaders => Malformed::TooManyHeaders,
            httparse::Error::Version => Malformed::Version,
        })?;
    let httparse::Status::Complete(len) = parsed else {
        return partial(bytes, limits);
    };
    if len > limits.head {
        return Err(Malformed::HeadTooLarge);
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(Malformed::RequestLine);
    };
    check_line_ends(bytes, len, method, request.headers)?;
    let absolute = check_target(method, target, limits)?;
    let facts = Facts::gather(request.headers)?;
    facts.check(absolute, minor, method, len)
}

fn partial(bytes: &[u8], limits: &Limits) -> Result<Head, Malformed> {
    if bytes.len() >= limits.head {
        return Err(Malformed::HeadTooLarge);
    }
    // Room for a method and a version beside the target.
    let line = limits.uri.saturating_add(64);
    if bytes
        .get(..line)
        .is_some_and(|start| !start.contains(&b'\n'))
    {
        return Err(Malformed::TargetTooLong);
    }
    Ok(Head::Partial)
}

// SECURITY: httparse takes a bare LF for a line end; a server that does not would see other header
// lines than we do. RFC 9112 section 2.2. Every line but the first begins where a name begins, so
// looking behind each name finds every line end without another pass over the bytes.
fn check_line_ends(
    bytes: &[u8],
    len: usize,
    method: &str,
    lines: &[httparse::Header<'_>],
) -> Result<(), Malformed> {
    let base = bytes.as_ptr().addr();
    let offset = |text: &str| text.as_ptr().addr().wrapping_sub(base);
    let ends_with_crlf = |at: usize| bytes.get(..at).is_some_and(|before| before.ends_with(CRLF));
    // One empty line before the request line is tolerated, as RFC 9112 section 2.2 asks.
    let start = offset(method);
    let begins_well = start == 0 || (start == 2 && bytes.starts_with(CRLF));
    let ends_well = bytes
        .get(..len)
        .is_some_and(|head| head.ends_with(b"\r\n\r\n"));
    if begins_well && ends_well && lines.iter().all(|line| ends_with_crlf(offset(line.name))) {
        Ok(())
    } else {
        Err(Malformed::LineEnd)
    }
}

/// Checks method and target; gives the authority of an absolute-form target.
pub(super) fn check_target<'a>(
    method: &str,
    target: &'a str,
    limits: &Limits,
) -> Result<Option<&'a str>, Malformed> {
    match method {
        "CONNECT" => return Err(Malformed::Connect),
        "TRACE" | "TRACK" => return Err(Malformed::Trace),
        _ => {}
    }
    if target.len() > limits.uri {
        return Err(Malformed::TargetTooLong);
    }
    if !target.bytes().all(is_target_byte) {
        return Err(Malformed::Target);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(None);
    }
    let (scheme, rest) = target.split_once("://").ok_or(Malformed::Target)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Malformed::Target);
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    Ok(Some(authority))
}

/// What RFC 3986 allows in a path or query, and `|` `"` `{` `}` `\` `^` that browsers leave raw;
/// the path is judged more closely later. Never `#`, never controls, never bytes above ASCII.
pub(crate) const fn is_target_byte(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'#' | b'<' | b'>' | b'`')
}

/// Whether `host` is a registered name, an IPv4 address or a bracketed IPv6 address, and perhaps a
/// port. No credentials, no list, no escapes.
pub(crate) fn is_host(host: &[u8]) -> bool {
    let text = std::str::from_utf8(host).unwrap_or_default();
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else {
            return false;
        };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match after.strip_prefix(':') {
            Some(port) => ("v6", Some(port)),
            None if after.is_empty() => ("v6", None),
            None => return false,
        }
    } else {
        match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        }
    };
    let is_name = !name.is_empty()
        && name.len() <= 255
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    is_name
        && port.is_none_or(|port| {
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
        })
}

/// What the header lines say about framing.
#[derive(Default)]
struct Facts<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    content_type: Option<&'a [u8]>,
    chunked: bool,
    websocket: bool,
    upgrade: bool,
}

impl<'a> Facts<'a> {
    fn gather(lines: &[httparse::Header<'a>]) -> Result<Self, Malformed> {
        let mut facts = Facts::default();
        for line in lines {
            let name = line.name.as_bytes();
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => {
                    let before = facts.host.replace(line.value);
                    before.map_or(Ok(()), |_| Err(Malformed::Host))?;
                }
                6 if name.eq_ignore_ascii_case(b"expect") => {
                    let known = line.value.eq_ignore_ascii_case(b"100-continue");
                    known.then_some(()).ok_or(Malformed::Expectation)?;
                }
                7 if name.eq_ignore_ascii_case(b"upgrade") => {
                    facts.websocket = line.value.eq_ignore_ascii_case(b"websocket");
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    facts.upgrade |= line
                        .value
                        .split(|byte| *byte == b',')
                        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
                }
                // SECURITY: what looks at the body believes one of two, and the product may believe
                // the other (RFC 9110 section 5.3, CWE-436).
                12 if name.eq_ignore_ascii_case(b"content-type") => {
                    let before = facts.content_type.replace(line.value);
                    before.map_or(Ok(()), |_| Err(Malformed::ContentType))?;
                }
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    let length = parse_length(line.value).ok_or(Malformed::ContentLength)?;
                    if facts.length.replace(length).is_some() {
                        return Err(Malformed::ContentLength);
                    }
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    if facts.chunked || !line.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Malformed::TransferEncoding);
                    }
                    facts.chunked = true;
                }
                _ => {}
            }
            // SECURITY: behind CGI, WSGI or Rack `X_Forwarded_User` and `X-Forwarded-User` are one
            // variable, and so are `Content_Length` and `Content-Length`. CWE-290.
            if !headers::is_plain(name) && is_look_alike(name) {
                return Err(Malformed::LookAlike);
            }
        }
        Ok(facts)
    }

    fn check(
        &self,
        absolute: Option<&str>,
        minor: u8,
        method: &str,
        len: usize,
    ) -> Result<Head, Malformed> {
        let host = self.host.ok_or(Malformed::Host)?;
        if !is_host(host) {
            return Err(Malformed::Host);
        }
        if absolute.is_some_and(|authority| !authority.as_bytes().eq_ignore_ascii_case(host)) {
            return Err(Malformed::HostMismatch);
        }
        if self.chunked && self.length.is_some() {
            return Err(Malformed::AmbiguousLength);
        }
        if self.chunked && minor == 0 {
            return Err(Malformed::TransferEncoding);
        }
        let following = if self.chunked {
            Following::Chunked
        } else {
            Following::Length(self.length.unwrap_or(0))
        };
        let websocket = self.websocket
            && self.upgrade
            && minor == 1
            && method == "GET"
            && following == Following::Length(0);
        Ok(Head::Complete {
            len,
            following,
            websocket,
        })
    }
}

pub(crate) fn is_look_alike(name: &[u8]) -> bool {
    const FRAMING: [&str; 5] = [
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "content-type",
    ];
    let is = |wanted: &str| {
        wanted.len() == name.len()
            && name.iter().zip(wanted.bytes()).all(|(byte, wanted)| {
                if byte.is_ascii_alphanumeric() {
                    byte.eq_ignore_ascii_case(&wanted)
                } else {
                    wanted == b'-'
                }
            })
    };
    headers::is_reserved(name) || FRAMING.into_iter().any(is)
}

/// Digits alone, no leading zero, no sign, no list. RFC 9110 section 8.6.
fn parse_length(value: &[u8]) -> Option<u64> {
    let proper = match value {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.len() <= 17 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !proper {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}
