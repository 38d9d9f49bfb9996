//! What is kept of visits and for how long, and how a tenant looks after them: by the admin API and on
//! the command line.

use std::time::{Duration, SystemTime};

use http::Method;
use portcullis_core::Timestamp;
use serde_json::{Value, json};

use super::{OWN, SHOP, begin, beginning, builder, done, furnished, gate, until};
use crate::support::{Browser, Gateway, Upstream, database, eventually_asked};

const ADMIN: &str = "/.portcullis/admin/v1/tenants";

#[tokio::test]
async fn of_a_browser_a_few_known_details_are_kept_and_of_a_token_its_hash() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let send = async |body: Value| {
        beginning(&gateway, "acme", SHOP)
            .header("user-agent", "Mozilla/5.0 (test)")
            .body(body.to_string())
            .send()
            .await
    };
    let answer = send(json!({ "metadata": {
        "language": "de", "languages": ["de", "en"], "timezone": "Europe/Vienna", "timezoneOffset": -60,
        "cookieEnabled": true, "screenResolution": "1920x1080", "viewportSize": "800x600",
        "referrer": "https://mail.test/?q=surname", "currentUrl": "https://shop.acme.test/?order=77",
        "email": "somebody@home.test", "name": "Some Body", "userAgent": "made up", "ip": "198.51.100.7",
    }}));
    let answer = answer.await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let kept = database::text(&gateway.folder, "SELECT metadata FROM visitor").await;
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let expected = json!({
        "userAgent": "Mozilla/5.0 (test)", "language": "de", "languages": ["de", "en"],
        "timezone": "Europe/Vienna", "timezoneOffset": -60, "cookieEnabled": true,
        "screenResolution": "1920x1080", "viewportSize": "800x600",
    });
    assert_eq!(kept, expected);
    for (body, status) in [
        (json!({ "metadata": { "language": "x".repeat(200) } }), 422),
        (json!({ "metadata": { "language": ["de"] } }), 422),
        (json!({ "metadata": { "timezoneOffset": {} } }), 422),
        (json!({ "metadata": "de" }), 422),
        (json!({ "metadata": {}, "tenant": "globex" }), 422),
        (json!({ "metadata": { "more": "x".repeat(5000) } }), 413),
    ] {
        let answer = send(body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    let all = database::everything(&gateway.folder).await;
    let has = |needle: &str| {
        all.windows(needle.len())
            .any(|part| part == needle.as_bytes())
    };
    assert!(has("Europe/Vienna"));
    for needle in [
        &token["pcv_".len()..],
        "surname",
        "somebody@home.test",
        "Some Body",
    ] {
        assert!(!has(needle), "{needle}");
        assert!(!gateway.printed().contains(needle), "{needle}");
    }
}

fn now() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap()
}

/// So that the end of every visit lies this many hours ahead.
async fn hours_to_go(gateway: &Gateway, hours: u64) {
    let at = now().as_secs() * 1_000_000 + hours * 3_600_000_000;
    let sql = format!("UPDATE visitor SET expires_at = {at}");
    database::execute(&gateway.folder, &sql).await;
}

/// How many hours a visit has to go, by what the database says.
async fn left(gateway: &Gateway) -> i64 {
    let sql = "SELECT CAST((max(expires_at) - max(created_at)) / 3600000000 AS text) FROM visitor";
    database::text(&gateway.folder, sql).await.parse().unwrap()
}

#[tokio::test]
async fn a_visit_in_use_is_renewed_when_less_than_four_hours_are_left_and_not_before() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let visit = begin(&gateway, "acme", SHOP).await;
    hours_to_go(&gateway, 5).await;
    assert_eq!(visit.get(&gateway, "/chat").await.status, 200);
    assert_eq!(visit.get(&gateway, OWN).await.status, 200);
    assert!(left(&gateway).await <= 5);
    // Another node, which does not know the visit yet.
    hours_to_go(&gateway, 3).await;
    let twin = gateway.twin().await;
    let all = (0..16).map(|_| visit.get(&twin, "/chat"));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    eventually_asked("the visit lasts a day", async || left(&gateway).await >= 23).await;
    // Who asks for the end reads the one that counts.
    let other = begin(&gateway, "acme", SHOP).await;
    hours_to_go(&gateway, 3).await;
    let told = other.get(&gateway, OWN).await.json();
    let end: Timestamp = told["expires_at"].as_str().unwrap().parse().unwrap();
    assert!(end.as_seconds() - now().as_secs().cast_signed() > 23 * 3600);
    // What is over is over.
    hours_to_go(&gateway, 0).await;
    let late = gateway.twin().await;
    assert_eq!(visit.get(&late, "/chat").await.problem(), "invalid-token");
}

async fn administrator(gateway: &Gateway, name: &str, tenant: &str) -> Browser {
    let user = format!("{name}@corp.test");
    done(gateway, &["tenants", "set-roles", tenant, &user, "admin"]);
    gateway.signed_in(&user).await
}

