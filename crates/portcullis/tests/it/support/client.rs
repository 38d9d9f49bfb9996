//! HTTP clients: one plain, one that keeps cookies as a browser does.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} is not JSON ({error}): {}", self.status, self.text())
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The problem's slug. Fails where the answer is no problem document.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{} {}",
            self.status,
            self.text()
        );
        let json = self.json();
        assert_eq!(
            json["status"].as_u64(),
            Some(u64::from(self.status.as_u16()))
        );
        assert!(json["request_id"].is_string());
        json["type"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned()
    }

    /// Every value of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    /// The cookies that the answer sets, name to value; deleted ones have an empty value.
    pub(crate) fn cookies(&self) -> BTreeMap<String, String> {
        self.headers
            .get_all(header::SET_COOKIE)
            .iter()
            .map(|value| {
                let (name, rest) = value.to_str().unwrap().split_once('=').unwrap();
                (name.to_owned(), rest.split(';').next().unwrap().to_owned())
            })
            .collect()
    }
}

/// A client without memory: one connection for each request.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    host: String,
}

impl Client {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Client {
            address,
            host: address.to_string(),
        }
    }

    pub(crate) fn request(&self, method: Method, target: &str) -> RequestBuilder {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, &self.host);
        RequestBuilder {
            address: self.address,
            request,
            body: Bytes::new(),
            jar: None,
        }
    }

    pub(crate) fn get(&self, target: &str) -> RequestBuilder {
        self.request(Method::GET, target)
    }

    pub(crate) fn post(&self, target: &str) -> RequestBuilder {
        self.request(Method::POST, target)
    }

    /// Sends these very bytes and returns everything that comes back until the end of the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The other side may refuse and close while we still write.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(
            std::time::Duration::from_secs(20),
            stream.read_to_end(&mut answer),
        )
        .await;
        answer
    }
}

type Jar = std::sync::Arc<std::sync::Mutex<BTreeMap<String, String>>>;

/// A client that keeps cookies, sends `Origin` and `Sec-Fetch-Site` as a page of the product would,
/// and puts the CSRF token into its header.
#[derive(Debug, Clone)]
pub(crate) struct Browser {
    client: Client,
    /// `https` where a proxy says that it was.
    scheme: &'static str,
    pub(crate) jar: Jar,
}

impl Browser {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Browser {
            client: Client::to(address),
            scheme: "http",
            jar: Jar::default(),
        }
    }

    /// As `host` over TLS, which a proxy before the gate has taken off.
    pub(crate) fn behind_proxy(address: SocketAddr, host: &str) -> Self {
        Browser {
            client: Client {
                address,
                host: host.to_owned(),
            },
            scheme: "https",
            jar: Jar::default(),
        }
    }

    fn request(&self, method: Method, target: &str) -> RequestBuilder {
        let mut builder = self.client.request(method, target);
        builder.jar = Some(self.jar.clone());
        let cookies = self.jar.lock().unwrap().clone();
        if !cookies.is_empty() {
            let line: Vec<String> = cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            builder = builder.header("cookie", &line.join("; "));
        }
        if self.scheme == "https" {
            builder = builder
                .header("x-forwarded-proto", "https")
                .header("x-forwarded-for", "203.0.113.9");
        }
        builder.header("sec-fetch-site", "same-origin")
    }

    pub(crate) fn get(&self, target: &str) -> RequestBuilder {
        self.request(Method::GET, target)
    }

    /// A state-changing request as the product's own page sends it.
    pub(crate) fn send(&self, method: Method, target: &str) -> RequestBuilder {
        let origin = self.origin();
        let token = self
            .cookie("csrf_token")
            .or_else(|| self.cookie("__Host-csrf_token"))
            .unwrap_or_default();
        self.request(method, target)
            .header("origin", &origin)
            .header("x-csrf-token", &token)
    }

    pub(crate) fn post(&self, target: &str) -> RequestBuilder {
        self.send(Method::POST, target)
    }

    /// The value of the `Origin` header of the gate's own pages.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.client.host)
    }

    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        let mut jar = self.jar.lock().unwrap();
        jar.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn forget_cookie(&self, name: &str) {
        self.jar.lock().unwrap().remove(name);
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.jar.lock().unwrap().get(name).cloned()
    }
}

/// A request being put together.
pub(crate) struct RequestBuilder {
    address: SocketAddr,
    request: http::request::Builder,
    body: Bytes,
    jar: Option<Jar>,
}

impl RequestBuilder {
    /// Adds a header; an empty `host` or a second one replaces nothing.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Replaces a header that was set before.
    pub(crate) fn replace(mut self, name: &'static str, value: &str) -> Self {
        self.request
            .headers_mut()
            .unwrap()
            .insert(name, value.parse().unwrap());
        self
    }

    /// Leaves out a header that was set before.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.request.headers_mut().unwrap().remove(name);
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, value: &serde_json::Value) -> Self {
        self.header("content-type", "application/json")
            .body(value.to_string())
    }

    pub(crate) async fn send(self) -> Answer {
        self.attempt()
            .await
            .unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The answer, or nothing where the gate is gone before it is there as a whole.
    pub(crate) async fn try_send(self) -> Option<Answer> {
        self.attempt().await.ok()
    }

    async fn attempt(self) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = self.request.body(Full::new(self.body)).unwrap();
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let answer = Answer {
            status: head.status,
            headers: head.headers,
            body,
        };
        if let Some(jar) = self.jar {
            let mut jar = jar.lock().unwrap();
            for (name, value) in answer.cookies() {
                if value.is_empty() {
                    jar.remove(&name)
                } else {
                    jar.insert(name, value)
                };
            }
        }
        Ok(answer)
    }
}
