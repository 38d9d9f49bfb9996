//! A stored password hash that no library expects (imported, cut off, not ASCII, with parameters that
//! ask for gigabytes) panics, hangs or lets in (RUSTSEC-2026-0199).

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::{credentials, gate};
use crate::support::Upstream;

#[tokio::test]
async fn a_broken_hash_is_a_wrong_password() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let url = std::fs::read_to_string(gateway.folder.join("database")).unwrap();
    for hash in [
        "",
        "*",
        "\u{e9}\u{e9}\u{e9}",
        "plum-anvil-tundra-9140-quartz",
        "$2b$12$\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}EixZaYVK1fsbw1ZfbX3OXePaW",
        "$2b$99$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW",
        "$2b$31$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW",
        "$2b$12$",
        "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b2dWRWJTmaaVUnGIRTyDSpRLFk",
        "$argon2id$v=19$m=19456,t=4294967295,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b2dWRWJTmaaVUnGIRTyDSpRLFk",
        "$argon2id$v=19$m=19456,t=2,p=16777215$c29tZXNhbHQ$RdescudvJCsgt3ub+b2dWRWJTmaaVUnGIRTyDSpRLFk",
        "$argon2id$v=19$m=19456,t=2,p=1$$",
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$\u{e9}",
        "$argon2i$v=16$m=8,t=1,p=1$c29tZXNhbHQ$AAAA",
        "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
    ] {
        let change = format!("UPDATE users SET password_hash = '{hash}'");
        let forget = "DELETE FROM login_backoff";
        if url.starts_with("sqlite") {
            let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
            database.execute(AssertSqlSafe(change)).await.unwrap();
            database.execute(forget).await.unwrap();
        } else {
            let mut database = sqlx::PgConnection::connect(&url).await.unwrap();
            database.execute(AssertSqlSafe(change)).await.unwrap();
            database.execute(forget).await.unwrap();
        }
        let answer = gateway
            .browser()
            .post("/.portcullis/auth/login")
            .json(&credentials("ana@corp.test"))
            .send()
            .await;
        assert_eq!(answer.problem(), "credentials-refused", "{hash}");
        assert!(answer.cookies().is_empty());
    }
    let metrics = crate::support::Client::to(gateway.admin)
        .get("/metrics")
        .send()
        .await
        .text();
    assert!(metrics.contains("portcullis_panics_total 0"), "{metrics}");
}
