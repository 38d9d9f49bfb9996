//! PostgreSQL away: a visit that is known goes on for as long as news of revocations is fresh, then
//! 503; none begins, none that nobody knows is called wrong, and the widget's page is not shown to
//! whoever might frame it.

use std::time::{Duration, Instant};

use super::service::Postgres;
use super::{assert_unavailable, in_time, until};
use crate::support::Upstream;
use crate::visitors::{SHOP, begin, beginning, builder, furnished};

#[tokio::test]
async fn visits_with_the_database_away_go_on_for_a_moment_and_none_begins() {
    let mut postgres = Postgres::start().await;
    let upstream = Upstream::start().await;
    let gateway = postgres.under(builder(&upstream).await).start().await;
    let gateway = furnished(gateway);
    let known = begin(&gateway, "acme", SHOP).await;
    let unknown = begin(&gateway, "acme", SHOP).await;
    let page = async |tenant: &str| {
        let target = format!("/widget/{tenant}");
        in_time("a page", gateway.client().get(&target).send()).await
    };
    assert_eq!(known.get(&gateway, "/chat").await.status, 200);
    assert_eq!(page("acme").await.header("x-frame-options"), None);
    postgres.stop_immediately();
    let began = Instant::now();
    assert_unavailable(&unknown.get(&gateway, "/chat").await);
    assert_unavailable(&beginning(&gateway, "acme", SHOP).send().await);
    assert_unavailable(&page("globex").await);
    until("memory is no longer trusted", || async {
        let asked = began.elapsed();
        let answer = known.get(&gateway, "/chat").await;
        match answer.status.as_u16() {
            200 => assert!(asked < Duration::from_secs(6), "trusted for {asked:?}"),
            503 => assert_unavailable(&answer),
            other => panic!("{other}: {}", answer.text()),
        }
        answer.status == 503
    })
    .await;
    assert_unavailable(&page("acme").await);
    postgres.start_again().await;
    until("the database is back", || async {
        known.get(&gateway, "/chat").await.status == 200
    })
    .await;
    assert_eq!(unknown.get(&gateway, "/chat").await.status, 200);
    assert_eq!(page("acme").await.status, 200);
    assert_eq!(beginning(&gateway, "acme", SHOP).send().await.status, 201);
}
