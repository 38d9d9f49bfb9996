//! What is read of reports, and what time does to scans, on a clock of the test's own.

use portcullis_core::Span;
use portcullis_core::time::ManualClock;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::watch::Verdict;
use super::*;
use crate::audit::log_tests::{NOW, database, log};

fn document(results: &Value) -> Value {
    json!({ "version": "2.1.0", "runs": [{
        "tool": { "driver": { "name": "Trivy", "version": "0.60", "rules": [
            { "id": "CVE-1", "defaultConfiguration": { "level": "error" } },
            { "id": "CVE-2", "defaultConfiguration": { "level": "note" } },
            { "id": "CVE-3" },
        ] } },
        "results": results,
    }] })
}

fn report(results: &Value) -> Vec<u8> {
    document(results).to_string().into_bytes()
}

fn found(results: &Value) -> Vec<(String, FindingLevel, u64)> {
    let summary = sarif::summary(&report(results)).unwrap();
    summary
        .found
        .into_iter()
        .map(|one| (one.rule, one.level, one.count))
        .collect()
}

#[test]
fn a_finding_has_the_level_of_its_own_or_of_its_rule_or_is_a_warning() {
    let results = json!([
        { "ruleId": "CVE-1" },
        { "ruleIndex": 0, "locations": [{ "physicalLocation": { "artifactLocation": { "uri": "a" } } }] },
        { "rule": { "id": "CVE-1/part" } },
        { "ruleId": "CVE-2" },
        { "ruleId": "CVE-2", "level": "error" },
        { "ruleId": "CVE-3" },
        { "ruleId": "CVE-4", "level": "none" },
        {},
    ]);
    let of = |rule: &str, level, count| (rule.to_owned(), level, count);
    assert_eq!(
        found(&results),
        [
            of("CVE-1", FindingLevel::Error, 2),
            of("CVE-1/part", FindingLevel::Error, 1),
            of("CVE-2", FindingLevel::Error, 1),
            of("*", FindingLevel::Warning, 1),
            of("CVE-3", FindingLevel::Warning, 1),
            of("CVE-2", FindingLevel::Note, 1),
        ]
    );
}

#[test]
fn what_passed_is_counted_and_what_the_scanner_set_aside_is_not() {
    let results = json!([
        { "ruleId": "A1", "kind": "pass", "level": "none" },
        { "ruleId": "A2", "kind": "open", "level": "none" },
        { "ruleId": "A3", "kind": "notApplicable", "level": "none" },
        { "ruleId": "A4", "level": "error", "suppressions": [{ "kind": "inSource" }] },
        { "ruleId": "A5", "level": "error", "suppressions": [{ "kind": "external", "status": "underReview" }] },
        { "ruleId": "A6", "level": "error", "suppressions": [] },
    ]);
    let summary = sarif::summary(&report(&results)).unwrap();
    assert_eq!((summary.passed, summary.open), (1, 1));
    let rules: Vec<&str> = summary.found.iter().map(|one| &*one.rule).collect();
    assert_eq!(rules, ["A5", "A6"]);
    assert_eq!((&*summary.tool, &*summary.version), ("Trivy", "0.60"));
}

#[test]
fn what_is_no_whole_report_of_one_tool_is_refused() {
    let sound = document(&json!([]));
    let with = |pointer: &str, value: Value| {
        let mut changed = sound.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        sarif::summary(changed.to_string().as_bytes()).is_err()
    };
    assert!(!with("/version", json!("2.1.0")));
    assert!(with("/version", json!("2.0.0")));
    assert!(with("/runs", json!([])));
    assert!(with("/runs/0/results", json!([{ "level": "grave" }])));
    let mut broken = sound.clone();
    broken["runs"][0]["invocations"] = json!([{ "executionSuccessful": false }]);
    assert!(sarif::summary(broken.to_string().as_bytes()).is_err());
    let mut two = sound.clone();
    let mut other = sound["runs"][0].clone();
    other["tool"]["driver"]["name"] = json!("another");
    two["runs"].as_array_mut().unwrap().push(other);
    assert!(sarif::summary(two.to_string().as_bytes()).is_err());
    assert!(sarif::summary(b"[]").is_err() && sarif::summary(b"").is_err());
}

#[test]
fn rules_beyond_the_bound_are_counted_as_one_that_nobody_can_accept() {
    let results: Vec<Value> = (0..700)
        .map(|number| json!({ "ruleId": format!("R{number:04}"), "level": "error" }))
        .collect();
    let found = found(&Value::Array(results));
    assert_eq!(found.len(), 501);
    let rest = found.iter().find(|(rule, ..)| rule == "*").unwrap();
    assert_eq!(rest.2, 200);
}

struct House {
    _folder: TempDir,
    clock: Arc<ManualClock>,
    db: Db,
    trail: Trail,
}

