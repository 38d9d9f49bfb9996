//! A field that only the operator may set comes in the body of a call that anybody may make
//! (CVE-2025-61928, CWE-915).

use serde_json::{Value, json};

use super::gate;
use crate::support::{PASSWORD, Upstream};

fn fields() -> Vec<(&'static str, Value)> {
    vec![
        ("role", json!("admin")),
        ("roles", json!(["admin"])),
        ("Roles", json!(["admin"])),
        ("is_admin", json!(true)),
        ("admin", json!(1)),
        ("permissions", json!(["manage:users"])),
        ("id", json!("0191d3a0-0000-7000-8000-000000000000")),
        ("user_id", json!("0191d3a0-0000-7000-8000-000000000000")),
        ("tenant_id", json!("0191d3a0-0000-7000-8000-000000000000")),
        ("password_hash", json!("x")),
        ("email_verified", json!(true)),
        ("created_at", json!(0)),
        ("deactivated_at", Value::Null),
        ("__proto__", json!({ "roles": ["admin"] })),
        ("constructor", json!({})),
        ("email_canonical", json!("root@corp.test")),
    ]
}

#[tokio::test]
async fn no_body_sets_more_than_its_own_fields() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .more("\n[accounts]\nregistration = \"open\"\nregistration-roles = [\"user\"]\n")
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    for (field, value) in fields() {
        for (name, mut body) in [
            (
                "register",
                json!({ "email": "eve@corp.test", "password": PASSWORD }),
            ),
            (
                "login",
                json!({ "email": "ana@corp.test", "password": PASSWORD }),
            ),
            (
                "change-password",
                json!({ "old_password": PASSWORD, "new_password": "violet-kettle-4471-marsh" }),
            ),
        ] {
            body[field] = value.clone();
            let ask = ana.post(&format!("/.portcullis/auth/{name}")).json(&body);
            let answer = ask.send().await;
            assert_eq!(answer.problem(), "invalid-input", "{name} {field}");
            assert!(answer.cookies().is_empty());
        }
    }
    // Nothing of it was done.
    let list = gateway.cli(&["users", "list"]);
    assert!(!String::from_utf8_lossy(&list.stdout).contains("eve@corp.test"));
    gateway.signed_in("ana@corp.test").await;
}

#[tokio::test]
async fn neither_query_nor_headers_give_a_role() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .more("\n[accounts]\nregistration = \"open\"\nregistration-roles = [\"user\"]\n")
        .start()
        .await;
    let answer = gateway
        .browser()
        .post("/.portcullis/auth/register?role=admin&roles=admin")
        .header("x-role", "admin")
        .header("x-roles", "admin")
        .json(&super::credentials("eve@corp.test"))
        .send()
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["roles"], json!(["user"]));
    let eve = gateway.signed_in("eve@corp.test").await;
    assert_eq!(eve.get("/admin").send().await.problem(), "not-permitted");
    assert_eq!(upstream.requests(), 0);
}
