//! Routes that answer nobody while an incident goes on: on every node, after a restart, whoever asks.

use serde_json::Value;

use super::{audited, comes_to, open, refused, told};
use crate::support::{Gateway, GatewayBuilder, Upstream, eventually_asked};

const ROUTES: &str = r#"
[[route]]
path = "/export"
allow = "public"

[[route]]
path = "/export/{part}"
allow = "public"

[[route]]
path = "/{*rest}"
allow = "user"
"#;

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder(upstream, ROUTES)
        .await
        .user("ana@corp.test", &["admin"])
}

async fn of(gateway: &Gateway, path: &str) -> u16 {
    gateway.client().get(path).send().await.status.as_u16()
}

fn freeze(gateway: &Gateway, id: &str, pattern: &str) -> Value {
    let arguments = ["freeze", pattern, "--incident", id, "--reason", "it leaks"];
    told(gateway, &arguments)
}

#[tokio::test]
async fn a_frozen_route_answers_nobody_on_any_node_and_after_a_restart() {
    let upstream = Upstream::start().await;
    let one = builder(&upstream).await.start().await;
    let other = one.twin().await;
    for node in [&one, &other] {
        assert_eq!(of(node, "/export").await, 200);
    }
    let ana = one.signed_in("ana@corp.test").await;
    let id = open(&one, "high", &[])["id"].as_str().unwrap().to_owned();
    let file = freeze(&one, &id, "/export");
    assert_eq!(file["frozen"][0]["pattern"], "/export", "{file}");
    for node in [&one, &other] {
        comes_to("the route", 503, async || of(node, "/export").await).await;
    }
    let seen = upstream.requests();
    let answer = one.client().get("/export").send().await;
    assert_eq!(answer.problem(), "route-frozen");
    assert_eq!(answer.header("retry-after"), Some("60"));
    // By no spelling, method or person, and nothing else with it.
    for path in ["/export", "/export/", "/%65xport"] {
        assert_eq!(of(&other, path).await, 503, "{path}");
    }
    assert_eq!(ana.get("/export").send().await.status, 503);
    assert_eq!(ana.post("/export").send().await.status, 503);
    assert_eq!(upstream.requests(), seen, "the product saw none of it");
    assert_eq!(of(&one, "/export/1").await, 200);
    assert_eq!(ana.get("/anything").send().await.status, 200);

    // From the first request on.
    let again = one.end().await.start().await;
    assert_eq!(of(&again, "/export").await, 503);
    let left = refused(&again, &["close", &id, "--cause", "x"]);
    assert!(left.contains("`/export` is frozen"), "{left}");
    told_nothing(&again, &["unfreeze", "/export"]);
    for node in [&again, &other] {
        comes_to("the route", 200, async || of(node, "/export").await).await;
    }
    assert!(refused(&again, &["unfreeze", "/export"]).contains("not frozen"));
    assert_eq!(audited(&again, "route.frozen").len(), 1);
    assert_eq!(audited(&again, "route.unfrozen").len(), 1);
}

fn told_nothing(gateway: &Gateway, arguments: &[&str]) {
    let output = gateway.cli(&[&["incident"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[tokio::test]
async fn a_route_is_frozen_with_the_opening_and_what_cannot_be_is_told() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let file = open(&gateway, "high", &["--contain", "route:/export/{part}"]);
    let id = file["id"].as_str().unwrap().to_owned();
    assert_eq!(
        file["contained"][0]["scope"], "route:/export/{part}",
        "{file}"
    );
    comes_to("the route", 503, async || of(&gateway, "/export/1").await).await;
    assert_eq!(of(&gateway, "/export").await, 200);
    for (pattern, word) in [
        ("/.portcullis/auth/login", "the gate's own"),
        ("export", "does not begin with"),
        ("/ex port", "canonical"),
    ] {
        let arguments = ["freeze", pattern, "--incident", &id, "--reason", "x"];
        let why = refused(&gateway, &arguments);
        assert!(why.contains(word), "{pattern}: {why}");
    }
    let other = open(&gateway, "low", &[]);
    let other = other["id"].as_str().unwrap();
    let arguments = [
        "freeze",
        "/export/{part}",
        "--incident",
        other,
        "--reason",
        "x",
    ];
    assert!(refused(&gateway, &arguments).contains("for another incident"));
    // Everything of the product, and nothing of the gate's own: people still sign out.
    freeze(&gateway, &id, "/{*rest}");
    comes_to("the product", 503, async || of(&gateway, "/export").await).await;
    assert_eq!(of(&gateway, "/healthz").await, 200);
    gateway.signed_in("ana@corp.test").await;
}

#[tokio::test]
async fn what_is_open_as_a_stream_is_cut_when_its_route_is_frozen() {
    let upstream = Upstream::endless().await;
    let route = "\n[[route]]\npath = \"/events\"\nallow = { permission = \"read:own\" }\ncallers = [\"api-key\"]\n";
    let gateway = builder(&upstream).await.more(route).start().await;
    let (_, key) = crate::api_keys::make(&gateway, &["--permission", "read:own"]);
    let id = open(&gateway, "low", &[])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (client, host) = (gateway.client(), gateway.address);
    let request = format!(
        "GET /events HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
    );
    let again = request.clone();
    let stream = tokio::spawn(async move { client.raw(request.as_bytes()).await });
    eventually_asked("the product is asked", async || upstream.requests() == 1).await;
    // That there is one more incident cuts nothing.
    open(&gateway, "low", &[]);
    super::seen::is_counted(&gateway, "low", 2).await;
    assert!(!stream.is_finished());
    freeze(&gateway, &id, "/events");
    // `raw` returns when the connection has ended, and gives up after twenty seconds.
    let began = std::time::Instant::now();
    assert!(stream.await.unwrap().starts_with(b"HTTP/1.1 200"));
    assert!(began.elapsed().as_secs() < 10);
    let answer = gateway.client().raw(again.as_bytes()).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 503"),
        "and is not opened again"
    );
}
