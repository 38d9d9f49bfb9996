//! What holds on SQLite, with a file of its own per test.

use std::os::unix::fs::PermissionsExt;

use portcullis_core::problem::{CONFLICT, TEMPORARILY_UNAVAILABLE};
use portcullis_core::{Problem, Secret, Span, TenantId, Timestamp, UserId};
use tempfile::TempDir;

use crate::{Config, Db, Engine, Error, Value};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
const CREATE: &str = "INSERT INTO users (id, email_canonical, email, password_hash, display_name, tenant_id, created_at, updated_at) \
    VALUES ($1, $2, $2, $3, $4, $5, $6, $6)";
const COUNT: &str = "SELECT count(*) AS number FROM users";

fn url(folder: &TempDir) -> Secret<String> {
    Secret::new(format!("sqlite://{}/p.db", folder.path().display()))
}

async fn open(folder: &TempDir) -> Db {
    Db::open(&Config::default(), &url(folder), NOW)
        .await
        .unwrap()
}

async fn create_user(db: &Db, email: &str) -> Result<UserId, Error> {
    let id = UserId::new();
    let mut tx = db.begin().await?;
    let args = [
        id.into(),
        email.into(),
        "hash".into(),
        Value::Null,
        Value::Null,
        NOW.into(),
    ];
    assert_eq!(tx.execute(CREATE, &args).await?, 1);
    tx.commit().await?;
    Ok(id)
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    assert_eq!(db.engine(), Engine::Sqlite);
    let (id, tenant) = (UserId::new(), TenantId::new());
    let mut tx = db.begin().await.unwrap();
    let args = [
        id.into(),
        "a@b.c".into(),
        "hash".into(),
        Some("Ada").into(),
        tenant.into(),
        NOW.into(),
    ];
    tx.execute(CREATE, &args).await.unwrap();
    tx.commit().await.unwrap();
    let row = db
        .fetch_optional(
            "SELECT * FROM users WHERE email_canonical = $1",
            &["a@b.c".into()],
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.user_id("id").unwrap(), id);
    assert_eq!(row.opt_tenant_id("tenant_id").unwrap(), Some(tenant));
    assert_eq!(row.text("display_name").unwrap(), "Ada");
    assert_eq!(row.timestamp("created_at").unwrap(), NOW);
    assert_eq!(row.opt_timestamp("deactivated_at").unwrap(), None);
    assert!(matches!(
        row.timestamp("deactivated_at"),
        Err(Error::Corrupt(_))
    ));
    assert!(matches!(row.int("email"), Err(Error::Corrupt(_))));
    assert!(matches!(row.int("no_such_column"), Err(Error::Query(_))));
}

#[tokio::test]
async fn a_second_row_with_the_same_key_is_a_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    create_user(&db, "a@b.c").await.unwrap();
    let error = create_user(&db, "a@b.c").await.unwrap_err();
    assert!(error.is_conflict_on("users_email_canonical_key"), "{error}");
    assert_eq!(Problem::from(error).kind, &CONFLICT);
    let role = "INSERT INTO user_role (user_id, role) VALUES ($1, 'admin')";
    let mut tx = db.begin().await.unwrap();
    let error = tx.execute(role, &[UserId::new().into()]).await.unwrap_err();
    assert!(matches!(error, Error::MissingReference), "{error}");
}

#[tokio::test]
async fn a_transaction_that_is_dropped_never_was() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
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
async fn a_reader_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    let error = db.fetch_all("DELETE FROM users", &[]).await.err().unwrap();
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test]
async fn every_connection_has_its_pragmas() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    let mut tx = db.begin().await.unwrap();
    for (pragma, column, expected) in [
        ("PRAGMA synchronous", "synchronous", 2),
        ("PRAGMA foreign_keys", "foreign_keys", 1),
        ("PRAGMA busy_timeout", "timeout", 2000),
    ] {
        let row = tx.fetch_optional(pragma, &[]).await.unwrap().unwrap();
        assert_eq!(row.int(column).unwrap(), expected, "{pragma}");
        let row = db.fetch_optional(pragma, &[]).await.unwrap().unwrap();
        assert_eq!(row.int(column).unwrap(), expected, "{pragma} of a reader");
    }
    let row = tx
        .fetch_optional("PRAGMA journal_mode", &[])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.text("journal_mode").unwrap(), "wal");
}