#[tokio::test]
async fn a_tenants_administrator_looks_after_its_widget_and_its_visits_and_no_others() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .user("eve@corp.test", &[])
        .user("bob@corp.test", &[])
        .start()
        .await;
    let gateway = furnished(gateway);
    let ada = administrator(&gateway, "ada", "acme").await;
    let eve = administrator(&gateway, "eve", "globex").await;
    done(
        &gateway,
        &["tenants", "set-roles", "acme", "bob@corp.test", "user"],
    );
    let bob = gateway.signed_in("bob@corp.test").await;
    let (one, other) = (
        begin(&gateway, "acme", SHOP).await,
        begin(&gateway, "acme", SHOP).await,
    );
    let put = async |who: &Browser, origins: Value| {
        let request = who.send(Method::PUT, &format!("{ADMIN}/acme/widget"));
        request.json(&json!({ "origins": origins })).send().await
    };
    let widget = ada.get(&format!("{ADMIN}/acme/widget")).send().await;
    assert_eq!(widget.json(), json!({ "origins": [SHOP] }));
    for wrong in [
        json!(["*"]),
        json!(["https://*.acme.test"]),
        json!(["null"]),
        json!(["https://shop.acme.test/"]),
        json!(["javascript:alert(1)"]),
        json!([SHOP, "https://shop.acme.test; script-src *"]),
    ] {
        let answer = put(&ada, wrong.clone()).await;
        assert_eq!(answer.problem(), "invalid-input", "{wrong}");
        assert_eq!(answer.json()["errors"][0]["field"], "origins");
    }
    assert_eq!(put(&eve, json!([])).await.problem(), "not-found");
    assert_eq!(put(&bob, json!([])).await.problem(), "not-permitted");
    let list = ada
        .get(&format!("{ADMIN}/acme/visitors"))
        .send()
        .await
        .json();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(list[0]["origin"], SHOP);
    assert!(!list.to_string().contains("pcv_"));
    let path = format!("{ADMIN}/acme/visitors/{}", one.id);
    let end = async |who: &Browser, path: &str| who.send(Method::DELETE, path).send().await;
    assert_eq!(end(&eve, &path).await.problem(), "not-found");
    // Another tenant's name does not reach this tenant's visit.
    let crooked = format!("{ADMIN}/globex/visitors/{}", one.id);
    assert_eq!(end(&eve, &crooked).await.problem(), "not-found");
    assert_eq!(one.get(&gateway, "/chat").await.status, 200);
    assert_eq!(end(&ada, &path).await.status, 204);
    assert_eq!(
        one.get(&gateway, "/chat").await.problem(),
        "invalid-token",
        "at once"
    );
    assert_eq!(end(&ada, &path).await.problem(), "not-found");
    assert_eq!(other.get(&gateway, "/chat").await.status, 200);
    // Its origin goes, and it goes along.
    let answer = put(&ada, json!(["https://www.acme.test"])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        other.get(&gateway, "/chat").await.problem(),
        "invalid-token",
        "at once"
    );
    let third = begin(&gateway, "acme", "https://www.acme.test").await;
    let all = end(&ada, &format!("{ADMIN}/acme/visitors")).await;
    assert_eq!(all.json(), json!({ "ended": 1 }));
    assert_eq!(
        third.get(&gateway, "/chat").await.problem(),
        "invalid-token"
    );
    let trail = done(
        &gateway,
        &["--output", "json", "audit", "list", "--limit", "1000"],
    );
    for action in [
        "visitor.created",
        "visitor.revoked",
        "widget-origins.changed",
    ] {
        assert!(trail.contains(action), "{action}");
    }
}

#[tokio::test]
async fn the_command_line_shows_and_ends_visits_on_every_node() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let twin = gateway.twin().await;
    let (one, other) = (
        begin(&gateway, "acme", SHOP).await,
        begin(&twin, "acme", SHOP).await,
    );
    for node in [&gateway, &twin] {
        assert_eq!(one.get(node, "/chat").await.status, 200);
        assert_eq!(other.get(node, "/chat").await.status, 200);
    }
    let list = done(&gateway, &["--output", "json", "visitors", "list", "acme"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 2);
    let text = done(&gateway, &["visitors", "list", "acme"]);
    assert!(text.contains(&one.id) && text.contains(SHOP), "{text}");
    assert_eq!(
        done(&gateway, &["visitors", "origins", "acme"]).trim(),
        SHOP
    );
    done(&gateway, &["visitors", "revoke", "acme", &one.id]);
    for node in [&gateway, &twin] {
        until("a revoked visit", 401, async || {
            one.get(node, "/chat").await
        })
        .await;
        assert_eq!(other.get(node, "/chat").await.status, 200);
    }
    let ended = done(&gateway, &["visitors", "revoke", "acme", "--all"]);
    assert!(ended.contains('1'), "{ended}");
    for node in [&gateway, &twin] {
        until("a revoked visit", 401, async || {
            other.get(node, "/chat").await
        })
        .await;
    }
    for (arguments, code) in [
        (&["visitors", "list", "nobody"][..], 2),
        (&["visitors", "revoke", "acme", &one.id], 2),
        (&["visitors", "set-origins", "acme", "*"], 2),
        (&["visitors", "revoke", "acme"], 2),
    ] {
        let output = gateway.cli(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_visit_that_opened_it() {
    for is_revoked in [true, false] {
        let upstream = Upstream::endless().await;
        let builder = builder(&upstream).await;
        // One that cannot be renewed is over by itself.
        let short = "[visitors]\nlifetime = \"4s\"\nrenew-below = \"1s\"\nmax-lifetime = \"4s\"\n";
        let builder = if is_revoked {
            builder
        } else {
            builder.replace("[visitors]\n", short)
        };
        let gateway = furnished(builder.start().await);
        let visit = begin(&gateway, "acme", SHOP).await;
        let client = gateway.client();
        let request = format!(
            "GET /chat HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            gateway.address, visit.token
        );
        let open = tokio::spawn(async move { client.raw(request.as_bytes()).await });
        eventually_asked("the product is asked", async || upstream.requests() == 1).await;
        if is_revoked {
            done(&gateway, &["visitors", "revoke", "acme", &visit.id]);
        }
        // `raw` returns when the connection has ended, and gives up after twenty seconds.
        let began = std::time::Instant::now();
        let answer = open.await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{is_revoked}");
        assert!(began.elapsed().as_secs() < 10, "{is_revoked}");
    }
}
