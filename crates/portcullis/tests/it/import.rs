//! Moving in: accounts with their hashes, and sessions with their cookies, from a file and from the
//! product's own PostgreSQL.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::Clock as _;
use portcullis_core::time::SystemClock;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};

use crate::support::moving::cookie;
use crate::support::{Answer, Browser, Gateway, GatewayBuilder, Upstream, database, required};

/// Of `plum-anvil-tundra-9140-quartz`, by another program.
const KEY: &str = "the old secret key of the product, long enough";
const ANA: &str = "ana@corp.test";

/// A hash as the product made it.
fn bcrypt() -> String {
    bcrypt::hash(crate::support::PASSWORD, 4).unwrap()
}

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .more("\n[sessions]\ncarried-over-cookie = \"old_session\"\n")
        .environment("OLD_KEY", KEY)
}

fn report(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn counts(report: &Value) -> [u64; 4] {
    ["read", "imported", "already", "over"].map(|name| report[name].as_u64().unwrap())
}

fn import(builder: &GatewayBuilder, arguments: &[&str]) -> std::process::Output {
    builder.cli(&[&["--output", "json", "import"], arguments].concat())
}

async fn login(gateway: &Gateway, email: &str) -> (Browser, Answer) {
    let browser = gateway.browser();
    let answer = browser
        .post("/.portcullis/auth/login")
        .json(&json!({ "email": email, "password": crate::support::PASSWORD }))
        .send()
        .await;
    (browser, answer)
}

#[tokio::test]
async fn accounts_sign_in_with_the_password_that_they_had() {
    let upstream = Upstream::start().await;
    let uuid = "0191d3a0-0000-7000-8000-000000000007";
    let hash = bcrypt();
    let csv = format!(
        "id,email,password_hash,display_name,roles,created_at,deleted_at\n\
         1,{ANA},{hash},Ana,Trial,2024-05-01 10:00:00,\n\
         {uuid},bob@corp.test,{hash},,Pro,2024-05-02T10:00:00Z,\n\
         3,gone@corp.test,{hash},,Trial,,2025-01-01T00:00:00Z\n\
         4,Ana@Corp.test,{hash},,Trial,,\n\
         5,not an address,{hash},,Trial,,\n\
         6,eve@corp.test,plain-text-password,,Trial,,\n\
         7,max@corp.test,{hash},,Owner,,\n\
         8,sso@corp.test,,,Trial,,\n"
    );
    let builder = builder(&upstream).await.file("users.csv", &csv);
    let arguments = [
        "users",
        "--file",
        "users.csv",
        "--map-role",
        "Trial=user",
        "--map-role",
        "Pro=premium",
    ];
    let dry = import(&builder, &arguments);
    assert_eq!(dry.status.code(), Some(1), "rows were refused");
    let told = report(&dry);
    assert_eq!(counts(&told), [8, 4, 0, 0]);
    assert_eq!(told["dry_run"], true);
    let reasons: Vec<(u64, &str)> = told["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["row"].as_u64().unwrap(),
                row["reason"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        reasons.iter().map(|(row, _)| *row).collect::<Vec<_>>(),
        [4, 5, 6, 7]
    );
    for ((_, reason), part) in
        reasons
            .iter()
            .zip(["same address", "`email`", "`password_hash`", "`Owner`"])
    {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(!String::from_utf8_lossy(&dry.stdout).contains("plain-text-password"));
    let listed = builder.cli(&["users", "list", "--output", "json"]);
    assert_eq!(
        report(&listed).as_array().unwrap().len(),
        0,
        "a dry run keeps nothing"
    );

    let applied = [&arguments[..], &["--apply"]].concat();
    let told = report(&import(&builder, &applied));
    assert_eq!(counts(&told), [8, 4, 0, 0]);
    assert_eq!(told["mapping"].as_array().unwrap().len(), 4);
    assert_eq!(
        told["mapping"][1],
        json!({ "external_id": uuid, "id": uuid })
    );
    let again = report(&import(&builder, &applied));
    assert_eq!(counts(&again), [8, 0, 4, 0], "again changes nothing");

    let gateway = builder.start().await;
    let (ana, answer) = login(&gateway, ANA).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["display_name"], "Ana");
    assert_eq!(answer.json()["roles"], json!(["user"]));
    assert_eq!(ana.get("/anything").send().await.status, 200);
    let (bob, answer) = login(&gateway, "bob@corp.test").await;
    assert_eq!(answer.json()["roles"], json!(["premium"]));
    // The owner that a path names is the old id.
    assert_eq!(bob.get(&format!("/users/{uuid}")).send().await.status, 200);
    for nobody in ["gone@corp.test", "sso@corp.test", "eve@corp.test"] {
        let (_, answer) = login(&gateway, nobody).await;
        assert_eq!(answer.problem(), "credentials-refused", "{nobody}");
    }
    let stored = database::text(
        &gateway.folder,
        "SELECT password_hash FROM users WHERE email = 'ana@corp.test'",
    )
    .await;
    assert!(
        stored.starts_with("$argon2id$"),
        "the first sign-in made a stronger hash"
    );
}

#[tokio::test]
async fn a_column_that_nobody_understands_stops_everything() {
    let upstream = Upstream::start().await;
    let builder = builder(&upstream).await.file(
        "users.json",
        &json!([{ "id": 1, "email": ANA, "phone": "123" }]).to_string(),
    );
    let arguments = ["users", "--file", "users.json", "--apply"];
    let output = import(&builder, &arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() != Some(0) && told.contains("`phone`"),
        "{told}"
    );
    let output = import(&builder, &[&arguments[..], &["--ignore", "phone"]].concat());
    assert_eq!(counts(&report(&output)), [1, 1, 0, 0]);
}

/// The product's own cookie opens the gate, once replaced by the gate's; the product's table does not.
#[tokio::test]
async fn a_session_is_carried_over_and_its_cookie_replaced() {
    let upstream = Upstream::start().await;
    let token = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE";
    let users = json!([{ "id": 1, "email": ANA, "password_hash": bcrypt() }]).to_string();
    let sessions = format!(
        "token,user_id,expires_at\n{token},1,2099-01-01T00:00:00Z\n\
         {token}X,1,2001-01-01T00:00:00Z\n{token}Y,2,2099-01-01T00:00:00Z\nshort,1,2099-01-01T00:00:00Z\n"
    );
    let builder = builder(&upstream)
        .await
        .file("users.json", &users)
        .file("sessions.csv", &sessions);
    let users = import(
        &builder,
        &["users", "--file", "users.json", "--role", "user", "--apply"],
    );
    assert_eq!(counts(&report(&users)), [1, 1, 0, 0]);
    let arguments = [
        "sessions",
        "--file",
        "sessions.csv",
        "--cookie-key",
        "env:OLD_KEY",
        "--apply",
    ];
    let told = report(&import(&builder, &arguments));
    assert_eq!(counts(&told), [4, 1, 0, 1]);
    let refused = told["refused"].as_array().unwrap();
    assert!(refused[0]["reason"].as_str().unwrap().contains("user `2`"));
    assert!(refused[1]["reason"].as_str().unwrap().contains("guessed"));
    assert_eq!(counts(&report(&import(&builder, &arguments))), [4, 0, 1, 1]);

    let gateway = builder.start().await;
    let everything = database::everything(&gateway.folder).await;
    for secret in [token, cookie(KEY, token).as_str(), KEY] {
        let found = everything
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "only a hash is kept");
    }
    // Whoever read the product's table has the token, and not the signature.
    let forged = format!("{}.{}", URL_SAFE_NO_PAD.encode(token), "A".repeat(43));
    for (name, value) in [
        ("old_session", forged.as_str()),
        ("session", token),
        ("old_session", token),
        ("session", &cookie(KEY, token)),
    ] {
        let thief = gateway.browser();
        thief.set_cookie(name, value);
        assert_eq!(thief.get("/anything").send().await.status, 401, "{name}");
    }
    let ana = gateway.browser();
    ana.set_cookie("old_session", &cookie(KEY, token));
    let answer = ana.get("/anything").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = upstream.last();
    assert_eq!(seen.header("cookie"), None, "the product sees neither");
    assert!(ana.cookie("session").is_some() && ana.cookie("old_session").is_none());
    // A second request was on its way with the old cookie.
    let straggler = gateway.browser();
    straggler.set_cookie("old_session", &cookie(KEY, token));
    assert_eq!(
        ana.get("/anything").send().await.status,
        200,
        "the new one opens"
    );
    let answer = straggler.get("/anything").send().await;
    assert_eq!(answer.status, 200);
    assert!(
        straggler.cookie("session").is_none(),
        "no second session within the minute"
    );
    // The old one ends soon, and signing out ends the new one at once.
    let end = database::text(
        &gateway.folder,
        "SELECT CAST(max(expires_at) AS TEXT) FROM session WHERE replaces IS NULL AND id IN (SELECT id FROM session ORDER BY created_at, expires_at LIMIT 1)",
    )
    .await;
    let now = SystemClock.now().as_micros();
    let end: i64 = end.parse().unwrap();
    assert!(end < now + 31_000_000, "{end} {now}");
    ana.get("/.portcullis/auth/me").send().await;
    assert_eq!(
        ana.post("/.portcullis/auth/logout").send().await.status,
        204
    );
    assert_eq!(ana.get("/anything").send().await.status, 401);
}

/// An empty database of a product that is moved.
async fn old_database() -> (String, sqlx::PgConnection) {
    let server = required("PORTCULLIS_TEST_POSTGRES");
    let name = format!("old_{}", uuid::Uuid::new_v4().simple());
    let mut connection = sqlx::PgConnection::connect(&server).await.unwrap();
    connection
        .execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .await
        .unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    let url = format!("{base}/{name}");
    let product = sqlx::PgConnection::connect(&url).await.unwrap();
    (url, product)
}

/// Directly from the tables of a product of the shape `session-app`.
#[tokio::test]
async fn a_product_of_a_known_shape_is_read_from_its_own_database() {
    let upstream = Upstream::start().await;
    let (url, mut product) = old_database().await;
    let token = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE";
    let tables = format!(
        "CREATE TABLE talents (id serial PRIMARY KEY, email text, password_hash text, tier text, first_name text, last_name text, deleted_at timestamptz);
         INSERT INTO talents (email, password_hash, tier, first_name, last_name) SELECT 'user' || n || '@corp.test', '{}', 'Trial', 'User', n::text FROM generate_series(1, 1200) AS n;
         CREATE TABLE \"Session\" (id serial PRIMARY KEY, token text, \"userId\" int, \"expiresAt\" timestamp, \"createdAt\" timestamp DEFAULT now(), ip text, \"userAgent\" text);
         INSERT INTO \"Session\" (token, \"userId\", \"expiresAt\", ip, \"userAgent\") VALUES ('{token}', 1, now() + interval '7 days', '203.0.113.7', 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0');",
        bcrypt()
    );
    product.execute(sqlx::AssertSqlSafe(tables)).await.unwrap();
    let builder = builder(&upstream).await.environment("OLD_URL", &url);
    let from = ["--postgres", "env:OLD_URL", "--shape", "session-app"];
    let users = [&["users"], &from[..], &["--map-role", "*=user", "--apply"]].concat();
    assert_eq!(
        counts(&report(&import(&builder, &users))),
        [1200, 1200, 0, 0]
    );
    let sessions = [
        &["sessions"],
        &from[..],
        &["--cookie-key", "env:OLD_KEY", "--apply"],
    ]
    .concat();
    assert_eq!(counts(&report(&import(&builder, &sessions))), [1, 1, 0, 0]);
    // Only reading: a query that writes is refused by the server.
    let writing = import(
        &builder,
        &[
            "users",
            "--postgres",
            "env:OLD_URL",
            "--query",
            "SELECT setval('talents_id_seq', 1) AS id",
        ],
    );
    let told = String::from_utf8_lossy(&writing.stderr).into_owned();
    assert!(
        !writing.status.success() && told.contains("read-only"),
        "{told}"
    );

    let gateway = builder.start().await;
    let ana = gateway.browser();
    ana.set_cookie("old_session", &cookie(KEY, token));
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0";
    let account = ana
        .get("/.portcullis/auth/me")
        .header("user-agent", firefox);
    assert_eq!(account.send().await.json()["email"], "user1@corp.test");
    // Whose the session is, is held from the first request on.
    let thief = gateway.browser();
    thief.set_cookie("old_session", &cookie(KEY, token));
    let stolen = thief.get("/anything").header("user-agent", "curl/8.14.1");
    assert_eq!(stolen.send().await.status, 401);
}

/// The query that a page of `docs/moving` shows.
fn shown(page: &str) -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/moving/");
    let text = std::fs::read_to_string(format!("{file}{page}.md")).unwrap();
    let (_, after) = text.split_once("--query \"").unwrap();
    after.split_once('"').unwrap().0.to_owned()
}

