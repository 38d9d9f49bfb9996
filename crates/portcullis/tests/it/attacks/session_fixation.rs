//! Somebody plants a session in a victim's browser before the sign-in and rides on it afterwards; or
//! an id is used again after the sign-out (CVE-2026-7507, CVE-2024-28197, CVE-2024-38513).

use super::{credentials, gate};
use crate::support::{PASSWORD, Upstream};

#[tokio::test]
async fn a_planted_session_is_never_adopted() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .user("eve@corp.test", &["user"])
        .start()
        .await;
    let eve = gateway.signed_in("eve@corp.test").await;
    for planted in ["C".repeat(43), eve.cookie("session").unwrap()] {
        let browser = gateway.browser();
        browser
            .jar
            .lock()
            .unwrap()
            .insert("session".to_owned(), planted.clone());
        let login = browser
            .post("/.portcullis/auth/login")
            .json(&credentials("ana@corp.test"));
        assert_eq!(login.send().await.status, 200);
        assert_ne!(browser.cookie("session").unwrap(), planted);
        let me = browser.get("/.portcullis/auth/me").send().await;
        assert_eq!(me.json()["email"], "ana@corp.test");
    }
    // What eve planted is nobody's any more, neither ana's nor her own.
    let me = eve.get("/.portcullis/auth/me").send().await;
    assert_eq!(me.problem(), "authentication-required");
    let unknown = gateway
        .client()
        .get("/anything")
        .header("cookie", &format!("session={}", "C".repeat(43)));
    assert_eq!(unknown.send().await.problem(), "authentication-required");
}

#[tokio::test]
async fn a_new_password_means_a_new_session_and_the_end_of_the_others() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let here = gateway.signed_in("ana@corp.test").await;
    let elsewhere = gateway.signed_in("ana@corp.test").await;
    let old = here.cookie("session").unwrap();
    assert_ne!(old, elsewhere.cookie("session").unwrap());
    let body = serde_json::json!({ "old_password": PASSWORD, "new_password": "violet-kettle-4471-marsh-tin" });
    let changed = here
        .post("/.portcullis/auth/change-password")
        .json(&body)
        .send()
        .await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_ne!(here.cookie("session").unwrap(), old);
    assert_eq!(here.get("/anything").send().await.status, 200);
    let before = upstream.requests();
    for dead in [old, elsewhere.cookie("session").unwrap()] {
        let answer = gateway
            .client()
            .get("/anything")
            .header("cookie", &format!("session={dead}"));
        assert_eq!(answer.send().await.problem(), "authentication-required");
    }
    assert_eq!(upstream.requests(), before);
}
