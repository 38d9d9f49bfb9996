//! The header by which the product knows who is calling comes from the client, alone or beside the
//! gate's own (CVE-2026-30851, CVE-2026-31908).

use super::{Line, gate};
use crate::support::Upstream;

#[tokio::test]
async fn the_product_gets_one_assertion_and_it_is_the_gates() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let keys = gateway.client().get("/.portcullis/jwks.json").send().await;
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_slice(&keys.body).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(&set.keys[0]).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    rules.set_audience(&["app"]);
    let forged = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.";
    let mut line = Line::to(&gateway);
    for headers in [
        format!("X-Portcullis-Assertion: {forged}\r\n"),
        format!("x-portcullis-assertion: {forged}\r\nX-PORTCULLIS-ASSERTION: {forged}\r\n"),
        format!("connection: x-portcullis-assertion\r\nx-portcullis-assertion: {forged}\r\n"),
        "x-portcullis-assertion: \r\n".to_owned(),
        format!("x-portcullis-assertions: {forged}\r\n"),
    ] {
        let bytes = format!(
            "GET /public HTTP/1.1\r\nhost: {}\r\n{headers}\r\n",
            gateway.address
        );
        assert_eq!(line.ask(bytes.as_bytes()).await.status, 200, "{headers:?}");
        let received = upstream.last();
        let ours: Vec<_> = received
            .headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("x-portcullis-"))
            .collect();
        assert_eq!(ours.len(), 1, "{ours:?}");
        let assertion = ours[0].1.to_str().unwrap();
        let claims = jsonwebtoken::decode::<serde_json::Value>(assertion, &key, &rules).unwrap();
        assert_eq!(claims.claims["sub"], "anonymous");
    }
}

#[tokio::test]
async fn an_assertion_opens_nothing_at_the_gate() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("root@corp.test", &["admin"])
        .start()
        .await;
    let root = gateway.signed_in("root@corp.test").await;
    root.get("/admin").send().await;
    let stolen = upstream
        .last()
        .header("x-portcullis-assertion")
        .unwrap()
        .to_owned();
    let before = upstream.requests();
    for (name, value) in [
        ("x-portcullis-assertion", stolen.clone()),
        ("authorization", format!("Bearer {stolen}")),
        ("cookie", format!("session={stolen}")),
    ] {
        let answer = gateway
            .client()
            .get("/admin")
            .header(name, &value)
            .send()
            .await;
        assert_eq!(answer.problem(), "authentication-required", "{name}");
    }
    assert_eq!(upstream.requests(), before);
}

#[tokio::test]
async fn two_users_never_share_an_assertion() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .user("root@corp.test", &["admin"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let root = gateway.signed_in("root@corp.test").await;
    let subject = |received: &crate::support::Received| {
        let claims = received.header("x-portcullis-assertion").unwrap();
        let middle = claims.split('.').nth(1).unwrap();
        let bytes =
            base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, middle)
                .unwrap();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["roles"].clone()
    };
    for _ in 0..3 {
        ana.get("/anything").send().await;
        assert_eq!(subject(&upstream.last()), serde_json::json!(["user"]));
        root.get("/anything").send().await;
        assert_eq!(subject(&upstream.last()), serde_json::json!(["admin"]));
        gateway.client().get("/public").send().await;
        assert_eq!(subject(&upstream.last()), serde_json::json!([]));
    }
}
