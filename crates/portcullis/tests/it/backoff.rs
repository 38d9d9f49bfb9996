//! The throttle of each account, beside the limit of each address (I4).

use serde_json::json;

use crate::support::{Answer, Browser, Gateway, PASSWORD, Upstream};

async fn attempt(browser: &Browser, email: &str, password: &str) -> Answer {
    browser
        .post("/.portcullis/auth/login")
        .json(&json!({ "email": email, "password": password }))
        .send()
        .await
}

#[tokio::test]
async fn guessing_slows_an_account_for_strangers_and_never_for_its_owners_own_device() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .more("\n[limits.auth]\nrate = \"1000/minute\"\n")
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    ana.post("/.portcullis/auth/logout").send().await;
    assert!(ana.cookie("device").is_some(), "the device stays known");

    // One with an account, one without: told apart by nothing.
    for email in ["ana@corp.test", "nobody@corp.test"] {
        for _ in 0..5 {
            let answer = attempt(&gateway.browser(), email, "guess-5512-guess-5512").await;
            assert_eq!(answer.problem(), "credentials-refused");
        }
        let answer = attempt(&gateway.browser(), email, PASSWORD).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (429, "rate-limited"),
            "the right password does not shorten the wait"
        );
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((20..=30).contains(&wait), "{wait}");
    }
    // A device cookie that is known for another account, or was changed, is a stranger's.
    let forged = gateway.browser();
    let device = ana.cookie("device").unwrap();
    let other = if device.starts_with('A') { 'B' } else { 'A' };
    forged.set_cookie("device", &format!("{other}{}", &device[1..]));
    let answer = attempt(&forged, "ana@corp.test", PASSWORD).await;
    assert_eq!(answer.problem(), "rate-limited");

    let gateway = gateway.kill().start().await;
    let again = attempt(&gateway.browser(), "ana@corp.test", PASSWORD).await;
    assert_eq!(again.problem(), "rate-limited", "no restart forgets it");
    let owner = gateway.browser();
    owner.set_cookie("device", &device);
    let answer = attempt(&owner, "ana@corp.test", PASSWORD).await;
    assert_eq!(answer.status, 200, "the owner is not locked out");
    let stranger = attempt(&gateway.browser(), "ana@corp.test", PASSWORD).await;
    assert_eq!(stranger.status, 200, "and has ended the wait for all");
}
