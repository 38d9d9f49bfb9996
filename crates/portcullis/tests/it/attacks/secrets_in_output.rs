//! Secrets of users end up in logs and in the audit trail, where more people read and for longer
//! (CVE-2025-62513, CVE-2026-46358, CVE-2022-23469, CWE-532).

use super::gate;
use crate::support::Upstream;

#[tokio::test]
async fn nothing_that_was_planted_is_printed_or_recorded() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let planted = |number: u32| format!("Planted{number}Secret9f3c");
    let body = serde_json::json!({ "email": "ana@corp.test", "password": planted(1) });
    ana.post("/.portcullis/auth/login").json(&body).send().await;
    let unknown = serde_json::json!({ "email": "ana@corp.test", "password": planted(2), "token": planted(3) });
    ana.post("/.portcullis/auth/login")
        .json(&unknown)
        .send()
        .await;
    // A password typed into the wrong field.
    let swapped = serde_json::json!({ "email": planted(4), "password": "ana@corp.test" });
    ana.post("/.portcullis/auth/login")
        .json(&swapped)
        .send()
        .await;
    let change = serde_json::json!({ "old_password": planted(5), "new_password": planted(6) });
    ana.post("/.portcullis/auth/change-password")
        .json(&change)
        .send()
        .await;
    for path in ["/public", "/admin", "/closed", "/anything"] {
        gateway
            .client()
            .get(&format!(
                "{path}?token={}&password={}",
                planted(7),
                planted(8)
            ))
            .header("authorization", &format!("Bearer {}", planted(9)))
            .header(
                "cookie",
                &format!("session={}; product={}", planted(10), planted(11)),
            )
            .header("x-api-key", &planted(12))
            .header("x-csrf-token", &planted(13))
            .header("referer", &format!("https://x.test/?code={}", planted(14)))
            .send()
            .await;
    }
    let (session, csrf) = (
        ana.cookie("session").unwrap(),
        ana.cookie("csrf_token").unwrap(),
    );
    let list = gateway.cli(&["--output", "json", "audit", "list", "--limit", "500"]);
    assert!(list.status.success(), "{list:?}");
    let recorded = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(recorded.contains("login"), "{recorded}");
    let folder = gateway.folder.clone();
    let before = gateway.printed();
    let printed_by = |gateway: &crate::support::Gateway| gateway.printed();
    let now = printed_by(&gateway);
    assert!(now.len() >= before.len());
    for (place, text) in [("the log", now), ("the trail", recorded)] {
        for number in 1..=14 {
            assert!(
                !text.contains(&planted(number)),
                "{} is in {place}",
                planted(number)
            );
        }
        assert!(
            !text.contains(&session) && !text.contains(&csrf),
            "a token is in {place}"
        );
        let master = std::fs::read_to_string(folder.join("master")).unwrap();
        assert!(
            !text.contains(master.trim()),
            "the master secret is in {place}"
        );
        assert!(!text.contains("eyJ"), "an assertion is in {place}");
    }
}
