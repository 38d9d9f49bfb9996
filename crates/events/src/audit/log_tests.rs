//! The log on both engines, with a clock of the test's own.

use std::sync::Arc;

use portcullis_core::time::ManualClock;
use portcullis_core::{Clock, Secret, Span, Timestamp, UserId};
use portcullis_store::Db;
use portcullis_vault::fields::{self, Fields};
use portcullis_vault::keys::Keys;
use portcullis_vault::{Keks, kek};
use tempfile::TempDir;

use super::anchor::{Anchor, Anchored};
use super::checkpoint::Checkpoint;
use super::*;
use crate::Metrics;

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

pub(crate) async fn database(folder: &TempDir) -> Db {
    let url = format!("sqlite://{}/p.db", folder.path().display());
    Db::open(&portcullis_store::Config::default(), &Secret::new(url), NOW)
        .await
        .unwrap()
}

pub(crate) fn log(db: &Db, clock: &Arc<ManualClock>, masters: &[&str]) -> (Log, Trail) {
    counted(db, clock, masters, Metrics::new())
}

fn counted(
    db: &Db,
    clock: &Arc<ManualClock>,
    masters: &[&str],
    metrics: Arc<Metrics>,
) -> (Log, Trail) {
    let mut masters = masters.iter().map(|text| Secret::new((*text).to_owned()));
    let keys = Keys::new(masters.next().unwrap(), masters.collect());
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let master = kek::Settings::of(kek::KekKind::Master);
    let under = Keks::new(&master, &[], &keys, &clock).unwrap();
    let config = fields::Config::default();
    let remember = Span::from_minutes(15);
    let fields = Fields::new(db.clone(), under, Arc::clone(&clock), &config, remember);
    let trail = Trail::start(db.clone(), Arc::clone(&clock), metrics, &Config::default());
    let parts = Parts {
        db: db.clone(),
        keys,
        fields,
        clock,
        trail: trail.clone(),
        witnesses: Arc::default(),
    };
    (Log::new(parts), trail)
}

pub(super) async fn record(trail: &Trail, at: Timestamp, count: u32) {
    for number in 0..count {
        let event = Event::new(at, Action::Logout, Outcome::Allowed)
            .by(Actor::User(UserId::new()))
            .from("192.0.2.9".parse().unwrap())
            .with("number", number);
        trail.record(event).await.unwrap();
    }
}

#[tokio::test]
async fn content_past_its_time_goes_and_every_proof_of_the_rest_holds() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder).await;
    let clock = Arc::new(ManualClock::at(NOW));
    let (log, trail) = log(&db, &clock, &["one"]);
    record(&trail, NOW, 300).await;
    log.keep().await.unwrap();
    let kept = log.checkpoint().await.unwrap().unwrap();
    assert_eq!(log.retain(Span::from_days(30)).await.unwrap(), 0);
    clock.advance(Span::from_days(32));
    record(&trail, clock.now(), 20).await;
    log.keep().await.unwrap();
    assert_eq!(log.retain(Span::from_days(30)).await.unwrap(), 300);
    // At once: nothing is missing in between.
    let report = log.verify(Some(&kept)).await.unwrap();
    assert!(report.holds(), "{report}");
    log.keep().await.unwrap();
    let report = log.verify(Some(&kept)).await.unwrap();
    assert!(report.holds(), "{report}");
    assert_eq!((report.past_retention, report.held), (300, 21));
    let page = log.list(&Filter::default(), None, 100).await.unwrap();
    assert_eq!(page.events.len(), 21);
    for event in page.events {
        let proof = log.prove(event.id, None).await.unwrap().unwrap();
        proof.verify(&log.verifiers().await.unwrap()).unwrap();
    }
    // What is not past it cannot be deleted, nor what the rule has not come to.
    let mut tx = db.begin().await.unwrap();
    assert!(tx.execute("DELETE FROM audit_event", &[]).await.is_err());
    trail.shutdown().await;
}

#[tokio::test]
async fn during_a_rotation_of_the_master_secret_old_and_new_keys_verify() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder).await;
    let clock = Arc::new(ManualClock::at(NOW));
    let (before, trail) = log(&db, &clock, &["old"]);
    record(&trail, NOW, 3).await;
    before.sequence().await.unwrap();
    let old = before.verifiers().await.unwrap();
    let kept = before.checkpoint().await.unwrap().unwrap();
    trail.shutdown().await;
    let (during, trail) = log(&db, &clock, &["new", "old"]);
    assert!(during.verify(Some(&kept)).await.unwrap().holds());
    record(&trail, NOW, 3).await;
    during.sequence().await.unwrap();
    let signed = during.checkpoint().await.unwrap().unwrap();
    assert_eq!(Checkpoint::verify(&signed, &old).unwrap().size, 6);
    trail.shutdown().await;
    let (after, trail) = log(&db, &clock, &["new"]);
    let new = after.verifiers().await.unwrap();
    assert_eq!(Checkpoint::verify(&signed, &new).unwrap().size, 6);
    assert!(after.verify(None).await.unwrap().holds());
    assert!(after.verify(Some(&kept)).await.is_err());
    trail.shutdown().await;
}

