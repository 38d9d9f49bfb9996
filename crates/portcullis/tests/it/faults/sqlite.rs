//! A disk that fails under SQLite: what cannot be recorded is not done, and not said to be done.

use super::tracer::Tracer;
use super::{
    GENEROUS, ME, OTHER_PASSWORD, assert_unavailable, audited, change_password, get, login, logout,
    until,
};
use crate::support::authenticator::{enrol, prove};
use crate::support::mailbox::Mailbox;
use crate::support::{Gateway, PASSWORD, Upstream};

const ANA: &str = "ana@corp.test";

async fn assert_nothing_is_done_without_a_record(calls: &str, error: &str) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .on_sqlite()
        .replace("[upstream.app]", &format!("{GENEROUS}\n[upstream.app]"))
        .user(ANA, &["user"])
        .start()
        .await;
    let ana = gateway.signed_in(ANA).await;

    let tracer = Tracer::failing(&gateway, calls, error);
    for _ in 0..2 {
        assert_unavailable(&login(&gateway.browser(), ANA, PASSWORD).await);
    }
    assert_unavailable(&change_password(&ana, PASSWORD, OTHER_PASSWORD).await);
    assert_unavailable(&logout(&ana).await);
    assert_eq!(get(&ana, ME).await.status, 200, "reading goes on");
    assert_eq!(get(&ana, "/anything").await.status, 200);
    tracer.detach();

    let browser = gateway.browser();
    until("the gate writes again", || async {
        login(&browser, ANA, PASSWORD).await.status == 200
    })
    .await;
    assert_eq!(
        audited(&gateway, "login.succeeded"),
        2,
        "one for each that was answered 200"
    );
    assert_eq!(audited(&gateway, "password.changed"), 0);
    assert_eq!(get(&ana, ME).await.status, 200);
    assert_eq!(logout(&ana).await.status, 204);
    assert_eq!(audited(&gateway, "logout"), 1);
    assert_eq!(get(&ana, ME).await.status, 401);
}

#[tokio::test]
async fn a_link_is_not_used_up_by_a_disk_that_is_full() {
    let mailbox = Mailbox::start().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .on_sqlite()
        .replace("[upstream.app]", &format!("{GENEROUS}\n[upstream.app]"))
        .user(ANA, &["user"])
        .mailing(mailbox.address)
        .start()
        .await;
    let browser = gateway.browser();
    let ask = async || {
        browser
            .post("/.portcullis/auth/request-password-reset")
            .json(&serde_json::json!({ "email": ANA }))
            .send()
            .await
    };
    assert_eq!(ask().await.status, 202);
    let token = mailbox.wait_for(1).await.token();
    let reset = async || {
        browser
            .post("/.portcullis/auth/reset-password")
            .json(&serde_json::json!({ "token": token, "new_password": OTHER_PASSWORD }))
            .send()
            .await
    };
    let tracer = Tracer::failing(&gateway, "pwrite64", "ENOSPC");
    assert_unavailable(&ask().await);
    assert_unavailable(&reset().await);
    tracer.detach();
    until("the gate writes again", || async {
        reset().await.status == 204
    })
    .await;
    assert_eq!(audited(&gateway, "password.reset"), 1);
    assert_eq!(login(&browser, ANA, OTHER_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn a_code_is_not_used_up_by_a_disk_that_is_full() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .on_sqlite()
        .replace("[upstream.app]", &format!("{GENEROUS}\n[upstream.app]"))
        .user(ANA, &["user"])
        .start()
        .await;
    let (_, codes) = enrol(&gateway.signed_in(ANA).await).await;
    let browser = gateway.browser();
    assert_eq!(login(&browser, ANA, PASSWORD).await.status, 401);
    let tracer = Tracer::failing(&gateway, "pwrite64", "ENOSPC");
    assert_unavailable(&prove(&browser, &codes[0]).await);
    tracer.detach();
    until("the gate writes again", || async {
        prove(&browser, &codes[0]).await.status == 200
    })
    .await;
    assert_eq!(get(&browser, ME).await.status, 200);
}

#[tokio::test]
async fn a_disk_that_cannot_synchronise_refuses_acts_and_recovers() {
    assert_nothing_is_done_without_a_record("fsync,fdatasync", "EIO").await;
}

#[tokio::test]
async fn a_full_disk_refuses_acts_and_recovers() {
    assert_nothing_is_done_without_a_record("pwrite64", "ENOSPC").await;
}

#[tokio::test]
async fn a_read_only_disk_refuses_acts_and_recovers() {
    assert_nothing_is_done_without_a_record("pwrite64", "EROFS").await;
}
