//! A disk that fails under SQLite: what cannot be recorded is not done, and not said to be done.

use super::tracer::Tracer;
use super::{
    GENEROUS, ME, OTHER_PASSWORD, assert_unavailable, audited, change_password, get, login, logout,
    until,
};
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
