//! The journey of a request, stage by stage, as a client and the product behind the gate see it.

use crate::support::{Gateway, PASSWORD, Upstream};

#[tokio::test]
async fn a_public_route_is_open_to_everybody() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let answer = gateway.client().get("/public").send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), "hello from the product");
}

#[tokio::test]
async fn a_closed_route_is_closed_and_the_product_never_hears_of_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let answer = gateway.client().get("/closed").send().await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (403, "route-closed")
    );
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_told_to() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let answer = gateway.client().get("/anything").send().await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (401, "authentication-required")
    );
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_session_opens_what_it_may_and_nothing_more() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .user("root@corp.test", &["admin"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    assert_eq!(ana.get("/anything").send().await.status, 200);
    assert_eq!(ana.get("/admin").send().await.problem(), "not-permitted");
    let root = gateway.signed_in("root@corp.test").await;
    assert_eq!(root.get("/admin").send().await.status, 200);
    let id = ana.get("/.portcullis/auth/me").send().await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(ana.get(&format!("/users/{id}")).send().await.status, 200);
    assert_eq!(
        ana.get("/users/0191d3a0-0000-7000-8000-000000000000")
            .send()
            .await
            .problem(),
        "not-found"
    );
    assert_eq!(root.get(&format!("/users/{id}")).send().await.status, 200);
}

#[tokio::test]
async fn logout_ends_the_session_on_the_next_request() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let stolen = ana.cookie("session").unwrap();
    assert_eq!(
        ana.post("/.portcullis/auth/logout").send().await.status,
        204
    );
    let answer = gateway
        .client()
        .get("/anything")
        .header("cookie", &format!("session={stolen}"))
        .send()
        .await;
    assert_eq!(answer.problem(), "authentication-required");
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    for email in ["ana@corp.test", "nobody@corp.test"] {
        let body = serde_json::json!({ "email": email, "password": format!("{PASSWORD}x") });
        let answer = gateway
            .browser()
            .post("/.portcullis/auth/login")
            .json(&body)
            .send()
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (401, "credentials-refused")
        );
    }
}

#[tokio::test]
async fn a_session_survives_a_crash_of_the_gate() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let cookie = format!("session={}", ana.cookie("session").unwrap());
    let gateway = gateway.kill().start().await;
    assert_eq!(
        gateway
            .client()
            .get("/anything")
            .header("cookie", &cookie)
            .send()
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn the_product_gets_an_assertion_and_no_cookie_of_ours() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    ana.get("/anything?x=1")
        .header("x-forwarded-user", "root")
        .send()
        .await;
    let received = upstream.last();
    assert_eq!(received.target, "/anything?x=1");
    assert!(
        received
            .header("cookie")
            .is_none_or(|cookies| !cookies.contains("session="))
    );
    assert!(received.header("x-forwarded-user").is_none());
    assert_eq!(
        received
            .header("x-portcullis-assertion")
            .unwrap()
            .split('.')
            .count(),
        3
    );
}

#[tokio::test]
async fn an_unsafe_request_needs_the_token_of_its_session() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let without = ana.post("/anything").without("x-csrf-token").send().await;
    assert_eq!(without.problem(), "csrf-token-missing");
    let elsewhere = ana
        .post("/anything")
        .replace("sec-fetch-site", "cross-site")
        .send()
        .await;
    assert_eq!(elsewhere.problem(), "csrf-cross-site");
    assert_eq!(upstream.requests(), 0);
    assert_eq!(ana.post("/anything").send().await.status, 200);
}

#[tokio::test]
async fn sign_in_is_limited_per_address() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let mut last = None;
    for _ in 0..6 {
        let body = serde_json::json!({ "email": "a@corp.test", "password": PASSWORD });
        last = Some(
            gateway
                .browser()
                .post("/.portcullis/auth/login")
                .json(&body)
                .send()
                .await,
        );
    }
    let last = last.unwrap();
    assert_eq!(
        (last.status.as_u16(), last.problem().as_str()),
        (429, "rate-limited")
    );
    assert!(last.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert!(
        last.header("ratelimit-policy")
            .unwrap()
            .contains("\"auth\";q=5;w=60")
    );
}

#[tokio::test]
async fn a_websocket_opened_by_another_site_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let handshake = |origin: &str| {
        ana.get("/socket")
            .without("sec-fetch-site")
            .header("origin", origin)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let answer = handshake("https://evil.test").send().await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (403, "csrf-cross-site")
    );
    assert_eq!(upstream.requests(), 0);
    let own = format!("http://{}", gateway.address);
    assert_eq!(handshake(&own).send().await.status, 200);
}

#[tokio::test]
async fn the_gate_says_that_it_is_ready() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    for path in ["/healthz", "/readyz", "/health"] {
        assert_eq!(
            gateway.client().get(path).send().await.status,
            200,
            "{path}"
        );
    }
}
