//! Exports and erasures with the database away in the middle.

use serde_json::json;

use super::service::Postgres;
use super::{assert_unavailable, in_time, until};
use crate::subjects::{ERASE, EXPORT, POLICY, agrees, ask, count, key, open, seal};
use crate::support::{Gateway, Upstream};

/// Holds a table that an erasure writes last, until the database is gone.
async fn hold(postgres: &Postgres, table: &'static str) {
    use sqlx::{Connection as _, Executor as _};
    let mut connection = sqlx::PgConnection::connect(&postgres.url()).await.unwrap();
    connection.execute("BEGIN").await.unwrap();
    let lock = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
    connection.execute(sqlx::AssertSqlSafe(lock)).await.unwrap();
    // Dropped without a word: what it holds goes with the server.
    std::mem::forget(connection);
}

/// How many statements wait for a lock on the table.
async fn waiting(postgres: &Postgres) -> bool {
    use sqlx::{Connection as _, Row as _};
    let mut connection = sqlx::PgConnection::connect(&postgres.url()).await.unwrap();
    let sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let row = sqlx::query(sql).fetch_one(&mut connection).await.unwrap();
    row.get::<i64, _>("n") > 0
}

#[tokio::test]
async fn an_erasure_that_the_database_leaves_in_the_middle_has_done_nothing() {
    let mut postgres = Postgres::start().await;
    let upstream = Upstream::start().await;
    let builder = Gateway::builder_usual(&upstream).await.more(POLICY);
    let gateway = postgres
        .under(builder)
        .replace("statement-timeout = \"1s\"", "statement-timeout = \"20s\"")
        .start()
        .await;
    let program = key(&gateway, None);
    let sealed = seal(&gateway, &program, "customer-4471").await;
    agrees(&gateway, &program, "customer-4471").await;
    let who = json!({ "subject": "customer-4471" });
    // By then keys and consents are gone, as far as its transaction sees.
    hold(&postgres, "subject_erasure").await;
    let asked = tokio::spawn({
        let (program, who) = (program.clone(), who.clone());
        let client = gateway.client();
        async move {
            let request = client.post(ERASE);
            let request = request.header("authorization", &format!("Bearer {program}"));
            request.json(&who).send().await
        }
    });
    until("the erasure waits in the middle", || waiting(&postgres)).await;
    postgres.stop_immediately();
    assert_unavailable(&in_time("an erasure", asked).await.unwrap());
    let exported = in_time("an export", ask(&gateway, &program, EXPORT, &who)).await;
    assert_unavailable(&exported);
    postgres.start_again().await;
    until("the gate is back", || async {
        ask(&gateway, &program, EXPORT, &who).await.status == 200
    })
    .await;
    assert_eq!(open(&gateway, &program, &sealed).await, "an iban");
    assert_eq!(count(&gateway, "consent").await, 1);
    assert_eq!(count(&gateway, "subject_erasure").await, 0);
    let recorded = "audit_event WHERE action = 'personal-data.erased'";
    assert_eq!(count(&gateway, recorded).await, 0);
    let erased = ask(&gateway, &program, ERASE, &who).await;
    assert_eq!(erased.status, 200, "{}", erased.text());
    assert_eq!(erased.json()["left"], json!([]));
    until("the key is gone", || async {
        open(&gateway, &program, &sealed).await == "does-not-open"
    })
    .await;
}
