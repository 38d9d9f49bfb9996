//! `[upstream.NAME]`: a product behind the gate.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::uri::{Authority, Scheme, Uri};
use http::{HeaderValue, header};
use portcullis_core::Span;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::finding;
use crate::forward::ForwardError;
use crate::tls;
use crate::transport::Transport;
use portcullis_core::finding::Finding;

/// The table `[upstream.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// `http://host:port` or `https://host:port`, without a path.
    pub url: String,
    /// How long connecting (with TLS) may take. Default `"5s"`.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Span,
    /// How long the head of the answer may take. Default `"60s"`. A route can ask for another.
    #[serde(default = "default_response_timeout")]
    pub response_timeout: Span,
    /// How long the body of an answer may pause. Default `"2m"`. Streams of events
    /// (`text/event-stream`) may be silent for as long as they like.
    #[serde(default = "default_body_idle_timeout")]
    pub body_idle_timeout: Span,
    /// How long an unused connection is kept. Default `"4s"`, below the keep-alive of common
    /// application servers: a connection that the product closes as we write costs a 502.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: Span,
    /// PEM file with the only certificate authorities that are believed for this upstream.
    /// Default: those of the operating system.
    pub ca: Option<PathBuf>,
    /// Speak HTTP/2 to it (over TLS, or with prior knowledge in plain text). Default false.
    #[serde(default)]
    pub http2: bool,
    /// Give it the client's `Host`. Default true. When false it gets the host of `url`.
    #[serde(default = "default_true")]
    pub preserve_host: bool,
    /// Most requests in flight, in all lanes together; more are answered 503. Default 1024.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: usize,
}

const fn default_connect_timeout() -> Span {
    Span::from_seconds(5)
}
const fn default_response_timeout() -> Span {
    Span::from_seconds(60)
}
const fn default_body_idle_timeout() -> Span {
    Span::from_minutes(2)
}
const fn default_idle_timeout() -> Span {
    Span::from_seconds(4)
}
const fn default_true() -> bool {
    true
}
const fn default_max_in_flight() -> usize {
    1024
}

impl Config {
    /// A config with the defaults for `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Config {
            url: url.into(),
            connect_timeout: default_connect_timeout(),
            response_timeout: default_response_timeout(),
            body_idle_timeout: default_body_idle_timeout(),
            idle_timeout: default_idle_timeout(),
            ca: None,
            http2: false,
            preserve_host: true,
            max_in_flight: default_max_in_flight(),
        }
    }
}

/// A compiled upstream. Shared by all lanes; their connections are not.
#[derive(Debug)]
pub struct Upstream {
    pub(crate) name: String,
    pub(crate) authority: Authority,
    pub(crate) host_header: HeaderValue,
    pub(crate) connect_to: (String, u16),
    pub(crate) tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) body_idle_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) http2: bool,
    pub(crate) preserve_host: bool,
    max_in_flight: usize,
    in_flight: AtomicUsize,
}

