//! Against a real PostgreSQL of the test set-up, in a database of its own per test.

use std::sync::Mutex;

use portcullis_core::{Secret, SessionId, Span, Timestamp, UserId};
use sqlx::{AssertSqlSafe, Connection, Executor};
use uuid::Uuid;

use crate::revocations::{Feed, Revocation, publish};
use crate::test_state::required;
use crate::tests::{COUNT, CREATE, NOW, create_user};
use crate::{Config, Db, Engine, Error, Value};

/// The address of a new and empty database.
pub(crate) async fn database() -> Secret<String> {
    let server = required("PORTCULLIS_TEST_POSTGRES");
    let name = format!("t{}", Uuid::now_v7().simple());
    let mut connection = sqlx::PgConnection::connect(&server).await.unwrap();
    connection
        .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .await
        .unwrap();
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    Secret::new(url.to_string())
}

async fn open(url: &Secret<String>) -> Db {
    let config = Config {
        connections: 4,
        ..Config::default()
    };
    Db::open(&config, url, NOW).await.unwrap()
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let db = open(&database().await).await;
    assert_eq!(db.engine(), Engine::Postgres);
    db.ping().await.unwrap();
    let ada = create_user(&db, "a@b.c").await.unwrap();
    // The same statement, prepared with NULLs, now with values.
    let (id, tenant) = (UserId::new(), Uuid::now_v7());
    let mut tx = db.begin().await.unwrap();
    let args = [
        id.into(),
        "x".into(),
        "h".into(),
        "Xia".into(),
        tenant.into(),
        NOW.into(),
    ];
    tx.execute(CREATE, &args).await.unwrap();
    tx.commit().await.unwrap();
    let find = "SELECT * FROM users WHERE email_canonical = $1";
    let row = db
        .fetch_optional(find, &["a@b.c".into()])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.user_id("id").unwrap(), ada);
    assert_eq!(row.opt_text("display_name").unwrap(), None);
    assert_eq!(row.timestamp("created_at").unwrap(), NOW);
    assert!(matches!(row.text("display_name"), Err(Error::Corrupt(_))));
    let row = db
        .fetch_optional(find, &["x".into()])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.opt_uuid("tenant_id").unwrap(), Some(tenant));
    assert_eq!(row.text("display_name").unwrap(), "Xia");
}

#[tokio::test]
async fn conflicts_and_missing_references_have_the_same_names_as_on_sqlite() {
    let db = open(&database().await).await;
    create_user(&db, "a@b.c").await.unwrap();
    let error = create_user(&db, "a@b.c").await.unwrap_err();
    assert!(error.is_conflict_on("users_email_canonical_key"), "{error}");
    let role = "INSERT INTO user_role (user_id, role) VALUES ($1, 'admin')";
    let mut tx = db.begin().await.unwrap();
    let error = tx.execute(role, &[UserId::new().into()]).await.unwrap_err();
    assert!(matches!(error, Error::MissingReference), "{error}");
}

#[tokio::test]
async fn a_transaction_that_is_dropped_never_was() {
    let db = open(&database().await).await;
    let mut tx = db.begin().await.unwrap();
    let args = [
        UserId::new().into(),
        "x".into(),
        "h".into(),
        Value::Null,
        Value::Null,
        NOW.into(),
    ];
    tx.execute(CREATE, &args).await.unwrap();
    drop(tx);
    create_user(&db, "next").await.unwrap();
    let row = db.fetch_optional(COUNT, &[]).await.unwrap().unwrap();
    assert_eq!(row.int("number").unwrap(), 1);
}

#[tokio::test]
async fn nodes_that_start_at_once_migrate_once_and_a_newer_schema_is_refused() {
    let url = database().await;
    let (first, second, third) = tokio::join!(open(&url), open(&url), open(&url));
    create_user(&first, "a@b.c").await.unwrap();
    for db in [&second, &third] {
        let row = db.fetch_optional(COUNT, &[]).await.unwrap().unwrap();
        assert_eq!(row.int("number").unwrap(), 1);
    }
    let newer = "INSERT INTO schema_migration (version, name, checksum, applied_at) VALUES (9999, 'x', '', 0)";
    let mut tx = first.begin().await.unwrap();
    tx.execute(newer, &[]).await.unwrap();
    tx.commit().await.unwrap();
    let error = Db::open(&Config::default(), &url, NOW).await.err().unwrap();
    assert!(
        matches!(error, Error::NewerSchema { found: 9999 }),
        "{error}"
    );
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_unavailable_and_the_pool_survives() {
    let config = Config {
        connections: 1,
        statement_timeout: Span::from_millis(50),
        ..Config::default()
    };
    let db = Db::open(&config, &database().await, NOW).await.unwrap();
    for _ in 0..3 {
        let error = db
            .fetch_all("SELECT pg_sleep(60)", &[])
            .await
            .err()
            .unwrap();
        assert!(error.is_unavailable(), "{error}");
        db.ping().await.unwrap();
    }
    let mut tx = db.begin().await.unwrap();
    assert!(
        tx.execute("SELECT pg_sleep(60)", &[])
            .await
            .unwrap_err()
            .is_unavailable()
    );
    drop(tx);
    db.ping().await.unwrap();
}

#[tokio::test]
async fn a_backend_that_was_killed_is_replaced() {
    let db = open(&database().await).await;
    let mut tx = db.begin().await.unwrap();
    let kill = "SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let mut other = db.begin().await.unwrap();
    other.fetch_all(kill, &[]).await.unwrap();
    let error = tx.execute("DELETE FROM users", &[]).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    drop((tx, other));
    create_user(&db, "a@b.c").await.unwrap();
}

#[tokio::test]
async fn an_absent_server_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config {
        acquire_timeout: Span::from_millis(50),
        ..Config::default()
    };
    // It accepts and says nothing.
    let url = Secret::new(format!("postgres://u@{}/x", listener.local_addr().unwrap()));
    let error = Db::open(&config, &url, NOW).await.err().unwrap();
    assert!(error.is_unavailable(), "{error}");
    drop(listener);
    let error = Db::open(&config, &url, NOW).await.err().unwrap();
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test]
async fn a_number_becomes_visible_only_after_all_below_it() {
    let db = open(&database().await).await;
    let feed = Feed::open(db.clone(), NOW).await.unwrap();
    let (slow, fast) = (SessionId::new(), SessionId::new());
    let mut first = db.begin().await.unwrap();
    publish(&mut first, Revocation::Session(slow), NOW)
        .await
        .unwrap();
    // The second would take the next number, and commit before the first: it has to wait.
    let second = async {
        let mut tx = db.begin().await.unwrap();
        publish(&mut tx, Revocation::Session(fast), NOW)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    let heard = Mutex::new(Vec::new());
    let apply = |revocation| heard.lock().unwrap().push(revocation);
    let mut second = Box::pin(second);
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(100), &mut second).await;
    feed.poll(NOW, &apply).await.unwrap();
    assert!(waiting.is_err(), "the second did not wait");
    first.commit().await.unwrap();
    second.await;
    feed.poll(Timestamp::EPOCH, &apply).await.unwrap();
    assert_eq!(
        *heard.lock().unwrap(),
        [Revocation::Session(slow), Revocation::Session(fast)]
    );
}
