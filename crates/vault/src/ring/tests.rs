use portcullis_core::Secret;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::jws::Unverified;

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn keys(current: &str, previous: &[&str]) -> Keys {
    let secret = |text: &str| Secret::new(text.to_owned());
    Keys::new(
        secret(current),
        previous.iter().map(|text| secret(text)).collect(),
    )
}

async fn database(folder: &TempDir) -> Db {
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let config = portcullis_store::Config::default();
    Db::open(&config, &Secret::new(url), START).await.unwrap()
}

fn kid_of(token: &str) -> String {
    Unverified::read(token)
        .unwrap()
        .header()
        .kid
        .clone()
        .unwrap()
}

fn verifies(ring: &KeyRing, token: &str, now: Timestamp) -> bool {
    ring.verifying(&kid_of(token), now)
        .is_some_and(|key| Unverified::read(token).unwrap().verify([&key]).is_ok())
}

fn sign(ring: &KeyRing, now: Timestamp) -> String {
    ring.sign("at+jwt", &json!({ "sub": "u" }), now).unwrap()
}

async fn rotate(ring: &KeyRing, now: Timestamp, active_at: Timestamp) -> String {
    let mut tx = ring.db.begin().await.unwrap();
    let kid = ring.add(&mut tx, now, active_at).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    ring.reload().await.unwrap();
    kid
}

fn published(ring: &KeyRing, now: Timestamp) -> usize {
    ring.jwks(now)["keys"].as_array().unwrap().len()
}

#[tokio::test]
async fn two_nodes_have_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder).await;
    let one = KeyRing::open(db.clone(), keys("m", &[]), START)
        .await
        .unwrap();
    let two = KeyRing::open(db, keys("m", &[]), START).await.unwrap();
    assert!(verifies(&two, &sign(&one, START), START));
    assert_eq!(one.jwks(START), two.jwks(START));
    assert_eq!(published(&one, START), 1);
}

#[tokio::test]
async fn a_new_key_is_published_before_it_signs_and_the_old_one_verifies_through_the_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let ring = KeyRing::open(database(&folder).await, keys("m", &[]), START)
        .await
        .unwrap();
    let before = sign(&ring, START);
    let turn = START + LEAD;
    let kid = rotate(&ring, START, turn).await;
    assert_eq!(published(&ring, START), 2);
    assert_eq!(kid_of(&sign(&ring, START)), kid_of(&before));
    assert_eq!(kid_of(&sign(&ring, turn)), kid);
    let end = turn + OVERLAP;
    let almost = end - Span::from_seconds(1);
    assert!(verifies(&ring, &before, almost));
    assert_eq!(published(&ring, almost), 2);
    assert!(!verifies(&ring, &before, end));
    assert_eq!(published(&ring, end), 1);
    let states: Vec<KeyState> = ring
        .list(turn)
        .await
        .unwrap()
        .iter()
        .map(|key| key.state)
        .collect();
    assert_eq!(states, [KeyState::Signing, KeyState::Verifying]);
}

#[tokio::test]
async fn a_revoked_key_verifies_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ring = KeyRing::open(database(&folder).await, keys("m", &[]), START)
        .await
        .unwrap();
    let token = sign(&ring, START);
    rotate(&ring, START, START).await;
    let mut tx = ring.db.begin().await.unwrap();
    assert!(ring.revoke(&mut tx, &kid_of(&token), START).await.unwrap());
    assert!(!ring.revoke(&mut tx, &kid_of(&token), START).await.unwrap());
    tx.commit().await.unwrap();
    ring.reload().await.unwrap();
    assert!(!verifies(&ring, &token, START));
    assert_eq!(ring.list(START).await.unwrap()[1].state, KeyState::Revoked);
}

#[tokio::test]
async fn of_two_that_rotate_at_once_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder).await;
    let ring = KeyRing::open(db.clone(), keys("m", &[]), START)
        .await
        .unwrap();
    assert!(
        !ring
            .is_due(Span::from_days(90), START + Span::from_days(89))
            .await
            .unwrap()
    );
    assert!(
        ring.is_due(Span::from_days(90), START + Span::from_days(90))
            .await
            .unwrap()
    );
    let mut tx = db.begin().await.unwrap();
    // Another node took the turn between the reading and the writing.
    let sql = "INSERT INTO signing_key (generation, kid, salt, created_at, active_at) VALUES (2, 'x', x'00', 0, 0)";
    tx.execute(sql, &[]).await.unwrap();
    let args = [
        2.into(),
        "y".into(),
        b"0".as_slice().into(),
        START.into(),
        START.into(),
    ];
    assert_eq!(tx.execute(ADD, &args).await.unwrap(), 0);
}

#[tokio::test]
async fn under_a_new_master_a_new_key_signs_and_the_previous_masters_keys_verify() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder).await;
    let old = KeyRing::open(db.clone(), keys("old", &[]), START)
        .await
        .unwrap();
    let before = sign(&old, START);
    let both = KeyRing::open(db.clone(), keys("new", &["old"]), START)
        .await
        .unwrap();
    assert!(verifies(&both, &before, START));
    let after = sign(&both, START);
    assert_ne!(kid_of(&after), kid_of(&before));
    let new = KeyRing::open(db, keys("new", &[]), START).await.unwrap();
    assert!(verifies(&new, &after, START));
    assert!(!verifies(&new, &before, START));
}

#[tokio::test]
async fn the_database_holds_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder).await;
    let ring = KeyRing::open(db.clone(), keys("m", &[]), START)
        .await
        .unwrap();
    let row = db.fetch_optional(LIST, &[]).await.unwrap().unwrap();
    let salt = row.bytes("salt").unwrap();
    let stolen = KeyRing::open(db, keys("guess", &[]), START).await.unwrap();
    assert_eq!(salt.len(), 16);
    assert!(!verifies(&stolen, &sign(&ring, START), START));
}
