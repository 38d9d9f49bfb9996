//! The only way out that is not to an upstream: what the gate asks of others (keys and tokens of
//! issuers) by a URL.
//!
//! SECURITY: a URL is an order to connect somewhere, and some of them come from documents that
//! others wrote. So that none of them reaches what only the gate can reach (SSRF, CWE-918):
//!
//! - The name is resolved first, every address of the answer is judged, and the connection is made
//!   to an address that was judged: a name that resolves to something else a moment later, or
//!   counts in octal, gains nothing.
//! - Only addresses of the public internet will do. [`Reach::Loopback`] is for a development
//!   machine: loopback, and only loopback, in plain text. What an operator wrote down themselves
//!   ([`Reach::Configured`]) may be of their own network; no document of others gets that far.
//! - `https` only, with the operating system's roots, by name. No redirects: a 302 is an answer
//!   that is not 200. No proxy from the environment, no cookies, no decompression.
//! - One deadline for everything, and a limit for the body, which count while it arrives.
//!
//! This is not reqwest behind a resolver of our own, because there an address that is written into
//! the URL never meets the resolver.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::tls;
use crate::transport::Transport;

/// How long one exchange may take, from resolving the name to the last byte.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Longest answer that is read.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// Where a call may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The public internet, by `https`.
    Public,
    /// This machine, also by `http`: in development.
    Loopback,
    /// Wherever an operator's own configuration says, by `https`; on this machine also by `http`.
    /// Never for a URL that came from elsewhere.
    Configured,
    /// The same, and by `http` on networks that the public internet does not reach. For what bears no
    /// credentials, at an address that an operator wrote down.
    Near,
    /// Where a cloud hands its credentials to the programs in a container: this machine, and the
    /// link-local addresses that are documented for it, by `http`.
    Container,
}

/// Amazon ECS, and EKS Pod Identity.
const CONTAINER_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
];
const CONTAINER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{0}` is not an https URL with a host and nothing else that could mislead")]
    Url(String),
    #[error("{0} resolves to no address that may be called")]
    Address(String),
    #[error("{host} cannot be reached")]
    Connect { host: String, source: io::Error },
    #[error("{0} broke off")]
    Broken(String, #[source] hyper::Error),
    #[error("{0} did not answer within {1:?}")]
    Slow(String, Duration),
    #[error("{0} answered with more than {MAX_ANSWER} bytes")]
    TooLong(String),
    #[error("there are no certificate authorities to believe")]
    Roots,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// A checked URL.
#[derive(Debug, Clone)]
pub struct Target {
    uri: Uri,
    host: String,
    port: u16,
    https: bool,
    reach: Reach,
}

impl Target {
    /// A URL that may be called, where its host resolves to what `reach` permits.
    pub fn parse(url: &str, reach: Reach) -> Result<Target, Error> {
        let refuse = || Error::Url(url.chars().take(200).collect());
        let uri: Uri = url.parse().map_err(|_| refuse())?;
        let https = match (uri.scheme(), reach) {
            (Some(scheme), _) if *scheme == Scheme::HTTPS => true,
            (
                Some(scheme),
                Reach::Loopback | Reach::Configured | Reach::Near | Reach::Container,
            ) if *scheme == Scheme::HTTP => false,
            (
                Some(_) | None,
                Reach::Public
                | Reach::Loopback
                | Reach::Configured
                | Reach::Near
                | Reach::Container,
            ) => return Err(refuse()),
        };
        let authority = uri.authority().ok_or_else(refuse)?;
        // SECURITY: `https://trusted.example@evil.example/` is a URL of the second host.
        if authority.as_str().contains('@') || url.contains('#') {
            return Err(refuse());
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() {
            return Err(refuse());
        }
        let port = match (authority.port(), authority.port_u16()) {
            (Some(_), None | Some(0)) => return Err(refuse()),
            (_, Some(port)) => port,
            // What stands where a port would, and is none, is not there for the library.
            (None, None) if authority.as_str() != authority.host() => return Err(refuse()),
            (None, None) if https => 443,
            (None, None) => 80,
        };
        Ok(Target {
            uri,
            host,
            port,
            https,
            reach,
        })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub const fn is_https(&self) -> bool {
        self.https
    }

    /// The whole URL, as it is called.
    pub fn url(&self) -> String {
        self.uri.to_string()
    }
}

