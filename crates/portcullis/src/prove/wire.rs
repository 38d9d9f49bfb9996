//! How probes speak: HTTP over a socket, from an address of their own each time.
//!
//! Limits count by address, and a probe must neither spend what belongs to real clients nor be refused for what
//! another probe spent. On this machine there are addresses enough: 127.0.0.0/8, or what a trusted proxy may
//! claim. Where there is no choice (a gate on a network address), the probe's own one is all it has.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// No answer within this time is no answer.
const PATIENCE: Duration = Duration::from_secs(15);
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;
/// What probes call themselves, where a browser is not what they play.
pub(crate) const AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
/// Another kind of client.
pub(crate) const OTHER_AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Who a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct From(Option<Ipv4Addr>);

/// How addresses of one's own are had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// By binding to one of 127.0.0.0/8.
    Loopback,
    /// By `X-Forwarded-For`: the gate trusts whoever connects from here.
    Claimed,
    /// There is but one.
    One,
}

/// A gate to speak to.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The value of `Host`.
    pub(crate) host: String,
    /// As browsers write it, `https://app.corp.test`.
    pub(crate) origin: String,
    pub(crate) addresses: Addresses,
    tls: Option<(TlsConnector, rustls::pki_types::ServerName<'static>)>,
    next: Arc<AtomicU32>,
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The slug of the problem, or nothing where the answer is none.
    pub(crate) fn problem(&self) -> String {
        let json = self.json();
        let slug = json.get("type").and_then(Value::as_str).unwrap_or_default();
        slug.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// Status and slug, for people.
    pub(crate) fn said(&self) -> String {
        match self.problem() {
            slug if slug.is_empty() => self.status.to_string(),
            slug => format!("{} {slug}", self.status),
        }
    }

    /// Whether the request went through.
    pub(crate) fn passed(&self) -> bool {
        (200..400).contains(&self.status) && !self.leads_to_sign_in()
    }

    /// Whether a browser is sent to sign in.
    pub(crate) fn leads_to_sign_in(&self) -> bool {
        (300..400).contains(&self.status)
            && self
                .header("location")
                .is_some_and(|to| to.contains("sign-in") || to.contains("second-factor"))
    }

    /// The `Set-Cookie` line of this cookie.
    pub(crate) fn set_cookie(&self, name: &str) -> Option<String> {
        let lines = self.headers.get_all(header::SET_COOKIE);
        lines
            .iter()
            .filter_map(|line| line.to_str().ok())
            .find(|line| line.split('=').next() == Some(name))
            .map(str::to_owned)
    }
}

/// A request being put together.
#[must_use]
pub(crate) struct Ask<'t> {
    target: &'t Target,
    request: http::request::Builder,
    from: From,
    scheme: &'static str,
    body: Bytes,
    jar: Option<Jar>,
}

type Jar = Arc<Mutex<BTreeMap<String, String>>>;

impl Target {
    pub(crate) fn new(
        address: SocketAddr,
        host: String,
        origin: String,
        addresses: Addresses,
    ) -> Self {
        // Two runs at once start in different places.
        let seed = portcullis_vault::tokens::random::<4>().map_or(1, u32::from_be_bytes);
        Target {
            address,
            host,
            origin,
            addresses,
            tls: None,
            next: Arc::new(AtomicU32::new(seed)),
        }
    }

    pub(crate) fn over_tls(
        mut self,
        config: Arc<rustls::ClientConfig>,
        name: rustls::pki_types::ServerName<'static>,
    ) -> Self {
        self.tls = Some((TlsConnector::from(config), name));
        self
    }

    /// An address that nobody else has, where there is a choice.
    pub(crate) fn fresh(&self) -> From {
        let number = self
            .next
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(2_654_435_761);
        let [a, b, c, _] = number.to_be_bytes();
        match self.addresses {
            // Not 127.0.x.x: that is where everybody else on this machine comes from.
            Addresses::Loopback => From(Some(Ipv4Addr::new(127, a % 250 + 2, b, c % 250 + 2))),
            // For benchmarks and tests (RFC 2544): nobody's.
            Addresses::Claimed => From(Some(Ipv4Addr::new(198, 18 + (a & 1), b, c))),
            Addresses::One => From(None),
        }
    }

    pub(crate) fn has_addresses(&self) -> bool {
        self.addresses != Addresses::One
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
        Ask {
            target: self,
            request: Request::builder().method(method).uri(path),
            from: self.fresh(),
            scheme: if self.origin.starts_with("https") {
                "https"
            } else {
                "http"
            },
            body: Bytes::new(),
            jar: None,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Ask<'_> {
        self.ask("GET", path)
    }

    async fn connect(&self, from: From) -> anyhow::Result<Box<dyn Stream>> {
        let socket = match self.address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let (Addresses::Loopback, From(Some(ip))) = (self.addresses, from) {
            socket.bind(SocketAddr::new(IpAddr::V4(ip), 0))?;
        }
        let stream: TcpStream = tokio::time::timeout(PATIENCE, socket.connect(self.address))
            .await
            .context("no connection in time")?
            .with_context(|| format!("{} cannot be reached", self.address))?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), stream).await?)),
        }
    }

    /// Sends these very bytes, and gives what came back until the other side closed or was silent.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut stream = self.connect(self.fresh()).await?;
        // The other side may refuse while we still write.
        let _refused = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match tokio::time::timeout(Duration::from_secs(2), stream.read(&mut chunk)).await {
                Ok(Ok(count)) if count > 0 => {
                    answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
                    if answer.len() > LONGEST_ANSWER {
                        return Ok(answer);
                    }
                }
                Ok(Ok(_) | Err(_)) | Err(_) => return Ok(answer),
            }
        }
    }
}

