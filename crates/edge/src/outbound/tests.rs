use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server that answers each connection with these bytes; its URL.
async fn server(answer: impl AsRef<[u8]> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer.as_ref()).await;
        }
    });
    format!("http://{address}/keys")
}

async fn get(url: &str, reach: Reach) -> Result<Answer, Error> {
    Outbound::default().get(&Target::parse(url, reach)?).await
}

#[tokio::test]
async fn an_answer_is_read_whole() {
    let url = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let answer = get(&url, Reach::Loopback).await.unwrap();
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &b"{}"[..]));
}

#[tokio::test]
async fn nothing_but_the_public_internet_is_called_however_it_is_spelt() {
    let url = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let port = url.split(':').nth(2).unwrap();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "[::]",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "100.64.0.1",
    ] {
        let error = get(&format!("https://{host}:{port}"), Reach::Public)
            .await
            .unwrap_err();
        // Some of these spellings are no address to the resolver: then there is nothing to call.
        assert!(
            matches!(
                error,
                Error::Address(_) | Error::Connect { .. } | Error::Url(_)
            ),
            "{host}: {error:?}"
        );
        if let Error::Connect { source, .. } = error {
            assert_ne!(source.kind(), io::ErrorKind::ConnectionRefused, "{host}");
            assert_ne!(
                source.kind(),
                io::ErrorKind::InvalidData,
                "{host}: connected"
            );
        }
    }
}

#[test]
fn every_special_network_is_refused_and_public_ones_are_not() {
    for address in [
        "0.1.2.3",
        "10.1.1.1",
        "100.127.0.1",
        "127.8.8.8",
        "169.254.1.1",
        "172.31.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:a00:1::",
        "fc00::1",
        "fe80::1",
        "ff02::1",
    ] {
        assert!(
            !may_call(address.parse().unwrap(), Reach::Public, true),
            "{address}"
        );
    }
    for address in [
        "8.8.8.8",
        "100.128.0.1",
        "172.32.0.1",
        "2606:4700::1",
        "2a00:1450::1",
    ] {
        assert!(
            may_call(address.parse().unwrap(), Reach::Public, true),
            "{address}"
        );
        assert!(
            !may_call(address.parse().unwrap(), Reach::Loopback, true),
            "{address}"
        );
    }
}

#[test]
fn a_misleading_url_is_refused() {
    for url in [
        "http://id.example/",
        "ftp://id.example/",
        "//id.example/",
        "/keys",
        "",
        "https://",
        "https://id.example@evil.example/",
        "https://user:pass@id.example/",
        "https://id.example:0/",
        "https://id.example:99999/",
        "https://id.example/#x",
        "https://id.example/ x",
    ] {
        assert!(Target::parse(url, Reach::Public).is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let there = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let here = server(format!(
        "HTTP/1.1 302 Found\r\nlocation: {there}\r\ncontent-length: 0\r\n\r\n"
    ));
    let answer = get(&here.await, Reach::Loopback).await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let long = "x".repeat(MAX_ANSWER + 1);
    let url = server(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{long}",
        long.len()
    ))
    .await;
    let error = get(&url, Reach::Loopback).await.unwrap_err();
    assert!(matches!(error, Error::TooLong(_)), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let held = tokio::spawn(async move { listener.accept().await });
    let outbound = Outbound {
        deadline: Duration::from_millis(50),
        ..Outbound::default()
    };
    let target = Target::parse(&url, Reach::Loopback).unwrap();
    let error = outbound.get(&target).await.unwrap_err();
    assert!(matches!(error, Error::Slow(..)), "{error:?}");
    held.abort();
}

#[test]
fn what_an_operator_wrote_down_may_be_private_but_leaves_this_machine_encrypted() {
    let may = |address: &str, reach, https| may_call(address.parse().unwrap(), reach, https);
    for address in ["10.0.0.1", "192.168.1.1", "fd00::1", "8.8.8.8"] {
        assert!(may(address, Reach::Configured, true), "{address}");
        assert!(!may(address, Reach::Configured, false), "{address}");
        assert!(!may(address, Reach::Container, false), "{address}");
    }
    for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        assert!(may(address, Reach::Configured, false), "{address}");
        assert!(may(address, Reach::Container, false), "{address}");
    }
    // The credentials of a container are handed out there; those of the machine are not for us.
    for address in ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"] {
        assert!(may(address, Reach::Container, false), "{address}");
    }
    assert!(!may("169.254.169.254", Reach::Container, false));
    assert!(Target::parse("http://bao.internal:8200/", Reach::Configured).is_ok());
    assert!(Target::parse("ftp://bao.internal/", Reach::Configured).is_err());
}

#[test]
fn what_bears_no_credentials_may_cross_a_private_network_in_plain_text() {
    let may = |address: &str, https| may_call(address.parse().unwrap(), Reach::Near, https);
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "fd12::1",
    ] {
        assert!(may(address, false), "{address}");
    }
    // The public internet, link-local addresses, and where a cloud tells secrets.
    for address in [
        "8.8.8.8",
        "172.32.0.1",
        "2600::1",
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "fd00:ec2::254",
    ] {
        assert!(!may(address, false), "{address}");
        assert!(may(address, true), "{address}");
    }
}

#[tokio::test]
async fn an_answer_in_plain_text_from_elsewhere_than_this_machine_is_not_even_asked_for() {
    let url = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    assert!(get(&url, Reach::Configured).await.is_ok());
    let error = get("http://10.0.0.1/keys", Reach::Configured).await;
    assert!(matches!(error, Err(Error::Address(_))), "{error:?}");
}
