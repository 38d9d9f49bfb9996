//! A CSRF token of one session is good for another one: the attacker brings a token of their own
//! (CVE-2023-45128, CVE-2023-45141).

use super::gate;
use crate::support::Upstream;

#[tokio::test]
async fn a_token_is_good_for_its_own_session_alone() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .user("eve@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let before = ana.cookie("csrf_token").unwrap();
    let ana = gateway.signed_in("ana@corp.test").await;
    let eve = gateway.signed_in("eve@corp.test").await;
    let own = ana.cookie("csrf_token").unwrap();
    for foreign in [
        eve.cookie("csrf_token").unwrap(),
        before,
        "x".to_owned(),
        ".".to_owned(),
        own.split_once('.').unwrap().0.to_owned(),
        format!(
            "{}.{}",
            own.split_once('.').unwrap().0,
            eve.cookie("csrf_token").unwrap().split_once('.').unwrap().1
        ),
        ana.cookie("session").unwrap(),
    ] {
        // The attacker has planted the cookie as well, from a sibling host.
        ana.jar
            .lock()
            .unwrap()
            .insert("csrf_token".to_owned(), foreign.clone());
        let answer = ana.post("/anything").send().await;
        assert_eq!(answer.problem(), "csrf-token-invalid", "{foreign}");
        ana.jar
            .lock()
            .unwrap()
            .insert("csrf_token".to_owned(), own.clone());
        let answer = ana
            .post("/anything")
            .replace("x-csrf-token", &foreign)
            .send()
            .await;
        assert_eq!(answer.problem(), "csrf-token-invalid", "{foreign}");
    }
    // In the query or the body it is no token at all.
    for target in [
        format!("/anything?csrf_token={own}"),
        format!("/anything?x-csrf-token={own}"),
    ] {
        let answer = ana
            .post(&target)
            .without("x-csrf-token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("csrf_token={own}"))
            .send()
            .await;
        assert_eq!(answer.problem(), "csrf-token-missing");
    }
    assert_eq!(upstream.requests(), 0);
    assert_eq!(ana.post("/anything").send().await.status, 200);
}

#[tokio::test]
async fn no_method_that_changes_things_goes_without_a_token() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    for method in [
        "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "MKCOL", "LOCK", "QUERY", "PURGE", "post",
        "FOO",
    ] {
        let method = http::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = ana
            .send(method.clone(), "/anything")
            .without("x-csrf-token")
            .send()
            .await;
        assert!(
            answer.status.is_client_error(),
            "{method}: {}",
            answer.status
        );
    }
    assert_eq!(upstream.requests(), 0);
}
