//! Moving in by the admin API: what `portcullis import` does, under the rules of that API (Rank, T4).

use http::Method;
use serde_json::{Value, json};

use crate::support::moving::{cookie, key_hash};
use crate::support::{Answer, Browser, Gateway, PASSWORD, Upstream, database, tokens};

const ROOT: &str = "root@corp.test";
const MOVER: &str = "mover@corp.test";
const KEY: &str = "the old secret key of the product, long enough";
const SECRET: &str = "0e1d2c3b4a5968778695a4b3c2d1e0f0";

async fn gate(upstream: &Upstream) -> Gateway {
    let roles = "\n[roles.user]\npermissions = [\"read:own\"]\n\n[roles.admin]\ninherits = [\"user\"]\npermissions = [\"manage:users\", \"manage:system\"]\n\n[roles.mover]\npermissions = [\"manage:system\"]\nmay-give = [\"user\"]\n";
    let routes = "\n[[route]]\npath = \"/programs\"\nallow = { permission = \"read:own\" }\ncallers = [\"user\", \"api-key\"]\n";
    Gateway::builder_usual(upstream)
        .await
        .user(ROOT, &["admin"])
        .user(MOVER, &["mover"])
        .replace(
            "[secrets]",
            "[api-keys]\nimported-prefix = \"shop\"\n\n[secrets]\nimported-api-keys = { file = \"old\" }",
        )
        .file("old", SECRET)
        .more("\n[sessions]\ncarried-over-cookie = \"old_session\"\n")
        .more(roles)
        .more(routes)
        .start()
        .await
}

async fn send(by: &Browser, what: &str, body: &Value) -> Answer {
    let path = format!("/.portcullis/admin/v1/import/{what}");
    let request = by.send(Method::POST, &path);
    request.json(body).send().await
}

/// The counts, and the reasons of what was refused.
fn told(answer: &Answer) -> ([u64; 3], String) {
    let report = answer.json();
    assert_eq!(answer.status, 200, "{report}");
    let counts = ["read", "imported", "already"].map(|name| report[name].as_u64().unwrap());
    (counts, report["refused"].to_string())
}

