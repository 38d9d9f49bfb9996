//! Tokens while PostgreSQL is away: known ones count while news of revocations is fresh, then 503;
//! a refresh is 503, and uses nothing up.

use super::service::Postgres;
use super::{GENEROUS, assert_unavailable, until};
use crate::support::{Answer, Client, Gateway, Upstream, tokens};

async fn get(client: &Client, token: &str) -> Answer {
    tokens::get(client, "/anything", token).await
}

#[tokio::test]
async fn postgres_away_closes_tokens_and_uses_no_refresh_token_up() {
    let mut postgres = Postgres::start().await;
    let upstream = Upstream::start().await;
    let gateway = postgres
        .under(Gateway::builder_usual(&upstream).await)
        .replace("[state]", "[state]\nconnections = 4")
        .replace(
            "[upstream.app]",
            &format!("{GENEROUS}\n[tokens]\n\n[upstream.app]"),
        )
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let client = gateway.client();
    let (known, of_known) = tokens::sign_in(&client, "ana@corp.test").await;
    let (unknown, of_unknown) = tokens::sign_in(&client, "ana@corp.test").await;
    assert_eq!(get(&client, &known).await.status, 200);
    postgres.stop_immediately();
    assert_unavailable(&get(&client, &unknown).await);
    assert_unavailable(&tokens::refresh(&client, &of_known).await);
    until("memory is no longer trusted", || async {
        let answer = get(&client, &known).await;
        assert!(
            matches!(answer.status.as_u16(), 200 | 503),
            "{}",
            answer.text()
        );
        answer.status == 503
    })
    .await;
    postgres.start_again().await;
    until("the database is back", || async {
        get(&client, &known).await.status == 200
    })
    .await;
    assert_eq!(get(&client, &unknown).await.status, 200);
    for refresh in [&of_known, &of_unknown] {
        let answer = tokens::refresh(&client, refresh).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
