//! API keys over the wire: what opens, for whom, until when, and what the product learns (K1, K2).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Gateway, GatewayBuilder, Upstream, eventually_asked};

const ADMIN: &str = "/.portcullis/admin/v1";
const OWN: &str = "/.portcullis/auth/keys";
const REPORT: &str = "/.portcullis/auth/revoke-key";

const ROUTES: &str = r#"
[[route]]
path = "/public"
allow = "public"

[[route]]
path = "/api/{*rest}"
allow = { permission = "read:all" }
callers = ["user", "api-key"]

[[route]]
path = "/api/write"
allow = { permission = "write:all" }
callers = ["user", "api-key"]

[[route]]
path = "/open/{*rest}"
allow = "user"
callers = ["user", "api-key"]

[[route]]
path = "/of/{user_id}"
allow = { action = "read", owner = "user_id" }
callers = ["user", "api-key"]

[[route]]
path = "/{*rest}"
allow = "user"
"#;

pub(crate) async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder(upstream, ROUTES)
        .await
        .user("root@corp.test", &["admin", "user"])
        .user("ana@corp.test", &["user"])
        .user("bob@corp.test", &["user"])
}

/// A key that the command line makes: its id and its text.
pub(crate) fn make(gateway: &Gateway, arguments: &[&str]) -> (String, String) {
    let mut all = vec!["keys", "create", "--output", "json", "--name", "a program"];
    all.extend(arguments);
    let output = gateway.cli(&all);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    (
        made["id"].as_str().unwrap().to_owned(),
        made["key"].as_str().unwrap().to_owned(),
    )
}

async fn with(gateway: &Gateway, key: &str, path: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    let request = gateway.client().get(path).header("authorization", &bearer);
    request.send().await
}

fn assert_invalid(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {}", answer.text());
    assert_eq!(answer.problem(), "invalid-token", "{what}");
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Bearer error=\"invalid_token\""),
        "{what}"
    );
}

fn claims(upstream: &Upstream) -> Value {
    let received = upstream.last();
    let assertion = received.header("x-portcullis-assertion").unwrap();
    let claims = assertion.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[tokio::test]
async fn a_key_opens_routes_that_admit_keys_and_the_product_learns_which_one_it_was() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let (id, key) = make(&gateway, &["--permission", "read:all"]);
    assert_eq!(with(&gateway, &key, "/api/items").await.status, 200);
    let told = claims(&upstream);
    assert_eq!(told["kind"], "api-key", "{told}");
    assert_eq!(told["sub"], id, "{told}");
    assert_eq!(told["permissions"], json!(["read:all"]), "{told}");
    assert_eq!(told["roles"], json!([]), "{told}");
    let seen = upstream.last();
    assert_eq!(seen.header("authorization"), None, "the key went on");

    let header = gateway.client().get("/api/items").header("x-api-key", &key);
    assert_eq!(header.send().await.status, 200);
    assert_eq!(upstream.last().header("x-api-key"), None, "the key went on");
    assert_eq!(upstream.requests(), 2);

    for (path, slug) in [
        ("/api/write", "not-permitted"),
        ("/elsewhere", "not-permitted"),
        ("/.portcullis/auth/me", "not-permitted"),
        ("/.portcullis/admin/v1/keys", "not-permitted"),
    ] {
        assert_eq!(with(&gateway, &key, path).await.problem(), slug, "{path}");
    }
    let minting = gateway
        .client()
        .post(OWN)
        .header("authorization", &format!("Bearer {key}"))
        .json(&json!({ "name": "more" }));
    assert_eq!(minting.send().await.problem(), "not-permitted");
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn a_key_posts_without_a_csrf_token_and_a_session_beside_it_does_not_count() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let (id, key) = make(&gateway, &["--permission", "read:all"]);
    let root = gateway.signed_in("root@corp.test").await;
    let answer = root
        .post("/api/items")
        .without("x-csrf-token")
        .header("authorization", &format!("Bearer {key}"))
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(claims(&upstream)["sub"], id);
    // What the key may not, the session beside it does not open.
    let answer = root
        .get("/api/write")
        .header("authorization", &format!("Bearer {key}"))
        .send()
        .await;
    assert_eq!(answer.problem(), "not-permitted");
}

