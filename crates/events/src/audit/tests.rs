use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use portcullis_core::{Problem, RequestId, Secret, Span, Timestamp, UserId};
use portcullis_store::Db;
use tempfile::TempDir;

use super::sink::{Appending, Sink};
use super::*;
use crate::Metrics;

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn clock() -> Arc<portcullis_core::time::ManualClock> {
    Arc::new(portcullis_core::time::ManualClock::at(NOW))
}

async fn open(folder: &TempDir) -> Db {
    let url = format!("sqlite://{}/p.db", folder.path().display());
    Db::open(&portcullis_store::Config::default(), &Secret::new(url), NOW)
        .await
        .unwrap()
}

/// SQLite, and PostgreSQL where the environment names one. Events are told apart by their actor.
async fn databases(folder: &TempDir) -> Vec<Db> {
    let mut all = vec![open(folder).await];
    if let Some(url) = std::env::var_os("PORTCULLIS_TEST_POSTGRES") {
        let url = Secret::new(url.into_string().unwrap());
        let config = portcullis_store::Config::default();
        all.push(Db::open(&config, &url, NOW).await.unwrap());
    }
    all
}

fn start(db: Db, config: &Config) -> (Trail, Arc<portcullis_core::time::ManualClock>) {
    let clock = clock();
    let trail = Trail::start(db, clock.clone(), Metrics::new(), config);
    (trail, clock)
}

fn login_by(user: UserId) -> Event {
    Event::new(NOW, Action::LoginSucceeded, Outcome::Allowed)
        .by(Actor::User(user))
        .to(Target::user(user))
        .during(RequestId::new())
        .from("192.0.2.7".parse().unwrap())
        .with("method", "password")
}

fn limited(address: &str) -> Event {
    Event::new(NOW, Action::LimitExceeded, Outcome::Denied).from(address.parse().unwrap())
}

async fn all(db: &Db) -> Vec<Event> {
    let page = list(db, &Filter::default(), None, 1000).await.unwrap();
    page.events
}

fn of(user: UserId) -> Filter {
    Filter {
        actor: Some(user.as_uuid()),
        ..Filter::default()
    }
}

#[tokio::test]
async fn a_recorded_event_is_there_for_another_connection_as_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    for db in databases(&folder).await {
        let user = UserId::new();
        let (trail, _) = start(db.clone(), &Config::default());
        let event = login_by(user);
        trail.record(event.clone()).await.unwrap();
        let page = list(&db, &of(user), None, 10).await.unwrap();
        assert_eq!(page.events, [event]);
        assert_eq!(page.next, None);
        trail.shutdown().await;
    }
}

#[tokio::test]
async fn many_waiting_events_are_all_durable_when_their_records_return() {
    let folder = tempfile::tempdir().unwrap();
    for db in databases(&folder).await {
        let user = UserId::new();
        let (trail, _) = start(db.clone(), &Config::default());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..2500 {
            let trail = trail.clone();
            tasks.spawn(async move { trail.record(login_by(user)).await });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap().unwrap();
        }
        let mut seen = 0;
        let mut cursor = None;
        loop {
            let page = list(&db, &of(user), cursor, 1000).await.unwrap();
            seen += page.events.len();
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, 2500);
        trail.shutdown().await;
    }
}

#[tokio::test]
async fn an_event_lives_and_dies_with_the_transaction_of_its_act() {
    let folder = tempfile::tempdir().unwrap();
    for db in databases(&folder).await {
        let user = UserId::new();
        let (trail, _) = start(db.clone(), &Config::default());
        let mut tx = db.begin().await.unwrap();
        trail.record_in(&mut tx, login_by(user)).await.unwrap();
        drop(tx);
        let page = list(&db, &of(user), None, 10).await.unwrap();
        assert!(page.events.is_empty());
        let mut tx = db.begin().await.unwrap();
        trail.record_in(&mut tx, login_by(user)).await.unwrap();
        tx.commit().await.unwrap();
        let page = list(&db, &of(user), None, 10).await.unwrap();
        assert_eq!(page.events.len(), 1);
        trail.shutdown().await;
    }
}