/// Whether a host, without brackets, is this machine: by its name for itself, or a loopback address.
pub fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Whether an address may be called.
fn may_call(address: IpAddr, reach: Reach, https: bool) -> bool {
    let address = address.to_canonical();
    match reach {
        Reach::Loopback => address.is_loopback(),
        // SECURITY: credentials go there, which nobody on the way may read.
        Reach::Configured => https || address.is_loopback(),
        Reach::Near => https || address.is_loopback() || is_private(address),
        Reach::Container => {
            address.is_loopback()
                || match address {
                    IpAddr::V4(address) => CONTAINER_V4.contains(&address),
                    IpAddr::V6(address) => address == CONTAINER_V6,
                }
        }
        Reach::Public => match address {
            IpAddr::V4(address) => is_public_v4(address),
            IpAddr::V6(address) => is_public_v6(address),
        },
    }
}

/// A network of somebody's own (RFC 1918, RFC 6598, RFC 4193), and no place where a cloud tells secrets.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            address.is_private() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(address) => {
            let [first, second, ..] = address.segments();
            first & 0xfe00 == 0xfc00 && (first, second) != (0xfd00, 0x0ec2)
        }
    }
}

/// Not one of the special-purpose networks (RFC 6890, IANA's registry).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a == 10
        || a == 127
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 169 && b == 254)
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113))
}

/// Global unicast, and none of the ways in which an IPv6 address stands for an IPv4 one.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let is_global = first & 0xe000 == 0x2000;
    // Teredo and the other protocol assignments, documentation, 6to4.
    let is_special = (first == 0x2001 && (second < 0x0200 || second == 0x0db8))
        || first == 0x2002
        || first == 0x3fff;
    is_global && !is_special
}

/// The client. Cheap to clone; each call makes a connection of its own, for calls are rare.
#[derive(Clone)]
pub struct Outbound {
    deadline: Duration,
    /// The certificate authorities that are believed in place of the system's.
    ca: Option<PathBuf>,
    /// Made at the first call that needs it: reading the system's roots takes a while.
    tls: Arc<OnceLock<Option<Arc<ClientConfig>>>>,
}

impl Default for Outbound {
    fn default() -> Self {
        Outbound {
            deadline: DEADLINE,
            ca: None,
            tls: Arc::default(),
        }
    }
}

