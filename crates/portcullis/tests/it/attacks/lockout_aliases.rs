//! Guessing is counted by what was typed and not by whose account it is, so that another spelling of
//! the same address begins anew (CVE-2025-54998, CVE-2025-24806).

use super::gate;
use crate::support::{PASSWORD, Upstream};

#[tokio::test]
async fn all_spellings_of_an_address_share_one_count() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let login = async |email: &str, password: &str| {
        let body = serde_json::json!({ "email": email, "password": password });
        gateway
            .browser()
            .post("/.portcullis/auth/login")
            .json(&body)
            .send()
            .await
    };
    for spelling in [
        "ana@corp.test",
        " ANA@corp.test",
        "\tAna@CORP.TEST\n",
        "\u{ff41}na@corp.test",
        "ana\u{ff20}corp.test",
    ] {
        let answer = login(spelling, "wrong-wrong-wrong-9140").await;
        assert_eq!(answer.problem(), "credentials-refused", "{spelling:?}");
    }
    // The right password in yet another spelling: too early now.
    for spelling in ["AnA@corp.test", "ana@corp.test", "ana@Corp.Test"] {
        let answer = login(spelling, PASSWORD).await;
        assert_eq!(answer.problem(), "rate-limited", "{spelling:?}");
        assert!(answer.header("retry-after").is_some());
        assert!(answer.cookies().is_empty());
    }
}

#[tokio::test]
async fn an_account_that_is_not_there_is_counted_alike() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let mut slugs = Vec::new();
    for number in 0..7 {
        let email = if number % 2 == 0 {
            "nobody@corp.test"
        } else {
            "NOBODY@corp.test"
        };
        let body = serde_json::json!({ "email": email, "password": PASSWORD });
        let answer = gateway
            .browser()
            .post("/.portcullis/auth/login")
            .json(&body)
            .send()
            .await;
        slugs.push(answer.problem());
    }
    assert_eq!(slugs[..5], ["credentials-refused"; 5]);
    assert_eq!(slugs[6], "rate-limited");
}
