//! TLS at the front: versions, protocols, certificates that change, and products behind https.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::sockets::{self, Certificate, NAME, get_from, read, speak_http1, speak_http2};
use crate::support::{Gateway, Upstream, signal};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_pages_get_hsts() {
    let upstream = Upstream::start().await;
    let certificate = Certificate::new(NAME);
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .over_tls(&certificate)
        .start()
        .await;
    for version in [&TLS12, &TLS13] {
        let config = certificate.client(&[version], &["http/1.1"]);
        let stream = sockets::tls(gateway.address, config).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut sender = speak_http1(stream).await;
        let answer = read(
            sender
                .send_request(get_from(NAME, "/public"))
                .await
                .unwrap(),
        )
        .await;
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .header("strict-transport-security")
                .unwrap()
                .contains("max-age=")
        );
    }
    assert_eq!(
        upstream.last().header("x-forwarded-proto"),
        Some("https"),
        "the product is told how the client came"
    );

    let config = certificate.client(&[&TLS13], &["h2", "http/1.1"]);
    let stream = sockets::tls(gateway.address, config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut sender = speak_http2(stream).await;
    let request = sockets::get(&format!("https://{NAME}/public"));
    let answer = read(sender.send_request(request).await.unwrap()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("strict-transport-security").is_some());

    // RFC 8446 appendix D.5: a ClientHello of TLS 1.1 gets the alert `protocol_version` (70), where
    // the same one of TLS 1.2 gets a handshake.
    let mut first = [0; 7];
    for (minor, kind) in [(2, 0x15), (3, 0x16)] {
        let mut old = TcpStream::connect(gateway.address).await.unwrap();
        old.write_all(&client_hello(minor)).await.unwrap();
        old.read_exact(&mut first).await.unwrap();
        assert_eq!(first[0], kind, "{first:?}");
        assert!(kind == 0x16 || first[6] == 70, "{first:?}");
    }

    // Plain HTTP to the TLS port is no HTTP at all.
    let plain = gateway
        .client()
        .raw(b"GET /public HTTP/1.1\r\nHost: gate.test\r\n\r\n")
        .await;
    assert!(!plain.starts_with(b"HTTP/"));
}

#[tokio::test]
async fn a_resumed_connection_may_not_send_early_data() {
    let upstream = Upstream::start().await;
    let certificate = Certificate::new(NAME);
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .over_tls(&certificate)
        .start()
        .await;
    let mut config = Arc::unwrap_or_clone(certificate.client(&[&TLS13], &["http/1.1"]));
    config.enable_early_data = true;
    let config = Arc::new(config);
    let stream = sockets::tls(gateway.address, Arc::clone(&config))
        .await
        .unwrap();
    let mut sender = speak_http1(stream).await;
    let answer = read(
        sender
            .send_request(get_from(NAME, "/public"))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(answer.status, 200);
    let name = ServerName::try_from(NAME).unwrap();
    let mut next = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
    assert!(next.early_data().is_none(), "the ticket allows none");
    let stream = sockets::tls(gateway.address, config).await.unwrap();
    assert_eq!(
        stream.get_ref().1.handshake_kind(),
        Some(rustls::HandshakeKind::Resumed)
    );
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_dropping_a_connection() {
    let upstream = Upstream::start().await;
    let (first, second) = (Certificate::new(NAME), Certificate::new(NAME));
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .over_tls(&first)
        .start()
        .await;
    let stream = sockets::tls(gateway.address, first.client(&[&TLS13], &[])).await;
    let mut old = speak_http1(stream.unwrap()).await;
    let answer = read(old.send_request(get_from(NAME, "/public")).await.unwrap()).await;
    assert_eq!(answer.status, 200);

    std::fs::write(gateway.folder.join("key.pem"), &second.key).unwrap();
    std::fs::write(gateway.folder.join("cert.pem"), &second.cert).unwrap();
    signal(gateway.pid(), "HUP");
    gateway.wait_until_printed("certificate reloaded").await;
    let with_the_new = sockets::tls(gateway.address, second.client(&[&TLS13], &[])).await;
    assert!(with_the_new.is_ok());
    let with_the_old = sockets::tls(gateway.address, first.client(&[&TLS13], &[])).await;
    assert!(with_the_old.is_err());

    // A key that does not belong to the certificate changes nothing, and is said, without a signal.
    std::fs::write(gateway.folder.join("key.pem"), &first.key).unwrap();
    gateway
        .wait_until_printed("the changed certificate was not taken")
        .await;
    let with_the_new = sockets::tls(gateway.address, second.client(&[&TLS13], &[])).await;
    assert!(with_the_new.is_ok());
    let answer = read(old.send_request(get_from(NAME, "/public")).await.unwrap()).await;
    assert_eq!(answer.status, 200, "the first connection still stands");
}

#[tokio::test]
async fn a_product_behind_https_is_believed_by_its_own_authority_alone() {
    let (its_own, other) = (Certificate::new("localhost"), Certificate::new("localhost"));
    let acceptor = its_own.server(&["http/1.1"]);
    let address = sockets::bytes_product(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                sockets::answer_once(stream, OK).await;
            }
        }
    })
    .await;
    let port = address.port();
    let rest = format!(
        "ca = \"own.pem\"\n\n[upstream.other]\nurl = \"https://localhost:{port}\"\nca = \"other.pem\"\n\n[upstream.misnamed]\nurl = \"https://127.0.0.1:{port}\"\nca = \"own.pem\"\n{}{}{}",
        route("/own", "app"),
        route("/other", "other"),
        route("/misnamed", "misnamed"),
    );
    let gateway = Gateway::builder(&Upstream::at(address), &rest)
        .await
        .replace(
            &format!("http://{address}"),
            &format!("https://localhost:{port}"),
        )
        .file("own.pem", &its_own.cert)
        .file("other.pem", &other.cert)
        .start()
        .await;
    assert_eq!(gateway.client().get("/own").send().await.text(), "ok");
    for path in ["/other", "/misnamed"] {
        let answer = gateway.client().get(path).send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (502, "upstream-unreachable"),
            "{path}"
        );
        assert!(!answer.text().to_lowercase().contains("certificate"));
    }
}

fn route(path: &str, upstream: &str) -> String {
    format!("\n[[route]]\npath = \"{path}\"\nallow = \"public\"\nupstream = \"{upstream}\"\n")
}

/// A `ClientHello` for TLS 1.`minor - 1` (RFC 5246 section 7.4.1.2), as small as can be.
fn client_hello(minor: u8) -> Vec<u8> {
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    hello.push(0);
    // ECDHE_ECDSA with AES-128-GCM; no compression.
    hello.extend([0, 2, 0xc0, 0x2b, 1, 0]);
    // P-256, uncompressed points, ECDSA with P-256 and SHA-256.
    hello.extend([0, 22]);
    hello.extend([0, 10, 0, 4, 0, 2, 0, 23]);
    hello.extend([0, 11, 0, 2, 1, 0]);
    hello.extend([0, 13, 0, 4, 0, 2, 4, 3]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}
