use super::*;
use crate::testing::{House, backoff};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

async fn attempt(db: &Db, subject: &Subject, now: Timestamp) -> Attempt {
    let mut tx = db.begin().await.unwrap();
    let attempt = take(&mut tx, subject, now).await.unwrap();
    tx.commit().await.unwrap();
    attempt
}

#[tokio::test]
async fn five_are_free_and_then_the_wait_doubles_up_to_its_bound() {
    let house = House::build().await;
    let subject = backoff().subject("eve@example.org", None, NOW);
    let mut now = NOW;
    for _ in 0..5 {
        assert_eq!(attempt(&house.db, &subject, now).await, Attempt::Granted);
    }
    for seconds in [30, 60, 120, 240, 480, 900, 900] {
        let retry_after = Span::from_seconds(seconds);
        assert_eq!(
            attempt(&house.db, &subject, now).await,
            Attempt::Throttled { retry_after }
        );
        now = now + retry_after;
        assert_eq!(attempt(&house.db, &subject, now).await, Attempt::Granted);
    }
}

#[tokio::test]
async fn after_a_hundred_in_a_row_no_more_are_accepted() {
    let house = House::build().await;
    let subject = backoff().subject("eve@example.org", None, NOW);
    let mut now = NOW;
    let mut granted = 0;
    for _ in 0..300 {
        now = now + Span::from_hours(1);
        match attempt(&house.db, &subject, now).await {
            Attempt::Granted => granted += 1,
            Attempt::Throttled { .. } => {}
        }
    }
    assert_eq!(granted, 100);
    let mut tx = house.db.begin().await.unwrap();
    clear(&mut tx, &subject).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(attempt(&house.db, &subject, now).await, Attempt::Granted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_attempts_at_once_are_five() {
    let house = House::build().await;
    let subject = backoff().subject("eve@example.org", None, NOW);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (db, subject) = (house.db.clone(), subject.clone());
            tokio::spawn(async move { attempt(&db, &subject, NOW).await })
        })
        .collect();
    let mut granted = 0;
    for task in tasks {
        granted += i32::from(task.await.unwrap() == Attempt::Granted);
    }
    assert_eq!(granted, 5);
}

#[test]
fn a_device_is_known_for_its_account_and_its_time_only() {
    let backoff = backoff();
    let first = backoff.subject("ada@example.org", None, NOW);
    let cookie = backoff.issue("ada@example.org", &first, NOW).unwrap();
    let known = backoff.subject("ada@example.org", Some(&cookie), NOW);
    assert_ne!(known, first);
    assert_eq!(known.client.len(), 16);
    let other = backoff.subject("eve@example.org", Some(&cookie), NOW);
    assert!(other.client.is_empty());
    let late = NOW + DEVICE_LIFETIME;
    assert!(
        backoff
            .subject("ada@example.org", Some(&cookie), late)
            .client
            .is_empty()
    );
    let again = backoff.issue("ada@example.org", &known, late).unwrap();
    assert_eq!(
        backoff.subject("ada@example.org", Some(&again), late),
        known
    );
}

#[test]
fn a_device_cookie_that_was_changed_anywhere_is_unknown() {
    let backoff = backoff();
    let first = backoff.subject("ada@example.org", None, NOW);
    let cookie = backoff.issue("ada@example.org", &first, NOW).unwrap();
    for at in 0..cookie.len() {
        let cut: String = cookie.chars().take(at).collect();
        assert_eq!(backoff.subject("ada@example.org", Some(&cut), NOW), first);
        let mut bytes = cookie.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(
            backoff.subject("ada@example.org", Some(&changed), NOW),
            first
        );
    }
}

#[tokio::test]
async fn only_what_slows_nobody_is_deleted() {
    let house = House::build().await;
    let few = backoff().subject("few@example.org", None, NOW);
    let many = backoff().subject("many@example.org", None, NOW);
    for _ in 0..2 {
        let _ = attempt(&house.db, &few, NOW).await;
    }
    for _ in 0..5 {
        let _ = attempt(&house.db, &many, NOW).await;
    }
    assert_eq!(
        prune(&house.db, NOW + Span::from_hours(1)).await.unwrap(),
        0
    );
    assert_eq!(prune(&house.db, NOW + Span::from_days(2)).await.unwrap(), 1);
    assert_eq!(
        prune(&house.db, NOW + Span::from_days(91)).await.unwrap(),
        1
    );
}