impl Outbound {
    /// One that waits for `deadline`, and believes the authorities in the file `ca` alone where
    /// there is one.
    pub fn new(deadline: Duration, ca: Option<PathBuf>) -> Self {
        Outbound {
            deadline,
            ca,
            tls: Arc::default(),
        }
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, Error> {
        self.tls
            .get_or_init(|| tls::client_config(self.ca.as_deref(), false, "outbound").ok())
            .clone()
            .ok_or(Error::Roots)
    }

    pub async fn get(&self, target: &Target) -> Result<Answer, Error> {
        self.call(target, HeaderMap::new(), Sent::Nothing).await
    }

    /// The same, with these headers.
    pub async fn get_with(&self, target: &Target, headers: HeaderMap) -> Result<Answer, Error> {
        self.call(target, headers, Sent::Nothing).await
    }

    /// The same, with credentials where there are some.
    pub async fn get_as(
        &self,
        target: &Target,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, Error> {
        self.call(target, authorized(authorization), Sent::Nothing)
            .await
    }

    /// A form, with the credentials of HTTP Basic where there are some.
    pub async fn post_form(
        &self,
        target: &Target,
        authorization: Option<HeaderValue>,
        form: String,
    ) -> Result<Answer, Error> {
        let sent = Sent::Post("application/x-www-form-urlencoded", form.into());
        self.call(target, authorized(authorization), sent).await
    }

    /// A body of any kind.
    pub async fn post(
        &self,
        target: &Target,
        kind: &'static str,
        body: Bytes,
    ) -> Result<Answer, Error> {
        self.call(target, HeaderMap::new(), Sent::Post(kind, body))
            .await
    }

    /// The same, with these headers.
    pub async fn post_with(
        &self,
        target: &Target,
        headers: HeaderMap,
        kind: &'static str,
        body: Bytes,
    ) -> Result<Answer, Error> {
        self.call(target, headers, Sent::Post(kind, body)).await
    }

    /// A body of any kind that is to be what stands at `target`.
    pub async fn put_with(
        &self,
        target: &Target,
        headers: HeaderMap,
        kind: &'static str,
        body: Bytes,
    ) -> Result<Answer, Error> {
        self.call(target, headers, Sent::Put(kind, body)).await
    }

    async fn call(&self, target: &Target, headers: HeaderMap, sent: Sent) -> Result<Answer, Error> {
        let exchange = self.exchange(target, headers, sent);
        timeout(self.deadline, exchange)
            .await
            .map_err(|_| Error::Slow(target.host.clone(), self.deadline))?
    }

    async fn exchange(
        &self,
        target: &Target,
        headers: HeaderMap,
        sent: Sent,
    ) -> Result<Answer, Error> {
        let broken = |error| Error::Broken(target.host.clone(), error);
        let stream = self.connect(target).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let talking = tokio::spawn(connection);
        let answer = async {
            let request = request(target, &headers, sent)?;
            let (head, mut body) = sender
                .send_request(request)
                .await
                .map_err(broken)?
                .into_parts();
            let mut whole = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(broken)?;
                if let Ok(data) = frame.into_data() {
                    if whole.len().saturating_add(data.len()) > MAX_ANSWER {
                        return Err(Error::TooLong(target.host.clone()));
                    }
                    whole.extend_from_slice(&data);
                }
            }
            Ok(Answer {
                status: head.status,
                body: whole.freeze(),
            })
        };
        let answer = answer.await;
        talking.abort();
        answer
    }

    async fn connect(&self, target: &Target) -> Result<Transport, Error> {
        let failed = |source| Error::Connect {
            host: target.host.clone(),
            source,
        };
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((target.host.as_str(), target.port))
                .await
                .map_err(failed)?
                .filter(|address| may_call(address.ip(), target.reach, target.https))
                .collect();
        if addresses.is_empty() {
            return Err(Error::Address(target.host.clone()));
        }
        // The address that was judged, not the name again.
        let tcp = TcpStream::connect(addresses.as_slice())
            .await
            .map_err(failed)?;
        if !target.https {
            return Ok(Transport::Plain(tcp));
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|error| failed(io::Error::other(error)))?;
        let tls = TlsConnector::from(self.tls()?)
            .connect(name, tcp)
            .await
            .map_err(failed)?;
        Ok(Transport::Tls(Box::new(TlsStream::Client(tls))))
    }
}

/// What a call brings along.
enum Sent {
    Nothing,
    /// A type and a body.
    Post(&'static str, Bytes),
    Put(&'static str, Bytes),
}

fn authorized(authorization: Option<HeaderValue>) -> HeaderMap {
    let with_name = authorization.map(|value| (header::AUTHORIZATION, value));
    with_name.into_iter().collect()
}

fn request(
    target: &Target,
    headers: &HeaderMap,
    sent: Sent,
) -> Result<Request<Full<Bytes>>, Error> {
    let refuse = || Error::Url(target.host.clone());
    let path = target
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let authority = target.uri.authority().ok_or_else(refuse)?;
    let (method, kind, body) = match sent {
        Sent::Nothing => (Method::GET, None, Bytes::new()),
        Sent::Post(kind, body) => (Method::POST, Some(kind), body),
        Sent::Put(kind, body) => (Method::PUT, Some(kind), body),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, authority.as_str())
        .header(header::ACCEPT, "application/json")
        .header(
            header::USER_AGENT,
            concat!("portcullis/", env!("CARGO_PKG_VERSION")),
        );
    if let Some(kind) = kind {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    for (name, value) in headers {
        let mut value = value.clone();
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    request.body(Full::new(body)).map_err(|_| refuse())
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbound")
    }
}

#[cfg(test)]
mod tests;
