//! What the tests of the wire share: certificates, TLS, HTTP/2, and a product that is bytes.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

use super::{Answer, GatewayBuilder};

/// The name in every certificate of a gate.
pub(crate) const NAME: &str = "gate.test";

/// A self-signed certificate.
pub(crate) struct Certificate {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Certificate {
    pub(crate) fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Certificate {
            cert: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    /// A client that believes this certificate alone.
    pub(crate) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A server that shows this certificate.
    pub(crate) fn server(&self, alpn: &[&str]) -> tokio_rustls::TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
    }
}

impl GatewayBuilder {
    /// In production mode for the host [`NAME`], behind a proxy on this machine that speaks TLS:
    /// [`super::Browser::behind_proxy`].
    pub(crate) fn in_production(self) -> Self {
        self.replace("mode = \"development\"", "mode = \"production\"")
            .replace(
                "[listen]\n",
                "[listen]\ntrusted-proxies = [\"127.0.0.1/32\"]\n",
            )
            .replace(
                "[admin]",
                &format!("[hosts]\nallow = [\"{NAME}\"]\n\n[admin]"),
            )
    }

    /// In production mode, with this certificate, for the host [`NAME`].
    pub(crate) fn over_tls(self, certificate: &Certificate) -> Self {
        self.replace("mode = \"development\"", "mode = \"production\"")
            .replace(
                "[admin]",
                &format!("[listen.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n\n[hosts]\nallow = [\"{NAME}\"]\n\n[admin]"),
            )
            .file("cert.pem", &certificate.cert)
            .file("key.pem", &certificate.key)
    }
}

pub(crate) async fn tls(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    tokio_rustls::TlsConnector::from(config)
        .connect(name, tcp)
        .await
}

pub(crate) type AnyBody = UnsyncBoxBody<Bytes, std::convert::Infallible>;

pub(crate) fn empty() -> AnyBody {
    Empty::new().boxed_unsync()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into()).boxed_unsync()
}

/// A body that is sent piece by piece; it ends when the sender is dropped.
pub(crate) fn pieces() -> (mpsc::UnboundedSender<Bytes>, AnyBody) {
    let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
    let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await?;
        Some((Ok(Frame::data(piece)), receiver))
    });
    (sender, StreamBody::new(stream).boxed_unsync())
}

pub(crate) async fn speak_http1<S>(stream: S) -> http1::SendRequest<AnyBody>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) async fn speak_http2<S>(stream: S) -> http2::SendRequest<AnyBody>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) fn get(uri: &str) -> Request<AnyBody> {
    request(Method::GET, uri, empty())
}

pub(crate) fn request(method: Method, uri: &str, body: AnyBody) -> Request<AnyBody> {
    Request::builder()
        .method(method)
        .uri(uri)
        .body(body)
        .unwrap()
}

/// The same with the `Host` that HTTP/1 wants.
pub(crate) fn get_from(host: &str, target: &str) -> Request<AnyBody> {
    let mut request = get(target);
    request.headers_mut().insert("host", host.parse().unwrap());
    request
}

pub(crate) async fn read(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.expect("a whole answer").to_bytes(),
    }
}

/// A product that is a function of a connection.
pub(crate) async fn bytes_product<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads until `end` has come, at most 64 KiB.
pub(crate) async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains(end) {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(
            count > 0 && seen.len() < 65_536,
            "the connection ended before `{end}`: {}",
            String::from_utf8_lossy(&seen)
        );
        seen.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// One request head, answered with these bytes.
pub(crate) async fn answer_once(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) {
    read_until(&mut stream, "\r\n\r\n").await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    let _ = stream.shutdown().await;
}

/// A port that was free just now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
