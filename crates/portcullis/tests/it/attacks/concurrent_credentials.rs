//! Two credentials that are checked at the same moment share one result, because they are joined
//! under one key: `user:pa` with `ss` and `user:p` with `ass` (CVE-2026-71326).

use futures_util::future::join_all;

use super::gate;
use crate::support::{PASSWORD, Upstream};

#[tokio::test]
async fn only_the_right_password_of_many_at_once_signs_in() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .user("ana2@corp.test", &["user"])
        .start()
        .await;
    let first = PASSWORD.chars().next().unwrap();
    let tries = [
        ("ana@corp.test".to_owned(), PASSWORD.to_owned(), 200),
        (
            format!("ana@corp.test{first}"),
            PASSWORD[1..].to_owned(),
            401,
        ),
        ("ana@corp.test".to_owned(), PASSWORD[1..].to_owned(), 401),
        ("ana2@corp.test".to_owned(), format!("{PASSWORD} "), 401),
        ("ana2@corp.test".to_owned(), PASSWORD.to_owned(), 200),
    ];
    let answers = join_all(tries.iter().map(|(email, password, _)| {
        let body = serde_json::json!({ "email": email, "password": password });
        let browser = gateway.browser();
        async move {
            browser
                .post("/.portcullis/auth/login")
                .json(&body)
                .send()
                .await
        }
    }))
    .await;
    for (answer, (email, _, status)) in answers.iter().zip(&tries) {
        assert_eq!(answer.status, *status, "{email}: {}", answer.text());
        if *status == 200 {
            assert_eq!(answer.json()["email"], **email);
        }
    }
}

#[tokio::test]
async fn sessions_that_are_looked_up_at_once_stay_apart() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .user("root@corp.test", &["admin"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let root = gateway.signed_in("root@corp.test").await;
    // A fresh process knows no session: all of these look theirs up at the same time.
    let gateway = gateway.kill().start().await;
    let good = [
        ana.cookie("session").unwrap(),
        root.cookie("session").unwrap(),
    ];
    let asks = (0..30).map(|number| {
        let (cookie, status) = match number % 3 {
            0 => (good[0].clone(), 403),
            1 => (good[1].clone(), 200),
            _ => ("B".repeat(43), 401),
        };
        let client = gateway.client();
        async move {
            let cookie = format!("session={cookie}");
            let answer = client.get("/admin").header("cookie", &cookie).send().await;
            assert_eq!(answer.status, status);
        }
    });
    join_all(asks).await;
    assert_eq!(upstream.requests(), 10);
}
