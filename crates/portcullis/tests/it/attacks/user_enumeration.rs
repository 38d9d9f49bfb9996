//! Answers differ for accounts that are there and accounts that are not (CVE-2026-32595,
//! CVE-2025-6011, CWE-204). Time is measured elsewhere: a test suite is too noisy for it.

use super::gate;
use crate::support::{Answer, PASSWORD, Upstream, database};

/// Everything that an answer says, without what differs in every answer.
fn told(answer: &Answer) -> String {
    let mut body = answer.text();
    if let Ok(mut json) = serde_json::from_slice::<serde_json::Value>(&answer.body) {
        json.as_object_mut().unwrap().remove("request_id");
        body = json.to_string();
    }
    let mut headers: Vec<String> = answer
        .headers
        .iter()
        .filter(|(name, _)| {
            ![
                "x-request-id",
                "date",
                "ratelimit",
                "content-security-policy",
            ]
            .contains(&name.as_str())
        })
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    format!("{} {headers:?} {body}", answer.status)
}

#[tokio::test]
async fn a_refused_sign_in_says_nothing_about_the_account() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .user("gone@corp.test", &["user"])
        .start()
        .await;
    let gone = gateway.signed_in("gone@corp.test").await;
    let id = gone.get("/.portcullis/auth/me").send().await.json()["id"].clone();
    let output = gateway.cli(&["users", "deactivate", id.as_str().unwrap()]);
    assert!(output.status.success());
    let mut answers = Vec::new();
    for (email, password) in [
        ("ana@corp.test", "wrong-wrong-wrong-9140"),
        ("none@corp.test", PASSWORD),
        ("gone@corp.test", PASSWORD),
        ("not an address", PASSWORD),
        ("", PASSWORD),
    ] {
        let body = serde_json::json!({ "email": email, "password": password });
        let answer = gateway
            .browser()
            .post("/.portcullis/auth/login")
            .json(&body)
            .send()
            .await;
        assert_eq!(answer.problem(), "credentials-refused", "{email}");
        answers.push(told(&answer));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
}

/// While an account is here that was brought along with bcrypt, every refusal waits for the same moments
/// (`identity::accounts::evenly` has the rule), and says the same.
#[tokio::test]
async fn a_refused_sign_in_says_nothing_about_an_account_that_was_brought_along() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .user("moved@corp.test", &["user"])
        .start()
        .await;
    let hash = bcrypt::hash(PASSWORD, 8).unwrap();
    let sql = format!(
        "UPDATE users SET password_hash = '{hash}' WHERE email_canonical = 'moved@corp.test'"
    );
    database::execute(&gateway.folder, &sql).await;
    let gateway = gateway.end().await.start().await;
    let mut answers = Vec::new();
    for email in [
        "ana@corp.test",
        "moved@corp.test",
        "none@corp.test",
        "no address",
    ] {
        let body = serde_json::json!({ "email": email, "password": "wrong-wrong-wrong-9140" });
        let login = gateway
            .browser()
            .post("/.portcullis/auth/login")
            .json(&body);
        let answer = login.send().await;
        assert_eq!(answer.problem(), "credentials-refused", "{email}");
        answers.push(told(&answer));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    // Their owner signs in as ever, and is as all others from then on.
    gateway.signed_in("moved@corp.test").await;
}

#[tokio::test]
async fn what_is_not_ones_own_looks_like_what_is_not_there() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .user("bob@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let bob = gateway.signed_in("bob@corp.test").await;
    let me = bob.get("/.portcullis/auth/me").send().await.json();
    let bobs = me["id"].as_str().unwrap();
    let sessions = bob.get("/.portcullis/auth/sessions").send().await.json();
    let session = sessions[0]["id"].as_str().unwrap();
    let nobodys = "0191d3a0-0000-7000-8000-000000000000";
    let one = ana.get(&format!("/users/{bobs}")).send().await;
    let other = ana.get(&format!("/users/{nobodys}")).send().await;
    assert_eq!(told(&one), told(&other));
    let end = async |id: &str| {
        let ask = ana.send(
            http::Method::DELETE,
            &format!("/.portcullis/auth/sessions/{id}"),
        );
        told(&ask.send().await)
    };
    assert_eq!(end(session).await, end(nobodys).await);
    assert_eq!(bob.get("/anything").send().await.status, 200);
}

#[tokio::test]
async fn closed_registration_says_the_same_for_every_address() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let mut answers = Vec::new();
    for email in ["ana@corp.test", "none@corp.test"] {
        let ask = gateway
            .browser()
            .post("/.portcullis/auth/register")
            .json(&super::credentials(email));
        answers.push(told(&ask.send().await));
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].contains("registration-closed"));
}