impl Upstream {
    /// Checks and compiles `config`; reads the `ca` file.
    pub fn compile(name: &str, config: &Config) -> Result<Arc<Upstream>, Vec<Finding>> {
        let key = |field: &str| format!("upstream.{name}.{field}");
        let mut found = Vec::new();
        for (field, span) in [
            ("connect-timeout", config.connect_timeout),
            ("response-timeout", config.response_timeout),
            ("body-idle-timeout", config.body_idle_timeout),
        ] {
            if span.is_zero() {
                found.push(finding(key(field), "must be more than zero"));
            }
        }
        if config.max_in_flight == 0 {
            found.push(finding(key("max-in-flight"), "must be more than zero"));
        }
        let target = match Target::parse(&config.url) {
            Ok(target) => Some(target),
            Err(message) => {
                found.push(finding(key("url"), message));
                None
            }
        };
        if config.ca.is_some() && target.as_ref().is_some_and(|target| !target.https) {
            found.push(finding(key("ca"), "needs an `https` url"));
        }
        let client = match &target {
            Some(target) if target.https => {
                match tls::client_config(config.ca.as_deref(), config.http2, &key("ca")) {
                    Ok(client) => Some(client),
                    Err(finding) => {
                        found.push(finding);
                        None
                    }
                }
            }
            Some(_) | None => None,
        };
        let Some(target) = target else {
            return Err(found);
        };
        let Ok(host_header) = HeaderValue::from_str(target.authority.as_str()) else {
            found.push(finding(key("url"), "has a host that cannot be sent"));
            return Err(found);
        };
        if !found.is_empty() {
            return Err(found);
        }
        Ok(Arc::new(Upstream {
            name: name.to_owned(),
            authority: target.authority,
            host_header,
            connect_to: (target.host, target.port),
            tls: client.zip(target.server_name),
            connect_timeout: config.connect_timeout.as_duration(),
            response_timeout: config.response_timeout.as_duration(),
            body_idle_timeout: config.body_idle_timeout.as_duration(),
            idle_timeout: config.idle_timeout.as_duration(),
            http2: config.http2,
            preserve_host: config.preserve_host,
            max_in_flight: config.max_in_flight,
            in_flight: AtomicUsize::new(0),
        }))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Requests in flight in all lanes, for metrics.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A place among the requests in flight, or none when all are taken.
    pub(crate) fn place(self: &Arc<Self>) -> Option<Place> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.max_in_flight {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(Arc::clone(self)))
    }

    /// A new connection, with TLS where the upstream has it.
    pub(crate) async fn dial(&self) -> Result<Transport, ForwardError> {
        tokio::time::timeout(self.connect_timeout, self.dial_without_limit())
            .await
            .map_err(|_| ForwardError::ConnectTimeout)?
    }

    async fn dial_without_limit(&self) -> Result<Transport, ForwardError> {
        let (host, port) = &self.connect_to;
        let tcp = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(ForwardError::Connect)?;
        tcp.set_nodelay(true).map_err(ForwardError::Connect)?;
        let Some((config, name)) = &self.tls else {
            return Ok(Transport::Plain(tcp));
        };
        let tls = TlsConnector::from(Arc::clone(config))
            .connect(name.clone(), tcp)
            .await
            .map_err(ForwardError::Tls)?;
        Ok(Transport::Tls(Box::new(tls.into())))
    }

    /// The `Host` that this upstream gets when the client's is not preserved.
    pub(crate) fn set_host(&self, headers: &mut http::HeaderMap) {
        if !self.preserve_host || !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, self.host_header.clone());
        }
    }
}

/// One request in flight; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(pub(crate) Arc<Upstream>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Target {
    authority: Authority,
    host: String,
    port: u16,
    https: bool,
    server_name: Option<ServerName<'static>>,
}

impl Target {
    fn parse(url: &str) -> Result<Target, &'static str> {
        let uri: Uri = url
            .parse()
            .map_err(|_| "is not a URL such as `http://127.0.0.1:3000`")?;
        let https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(_) | None => return Err("must begin with `http://` or `https://`"),
        };
        if uri
            .path_and_query()
            .is_some_and(|path| path.as_str() != "/")
        {
            return Err("must not have a path or a query");
        }
        let authority = uri.authority().cloned().ok_or("has no host")?;
        if authority.as_str().contains('@') {
            return Err("must not hold credentials");
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = match (authority.port(), authority.port_u16()) {
            (Some(_), None) | (_, Some(0)) => return Err("has no proper port"),
            (_, Some(port)) => port,
            (None, None) if https => 443,
            (None, None) => 80,
        };
        let server_name = if https {
            Some(
                ServerName::try_from(host.clone())
                    .map_err(|_| "has a host that TLS cannot check")?,
            )
        } else {
            None
        };
        Ok(Target {
            authority,
            host,
            port,
            https,
            server_name,
        })
    }
}