#[tokio::test]
async fn a_bearer_of_the_products_own_passes_untouched() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    for token in ["sk_live_51abc", "eyJhbGciOiJub25lIn0.e30.", "pckx_abc"] {
        let bearer = format!("Bearer {token}");
        let request = gateway
            .client()
            .get("/public")
            .header("authorization", &bearer)
            .header("x-api-key", token);
        assert_eq!(request.send().await.status, 200, "{token}");
        let seen = upstream.last();
        assert_eq!(seen.header("authorization"), Some(&*bearer));
        assert_eq!(seen.header("x-api-key"), Some(token));
        assert_eq!(claims(&upstream)["sub"], "anonymous");
        let nobody = with(&gateway, token, "/api/items").await;
        assert_eq!(nobody.problem(), "authentication-required", "{token}");
    }
}

#[tokio::test]
async fn a_key_revoked_on_one_node_is_refused_on_another_within_a_second() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let twin = gateway.twin().await;
    let (id, key) = make(&gateway, &["--permission", "read:all"]);
    for node in [&gateway, &twin] {
        assert_eq!(with(node, &key, "/api/items").await.status, 200);
    }
    let root = gateway.signed_in("root@corp.test").await;
    let revoked = root
        .send(Method::DELETE, &format!("{ADMIN}/keys/{id}"))
        .send()
        .await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT, "{}", revoked.text());
    assert_invalid(&with(&gateway, &key, "/api/items").await, "at once");
    let began = std::time::Instant::now();
    eventually_asked("the other node hears", async || {
        with(&twin, &key, "/api/items").await.status == 401
    })
    .await;
    assert!(began.elapsed().as_millis() < 1500, "{:?}", began.elapsed());
    let again = root
        .send(Method::DELETE, &format!("{ADMIN}/keys/{id}"))
        .send()
        .await;
    assert_eq!(again.problem(), "not-found");
}

#[tokio::test]
async fn whoever_finds_a_key_can_end_it_and_learns_nothing() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let (_, key) = make(&gateway, &["--permission", "read:all"]);
    let (_, other) = make(&gateway, &["--permission", "read:all"]);
    assert_eq!(with(&gateway, &key, "/api/items").await.status, 200);
    for text in [key.as_str(), key.as_str(), "pck_mistyped", "whatever"] {
        let report = gateway.client().post(REPORT).json(&json!({ "key": text }));
        let answer = report.send().await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text());
    }
    assert_invalid(&with(&gateway, &key, "/api/items").await, "reported");
    assert_eq!(with(&gateway, &other, "/api/items").await.status, 200);
    let events = gateway.cli(&["audit", "list", "--action", "api-key.revoked"]);
    assert_eq!(String::from_utf8_lossy(&events.stdout).lines().count(), 1);
    assert!(!gateway.printed().contains(&key));
}

#[tokio::test]
async fn people_look_after_their_own_keys_and_give_no_more_than_they_hold() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let bob = gateway.signed_in("bob@corp.test").await;
    let id = ana.get("/.portcullis/auth/me").send().await.json()["id"].clone();
    let made = ana
        .post(OWN)
        .json(&json!({ "name": "backup", "permissions": ["read:own"] }))
        .send()
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let (key_id, key) = (made.json()["id"].clone(), made.json()["key"].clone());
    let (key_id, key) = (key_id.as_str().unwrap(), key.as_str().unwrap());

    // What is `own` to the key is its owner's.
    let own = format!("/of/{}", id.as_str().unwrap());
    assert_eq!(with(&gateway, key, &own).await.status, 200);
    let other = format!("/of/{key_id}");
    assert_eq!(with(&gateway, key, &other).await.problem(), "not-found");

    let list = ana.get(OWN).send().await;
    assert_eq!(list.json().as_array().unwrap().len(), 1);
    assert!(!list.text().contains(key), "a key is shown once");
    assert_eq!(bob.get(OWN).send().await.json(), json!([]));
    let at = format!("{OWN}/{key_id}");
    let stolen = bob.send(Method::DELETE, &at).send().await;
    assert_eq!(stolen.problem(), "not-found");
    let unprotected = ana.send(Method::DELETE, &at).without("x-csrf-token");
    assert_eq!(unprotected.send().await.problem(), "csrf-token-missing");
    let ended = ana.send(Method::DELETE, &at).send().await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_invalid(&with(&gateway, key, &own).await, "revoked");
}

