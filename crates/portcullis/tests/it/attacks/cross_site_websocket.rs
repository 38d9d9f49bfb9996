//! A page of another site opens a WebSocket with the user's cookie: browsers send handshakes, which
//! are `GET`s, from everywhere (CWE-1385).

use super::gate;
use crate::support::{Upstream, WireUpstream};

const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[tokio::test]
async fn a_handshake_of_another_site_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let own = format!("http://{}", gateway.address);
    for (origin, site) in [
        ("https://evil.test", None),
        ("null", None),
        ("http://localhost.evil.test", None),
        ("https://evil.test", Some("cross-site")),
        ("http://sibling.corp.test", Some("same-site")),
        (&*own, Some("cross-site")),
        ("https://127.0.0.1", None),
        ("http://127.0.0.1:1", None),
    ] {
        for upgrade in ["websocket", "WebSocket", "websocket, x", "x, WEBSOCKET"] {
            let mut ask = ana
                .get("/anything")
                .without("sec-fetch-site")
                .header("origin", origin);
            for (name, value) in HANDSHAKE {
                ask = ask.header(name, value);
            }
            ask = ask.replace("upgrade", upgrade);
            if let Some(site) = site {
                ask = ask.header("sec-fetch-site", site);
            }
            let answer = ask.send().await;
            if upgrade.eq_ignore_ascii_case("websocket") {
                assert_eq!(answer.problem(), "csrf-cross-site", "{origin} {site:?}");
            } else {
                // Whatever this is, it is no handshake by the time it reaches the product.
                assert!(
                    upstream
                        .received()
                        .iter()
                        .all(|one| !one.headers.contains_key("upgrade"))
                );
            }
        }
    }
    assert!(
        upstream
            .received()
            .iter()
            .all(|one| !one.headers.contains_key("upgrade"))
    );
}

#[tokio::test]
async fn a_handshake_of_the_products_own_page_goes_through() {
    let upstream = WireUpstream::answering(|_| {
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n".to_vec()
    })
    .await;
    let gateway = gate(&upstream.as_upstream())
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let session = ana.cookie("session").unwrap();
    let host = gateway.address;
    let mut wire = crate::support::Wire::to(host).await;
    wire.send(format!("GET /anything HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\nsec-fetch-site: same-origin\r\ncookie: session={session}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")).await;
    assert_eq!(wire.answer().await.unwrap().status, 101);
    let seen = upstream.text();
    assert!(seen.contains("upgrade: websocket") && !seen.contains(&session));
}
