//! Alerts and anomalies with the database away, which holds their queue and what they look at.

use super::service::Postgres;
use crate::anomalies::{builder, found, guess};
use crate::support::{Upstream, eventually};

#[tokio::test]
async fn a_database_that_is_away_is_told_past_the_queue_and_anomalies_are_found_again_afterwards() {
    let mut postgres = Postgres::start().await;
    let (upstream, room) = (Upstream::start().await, Upstream::start().await);
    let gateway = postgres
        .under(builder(&upstream).await)
        .file("slack", &format!("{}/room", room.url()))
        .more("\n[[alert]]\nname = \"room\"\nslack = { file = \"slack\" }\n")
        .start()
        .await;
    guess(&[&gateway], "ana@corp.test", 2).await;
    postgres.stop_immediately();
    eventually("somebody is told of the database", || room.requests() > 0).await;
    let text = String::from_utf8(room.last().body.to_vec()).unwrap();
    assert!(
        text.contains("dependency-down") && text.contains("database"),
        "{text}"
    );
    postgres.start_again().await;
    // Two before and two after it was away are four.
    for number in 0..2 {
        let from = format!("203.0.113.{}", 100 + number);
        super::until("the sign-in is refused", || async {
            let request = gateway.browser().post(super::LOGIN);
            let request = request.header("x-forwarded-for", &from);
            let body =
                serde_json::json!({ "email": "ana@corp.test", "password": "wrong-wrong-1881-x" });
            request.json(&body).send().await.status == 401
        })
        .await;
    }
    found(&gateway, "login-burst", 1).await;
}