#[tokio::test]
async fn a_new_file_and_its_companions_are_for_the_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    create_user(&db, "a@b.c").await.unwrap();
    for name in ["p.db", "p.db-wal", "p.db-shm"] {
        let mode = std::fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn two_nodes_that_start_at_once_migrate_once() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = tokio::join!(open(&folder), open(&folder));
    create_user(&first, "a@b.c").await.unwrap();
    let row = second.fetch_optional(COUNT, &[]).await.unwrap().unwrap();
    assert_eq!(row.int("number").unwrap(), 1);
    first.close().await;
    second.close().await;
    let again = open(&folder).await;
    let row = again.fetch_optional(COUNT, &[]).await.unwrap().unwrap();
    assert_eq!(row.int("number").unwrap(), 1);
}

#[tokio::test]
async fn a_schema_from_a_newer_program_or_an_edited_step_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    let mut tx = db.begin().await.unwrap();
    let newer = "INSERT INTO schema_migration (version, name, checksum, applied_at) VALUES (9999, 'x', x'00', 0)";
    tx.execute(newer, &[]).await.unwrap();
    tx.commit().await.unwrap();
    let error = Db::open(&Config::default(), &url(&folder), NOW)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, Error::NewerSchema { found: 9999 }),
        "{error}"
    );

    let mut tx = db.begin().await.unwrap();
    tx.execute("DELETE FROM schema_migration WHERE version = 9999", &[])
        .await
        .unwrap();
    tx.execute(
        "UPDATE schema_migration SET checksum = x'00' WHERE version = 2",
        &[],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let error = Db::open(&Config::default(), &url(&folder), NOW)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, Error::ChangedMigration { version: 2 }),
        "{error}"
    );
}

#[tokio::test]
async fn a_writer_that_is_busy_too_long_makes_the_next_one_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        acquire_timeout: Span::from_millis(50),
        ..Config::default()
    };
    let db = Db::open(&config, &url(&folder), NOW).await.unwrap();
    let held = db.begin().await.unwrap();
    let error = create_user(&db, "a@b.c").await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(Problem::from(error).kind, &TEMPORARILY_UNAVAILABLE);
    db.ping().await.unwrap();
    drop(held);
    create_user(&db, "a@b.c").await.unwrap();
}

#[tokio::test]
async fn another_process_that_holds_the_file_makes_a_write_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        acquire_timeout: Span::from_millis(50),
        ..Config::default()
    };
    let (one, other) = (
        open(&folder).await,
        Db::open(&config, &url(&folder), NOW).await.unwrap(),
    );
    let held = one.begin().await.unwrap();
    let error = create_user(&other, "a@b.c").await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    drop(held);
    create_user(&one, "x").await.unwrap();
    create_user(&other, "a@b.c").await.unwrap();
}

#[tokio::test]
async fn a_session_is_found_by_one_look_into_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    let plan = "EXPLAIN QUERY PLAN SELECT session.*, users.deactivated_at FROM session \
        JOIN users ON users.id = session.user_id WHERE session.token_hash = $1";
    let hash = [7_u8; 32];
    let rows = db.fetch_all(plan, &[(&hash).into()]).await.unwrap();
    let details: Vec<String> = rows.iter().map(|row| row.text("detail").unwrap()).collect();
    assert_eq!(details.len(), 2, "{details:?}");
    assert!(
        details.iter().all(|detail| detail.starts_with("SEARCH")),
        "{details:?}"
    );
}

#[tokio::test]
async fn addresses_that_cannot_be_used_are_refused() {
    for address in ["", "mysql://x/y", "sqlite::memory:", "sqlite://:memory:"] {
        let url = Secret::new(address.to_owned());
        let error = Db::open(&Config::default(), &url, NOW).await.err().unwrap();
        assert!(matches!(error, Error::Address(_)), "{address}: {error}");
    }
    let url = Secret::new("sqlite:///no/such/folder/p.db".to_owned());
    let error = Db::open(&Config::default(), &url, NOW).await.err().unwrap();
    assert!(error.is_unavailable(), "{error}");
}
