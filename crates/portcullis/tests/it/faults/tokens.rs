//! Tokens while PostgreSQL is away: known ones count while news of revocations is fresh, then 503;
//! a refresh is 503, and uses nothing up.

use serde_json::json;

use super::service::Postgres;
use super::{GENEROUS, assert_unavailable, until};
use crate::support::{Answer, Client, Gateway, PASSWORD, Upstream};

async fn get(client: &Client, token: &str) -> Answer {
    let request = client.get("/anything");
    let bearer = format!("Bearer {token}");
    request.header("authorization", &bearer).send().await
}

async fn refresh(client: &Client, token: &str) -> Answer {
    let body = json!({ "refresh_token": token });
    client
        .post("/.portcullis/auth/refresh")
        .json(&body)
        .send()
        .await
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
    let login = json!({ "email": "ana@corp.test", "password": PASSWORD, "grant": "tokens" });
    let mut pairs = Vec::new();
    for _ in 0..2 {
        let answer = client
            .post("/.portcullis/auth/login")
            .json(&login)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        pairs.push(answer.json());
    }
    let text = |pair: usize, name: &str| pairs[pair][name].as_str().unwrap().to_owned();
    let (known, unknown) = (text(0, "access_token"), text(1, "access_token"));
    assert_eq!(get(&client, &known).await.status, 200);
    postgres.stop_immediately();
    assert_unavailable(&get(&client, &unknown).await);
    assert_unavailable(&refresh(&client, &text(0, "refresh_token")).await);
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
    for pair in [0, 1] {
        let answer = refresh(&client, &text(pair, "refresh_token")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
