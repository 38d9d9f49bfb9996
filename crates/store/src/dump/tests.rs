use portcullis_core::Secret;
use sqlx::{Connection as _, Row as _};

use super::*;
use crate::Db;
use crate::revocations::{Feed, Revocation, publish};
use crate::tests::{NOW, create_user, open};

fn url(folder: &tempfile::TempDir, name: &str) -> Secret<String> {
    Secret::new(format!("sqlite://{}", folder.path().join(name).display()))
}

/// Everything that a snapshot shows.
async fn everything(url: &Secret<String>) -> Vec<(String, Vec<Vec<Cell>>)> {
    let mut snapshot = Snapshot::open(url).await.unwrap();
    let schema = snapshot.schema().clone();
    let mut all = Vec::new();
    for table in &schema.tables {
        let mut rows = Vec::new();
        let each = |row| {
            rows.push(row);
            Ok::<(), Error>(())
        };
        snapshot.read(table, each).await.unwrap();
        all.push((table.name.clone(), rows));
    }
    all
}

async fn copy(from: &Secret<String>, to: &Secret<String>, replace: bool) -> Result<(), Error> {
    let mut load = begin(from, to, replace).await?;
    load.finish(NOW).await?;
    load.commit().await
}

/// All rows are there, and nothing is committed.
async fn begin(from: &Secret<String>, to: &Secret<String>, replace: bool) -> Result<Load, Error> {
    let all = everything(from).await;
    let steps = Snapshot::open(from).await?.schema().steps.clone();
    let mut load = Load::begin(Target::At { url: to, replace }, &steps, NOW).await?;
    let schema = load.schema().clone();
    for (name, rows) in all {
        load.insert(schema.table(&name).unwrap(), &rows).await?;
    }
    Ok(load)
}

#[tokio::test]
async fn every_table_is_in_it_except_those_that_are_named_here_with_a_reason() {
    // A restore writes its own: the steps stand in the head of a backup.
    const LEFT_OUT: [&str; 1] = ["schema_migration"];
    let folder = tempfile::tempdir().unwrap();
    let _db = open(&folder).await;
    let file = url(&folder, "p.db");
    let mut connection = sqlx::SqliteConnection::connect(file.expose())
        .await
        .unwrap();
    let found = sqlx::query(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let schema = Schema::newest().await.unwrap();
    assert!(found.len() > 30);
    for row in found {
        let name: String = row.get(0);
        assert_ne!(
            schema.table(&name).is_some(),
            LEFT_OUT.contains(&name.as_str()),
            "`{name}` is in no backup, or is named here and is in one"
        );
    }
}

#[tokio::test]
async fn what_a_snapshot_shows_does_not_move() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    create_user(&db, "a@b.c").await.unwrap();
    let mut snapshot = Snapshot::open(&url(&folder, "p.db")).await.unwrap();
    create_user(&db, "later@b.c").await.unwrap();
    let users = snapshot.schema().table("users").unwrap().clone();
    let mut rows = 0;
    let each = |_| {
        rows += 1;
        Ok::<(), Error>(())
    };
    snapshot.read(&users, each).await.unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn a_database_is_copied_whole_and_numbers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    for number in 0..120 {
        create_user(&db, &format!("{number}@b.c")).await.unwrap();
    }
    let mut tx = db.begin().await.unwrap();
    publish(&mut tx, Revocation::Everything, NOW).await.unwrap();
    tx.commit().await.unwrap();
    let (from, to) = (url(&folder, "p.db"), url(&folder, "copy.db"));
    copy(&from, &to, false).await.unwrap();
    assert_eq!(everything(&from).await, everything(&to).await);
    let there = Db::open(&crate::Config::default(), &to, NOW).await.unwrap();
    let feed = Feed::open(there.clone(), NOW).await.unwrap();
    let mut tx = there.begin().await.unwrap();
    publish(&mut tx, Revocation::DataKeys, NOW).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(feed.poll(NOW, &|_| {}).await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_not_committed_changes_nothing_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    create_user(&db, "a@b.c").await.unwrap();
    let (from, to) = (url(&folder, "p.db"), url(&folder, "other.db"));
    drop(begin(&from, &to, false).await.unwrap());
    assert!(!folder.path().join("other.db").exists());
    copy(&from, &to, false).await.unwrap();
    create_user(&db, "b@b.c").await.unwrap();
    let before = everything(&to).await;
    let refused = copy(&from, &to, false).await.unwrap_err();
    assert!(matches!(refused, Error::NotEmpty(_)), "{refused}");
    drop(begin(&from, &to, true).await.unwrap());
    assert_eq!(everything(&to).await, before);
    copy(&from, &to, true).await.unwrap();
    assert_eq!(everything(&to).await, everything(&from).await);
}

#[tokio::test]
async fn a_database_that_somebody_has_open_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    create_user(&db, "a@b.c").await.unwrap();
    let (from, to) = (url(&folder, "p.db"), url(&folder, "other.db"));
    copy(&from, &to, false).await.unwrap();
    let before = everything(&to).await;
    let gate = Db::open(&crate::Config::default(), &to, NOW).await.unwrap();
    let refused = copy(&from, &to, true).await.unwrap_err();
    assert!(matches!(refused, Error::InUse), "{refused}");
    gate.ping().await.unwrap();
    gate.close().await;
    assert_eq!(everything(&to).await, before);
}