#[tokio::test]
async fn what_was_recorded_can_be_neither_changed_nor_deleted_nor_replaced() {
    let folder = tempfile::tempdir().unwrap();
    for db in databases(&folder).await {
        let user = UserId::new();
        let (trail, _) = start(db.clone(), &Config::default());
        let event = login_by(user);
        trail.record(event.clone()).await.unwrap();
        for sql in [
            "UPDATE audit_event SET outcome = 'denied'",
            "DELETE FROM audit_event",
        ] {
            let mut tx = db.begin().await.unwrap();
            assert!(tx.execute(sql, &[]).await.is_err(), "{sql}");
        }
        let mut tx = db.begin().await.unwrap();
        let replace = db.engine().pick(
            "INSERT OR REPLACE INTO audit_event SELECT id, 0, actor_kind, actor_id, 'logout', target, \
             outcome, request_id, client_address, tenant_id, metadata FROM audit_event",
            "TRUNCATE audit_event",
        );
        // SQLite passes over the row; PostgreSQL refuses.
        let _either = tx.execute(replace, &[]).await;
        let _either = tx.commit().await;
        let page = list(&db, &of(user), None, 10).await.unwrap();
        assert_eq!(page.events, [event]);
        trail.shutdown().await;
    }
}

#[tokio::test]
async fn pages_hold_every_event_once_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    for db in databases(&folder).await {
        let user = UserId::new();
        let (trail, _) = start(db.clone(), &Config::default());
        for second in 0..7 {
            let mut event = login_by(user);
            // Two events share each moment: the id has to tell them apart.
            event.at = NOW + Span::from_seconds(second / 2);
            trail.record(event).await.unwrap();
        }
        let mut seen: Vec<Event> = Vec::new();
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = list(&db, &of(user), cursor, 2).await.unwrap();
            seen.extend(page.events);
            match page.next {
                Some(next) => cursor = Some(next.to_string().parse().unwrap()),
                None => break,
            }
        }
        assert_eq!(seen.len(), 7);
        assert!(
            seen.windows(2)
                .all(|pair| (pair[0].at, pair[0].id) > (pair[1].at, pair[1].id))
        );
        let both = Filter {
            action: Some(Action::LoginSucceeded),
            since: Some(NOW + Span::from_seconds(1)),
            until: Some(NOW + Span::from_seconds(2)),
            ..of(user)
        };
        assert_eq!(list(&db, &both, None, 10).await.unwrap().events.len(), 2);
        trail.shutdown().await;
    }
}

#[tokio::test]
async fn repeats_of_one_client_are_folded_into_one_event_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    let (trail, clock) = start(db.clone(), &Config::default());
    for _ in 0..1000 {
        trail.note(limited("192.0.2.1"));
    }
    // Another address of the same IPv6 /64 is the same client.
    trail.note(limited("2001:db8::1"));
    trail.note(limited("2001:db8::2"));
    trail.note(limited("192.0.2.2"));
    clock.advance(Span::from_seconds(1));
    trail.note(limited("192.0.2.1"));
    trail.flush().await.unwrap();
    let counts = |address: &str| {
        let address = address.to_owned();
        let db = db.clone();
        async move {
            let mut counts: Vec<u64> = all(&db)
                .await
                .iter()
                .filter(|event| event.client == Some(address.parse().unwrap()))
                .map(|event| event.metadata.counted())
                .collect();
            counts.sort_unstable();
            counts
        }
    };
    assert_eq!(counts("192.0.2.1").await, [1, 1000]);
    assert_eq!(counts("2001:db8::1").await, [1]);
    assert_eq!(counts("2001:db8::2").await, [1]);
    assert_eq!(counts("192.0.2.2").await, [1]);
    trail.shutdown().await;
}

#[tokio::test]
async fn what_exceeds_the_rate_is_counted_in_an_event_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    let config = Config {
        notes_per_second: 10,
        ..Config::default()
    };
    let (trail, _) = start(db.clone(), &config);
    for client in 0..100 {
        trail.note(limited(&format!("192.0.2.{client}")));
    }
    trail.flush().await.unwrap();
    let events = all(&db).await;
    let told = |action| {
        let of_action = events
            .iter()
            .filter(move |event: &&Event| event.action == action);
        of_action.count()
    };
    assert_eq!(told(Action::LimitExceeded), 10);
    let lost: u64 = events
        .iter()
        .filter(|event| event.action == Action::AuditOverflow)
        .filter_map(|event| event.metadata.get("limit.exceeded")?.as_u64())
        .sum();
    assert_eq!(lost, 90);
    trail.shutdown().await;
}

