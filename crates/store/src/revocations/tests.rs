use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::tests::{NOW, open};

async fn announce(db: &Db, revocation: Revocation, now: Timestamp) {
    let mut tx = db.begin().await.unwrap();
    publish(&mut tx, revocation, now).await.unwrap();
    tx.commit().await.unwrap();
}

async fn read(feed: &Feed) -> Vec<Revocation> {
    let heard = Mutex::new(Vec::new());
    feed.poll(NOW, &|revocation| heard.lock().unwrap().push(revocation))
        .await
        .unwrap();
    heard.into_inner().unwrap()
}

async fn start() -> (TempDir, Db, Feed) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    let feed = Feed::open(db.clone(), NOW).await.unwrap();
    (folder, db, feed)
}

#[tokio::test]
async fn each_revocation_is_heard_once_and_in_order() {
    let (_folder, db, feed) = start().await;
    assert_eq!(read(&feed).await, []);
    let first = Revocation::Session(SessionId::new());
    let second = Revocation::User(UserId::new());
    announce(&db, first, NOW).await;
    announce(&db, second, NOW).await;
    let late = Feed::open(db.clone(), NOW).await.unwrap();
    assert_eq!(read(&feed).await, [first, second]);
    assert_eq!(read(&feed).await, []);
    assert_eq!(read(&late).await, []);
    announce(&db, Revocation::Everything, NOW).await;
    assert_eq!(read(&feed).await, [Revocation::Everything]);
    assert_eq!(read(&late).await, [Revocation::Everything]);
}

#[tokio::test]
async fn more_than_a_page_is_heard_at_once() {
    let (_folder, db, feed) = start().await;
    let mut tx = db.begin().await.unwrap();
    for _ in 0..2 * PAGE {
        publish(&mut tx, Revocation::Session(SessionId::new()), NOW)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(read(&feed).await.len(), 2000);
    assert_eq!(read(&feed).await, []);
}

#[tokio::test]
async fn what_is_rolled_back_is_not_announced() {
    let (_folder, db, feed) = start().await;
    let mut tx = db.begin().await.unwrap();
    publish(&mut tx, Revocation::Everything, NOW).await.unwrap();
    drop(tx);
    assert_eq!(read(&feed).await, []);
}

#[tokio::test]
async fn a_kind_from_a_newer_node_revokes_everything() {
    let (_folder, db, feed) = start().await;
    let mut tx = db.begin().await.unwrap();
    tx.execute(INSERT, &["weather".into(), Uuid::nil().into(), NOW.into()])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(read(&feed).await, [Revocation::Everything]);
}

#[tokio::test]
async fn a_reader_whose_place_is_gone_forgets_everything() {
    let (_folder, db, feed) = start().await;
    let some = || Revocation::Session(SessionId::new());
    announce(&db, some(), NOW).await;
    assert_eq!(read(&feed).await.len(), 1);
    announce(&db, some(), NOW).await;
    announce(&db, some(), NOW).await;
    assert_eq!(prune(&db, NOW).await.unwrap(), 0);
    let later = NOW + KEPT_FOR + Span::from_millis(1);
    assert_eq!(prune(&db, later).await.unwrap(), 2);
    assert_eq!(read(&feed).await, [Revocation::Everything]);
    assert_eq!(read(&feed).await, []);
    // A backup from before was restored.
    let mut tx = db.begin().await.unwrap();
    tx.execute("DELETE FROM revocation", &[]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(read(&feed).await, [Revocation::Everything]);
    assert_eq!(read(&feed).await, []);
}

#[tokio::test]
async fn caches_are_trusted_for_five_seconds_after_an_answer() {
    let (_folder, db, feed) = start().await;
    assert!(feed.is_fresh(NOW + Span::from_seconds(5)));
    assert!(!feed.is_fresh(NOW + Span::from_millis(5001)));
    assert!(feed.is_fresh(NOW - Span::from_millis(500)));
    assert!(!feed.is_fresh(NOW - Span::from_seconds(60)));
    let later = NOW + Span::from_seconds(60);
    feed.poll(later, &|_| {}).await.unwrap();
    assert!(feed.is_fresh(later));
    db.close().await;
    let much_later = later + Span::from_seconds(60);
    assert!(feed.poll(much_later, &|_| {}).await.is_err());
    assert!(!feed.is_fresh(much_later));
}