#[tokio::test]
async fn rows_of_an_older_schema_are_taken_and_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let to = url(&folder, "p.db");
    let target = Target::At {
        url: &to,
        replace: false,
    };
    let mut load = Load::begin(target, &[1, 2], NOW).await.unwrap();
    let users = load.schema().table("users").unwrap().clone();
    let row = vec![
        Cell::Bytes(vec![7; 16]),
        Cell::Text("a@b.c".to_owned()),
        Cell::Text("a@b.c".to_owned()),
        Cell::Text("h".to_owned()),
        Cell::Null,
        Cell::Null,
        Cell::Int(1),
        Cell::Int(1),
        Cell::Null,
    ];
    load.insert(&users, &[row]).await.unwrap();
    load.finish(NOW).await.unwrap();
    load.commit().await.unwrap();
    let db = open(&folder).await;
    let row = db
        .fetch_optional("SELECT email_verified_at FROM users", &[])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.opt_timestamp("email_verified_at").unwrap(), None);
    let unknown = Load::begin(Target::Nowhere, &[1, 9999], NOW).await.err();
    assert!(matches!(unknown, Some(Error::UnknownStep(9999))));
}

#[tokio::test]
async fn rows_that_do_not_fit_are_refused() {
    let mut load = Load::begin(Target::Nowhere, &[1], NOW).await.unwrap();
    let roles = load.schema().table("user_role").unwrap().clone();
    for row in [
        vec![Cell::Bytes(vec![1; 16])],
        vec![Cell::Int(1), Cell::Text("admin".to_owned())],
    ] {
        let refused = load.insert(&roles, &[row]).await.unwrap_err();
        assert!(matches!(refused, Error::Misfit(_)), "{refused}");
    }
    let of_nobody = vec![Cell::Bytes(vec![1; 16]), Cell::Text("admin".to_owned())];
    load.insert(&roles, &[of_nobody]).await.unwrap();
    let refused = load.finish(NOW).await.unwrap_err();
    assert!(matches!(refused, Error::Dangling(_)), "{refused}");
}

/// On PostgreSQL, from SQLite and back.
#[tokio::test]
async fn a_database_goes_from_one_engine_to_the_other_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    for number in 0..60 {
        create_user(&db, &format!("{number}@b.c")).await.unwrap();
    }
    let mut tx = db.begin().await.unwrap();
    for _ in 0..3 {
        publish(&mut tx, Revocation::Everything, NOW).await.unwrap();
    }
    tx.commit().await.unwrap();
    let (here, there) = (
        url(&folder, "p.db"),
        crate::postgres_tests::database().await,
    );
    copy(&here, &there, false).await.unwrap();
    let all = everything(&here).await;
    assert_eq!(everything(&there).await, all);
    // A gate starts on it, and its numbers go on after those that came.
    let gate = Db::open(&crate::Config::default(), &there, NOW)
        .await
        .unwrap();
    let mut tx = gate.begin().await.unwrap();
    publish(&mut tx, Revocation::DataKeys, NOW).await.unwrap();
    tx.commit().await.unwrap();
    let in_use = copy(&here, &there, true).await.unwrap_err();
    assert!(matches!(in_use, Error::InUse), "{in_use}");
    gate.close().await;
    let full = copy(&here, &there, false).await.unwrap_err();
    assert!(matches!(full, Error::NotEmpty(_)), "{full}");
    drop(begin(&here, &there, true).await.unwrap());
    assert_ne!(
        everything(&there).await,
        all,
        "the row that came later stays"
    );
    copy(&here, &there, true).await.unwrap();
    let back = url(&folder, "back.db");
    copy(&there, &back, false).await.unwrap();
    assert_eq!(everything(&back).await, all);
}
