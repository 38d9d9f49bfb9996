//! PostgreSQL away: a key that is known stays known for as long as news of revocations is fresh, then
//! 503; a key that nobody knows is never called wrong.

use std::time::{Duration, Instant};

use super::service::Postgres;
use super::{assert_unavailable, until};
use crate::api_keys::{builder, make};
use crate::support::Upstream;

#[tokio::test]
async fn keys_with_the_database_away_are_trusted_for_a_moment_and_then_unavailable() {
    let mut postgres = Postgres::start().await;
    let upstream = Upstream::start().await;
    let gateway = postgres.under(builder(&upstream).await).start().await;
    let (_, known) = make(&gateway, &["--permission", "read:all"]);
    let (_, unknown) = make(&gateway, &["--permission", "read:all"]);
    let asks = async |key: &str, path: &str| {
        let bearer = format!("Bearer {key}");
        let ask = gateway.client().get(path);
        ask.header("authorization", &bearer).send().await
    };
    assert_eq!(asks(&known, "/api/items").await.status, 200);
    postgres.stop_immediately();
    let began = Instant::now();
    assert_unavailable(&asks(&unknown, "/api/items").await);
    until("memory is no longer trusted", || async {
        let asked = began.elapsed();
        let answer = asks(&known, "/api/items").await;
        match answer.status.as_u16() {
            200 => assert!(asked < Duration::from_secs(6), "trusted for {asked:?}"),
            503 => assert_unavailable(&answer),
            other => panic!("{other}: {}", answer.text()),
        }
        answer.status == 503
    })
    .await;
    // What is mistyped needs no database to be told so.
    let mistyped = &known[..known.len() - 1];
    assert_eq!(
        asks(mistyped, "/api/items").await.problem(),
        "invalid-token"
    );
    postgres.start_again().await;
    until("the database is back", || async {
        asks(&known, "/api/items").await.status == 200
    })
    .await;
    assert_eq!(asks(&unknown, "/api/items").await.status, 200);
}