#[tokio::test]
async fn people_sessions_and_keys_come_by_the_admin_api() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let root = gateway.signed_in(ROOT).await;
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    let people = |apply: bool| {
        json!({ "apply": apply, "how": { "role_map": { "Trial": "user" } }, "rows": [
            { "id": 1, "email": "ana@corp.test", "password_hash": hash, "roles": "Trial" },
            { "id": 2, "email": "no address", "password_hash": hash },
            { "id": 3, "email": "bob@corp.test", "display_name": "a\u{0}b" },
        ] })
    };
    let dry = send(&root, "users", &people(false)).await;
    assert_eq!(told(&dry).0, [3, 1, 0]);
    assert_eq!(dry.json()["dry_run"], true);
    let (counts, refused) = told(&send(&root, "users", &people(true)).await);
    assert_eq!(counts, [3, 1, 0], "a dry run kept nothing");
    assert!(refused.contains("`email`") && refused.contains("`display_name`"));
    let again = send(&root, "users", &people(true)).await;
    assert_eq!(told(&again).0, [3, 0, 1]);
    let ana = gateway.signed_in("ana@corp.test").await;
    assert_eq!(ana.get("/anything").send().await.status, 200);

    let token = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE";
    let row = json!({ "token": token, "user_id": "1", "expires_at": "2099-01-01T00:00:00Z" });
    let body = json!({ "apply": true, "how": { "cookie_key": KEY }, "rows": [row] });
    assert_eq!(told(&send(&root, "sessions", &body).await).0, [1, 1, 0]);
    let moved = gateway.browser();
    moved.set_cookie("old_session", &cookie(KEY, token));
    assert_eq!(moved.get("/anything").send().await.status, 200);

    let key = "shop_ana_M3kFh0-2rXv_T8aJ5uYw9sPdLbGeNiQoRtKzBc";
    let row = json!({ "key_hash": key_hash(SECRET, key), "user_id": "1" });
    let body = json!({ "apply": true, "how": { "permissions": ["read:own"] }, "rows": [row] });
    assert_eq!(told(&send(&root, "keys", &body).await).0, [1, 1, 0]);
    let client = gateway.client();
    assert_eq!(tokens::get(&client, "/programs", key).await.status, 200);

    // Each is in the trail as the administrator's act; and no secret of the product is anywhere.
    for action in ["user.created", "session.imported", "api-key.imported"] {
        let output = gateway.cli(&["audit", "list", "--action", action, "--output", "json"]);
        let events: Value = serde_json::from_slice(&output.stdout).unwrap();
        let by_them = |event: &Value| event["actor"] == "user" && event["request_id"].is_string();
        let events = events.as_array().unwrap();
        assert!(events.iter().any(by_them), "{action}: {events:?}");
    }
    let everything = database::everything(&gateway.folder).await;
    for secret in [token, KEY, key] {
        let found = everything
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "{secret}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_import_as_a_whole_is_told_and_keeps_nothing() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let root = gateway.signed_in(ROOT).await;
    let row = json!({ "id": 1, "email": "ana@corp.test", "phone": "1" });
    let users = |row: &Value, how: Value| json!({ "apply": true, "rows": [row], "how": how });
    let answer = send(&root, "users", &users(&row, json!({}))).await;
    assert_eq!(answer.problem(), "invalid-input");
    assert!(answer.text().contains("`phone`"), "{}", answer.text());
    let ignoring = json!({ "apply": false, "ignore": ["phone"], "rows": [row], "how": {} });
    assert_eq!(told(&send(&root, "users", &ignoring).await).0, [1, 1, 0]);
    let plain = json!({ "id": 1, "email": "ana@corp.test" });
    for (what, body) in [
        ("users", users(&plain, json!({ "roles": ["nobody"] }))),
        ("users", users(&plain, json!({ "rolls": [] }))),
        ("users", json!({ "rows": [plain], "how": {}, "aply": true })),
        (
            "users",
            json!({ "rows": [plain], "how": {}, "source": "a\u{0}" }),
        ),
        ("sessions", json!({ "rows": [], "how": {} })),
        ("keys", json!({ "rows": [], "how": { "routes": [] } })),
    ] {
        let answer = send(&root, what, &body).await;
        assert_eq!(answer.problem(), "invalid-input", "{body}");
    }
    let many: Vec<Value> = (0..20_000)
        .map(|at| json!({ "id": at, "email": format!("{at}@corp.test"), "display_name": "x" }))
        .collect();
    let long = json!({ "rows": many, "how": {} });
    assert_eq!(send(&root, "users", &long).await.status, 413);
    let listed = gateway.cli(&["users", "list", "--output", "json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
}

/// Whoever may move people in makes no administrator of anybody, and acts as none.
#[tokio::test]
async fn nobody_moves_in_more_than_they_hold() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let root = gateway.signed_in(ROOT).await;
    let mover = gateway.signed_in(MOVER).await;
    let users = json!({ "apply": true, "how": {}, "rows": [
        { "id": 1, "email": "boss@corp.test", "roles": "admin" },
        { "id": 2, "email": "ana@corp.test", "roles": "user" },
    ] });
    let (counts, refused) = told(&send(&mover, "users", &users).await);
    assert_eq!(counts, [2, 1, 0]);
    assert!(refused.contains("`admin` is not yours"), "{refused}");
    let for_all = json!({ "apply": true, "how": { "roles": ["admin"] }, "rows": [
        { "id": 9, "email": "max@corp.test" },
    ] });
    assert_eq!(told(&send(&mover, "users", &for_all).await).0, [1, 0, 0]);
    assert_eq!(told(&send(&root, "users", &users).await).0, [2, 1, 1]);

    let session = |user: u32| json!({ "token": format!("{user}{}", "x".repeat(40)), "user_id": user, "expires_at": "2099-01-01T00:00:00Z" });
    let body =
        json!({ "apply": true, "how": { "cookie_key": KEY }, "rows": [session(1), session(2)] });
    let (counts, refused) = told(&send(&mover, "sessions", &body).await);
    assert_eq!(counts, [2, 1, 0]);
    assert!(refused.contains("`admin`"), "{refused}");

    let row =
        |user: u32| json!({ "key_hash": key_hash(SECRET, &user.to_string()), "user_id": user });
    let keys = |permission: &str| json!({ "apply": true, "how": { "permissions": [permission] }, "rows": [row(1), row(2)] });
    let (counts, refused) = told(&send(&mover, "keys", &keys("manage:system")).await);
    assert_eq!(counts, [2, 1, 0]);
    assert!(refused.contains("`admin`"), "{refused}");
    let more = send(&mover, "keys", &keys("manage:users")).await;
    assert_eq!(more.problem(), "invalid-input");
    assert!(more.text().contains("that you hold"), "{}", more.text());
    assert_eq!(
        told(&send(&root, "keys", &keys("manage:users")).await).0,
        [2, 1, 1]
    );
}