#[tokio::test]
async fn a_key_keeps_to_its_routes_and_to_its_own_limit() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let narrow = ["--permission", "read:all", "--route", "/open"];
    let (_, narrow) = make(&gateway, &narrow);
    assert_eq!(with(&gateway, &narrow, "/open/a").await.status, 200);
    let elsewhere = with(&gateway, &narrow, "/api/items").await;
    assert_eq!(elsewhere.problem(), "not-permitted");
    // Decided anew for each route, though the caller is remembered.
    assert_eq!(with(&gateway, &narrow, "/open/a").await.status, 200);

    let slow = ["--permission", "read:all", "--rate", "2/hour"];
    let (_, slow) = make(&gateway, &slow);
    let (_, other) = make(&gateway, &["--permission", "read:all"]);
    for _ in 0..2 {
        assert_eq!(with(&gateway, &slow, "/api/items").await.status, 200);
    }
    let spent = with(&gateway, &slow, "/api/items").await;
    assert_eq!(spent.problem(), "rate-limited");
    assert!(spent.header("retry-after").is_some());
    assert_eq!(with(&gateway, &other, "/api/items").await.status, 200);
}

#[tokio::test]
async fn a_limit_per_key_counts_each_key_for_itself() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .more("\n[limits.programs]\nrate = \"2/hour\"\nper = \"api-key\"\neverywhere = true\n")
        .start()
        .await;
    let (_, one) = make(&gateway, &["--permission", "read:all"]);
    let (_, other) = make(&gateway, &["--permission", "read:all"]);
    for key in [&one, &one, &other, &other] {
        assert_eq!(with(&gateway, key, "/api/items").await.status, 200);
    }
    for key in [&one, &other] {
        let spent = with(&gateway, key, "/api/items").await;
        assert_eq!(spent.problem(), "rate-limited");
    }
}

#[tokio::test]
async fn the_admin_api_makes_rotates_and_lists_keys_for_who_may() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let root = gateway.signed_in("root@corp.test").await;
    let keys = format!("{ADMIN}/keys");
    let body = json!({ "name": "sync", "permissions": ["read:all", "manage:keys"] });
    let made = root.post(&keys).json(&body).send().await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let first = made.json();
    let (id, key) = (
        first["id"].as_str().unwrap(),
        first["key"].as_str().unwrap(),
    );

    // A key that may manage keys gives no more than it holds either.
    let by_key = async |permissions: Value| {
        gateway
            .client()
            .post(&keys)
            .header("authorization", &format!("Bearer {key}"))
            .json(&json!({ "name": "child", "permissions": permissions }))
            .send()
            .await
    };
    assert_eq!(
        by_key(json!(["read:all"])).await.status,
        StatusCode::CREATED
    );
    let more = by_key(json!(["manage:users"])).await;
    assert_eq!(more.problem(), "invalid-input");
    let export = json!({ "name": "x", "permissions": ["export:own"] });
    let not_held = root.post(&keys).json(&export).send().await;
    assert_eq!(not_held.problem(), "invalid-input");

    let rotated = root
        .post(&format!("{keys}/{id}/rotate"))
        .json(&json!({ "overlap": "1h" }))
        .send()
        .await;
    assert_eq!(rotated.status, StatusCode::CREATED, "{}", rotated.text());
    let next = rotated.json()["key"].as_str().unwrap().to_owned();
    for key in [key, &next] {
        assert_eq!(with(&gateway, key, "/api/items").await.status, 200);
    }
    let twice = root
        .post(&format!("{keys}/{id}/rotate"))
        .json(&json!({ "overlap": "1h" }))
        .send()
        .await;
    assert_eq!(twice.problem(), "conflict");
    let at_once = gateway.cli(&[
        "keys",
        "rotate",
        rotated.json()["id"].as_str().unwrap(),
        "--overlap",
        "0s",
        "--output",
        "json",
    ]);
    assert!(at_once.status.success());
    eventually_asked("the old key ends with its overlap", async || {
        with(&gateway, &next, "/api/items").await.status == 401
    })
    .await;

    let list = root.get(&format!("{keys}?limit=10")).send().await;
    assert_eq!(list.status, 200, "{}", list.text());
    assert!(list.json().as_array().unwrap().len() >= 3);
    assert!(!list.text().contains("\"hash\"") && !list.text().contains(&next));
    for action in ["api-key.created", "api-key.rotated"] {
        let events = gateway.cli(&["audit", "list", "--action", action]);
        assert!(!events.stdout.is_empty(), "{action}");
    }
}

