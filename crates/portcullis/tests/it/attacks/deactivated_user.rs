//! A user who was switched off still passes, by a session, a cache or a new sign-in; or is checked at
//! the first step of a flow and not at the last (CVE-2025-53942, CVE-2024-46999, CVE-2026-16103).

use super::{credentials, gate};
use crate::support::Upstream;

#[tokio::test]
async fn a_deactivated_user_fails_on_the_next_request_and_cannot_come_back() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let second = gateway.signed_in("ana@corp.test").await;
    let id = ana.get("/.portcullis/auth/me").send().await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(ana.get("/anything").send().await.status, 200);
    let output = gateway.cli(&["users", "deactivate", &id]);
    assert!(output.status.success(), "{output:?}");
    // The running gate hears of it by its feed, not by being asked again.
    let mut refused = false;
    for _ in 0..200 {
        if ana.get("/anything").send().await.status == 401 {
            refused = true;
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(refused, "the session of a deactivated user lives on");
    let before = upstream.requests();
    for browser in [&ana, &second] {
        assert_eq!(browser.get("/anything").send().await.status, 401);
        assert_eq!(browser.get("/.portcullis/auth/me").send().await.status, 401);
    }
    let login = ana
        .post("/.portcullis/auth/login")
        .json(&credentials("ana@corp.test"));
    assert_eq!(login.send().await.problem(), "credentials-refused");
    assert_eq!(upstream.requests(), before);
    // And not by a restart either.
    let gateway = gateway.kill().start().await;
    let login = gateway
        .browser()
        .post("/.portcullis/auth/login")
        .json(&credentials("ana@corp.test"));
    assert_eq!(login.send().await.problem(), "credentials-refused");
}

#[tokio::test]
async fn roles_that_were_taken_away_open_nothing_more() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("root@corp.test", &["admin"])
        .start()
        .await;
    let root = gateway.signed_in("root@corp.test").await;
    assert_eq!(root.get("/admin").send().await.status, 200);
    let me = root.get("/.portcullis/auth/me").send().await.json();
    let output = gateway.cli(&["users", "set-roles", me["id"].as_str().unwrap(), "user"]);
    assert!(output.status.success(), "{output:?}");
    let mut status = 200;
    for _ in 0..200 {
        status = root.get("/admin").send().await.status.as_u16();
        if status != 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert_eq!(status, 403);
    let before = upstream.requests();
    assert_eq!(root.get("/admin").send().await.status, 403);
    assert_eq!(upstream.requests(), before);
}
