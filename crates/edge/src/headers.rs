//! Header hygiene: what crosses the gate, and what never does.
//!
//! - Hop-by-hop headers and whatever `Connection` names end here (RFC 9110 section 7.6.1); but
//!   `Connection` cannot name away framing, `Host` or the gate's own headers.
//! - Every header by which a client could claim to be somebody or somewhere is removed, compared
//!   as CGI does (`X_Forwarded_User` is `X-Forwarded-User` behind WSGI, Rack and PHP). CWE-290.
//! - Names with anything but letters, digits and `-` are dropped: products disagree on them.
//! - No `Via`: it would tell clients and products about the gate and nobody here reads it; loops
//!   are ended by the head limit, because `X-Forwarded-For` is replaced, not appended to.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use portcullis_core::address_text::AddressText;
use portcullis_core::header_names::NameList;

use crate::client_addr::{ClientAddr, Scheme};

/// Headers of one connection. `te` and `trailer` too: trailers are not forwarded.
static HOP_BY_HOP: LazyLock<NameList> = LazyLock::new(|| {
    NameList::new([
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
    ])
});

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Exact names that only the gate may set towards a product, in canonical spelling, sorted.
/// `x-http-method-override` and its kin are here because the decision was made on the method in
/// the request line: a product that follows the header would do another thing than was permitted.
const RESERVED: &[&str] = &[
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "proxy",
    "proxy-connection",
    "remote-addr",
    "remote-email",
    "remote-groups",
    "remote-name",
    "remote-user",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-email",
    "x-groups",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-middleware-next",
    "x-middleware-prefetch",
    "x-middleware-rewrite",
    "x-middleware-subrequest",
    "x-nextjs-data-internal",
    "x-org-id",
    "x-organization-id",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-proxy-user",
    "x-real-ip",
    "x-request-id",
    "x-rewrite-url",
    "x-role",
    "x-roles",
    "x-scope-orgid",
    "x-tenant",
    "x-tenant-id",
    "x-waws-unencoded-url",
];

/// Beginnings of such names, sorted.
const RESERVED_PREFIXES: &[&str] = &[
    "cf-access-",
    "oidc-",
    "ssl-client-",
    "tailscale-user-",
    "x-amzn-oidc-",
    "x-anonymous-consumer",
    "x-apigateway-api-userinfo",
    "x-appengine-",
    "x-auth-email",
    "x-auth-group",
    "x-auth-name",
    "x-auth-request-",
    "x-auth-role",
    "x-auth-user",
    "x-authenticated-",
    "x-client-cert",
    "x-client-dn",
    "x-client-verify",
    "x-consumer-",
    "x-credential-",
    "x-endpoint-api-userinfo",
    "x-forwarded-",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-ms-token-",
    "x-portcullis-",
    "x-remote-",
    "x-ssl-client-",
    "x-token-",
    "x-user",
    "x-vouch-",
    "x-webauth-",
];

/// What the gate tells a product about a request.
#[derive(Debug, Clone, Copy)]
pub struct Forwarded<'a> {
    pub client: ClientAddr,
    pub scheme: Scheme,
    /// Value of `X-Request-Id`.
    pub request_id: &'a str,
    /// Also set `X-Forwarded-Host`. Off unless asked for: products build links from it.
    pub host: bool,
}

/// Whether `name` (any case, any separator) is one that only the gate may set.
pub fn is_reserved(name: &[u8]) -> bool {
    // What begins otherwise cannot be reserved.
    match name.first().map(u8::to_ascii_lowercase) {
        Some(b'x' | b'f' | b'r' | b'c' | b't' | b'p' | b'o' | b's') => {}
        _ => return false,
    }
    let mut space = [0; LONGEST_RESERVED + 1];
    let length = name.len().min(space.len());
    for (place, byte) in space.iter_mut().zip(name) {
        *place = normalised(*byte);
    }
    let name = space.get(..length).unwrap_or_default();
    // Both lists are sorted, and no prefix begins another: if any is one of this name, it is the
    // last that is not behind it.
    let by_name = |listed: &&str| listed.as_bytes().cmp(name);
    RESERVED.binary_search_by(by_name).is_ok()
        || match RESERVED_PREFIXES.binary_search_by(by_name) {
            Ok(_) => true,
            Err(behind) => behind
                .checked_sub(1)
                .and_then(|last| RESERVED_PREFIXES.get(last))
                .is_some_and(|prefix| name.starts_with(prefix.as_bytes())),
        }
}