#[tokio::test]
async fn keys_of_another_system_are_taken_over_and_open_the_same_doors() {
    let upstream = Upstream::start().await;
    let secret = "0e1d2c3b4a5968778695a4b3c2d1e0f0";
    let gateway = builder(&upstream)
        .await
        .replace(
            "[secrets]",
            "[api-keys]\nimported-prefix = \"shop\"\n\n[secrets]\nimported-api-keys = { file = \"old\" }",
        )
        .file("old", secret)
        .start()
        .await;
    let key = "shop_6Zq1cM3kFh0-2rXv_T8aJ5uYw9sPdLbGeNiQoRtKzBc";
    assert_invalid(&with(&gateway, key, "/api/items").await, "not yet");
    // Computed apart, with Python's `hmac`.
    let rows = format!(
        "{{\"id\":1,\"key_hash\":\"{IMPORTED}\",\"name\":\"old\",\"user_id\":null,\"created_at\":\"2025-01-02T03:04:05\",\"expires_at\":null}}\n{{\"key_hash\":\"zz\"}}\n"
    );
    std::fs::write(gateway.folder.join("keys.jsonl"), rows).unwrap();
    let import = |more: &[&str]| {
        let mut all = vec!["import", "keys", "--file", "keys.jsonl", "--permission"];
        all.push("read:all");
        all.extend(more);
        let output = gateway.cli(&all);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let dry = import(&[]);
    assert!(dry.contains("1 would be taken over"), "{dry}");
    assert_invalid(&with(&gateway, key, "/api/items").await, "a dry run");
    let done = import(&["--apply"]);
    assert!(
        done.contains("1 taken over") && done.contains("row 2 (id -): `key_hash`"),
        "{done}"
    );
    assert_eq!(with(&gateway, key, "/api/items").await.status, 200);
    assert!(import(&["--apply"]).contains("0 taken over, 1 there already"));
    assert_eq!(upstream.last().header("authorization"), None);
}

const IMPORTED: &str = "e5a78e4014d37fc28f1c4852d033688c85e3862b7933d98c60eb0392f4aa0263";

#[tokio::test]
async fn a_stream_ends_when_its_key_is_revoked() {
    let upstream = Upstream::endless().await;
    let gateway = builder(&upstream).await.start().await;
    let (id, key) = make(&gateway, &["--permission", "read:all"]);
    let client = gateway.client();
    let host = gateway.address;
    let request = format!(
        "GET /api/events HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
    );
    let open = tokio::spawn(async move { client.raw(request.as_bytes()).await });
    eventually_asked("the product is asked", async || upstream.requests() == 1).await;
    let revoked = gateway.cli(&["keys", "revoke", &id]);
    assert!(revoked.status.success());
    // `raw` returns when the connection has ended, and gives up after twenty seconds.
    let began = std::time::Instant::now();
    let answer = open.await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert!(began.elapsed().as_secs() < 10);
}
