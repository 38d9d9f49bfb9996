//! Attacks on the keys of programs: parts of a key that count for the whole (CVE-2026-27840), fields that
//! are not the caller's to set (CWE-915), two credentials of which each server believes another
//! (CWE-436), keys in addresses (CWE-598), and keys that outlive their owner's account (CWE-613).

use serde_json::json;

use crate::api_keys::{builder, make};
use crate::support::{Upstream, eventually, eventually_asked};

const OWN: &str = "/.portcullis/auth/keys";
const GENEROUS: &str = "\n[limits.default]\nrate = \"100000/minute\"\n";

#[tokio::test]
async fn only_the_whole_key_opens_anything() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.more(GENEROUS).start().await;
    let (_, key) = make(&gateway, &["--permission", "read:all"]);
    let mut maimed: Vec<String> = (4..key.len()).map(|end| key[..end].to_owned()).collect();
    for suffix in ["A", "=", ".", "%00", "AAAA", "/"] {
        maimed.push(format!("{key}{suffix}"));
    }
    for (at, letter) in key.char_indices().skip(4) {
        let other = if letter == 'A' { 'B' } else { 'A' };
        maimed.push(format!("{}{other}{}", &key[..at], &key[at + 1..]));
    }
    for (name, scheme) in [("authorization", "Bearer "), ("x-api-key", "")] {
        for text in &maimed {
            let value = format!("{scheme}{text}");
            let answer = gateway.client().get("/api/items").header(name, &value);
            let answer = answer.send().await;
            assert_eq!(answer.problem(), "invalid-token", "{name}: {text}");
        }
    }
    // Guessing is seen.
    let heard = || {
        let listed = gateway.cli(&["audit", "list", "--action", "credential.refused"]);
        String::from_utf8_lossy(&listed.stdout).contains("credential.refused")
    };
    eventually("the audit trail tells of it", heard).await;
    // A right checksum over another body: well-formed, and nobody's.
    let (_, ended) = make(
        &gateway,
        &["--permission", "read:all", "--expires-in", "1ms"],
    );
    let bearer = format!("Bearer {ended}");
    let answer = gateway
        .client()
        .get("/api/items")
        .header("authorization", &bearer);
    assert_eq!(answer.send().await.problem(), "invalid-token");
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn nobody_sets_what_is_not_theirs_to_set() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.more(GENEROUS).start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let bob = gateway.signed_in("bob@corp.test").await;
    let bob = bob.get("/.portcullis/auth/me").send().await.json()["id"].clone();
    for (field, value) in [
        ("user_id", bob.clone()),
        ("tenant_id", bob.clone()),
        ("created_by", json!("operator")),
        ("hash", json!("00")),
        ("rate", json!("100000/second")),
        ("id", bob),
        ("__proto__", json!({})),
        ("permissions", json!(["manage:users"])),
        ("permissions", json!(["read:own", "read:all"])),
        ("permissions", json!(["*"])),
        ("permissions", json!("read:own")),
        ("routes", json!([])),
        ("routes", json!(["api"])),
        ("expires_at", json!("2020-01-01T00:00:00Z")),
        ("expires_at", json!("2999-01-01 00:00")),
        ("name", json!("a\nb")),
    ] {
        let mut body = json!({ "name": "x" });
        body[field] = value.clone();
        let answer = ana.post(OWN).json(&body).send().await;
        assert_eq!(answer.problem(), "invalid-input", "{field}: {value}");
    }
    assert_eq!(ana.get(OWN).send().await.json(), json!([]));
}

#[tokio::test]
async fn of_two_keys_on_one_request_none_counts() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let (_, one) = make(&gateway, &["--permission", "read:all"]);
    let (_, other) = make(&gateway, &["--permission", "read:all"]);
    let (one, other) = (format!("Bearer {one}"), format!("Bearer {other}"));
    let bare = other.trim_start_matches("Bearer ");
    for headers in [
        [("authorization", one.as_str()), ("authorization", &other)],
        [("authorization", one.as_str()), ("x-api-key", bare)],
        [("x-api-key", bare), ("x-api-key", bare)],
        [("x-api-key", "the product's"), ("x-api-key", bare)],
    ] {
        let mut ask = gateway.client().get("/api/items");
        for (name, value) in headers {
            ask = ask.header(name, value);
        }
        let answer = ask.send().await;
        assert_eq!(answer.problem(), "malformed-request", "{headers:?}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_key_in_the_address_opens_nothing_and_is_not_written_down() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let (_, key) = make(&gateway, &["--permission", "read:all"]);
    for name in ["api_key", "key", "access_token", "authorization", "token"] {
        let answer = gateway
            .client()
            .get(&format!("/api/items?{name}={key}"))
            .send()
            .await;
        assert_eq!(answer.problem(), "authentication-required", "{name}");
    }
    // Nor by any other header or scheme.
    for (name, value) in [
        ("authorization", key.clone()),
        ("authorization", format!("Basic {key}")),
        ("authorization", format!("Token {key}")),
        ("cookie", format!("session={key}")),
        ("x-auth-token", key.clone()),
    ] {
        let answer = gateway.client().get("/api/items").header(name, &value);
        let answer = answer.send().await;
        assert_eq!(answer.status, 401, "{name}: {value}");
    }
    assert_eq!(upstream.requests(), 0);
    assert!(
        !gateway.printed().contains(&key),
        "the key was written down"
    );
    let trail = gateway.cli(&["audit", "list", "--output", "json"]);
    assert!(!String::from_utf8_lossy(&trail.stdout).contains(&key));
}

#[tokio::test]
async fn a_key_ends_with_its_owners_account() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let made = ana.post(OWN).json(&json!({ "name": "x" })).send().await;
    let bearer = format!("Bearer {}", made.json()["key"].as_str().unwrap());
    let asks = async || {
        let ask = gateway.client().get("/open/a");
        ask.header("authorization", &bearer).send().await
    };
    assert_eq!(asks().await.status, 200);
    let done = gateway.cli(&["users", "deactivate", "ana@corp.test"]);
    assert!(done.status.success());
    eventually_asked("the key is refused", async || asks().await.status == 401).await;
    assert_eq!(asks().await.problem(), "invalid-token");
}

#[tokio::test]
async fn a_key_loses_what_its_owner_loses() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let root = gateway.signed_in("root@corp.test").await;
    let body = json!({ "name": "x", "permissions": ["read:all"] });
    let made = root.post(OWN).json(&body).send().await;
    assert_eq!(made.status, 201, "{}", made.text());
    let bearer = format!("Bearer {}", made.json()["key"].as_str().unwrap());
    let asks = async || {
        let ask = gateway.client().get("/api/items");
        ask.header("authorization", &bearer).send().await
    };
    assert_eq!(asks().await.status, 200);
    let done = gateway.cli(&["users", "set-roles", "root@corp.test", "user"]);
    assert!(done.status.success());
    eventually_asked("the key is refused", async || asks().await.status == 403).await;
}
