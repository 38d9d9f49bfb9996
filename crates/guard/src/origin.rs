//! Origins and authorities: who a request says it is for, and which page it says it comes from.
//!
//! 1. An `Origin` header is compared byte for byte with the serialised origins of the
//!    configuration (RFC 6454 section 6.2). Browsers send exactly that form, so every other
//!    spelling is a stranger: no prefix, suffix, case, port or scheme is forgiven.
//! 2. An authority is a host and an optional port; one trailing dot and the case do not count,
//!    user information is refused.
//!
//! Deployment: behind a proxy that ends TLS, the scheme given here must be the one that the
//! client used, as told by a trusted proxy.

use std::fmt;

use portcullis_core::Scheme;

/// A host and its port, borrowed from a request.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'a> {
    /// Without port and trailing dot, in the client's case; an IPv6 literal keeps its brackets.
    pub host: &'a str,
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Nothing where the text is no `host [":" port]` (RFC 3986 section 3.2.2).
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = if text.starts_with('[') {
            let end = text.find(']')?.checked_add(1)?;
            let (host, rest) = text.split_at_checked(end)?;
            let address = host.strip_prefix('[')?.strip_suffix(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':')?),
            };
            (host, port)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = match port {
            None => None,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
        };
        let host = if host.starts_with('[') {
            host
        } else {
            host.strip_suffix('.').unwrap_or(host)
        };
        let named = host.starts_with('[')
            || (host.len() <= 253
                && host.split('.').all(|label| {
                    !label.is_empty()
                        && label.len() <= 63
                        && label
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                }));
        named.then_some(Authority { host, port })
    }

    /// The port that is meant, written or not.
    pub fn port_or_default(self, scheme: Scheme) -> u16 {
        self.port.unwrap_or(scheme.default_port())
    }

    /// Whether both lead to the same place, for a client that uses `scheme`.
    pub fn is_same(self, other: Authority<'_>, scheme: Scheme) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port_or_default(scheme) == other.port_or_default(scheme)
    }
}

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Where this request was sent: what "same origin" means for it.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    pub scheme: Scheme,
    pub authority: Authority<'a>,
}

impl Own<'_> {
    /// Whether the value of an `Origin` header names this very place.
    pub fn is_origin(self, origin: &[u8]) -> bool {
        let Some(authority) = std::str::from_utf8(origin)
            .ok()
            .and_then(|text| text.strip_prefix(self.scheme.as_str()))
            .and_then(|rest| rest.strip_prefix("://"))
            .and_then(Authority::parse)
        else {
            return false;
        };
        authority.is_same(self.authority, self.scheme)
    }
}

/// A list of foreign origins, each in the one form that browsers send.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins(Box<[Box<str>]>);

#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not an origin: {why}")]
pub(crate) struct ParseOriginError {
    text: String,
    why: &'static str,
}

impl Origins {
    /// Every text that is no origin is given back with its place in the list.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, Vec<(usize, ParseOriginError)>> {
        let mut origins = Vec::with_capacity(texts.len());
        let mut faults = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match canonical(text) {
                Ok(origin) => origins.push(origin.into_boxed_str()),
                Err(why) => faults.push((
                    index,
                    ParseOriginError {
                        text: text.clone(),
                        why,
                    },
                )),
            }
        }
        if faults.is_empty() {
            Ok(Origins(origins.into_boxed_slice()))
        } else {
            Err(faults)
        }
    }

    pub(crate) fn contains(&self, origin: &[u8]) -> bool {
        self.0.iter().any(|known| known.as_bytes() == origin)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

/// Lower case, default port left out: as a browser would send it.
fn canonical(text: &str) -> Result<String, &'static str> {
    let lower = text.to_ascii_lowercase();
    let (scheme, rest) = match lower.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(_) => return Err("the scheme is neither http nor https"),
        None => return Err("there is no scheme"),
    };
    if rest.contains('*') {
        return Err("there are no wildcards: name each origin");
    }
    if rest.contains('/') {
        return Err("an origin has no path and no trailing slash");
    }
    if rest.contains('@') {
        return Err("an origin has no user information");
    }
    if rest.ends_with('.') || rest.contains(".:") {
        return Err("write the host without a trailing dot");
    }
    let authority = Authority::parse(rest)
        .ok_or("the host is not a name (international names in their `xn--` form) or address")?;
    match authority.port {
        Some(port) if port != scheme.default_port() => {
            Ok(format!("{}://{}:{port}", scheme.as_str(), authority.host))
        }
        Some(_) | None => Ok(format!("{}://{}", scheme.as_str(), authority.host)),
    }
}
