//! Stored passwords and changing them (I2, I3).

use futures_util::future::join_all;
use serde_json::json;

use crate::sessions::builder;
use crate::support::memory::{peak_kib, resident_kib};
use crate::support::{Answer, Browser, Gateway, PASSWORD, Upstream, database, eventually};

const NEXT: &str = "walnut-comet-8126-harbour-slate";
/// bcrypt of [`PASSWORD`], as another product would have stored it.
const BROUGHT_ALONG: &str = "$2b$10$abcdefghijklmnopqrstuuqtQkQ2JOoEbNqmACTOZvkYVgtTxCqtC";

async fn login(gateway: &Gateway, password: &str) -> Answer {
    gateway
        .browser()
        .post("/.portcullis/auth/login")
        .json(&json!({ "email": "ana@corp.test", "password": password }))
        .send()
        .await
}

async fn change(browser: &Browser, old: &str, new: &str) -> Answer {
    browser
        .post("/.portcullis/auth/change-password")
        .json(&json!({ "old_password": old, "new_password": new }))
        .send()
        .await
}

#[tokio::test]
async fn a_bcrypt_hash_that_was_brought_along_serves_once_and_is_replaced() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let stored = async || database::text(&gateway.folder, "SELECT password_hash FROM users").await;
    assert!(stored().await.starts_with("$argon2id$"));
    let sql = format!("UPDATE users SET password_hash = '{BROUGHT_ALONG}'");
    database::execute(&gateway.folder, &sql).await;
    assert_eq!(login(&gateway, NEXT).await.problem(), "credentials-refused");
    assert_eq!(
        stored().await,
        BROUGHT_ALONG,
        "a wrong password replaces nothing"
    );
    assert_eq!(login(&gateway, PASSWORD).await.status, 200);
    let replaced = stored().await;
    assert!(
        replaced.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{replaced}"
    );
    assert_eq!(login(&gateway, PASSWORD).await.status, 200);
    assert_eq!(stored().await, replaced);
}

#[tokio::test]
async fn a_new_password_ends_every_other_session_and_the_old_tokens() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let laptop = gateway.signed_in("ana@corp.test").await;
    let phone = gateway.signed_in("ana@corp.test").await;
    let (before, csrf) = (
        laptop.cookie("session").unwrap(),
        laptop.cookie("csrf_token").unwrap(),
    );
    for (new, why) in [
        ("short", "too short"),
        (PASSWORD, "the old one"),
        ("ana@corp.testana@corp.test", "the address"),
    ] {
        let answer = change(&laptop, PASSWORD, new).await;
        assert_eq!(answer.problem(), "invalid-input", "{why}");
        assert_eq!(answer.json()["errors"][0]["field"], "new_password");
    }
    assert_eq!(change(&laptop, PASSWORD, NEXT).await.status, 200);
    let after = laptop.cookie("session").unwrap();
    assert_ne!(before, after, "a new token for the one who changed it");
    assert_eq!(laptop.post("/anything").send().await.status, 200);
    assert_eq!(
        phone.get("/anything").send().await.problem(),
        "authentication-required"
    );
    laptop.set_cookie("csrf_token", &csrf);
    assert_eq!(
        laptop.post("/anything").send().await.problem(),
        "csrf-token-invalid"
    );
    let old = gateway
        .client()
        .get("/anything")
        .header("cookie", &format!("session={before}"))
        .send()
        .await;
    assert_eq!(old.problem(), "authentication-required");
    assert_eq!(
        login(&gateway, PASSWORD).await.problem(),
        "credentials-refused"
    );
    assert_eq!(login(&gateway, NEXT).await.status, 200);
}

#[tokio::test]
async fn three_attempts_to_change_a_password_and_no_more_from_any_session() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .user("bob@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    for _ in 0..3 {
        assert_eq!(
            change(&ana, "not-the-old-one-4711-x", NEXT).await.problem(),
            "invalid-input"
        );
    }
    let elsewhere = gateway.signed_in("ana@corp.test").await;
    for browser in [&ana, &elsewhere] {
        let answer = change(browser, PASSWORD, NEXT).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (429, "rate-limited")
        );
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((800..=900).contains(&wait), "{wait}");
    }
    let bob = gateway.signed_in("bob@corp.test").await;
    assert_eq!(change(&bob, PASSWORD, NEXT).await.status, 200);
    assert_eq!(login(&gateway, PASSWORD).await.status, 200, "unchanged");
}

#[tokio::test]
async fn the_memory_of_a_rush_of_sign_ins_goes_back_when_it_is_over() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let before = resident_kib(gateway.pid());
    for answer in join_all((0..4).map(|_| login(&gateway, PASSWORD))).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let hash = 19 * 1024;
    let peak = peak_kib(gateway.pid());
    assert!(peak > before + hash, "{before} {peak}");
    eventually("less than one hash is kept", || {
        resident_kib(gateway.pid()) < before + hash * 2 / 3
    })
    .await;
}
