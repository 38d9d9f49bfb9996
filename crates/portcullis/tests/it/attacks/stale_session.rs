//! A session that has ended leaves its cookies in the browser, or its answers in a cache, for the
//! next user of the machine (CVE-2026-34454).

use super::{gate, set_cookies};
use crate::support::Upstream;

#[tokio::test]
async fn a_dead_session_is_taken_back_and_the_answer_is_not_stored() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let stolen = ana.cookie("session").unwrap();
    let out = ana.post("/.portcullis/auth/logout").send().await;
    assert_eq!(out.status, 204);
    let cleared = |answer: &crate::support::Answer| {
        set_cookies(answer)
            .iter()
            .any(|cookie| cookie.starts_with("session=;") && cookie.contains("Max-Age=0"))
    };
    assert!(cleared(&out));
    for session in [stolen.as_str(), "x", "", &"A".repeat(43)] {
        for (path, status) in [("/anything", 401), ("/admin", 401), ("/closed", 403)] {
            let answer = gateway
                .client()
                .get(path)
                .header("cookie", &format!("session={session}"))
                .send()
                .await;
            assert_eq!(answer.status, status);
            assert!(cleared(&answer), "{session} {path}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_failed_sign_in_leaves_no_old_session_behind() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let answer = gateway
        .browser()
        .post("/.portcullis/auth/sign-in")
        .header("cookie", "session=x")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("email=ana%40corp.test&password=wrong-wrong-wrong")
        .send()
        .await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(
        set_cookies(&answer)
            .iter()
            .any(|cookie| cookie.starts_with("session=;"))
    );
}