async fn house() -> House {
    let folder = TempDir::new().unwrap();
    let db = database(&folder).await;
    let clock = Arc::new(ManualClock::at(NOW));
    let (_, trail) = log(&db, &clock, &["one"]);
    House {
        _folder: folder,
        clock,
        db,
        trail,
    }
}

impl House {
    fn scans(&self, wanted: &[Scan]) -> Scans {
        Scans::new(
            self.db.clone(),
            self.trail.clone(),
            Arc::clone(&self.clock) as _,
            wanted,
        )
    }

    async fn alarms(&self) -> i64 {
        const SQL: &str = "SELECT count(*) AS n FROM audit_event WHERE action = 'scan.alarming'";
        self.db
            .fetch_optional(SQL, &[])
            .await
            .unwrap()
            .unwrap()
            .int("n")
            .unwrap()
    }
}

fn scan(name: &str, covers: Covers) -> Scan {
    Scan {
        name: name.to_owned(),
        covers,
        tool: String::new(),
        every: Span::from_days(7),
        fail_on: FindingLevel::Error,
    }
}

async fn verdict(scans: &Scans) -> Verdict {
    scans.standings().await.unwrap().remove(0).verdict
}

#[tokio::test]
async fn a_scan_is_missing_then_clean_then_failing_then_overdue_and_told_once_a_day() {
    let house = house().await;
    let scans = house.scans(&[scan("image", Covers::Image)]);
    let by = &By::OPERATOR;
    assert_eq!(verdict(&scans).await, Verdict::Missing);
    scans.keep_house().await.unwrap();
    assert_eq!(house.alarms().await, 0, "it has as long as each later one");
    house.clock.advance(Span::from_days(8));
    scans.keep_house().await.unwrap();
    scans.keep_house().await.unwrap();
    assert_eq!(house.alarms().await, 1);

    let warned = report(&json!([{ "ruleId": "CVE-3" }]));
    scans.record("image", &warned, by).await.unwrap();
    assert!(verdict(&scans).await.is_clean());
    let failing = report(&json!([{ "ruleId": "CVE-1" }, { "ruleId": "CVE-1" }]));
    house.clock.advance(Span::from_minutes(1));
    scans.record("image", &failing, by).await.unwrap();
    assert!(matches!(
        verdict(&scans).await,
        Verdict::Failing { count: 2, .. }
    ));
    house.clock.advance(Span::from_days(1));
    scans.keep_house().await.unwrap();
    assert_eq!(house.alarms().await, 2);

    let until = house.clock.now() + Span::from_days(2);
    let accept = scans.accept(("image", "CVE-1"), "no way to it", until, by);
    accept.await.unwrap();
    assert!(verdict(&scans).await.is_clean());
    house.clock.advance(Span::from_days(3));
    assert!(!verdict(&scans).await.is_clean(), "it counts again");
    house.clock.advance(Span::from_days(7));
    assert_eq!(verdict(&scans).await, Verdict::Overdue);
}

#[tokio::test]
async fn only_what_is_wanted_is_taken_and_nothing_is_accepted_for_ever() {
    let house = house().await;
    let mut wanted = scan("image", Covers::Image);
    wanted.tool = "Grype".to_owned();
    let scans = house.scans(&[wanted]);
    let by = &By::OPERATOR;
    let other = scans.record("other", &report(&json!([])), by).await;
    assert!(matches!(other, Err(Error::Unknown(_))));
    let tool = scans.record("image", &report(&json!([])), by).await;
    assert!(matches!(tool, Err(Error::Invalid("tool", _))));
    for days in [0, 400] {
        let until = house.clock.now() + Span::from_days(days);
        let accepted = scans.accept(("image", "CVE-1"), "x", until, by).await;
        assert!(
            matches!(accepted, Err(Error::Invalid("until", _))),
            "{days}"
        );
    }
}

#[tokio::test]
async fn the_score_is_of_the_latest_proof_and_none_where_none_is_wanted() {
    let house = house().await;
    assert_eq!(
        house
            .scans(&[scan("image", Covers::Image)])
            .compliance_score()
            .await
            .unwrap(),
        None
    );
    let scans = house.scans(&[scan("prove", Covers::Proof)]);
    let score = async || scans.compliance_score().await.unwrap();
    assert_eq!(score().await, Some(0));
    let results = json!([
        { "ruleId": "A1", "kind": "pass", "level": "none" },
        { "ruleId": "A2", "kind": "pass", "level": "none" },
        { "ruleId": "A3", "kind": "fail", "level": "error" },
        { "ruleId": "A4", "kind": "open", "level": "none" },
        { "ruleId": "A5", "kind": "notApplicable", "level": "none" },
    ]);
    scans
        .record("prove", &report(&results), &By::OPERATOR)
        .await
        .unwrap();
    assert_eq!(score().await, Some(500));
    house.clock.advance(Span::from_days(8));
    assert_eq!(score().await, Some(0));
}
