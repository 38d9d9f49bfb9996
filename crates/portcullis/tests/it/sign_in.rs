//! Signing in, being known, signing out (I1, I10, S1).

use serde_json::json;

use crate::support::{Answer, Gateway, GatewayBuilder, PASSWORD, Upstream};

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .user("ana@corp.test", &["user"])
        .more("\n[limits.auth]\nrate = \"1000/minute\"\n")
}

/// What a client can tell one refusal from another by: all but the names of the request.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, serde_json::Value) {
    let volatile = ["date", "x-request-id", "ratelimit"];
    let headers = answer
        .headers
        .iter()
        .filter(|(name, _)| !volatile.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let mut body = answer.json();
    body.as_object_mut().unwrap().remove("request_id");
    (answer.status.as_u16(), headers, body)
}

#[tokio::test]
async fn signing_in_gives_an_account_a_session_and_nothing_secret() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = gateway.browser();
    // A session that somebody planted before is never adopted (CWE-384).
    let planted = "A".repeat(43);
    ana.set_cookie("session", &planted);
    let login = json!({ "email": "Ana@Corp.test", "password": PASSWORD });
    let answer = ana
        .post("/.portcullis/auth/login")
        .json(&login)
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let cookies = answer.all("set-cookie");
    let session = cookies
        .iter()
        .find(|cookie| cookie.starts_with("session="))
        .unwrap();
    let (_, attributes) = session.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax; Max-Age=86400");
    let token = ana.cookie("session").unwrap();
    assert!(
        token != planted && token.len() >= 43,
        "256 bits in base64url"
    );
    let account = answer.json();
    assert_eq!(account["email"], "ana@corp.test");
    assert_eq!(account["roles"], json!(["user"]));
    assert!(account["csrf_token"].is_string());
    assert!(!answer.text().contains("argon2") && !answer.text().contains(&token));

    let me = ana.get("/.portcullis/auth/me").send().await;
    assert_eq!(me.json()["id"], account["id"]);
    assert_eq!(
        me.json()["csrf_token"],
        account["csrf_token"],
        "an open tab keeps its token"
    );

    let stolen = format!("session={token}");
    let out = ana.post("/.portcullis/auth/logout").send().await;
    assert_eq!(out.status, 204);
    assert!(ana.cookie("session").is_none(), "the cookie was taken back");
    for path in ["/.portcullis/auth/me", "/anything"] {
        let answer = gateway
            .client()
            .get(path)
            .header("cookie", &stolen)
            .send()
            .await;
        assert_eq!(answer.problem(), "authentication-required", "{path}");
        assert!(
            answer
                .all("set-cookie")
                .iter()
                .any(|cookie| cookie.starts_with("session=;") && cookie.contains("Max-Age=0")),
            "a dead cookie is taken back"
        );
    }
}

#[tokio::test]
async fn whether_an_account_exists_cannot_be_told_from_a_refusal() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let listed = gateway.cli(&["users", "list", "--output", "json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed[0]["email"], "ana@corp.test");
    let mut answers = Vec::new();
    for email in ["ana@corp.test", "nobody@corp.test", "no address"] {
        let login = json!({ "email": email, "password": "another-9417-lantern-fjord" });
        answers.push(
            gateway
                .browser()
                .post("/.portcullis/auth/login")
                .json(&login)
                .send()
                .await,
        );
    }
    // A closed account too, with its right password.
    let id = listed[0]["id"].as_str().unwrap();
    assert!(gateway.cli(&["users", "deactivate", id]).status.success());
    let login = json!({ "email": "ana@corp.test", "password": PASSWORD });
    answers.push(
        gateway
            .browser()
            .post("/.portcullis/auth/login")
            .json(&login)
            .send()
            .await,
    );
    for answer in &answers {
        assert_eq!(answer.problem(), "credentials-refused");
        assert_eq!(seen(answer), seen(&answers[0]));
    }
}

#[tokio::test]
async fn the_auth_api_answers_at_the_products_own_path_too() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .more("\n[auth-api]\nmounts = [\"/api/v1/auth\"]\n")
        .start()
        .await;
    let ana = gateway.browser();
    let login = json!({ "email": "ana@corp.test", "password": PASSWORD });
    assert_eq!(
        ana.get("/api/v1/auth/me").send().await.problem(),
        "authentication-required"
    );
    let answer = ana.post("/api/v1/auth/login").json(&login).send().await;
    assert_eq!(answer.status, 200);
    for path in ["/api/v1/auth/me", "/.portcullis/auth/me"] {
        assert_eq!(ana.get(path).send().await.json()["email"], "ana@corp.test");
    }
    assert_eq!(ana.post("/api/v1/auth/logout").send().await.status, 204);
    assert_eq!(
        ana.get("/anything").send().await.problem(),
        "authentication-required"
    );
    assert_eq!(upstream.requests(), 0, "the product never saw a password");
}

#[tokio::test]
async fn a_sign_in_is_read_strictly_and_only_from_the_products_own_pages() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let body = json!({ "email": "ana@corp.test", "password": PASSWORD }).to_string();
    let twice = body.replacen('{', "{\"email\":\"x@corp.test\",", 1);
    let more = body.replacen('{', "{\"roles\":[\"admin\"],", 1);
    let large = body.replacen('{', &format!("{{{}", " ".repeat(1 << 20)), 1);
    for (kind, body, expected) in [
        ("text/plain", body.as_str(), "unsupported-media-type"),
        (
            "application/x-www-form-urlencoded",
            "email=a&password=b",
            "unsupported-media-type",
        ),
        ("application/json", "{", "malformed-body"),
        ("application/json", &twice, "invalid-input"),
        ("application/json", &more, "invalid-input"),
        ("application/json", &large, "body-too-large"),
    ] {
        let answer = gateway
            .browser()
            .post("/.portcullis/auth/login")
            .header("content-type", kind)
            .body(body.to_owned())
            .send()
            .await;
        assert_eq!(answer.problem(), expected, "{kind}");
        assert!(answer.cookies().is_empty());
        assert!(!answer.text().contains(PASSWORD));
    }
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = gateway
            .browser()
            .post("/.portcullis/auth/login")
            .replace(name, value)
            .header("content-type", "application/json")
            .body(body.clone())
            .send()
            .await;
        assert_eq!(answer.problem(), "csrf-cross-site", "{value}");
    }
    let answer = gateway
        .client()
        .post("/.portcullis/auth/login")
        .header("origin", "https://evil.test")
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await;
    assert_eq!(answer.problem(), "origin-not-allowed");
}