#[tokio::test]
async fn two_keepers_at_once_make_one_log_without_gaps() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder).await;
    let clock = Arc::new(ManualClock::at(NOW));
    let (one, trail) = log(&db, &clock, &["one"]);
    let (two, other) = log(&database(&folder).await, &clock, &["one"]);
    let mut keepers = tokio::task::JoinSet::new();
    for log in [&one, &two, &one, &two] {
        let log = log.clone();
        keepers.spawn(async move {
            for _ in 0..20 {
                log.sequence().await.unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    record(&trail, NOW, 40).await;
    record(&other, NOW, 40).await;
    while let Some(done) = keepers.join_next().await {
        done.unwrap();
    }
    one.sequence().await.unwrap();
    let report = one.verify(None).await.unwrap();
    assert!(report.holds(), "{report}");
    assert_eq!((report.size, report.held, report.waiting), (80, 80, 0));
    trail.shutdown().await;
    other.shutdown().await;
}

#[tokio::test]
async fn a_checkpoint_is_continued_by_a_proof_of_consistency() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder).await;
    let clock = Arc::new(ManualClock::at(NOW));
    let (log, trail) = log(&db, &clock, &["one"]);
    let mut kept = Vec::new();
    for count in [1, 2, 250, 3, 300] {
        record(&trail, NOW, count).await;
        log.sequence().await.unwrap();
        kept.push(log.checkpoint().await.unwrap().unwrap());
    }
    let keys = log.verifiers().await.unwrap();
    let read = |text: &String| Checkpoint::verify(text, &keys).unwrap();
    let newest = read(kept.last().unwrap());
    for old in kept.iter().map(read) {
        let (path, _) = log.consistency(old.size).await.unwrap().unwrap();
        let holds = tree::verify_consistency(old.size, newest.size, &old.root, &newest.root, &path);
        assert!(holds, "{}", old.size);
    }
    assert!(log.consistency(newest.size + 1).await.unwrap().is_none());
    trail.shutdown().await;
}

#[tokio::test]
async fn checkpoints_are_added_to_a_file_until_the_log_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder).await;
    let clock = Arc::new(ManualClock::at(NOW));
    let metrics = Metrics::new();
    let (log, trail) = counted(&db, &clock, &["one"], Arc::clone(&metrics));
    let file = folder.path().join("anchors");
    let anchor = Anchor::File(file.clone());
    assert_eq!(log.anchor(&anchor).await.unwrap(), Anchored::Nothing);
    for count in [3, 300] {
        record(&trail, NOW, count).await;
        log.sequence().await.unwrap();
        assert_eq!(log.anchor(&anchor).await.unwrap(), Anchored::Added);
        assert_eq!(log.anchor(&anchor).await.unwrap(), Anchored::Nothing);
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    let keys = log.verifiers().await.unwrap();
    let newest = anchor::last(&kept).unwrap();
    assert_eq!(Checkpoint::verify(&newest, &keys).unwrap().size, 303);
    assert!(log.verify(Some(&newest)).await.unwrap().holds());

    // The gate is put back: what it signs from now on is another history of the same log.
    let mut tx = db.begin().await.unwrap();
    for sql in [
        "DROP TRIGGER audit_event_refuse_delete",
        "DELETE FROM audit_event",
        "DELETE FROM audit_tile",
        "UPDATE audit_log SET size = 0, root = x'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'",
    ] {
        tx.execute(sql, &[]).await.unwrap();
    }
    tx.commit().await.unwrap();
    for count in [3, 400] {
        record(&trail, NOW, count).await;
        log.sequence().await.unwrap();
        assert!(matches!(log.anchor(&anchor).await, Err(Error::Anchor(_))));
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), kept);
    std::fs::write(&file, format!("{kept}torn")).unwrap();
    assert!(matches!(log.anchor(&anchor).await, Err(Error::Anchor(_))));
    assert!(
        metrics
            .encode()
            .contains("portcullis_audit_anchor_failures_total 3")
    );
    trail.shutdown().await;
}

#[tokio::test]
async fn a_closed_vault_holds_up_neither_recording_nor_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder).await;
    let clock = Arc::new(ManualClock::at(NOW));
    let refused =
        || Event::new(NOW, Action::LoginFailed, Outcome::Denied).from("192.0.2.9".parse().unwrap());
    let unsealed = async || {
        let sql = "SELECT count(*) AS n FROM audit_event WHERE personal IS NOT NULL";
        let row = db.fetch_optional(sql, &[]).await.unwrap().unwrap();
        row.int("n").unwrap()
    };
    let (open, trail) = log(&db, &clock, &["one"]);
    trail.record(refused()).await.unwrap();
    open.keep().await.unwrap();
    assert_eq!(unsealed().await, 0);
    // A node whose KEK does not open the key that is there.
    let (closed, other) = log(&db, &clock, &["two"]);
    other.record(refused()).await.unwrap();
    assert!(matches!(closed.keep().await, Err(Error::Vault)));
    let report = closed.verify(None).await.unwrap();
    assert!(report.holds(), "{report}");
    assert_eq!((report.size, report.erased, unsealed().await), (2, 0, 1));
    let told = async |log: &Log| {
        let page = log.list(&Filter::default(), None, 10).await.unwrap();
        let mut told: Vec<Personal> = page.events.iter().map(|event| event.personal).collect();
        told.sort_by_key(|personal| *personal == Personal::Open);
        told
    };
    assert_eq!(told(&closed).await, [Personal::Sealed, Personal::Open]);
    open.keep().await.unwrap();
    assert_eq!(unsealed().await, 0);
    assert_eq!(told(&open).await, [Personal::Open, Personal::Open]);
    trail.shutdown().await;
    other.shutdown().await;
}
