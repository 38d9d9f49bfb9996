//! An answer for one user, host or query is given to another, because it was kept under a key that
//! lacks what it depended on (RUSTSEC-2026-0035, CVE-2026-30246).

use axum::response::IntoResponse as _;

use super::gate;
use crate::support::{Received, Upstream};

#[tokio::test]
async fn each_request_gets_an_answer_of_its_own() {
    let upstream = Upstream::answering(|request: &Received| {
        let told = format!(
            "{} {} {}",
            request.target,
            request.header("host").unwrap(),
            request.header("x-portcullis-assertion").unwrap()
        );
        ([("cache-control", "public, max-age=3600")], told).into_response()
    })
    .await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .user("bob@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let bob = gateway.signed_in("bob@corp.test").await;
    let port = gateway.address.port();
    let mut told = Vec::new();
    for browser in [&ana, &bob] {
        for target in ["/anything", "/anything?a=1", "/anything?a=2"] {
            told.push(browser.get(target).send().await.text());
        }
    }
    let client = gateway.client();
    for host in ["localhost", "127.0.0.1"] {
        let ask = client
            .get("/public")
            .replace("host", &format!("{host}:{port}"));
        told.push(ask.send().await.text());
    }
    let all = told.len();
    told.sort();
    told.dedup();
    // Hosts may look alike to the product; users and queries never do.
    assert!(told.len() >= all - 1, "{told:?}");
    assert_eq!(upstream.requests(), all);
}

#[tokio::test]
async fn what_the_gate_says_to_one_user_is_not_to_be_stored() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    for answer in [
        ana.get("/.portcullis/auth/me").send().await,
        ana.get("/.portcullis/auth/sessions").send().await,
        ana.get("/.portcullis/auth/account").send().await,
        ana.get("/.portcullis/auth/sign-in").send().await,
        ana.get("/admin").send().await,
        gateway.client().get("/anything").send().await,
    ] {
        assert_eq!(
            answer.header("cache-control"),
            Some("no-store"),
            "{}",
            answer.text()
        );
    }
}