#[tokio::test]
async fn shutdown_writes_what_waits_and_refuses_what_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    let (trail, _) = start(db.clone(), &Config::default());
    trail.note(limited("192.0.2.1"));
    trail.note(limited("192.0.2.1"));
    trail.shutdown().await;
    assert_eq!(all(&db).await.len(), 2);
    let late = trail.record(login_by(UserId::new())).await;
    assert!(matches!(late, Err(Error::Closed)));
}

/// A database that can be taken away.
#[derive(Clone, Default)]
struct Shaky {
    away: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<Event>>>,
}

impl Sink for Shaky {
    fn append<'a>(&'a self, events: &'a [Event]) -> Appending<'a> {
        Box::pin(async move {
            if self.away.load(Ordering::SeqCst) {
                return Err(Error::TimedOut);
            }
            if events
                .iter()
                .any(|event| event.action == Action::GateStopped)
            {
                let refusal = portcullis_store::Error::MissingReference;
                return Err(refusal.into());
            }
            self.taken.lock().unwrap().extend_from_slice(events);
            Ok(())
        })
    }
}

fn shaky(config: &Config) -> (Trail, Shaky, Arc<Metrics>) {
    let sink = Shaky::default();
    let metrics = Metrics::new();
    let trail = Trail::with_sink(Box::new(sink.clone()), clock(), metrics.clone(), config);
    (trail, sink, metrics)
}

#[tokio::test]
async fn without_a_database_records_fail_and_notes_wait_for_it() {
    let config = Config {
        queue: 100,
        ..Config::default()
    };
    let (trail, sink, metrics) = shaky(&config);
    sink.away.store(true, Ordering::SeqCst);
    let refused = trail.record(login_by(UserId::new())).await.unwrap_err();
    assert_eq!(Problem::from(refused).kind.status, 503);
    for client in 0..150 {
        trail.note(limited(&format!("192.0.2.{client}")));
    }
    assert!(trail.flush().await.is_err());
    assert!(
        metrics
            .encode()
            .contains("portcullis_audit_lost_events_total{action=\"limit.exceeded\"} 50")
    );
    sink.away.store(false, Ordering::SeqCst);
    trail.flush().await.unwrap();
    let taken = sink.taken.lock().unwrap().clone();
    let limits = taken
        .iter()
        .filter(|event| event.action == Action::LimitExceeded);
    assert_eq!(limits.count(), 100);
    let overflow = taken
        .iter()
        .find(|event| event.action == Action::AuditOverflow);
    assert_eq!(
        overflow.unwrap().metadata.get("limit.exceeded"),
        Some(&50.into())
    );
    assert!(
        taken
            .iter()
            .all(|event| event.action != Action::LoginSucceeded)
    );
    trail.shutdown().await;
}

#[tokio::test]
async fn an_event_that_is_never_taken_does_not_hold_up_the_others() {
    let (trail, sink, _) = shaky(&Config::default());
    trail.note(Event::new(NOW, Action::GateStopped, Outcome::Allowed));
    trail.note(limited("192.0.2.1"));
    trail.flush().await.unwrap();
    let actions: Vec<Action> = sink
        .taken
        .lock()
        .unwrap()
        .iter()
        .map(|event| event.action)
        .collect();
    assert!(actions.contains(&Action::LimitExceeded), "{actions:?}");
    trail.shutdown().await;
}

#[tokio::test]
async fn no_planted_secret_reaches_the_database_file() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    let (trail, _) = start(db.clone(), &Config::default());
    let event = login_by(UserId::new())
        .with("password", "canary-one")
        .with("note", "Authorization: Bearer canary-two")
        .with(
            "url",
            "https://user:canary-three@example.com/path?x=canary-four",
        )
        .with(
            "body",
            serde_json::json!({ "inner": { "api_key": "canary-five" } }),
        )
        .with("account", "canary.six@example.com");
    trail.record(event).await.unwrap();
    trail.shutdown().await;
    db.close().await;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("canary"), "a canary survived");
    }
}

#[test]
fn names_of_actions_are_unique_and_read_back() {
    for action in Action::ALL {
        assert_eq!(action.as_str().parse::<Action>().unwrap(), *action);
    }
}

#[test]
fn the_trail_cannot_be_switched_off_in_production() {
    let off = Config {
        enabled: false,
        ..Config::default()
    };
    assert_eq!(off.findings(true).len(), 1);
    assert!(off.findings(false).is_empty());
    assert!(Config::default().findings(true).is_empty());
}
