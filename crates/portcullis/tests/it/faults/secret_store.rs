//! The secret store with the database away.

use super::service::Postgres;
use super::{assert_unavailable, in_time, until};
use crate::secrets::{CANARY, PUT_STRIPE, builder, read, reader};
use crate::support::Upstream;

#[tokio::test]
async fn with_the_database_away_no_secret_is_read_and_none_is_changed() {
    let mut postgres = Postgres::start().await;
    let upstream = Upstream::start().await;
    let gateway = postgres.under(builder(&upstream).await).start().await;
    assert!(gateway.cli_with_input(&PUT_STRIPE, CANARY).status.success());
    let key = reader(&gateway, None);
    assert_eq!(read(&gateway, &key, "stripe").await.status, 200);
    postgres.stop_immediately();
    for _ in 0..3 {
        let answer = in_time("a read", read(&gateway, &key, "stripe")).await;
        assert_unavailable(&answer);
        assert!(!answer.text().contains(CANARY));
    }
    let changed = gateway.cli_with_input(&PUT_STRIPE, "another value of it");
    assert_eq!(changed.status.code(), Some(1));
    postgres.start_again().await;
    until("it is read again", || async {
        read(&gateway, &key, "stripe").await.status == 200
    })
    .await;
    let answer = read(&gateway, &key, "stripe").await.json();
    assert_eq!(
        (&answer["value"], &answer["version"]),
        (&CANARY.into(), &1.into())
    );
}