impl Ask<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn from(mut self, from: From) -> Self {
        self.from = from;
        self
    }

    /// As it would be over plain HTTP before a proxy that does TLS.
    pub(crate) fn in_plain(mut self) -> Self {
        self.scheme = "http";
        self
    }

    pub(crate) fn body(mut self, kind: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", kind)
    }

    pub(crate) fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    pub(crate) async fn send(self) -> anyhow::Result<Reply> {
        let Ask {
            target,
            mut request,
            from,
            scheme,
            body,
            jar,
        } = self;
        let headers = request.headers_ref();
        if !headers.is_some_and(|headers| headers.contains_key(header::HOST)) {
            request = request.header(header::HOST, &target.host);
        }
        let headers = request.headers_ref();
        if !headers.is_some_and(|headers| headers.contains_key(header::USER_AGENT)) {
            request = request.header(header::USER_AGENT, AGENT);
        }
        if let (Addresses::Claimed, From(Some(ip))) = (target.addresses, from) {
            request = request
                .header("x-forwarded-for", ip.to_string())
                .header("x-forwarded-proto", scheme);
        }
        let request = request.body(Full::new(body))?;
        let what = format!("{} {}", request.method(), request.uri().path());
        let exchange = async {
            let stream = target.connect(from).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let driving = tokio::spawn(connection);
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, LONGEST_ANSWER).collect().await;
            driving.abort();
            let body = body.map_err(|error| anyhow!("{error}"))?.to_bytes();
            anyhow::Ok((head, body))
        };
        let (head, body) = tokio::time::timeout(PATIENCE, exchange)
            .await
            .with_context(|| format!("{what}: no answer in time"))?
            .with_context(|| format!("{what}: no answer"))?;
        let reply = Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        };
        if let Some(jar) = jar {
            keep_cookies(&jar, &reply);
        }
        Ok(reply)
    }
}

fn keep_cookies(jar: &Jar, reply: &Reply) {
    let mut jar = jar.lock().unwrap_or_else(PoisonError::into_inner);
    for line in reply.headers.get_all(header::SET_COOKIE) {
        let pair = line.to_str().unwrap_or_default().split(';').next();
        let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) else {
            continue;
        };
        if value.is_empty() {
            jar.remove(name);
        } else {
            jar.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// A browser in which somebody has signed in.
#[derive(Clone)]
pub(crate) struct Browser {
    target: Target,
    jar: Jar,
    /// The token that changes must bear.
    pub(crate) csrf: String,
    csrf_header: String,
    agent: &'static str,
}

impl Browser {
    pub(crate) fn new(target: &Target, csrf_header: &str) -> Self {
        Browser {
            target: target.clone(),
            jar: Jar::default(),
            csrf: String::new(),
            csrf_header: csrf_header.to_owned(),
            agent: AGENT,
        }
    }

    /// The same cookies in a browser of another kind.
    pub(crate) fn copied_to(&self, agent: &'static str, cookies: &[&str]) -> Self {
        let known = self.cookies();
        let taken = known
            .into_iter()
            .filter(|(name, _)| cookies.contains(&name.as_str()))
            .collect();
        Browser {
            jar: Arc::new(Mutex::new(taken)),
            agent,
            ..self.clone()
        }
    }

    pub(crate) fn cookies(&self) -> BTreeMap<String, String> {
        self.jar
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.cookies().remove(name)
    }

    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        let mut jar = self.jar.lock().unwrap_or_else(PoisonError::into_inner);
        jar.insert(name.to_owned(), value.to_owned());
    }

    /// A request with the cookies and nothing else that a page would add.
    pub(crate) fn bare(&self, method: &str, path: &str) -> Ask<'_> {
        let mut ask = self.target.ask(method, path);
        ask.jar = Some(Arc::clone(&self.jar));
        let line: Vec<String> = self
            .cookies()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let ask = ask.header("user-agent", self.agent);
        if line.is_empty() {
            ask
        } else {
            ask.header("cookie", &line.join("; "))
        }
    }

    pub(crate) fn get(&self, path: &str) -> Ask<'_> {
        self.bare("GET", path)
            .header("sec-fetch-site", "same-origin")
    }

    /// A change as the product's own page sends it.
    pub(crate) fn change(&self, method: &str, path: &str) -> Ask<'_> {
        self.bare(method, path)
            .header("sec-fetch-site", "same-origin")
            .header("origin", &self.target.origin)
            .header(&self.csrf_header, &self.csrf)
    }

    pub(crate) fn csrf_header(&self) -> &str {
        &self.csrf_header
    }
}

/// Whether a status is a refusal that says who the caller is, or is not.
pub(crate) fn is_refusal(status: u16) -> bool {
    matches!(StatusCode::from_u16(status), Ok(code) if code == StatusCode::UNAUTHORIZED || code == StatusCode::FORBIDDEN || code == StatusCode::NOT_FOUND)
}
