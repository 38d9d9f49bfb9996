//! Opening an account (I1): closed unless the operator opens it.

use serde_json::{Value, json};

use crate::support::{Answer, Browser, Gateway, PASSWORD, Upstream};

async fn register(browser: &Browser, body: &Value) -> Answer {
    let request = browser.post("/.portcullis/auth/register");
    request.json(body).send().await
}

#[tokio::test]
async fn registration_is_closed_unless_opened() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let body = json!({ "email": "eve@corp.test", "password": PASSWORD });
    let answer = register(&gateway.browser(), &body).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (403, "registration-closed")
    );
    let listed = gateway.cli(&["users", "list", "--output", "json"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), "[]");
}

#[tokio::test]
async fn open_registration_gives_the_configured_roles_and_nothing_that_was_asked_for() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .more("\n[accounts]\nregistration = \"open\"\nregistration-roles = [\"user\"]\n[limits.auth]\nrate = \"1000/minute\"\n")
        .start()
        .await;
    let eve = gateway.browser();
    let with = |key: &str, value: Value| {
        let mut body = json!({ "email": "eve@corp.test", "password": PASSWORD });
        body[key] = value;
        body
    };
    for (body, field) in [
        (with("roles", json!(["admin"])), None),
        (
            with("tenant_id", json!("0191d3a0-0000-7000-8000-000000000000")),
            None,
        ),
        (with("email", json!("not an address")), Some("email")),
        (with("password", json!("short")), Some("password")),
        (with("display_name", json!("a\u{7}b")), Some("display_name")),
    ] {
        let answer = register(&eve, &body).await;
        assert_eq!(answer.problem(), "invalid-input", "{body}");
        if let Some(field) = field {
            assert_eq!(answer.json()["errors"][0]["field"], field);
        }
    }
    let good = with("display_name", json!("Eve"));
    let answer = register(&eve, &good).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["roles"], json!(["user"]));
    assert!(eve.cookie("session").is_none(), "it does not sign in");
    let again = with("email", json!("EVE@corp.test"));
    assert_eq!(register(&eve, &again).await.problem(), "conflict");
    let eve = gateway.signed_in("eve@corp.test").await;
    assert_eq!(eve.get("/anything").send().await.status, 200);
    assert_eq!(eve.get("/admin").send().await.problem(), "not-permitted");
}