#[tokio::test]
async fn the_queries_that_the_pages_show_read_the_tables_of_their_shapes() {
    let upstream = Upstream::start().await;
    let (url, mut product) = old_database().await;
    let tables = format!(
        "CREATE TABLE users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email text, username text, full_name text, hashed_password text, role text, created_at timestamp DEFAULT now());
         INSERT INTO users (email, username, full_name, hashed_password, role) VALUES ('ana@corp.test', 'ana', 'Ana B', '{0}', 'user'), ('root@corp.test', 'root', 'Root', '{0}', 'super_admin');",
        bcrypt()
    );
    product.execute(sqlx::AssertSqlSafe(tables)).await.unwrap();
    let shape = ["--shape".to_owned(), "hardened-api".to_owned()];
    let query = |page: &str| ["--query".to_owned(), shown(page)];
    for (from, roles, name) in [
        (shape, "--role user", None),
        (query("hardened-api"), "--role user", Some("Ana B")),
        (
            query("jwt-chat"),
            "--map-role super_admin=admin --map-role user=user",
            Some("ana"),
        ),
    ] {
        let builder = builder(&upstream)
            .await
            .environment("OLD_DATABASE_URL", &url);
        let mut arguments = vec!["users", "--postgres", "env:OLD_DATABASE_URL"];
        arguments.extend(from.iter().map(String::as_str));
        arguments.extend(roles.split(' '));
        assert_eq!(
            counts(&report(&import(&builder, &arguments))),
            [2, 2, 0, 0],
            "{from:?}"
        );
        arguments.push("--apply");
        let done = report(&import(&builder, &arguments));
        assert_eq!(counts(&done), [2, 2, 0, 0], "{done:#}");
        let gateway = builder.start().await;
        let (_, answer) = login(&gateway, ANA).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["display_name"].as_str(), name, "{from:?}");
        assert_eq!(answer.json()["roles"], json!(["user"]));
    }
}