/// Characters of the longest name or prefix below; a longer name can only have one of the prefixes.
const LONGEST_RESERVED: usize = 26;

/// As CGI compares names: in one case, and everything but letters and digits the same.
const fn normalised(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte.to_ascii_lowercase()
    } else {
        b'-'
    }
}

/// Whether `name` has only letters, digits and `-`.
pub fn is_plain(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| PLAIN.get(usize::from(*byte)).is_some_and(|plain| *plain);
    name.iter().all(is_plain)
}

/// Letters, digits and `-`, by their byte. Every name of every request is looked through.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if let Some((_, rest)) = plain.split_at_mut_checked(byte as usize)
            && let Some(place) = rest.first_mut()
        {
            *place = byte.is_ascii_alphanumeric() || byte == b'-';
        }
        byte += 1;
    }
    plain
};

/// Makes a client's headers fit for a product: hop-by-hop, reserved and odd names go, the gate's
/// own forwarding headers come. Call before adding assertions or identity headers.
pub fn clean_request(headers: &mut HeaderMap, told: &Forwarded<'_>) {
    remove_hop_by_hop(headers);
    let unwanted: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let bytes = name.as_str().as_bytes();
            is_reserved(bytes) || !is_plain(bytes)
        })
        .cloned()
        .collect();
    for name in unwanted {
        headers.remove(name);
    }
    let client = AddressText::of(told.client.ip());
    if let Ok(value) = HeaderValue::from_bytes(client.as_bytes()) {
        headers.insert(X_FORWARDED_FOR, value);
    }
    headers.insert(
        X_FORWARDED_PROTO,
        HeaderValue::from_static(told.scheme.as_str()),
    );
    if told.host
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if let Ok(value) = HeaderValue::from_str(told.request_id) {
        headers.insert(X_REQUEST_ID, value);
    }
}

/// Removes the headers of one connection, and those that `Connection` names.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| !is_kept_from_connection(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    HOP_BY_HOP.remove_from(headers);
}

// SECURITY: a client that writes `Connection: host` or `Connection: x-portcullis-assertion` must
// not be able to take away what a product decides by. CWE-444, "hop-by-hop header abuse".
fn is_kept_from_connection(name: &HeaderName) -> bool {
    *name == header::HOST
        || *name == header::CONTENT_LENGTH
        || *name == header::COOKIE
        || *name == header::AUTHORIZATION
        || *name == header::ORIGIN
        || is_reserved(name.as_str().as_bytes())
}

/// Makes a product's response headers fit for the client: hop-by-hop and framing go (the server
/// side writes its own framing for the body that is really sent), and so do `X-Portcullis-*`.
pub fn clean_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-portcullis-"))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Removes the cookies that `is_ours` names from `Cookie` and leaves the others as they are.
pub fn remove_cookies(headers: &mut HeaderMap, is_ours: impl Fn(&[u8]) -> bool) {
    let mut any = false;
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in headers.get_all(header::COOKIE) {
        let mut kept = Vec::with_capacity(line.len());
        for pair in line.as_bytes().split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            if is_ours(trimmed_name(pair)) {
                any = true;
            } else if !pair.is_empty() {
                if !kept.is_empty() {
                    kept.extend_from_slice(b"; ");
                }
                kept.extend_from_slice(pair);
            }
        }
        lines.push(kept);
    }
    if !any {
        return;
    }
    headers.remove(header::COOKIE);
    for line in lines {
        if let Some(mut value) = (!line.is_empty())
            .then(|| HeaderValue::from_maybe_shared(Bytes::from(line)).ok())
            .flatten()
        {
            value.set_sensitive(true);
            headers.append(header::COOKIE, value);
        }
    }
}

fn trimmed_name(pair: &[u8]) -> &[u8] {
    pair.split(|byte| *byte == b'=')
        .next()
        .unwrap_or_default()
        .trim_ascii()
}

#[cfg(test)]
mod tests;
