//! Too much: bodies, slow clients, connections, requests. What is too much is refused; the rest,
//! and whoever has to look at it, goes on.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::wire::{Product, nobody, read_head, read_rest, request, say, status};
use super::{GENEROUS, in_time, login, logout, metric};
use crate::support::{Answer, Client, Gateway, GatewayBuilder, PASSWORD, eventually};

const ROUTES: &str = r#"
[[route]]
path = "/{*rest}"
allow = "public"
csrf = false
"#;

async fn builder(product: &Product) -> GatewayBuilder {
    let usual = nobody().await;
    Gateway::builder(&usual, &format!("{ROUTES}{GENEROUS}"))
        .await
        .on_sqlite()
        .replace(&usual.url(), &format!("http://{}", product.address))
}

async fn polite() -> Product {
    Product::doing(|mut stream, _| async move {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            .await;
        read_rest(&mut stream).await;
    })
    .await
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413_and_never_whole_at_the_product() {
    let product = Product::doing(|mut stream, _| async move {
        // It never answers a request whose end it has not seen.
        let body = read_rest(&mut stream).await;
        assert!(!body.ends_with(b"0\r\n\r\n"), "the product got all of it");
    })
    .await;
    let gateway = builder(&product)
        .await
        .replace(
            "[upstream.app]",
            "[body]\nmax-size = \"64KiB\"\n\n[upstream.app]",
        )
        .start()
        .await;
    let host = gateway.address;
    let told = format!("POST /x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 65537\r\n\r\n");
    let mut stream = say(host, &told).await;
    let head = in_time("the answer", read_head(&mut stream)).await;
    assert_eq!(status(&head), 413);
    assert_eq!(product.asked(), 0);

    let mut untold =
        format!("POST /x HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    untold.push_str(&chunk.repeat(70));
    untold.push_str("0\r\n\r\n");
    let mut stream = say(host, &untold).await;
    let head = in_time("the answer", read_head(&mut stream)).await;
    assert_eq!(status(&head), 413);
}

#[tokio::test]
async fn clients_that_are_too_slow_are_sent_away() {
    let product = polite().await;
    let gateway = builder(&product)
        .await
        .replace(
            "[listen]",
            "[listen]\nfirst-byte-timeout = \"200ms\"\nhead-timeout = \"200ms\"\nbody-idle-timeout = \"200ms\"\nidle-timeout = \"200ms\"",
        )
        .start()
        .await;
    let host = gateway.address;
    for (what, text, expected) in [
        ("says nothing", String::new(), None),
        (
            "stops in its head",
            format!("GET /x HTTP/1.1\r\nHost: {host}\r\nX-Slow: "),
            Some(408),
        ),
        (
            "stops in its body",
            format!(
                "POST /.portcullis/auth/login HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
            ),
            Some(408),
        ),
    ] {
        let mut stream = say(host, &text).await;
        let answer = in_time(what, read_rest(&mut stream)).await;
        let text = String::from_utf8_lossy(&answer);
        match expected {
            Some(expected) if !text.is_empty() => assert_eq!(status(&text), expected, "{what}"),
            Some(_) => {}
            None => assert!(text.is_empty(), "{what}: {text}"),
        }
    }
    // One answer, and then nothing more to say.
    let mut stream = say(host, &request(host, "/x")).await;
    let answer = in_time("an idle connection", read_rest(&mut stream)).await;
    assert_eq!(status(&String::from_utf8_lossy(&answer)), 200);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_not_served_and_others_are() {
    let product = polite().await;
    let gateway = builder(&product)
        .await
        .replace("[listen]", "[listen]\nmax-connections-per-address = 2")
        .start()
        .await;
    let host = gateway.address;
    let lanes = std::thread::available_parallelism().unwrap().get();
    let mut open: Vec<TcpStream> = Vec::new();
    for _ in 0..lanes * 2 + 20 {
        open.push(say(host, "GET /x HTTP/1.1\r\n").await);
    }
    // Those beyond the limit are closed without an answer; the limit is of each lane.
    let mut refused = 0;
    for stream in &mut open {
        let mut byte = [0];
        let read = tokio::time::timeout(
            std::time::Duration::from_millis(200),
            tokio::io::AsyncReadExt::read(stream, &mut byte),
        );
        if let Ok(Ok(0) | Err(_)) = read.await {
            refused += 1;
        }
    }
    assert!(
        (20..lanes * 2 + 20).contains(&refused),
        "{refused} of {} refused",
        open.len()
    );
    let admin = Client::to(gateway.admin);
    assert_eq!(
        in_time("admin", admin.get("/healthz").send()).await.status,
        200
    );
    drop(open);
    // The places come back.
    super::until("the gate serves again", || async {
        let mut stream = say(host, &request(host, "/x")).await;
        in_time("an answer", read_head(&mut stream))
            .await
            .contains("200")
    })
    .await;
}

/// A product that holds every request until it is let go.
async fn held() -> (Product, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let product = Product::doing(move |mut stream, _| {
        let waiting = Arc::clone(&waiting);
        async move {
            waiting.acquire().await.unwrap().forget();
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
                .await;
        }
    })
    .await;
    (product, gate)
}

fn assert_overloaded(answer: &Answer) {
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (503, "overloaded")
    );
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_gate_with_its_hands_full_sheds_products_and_keeps_health_and_sign_out() {
    let (product, go) = held().await;
    let gateway = builder(&product)
        .await
        .replace("[listen]", "[listen]\nmax-in-flight = 2")
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let mut first = say(gateway.address, &request(gateway.address, "/1")).await;
    let mut second = say(gateway.address, &request(gateway.address, "/2")).await;
    eventually("two requests are in flight", || product.asked() == 2).await;

    assert_overloaded(&in_time("shedding", gateway.client().get("/3").send()).await);
    assert_overloaded(&in_time("shedding", ana.get("/3").send()).await);
    assert_eq!(product.asked(), 2);
    for client in [gateway.client(), Client::to(gateway.admin)] {
        assert_eq!(
            in_time("health", client.get("/healthz").send())
                .await
                .status,
            200
        );
    }
    assert_eq!(
        login(&gateway.browser(), "ana@corp.test", PASSWORD)
            .await
            .status,
        200
    );
    assert_eq!(
        in_time(
            "revocation",
            ana.send(http::Method::DELETE, "/.portcullis/auth/sessions")
                .send()
        )
        .await
        .status,
        204
    );
    assert_eq!(logout(&ana).await.status, 204);
    let shed = "portcullis_refusals_total{problem=\"overloaded\",stage=\"address-limit\"}";
    assert_eq!(metric(&gateway, shed).await, Some(2.0));

    go.add_permits(100);
    for stream in [&mut first, &mut second] {
        let head = in_time("a held request", read_head(stream)).await;
        assert_eq!(status(&head), 200);
    }
    super::until("the gate takes requests again", || async {
        in_time("a request", gateway.client().get("/4").send())
            .await
            .status
            == 200
    })
    .await;
}

#[tokio::test]
async fn a_product_with_its_hands_full_is_spared() {
    let (product, go) = held().await;
    let gateway = builder(&product)
        .await
        .replace("[upstream.app]", "[upstream.app]\nmax-in-flight = 2")
        .start()
        .await;
    let first = say(gateway.address, &request(gateway.address, "/1")).await;
    let second = say(gateway.address, &request(gateway.address, "/2")).await;
    eventually("two requests are in flight", || product.asked() == 2).await;
    assert_overloaded(&in_time("shedding", gateway.client().get("/3").send()).await);
    assert_eq!(product.asked(), 2);
    // A client that leaves gives its place back.
    drop((first, second));
    go.add_permits(100);
    super::until("there is a place again", || async {
        in_time("a request", gateway.client().get("/4").send())
            .await
            .status
            == 200
    })
    .await;
}
