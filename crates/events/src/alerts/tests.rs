//! Groups and silences on a database of the test's own; what goes over sockets is tested in `tests/it`.

use std::sync::Arc;

use portcullis_core::time::ManualClock;
use portcullis_core::{Mode, Secret, Span, Timestamp};
use portcullis_store::Db;
use tempfile::TempDir;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn config(more: &str) -> Config {
    toml::from_str(&format!(
        "name = \"desk\"\nwebhook = \"https://desk.example/\"\nsecret = {{ env = \"X\" }}\n{more}"
    ))
    .unwrap()
}

fn destination(more: &str) -> Destination {
    let secrets = config::Secrets {
        slack: None,
        secret: Some(Secret::new(SECRET.to_owned())),
    };
    let all = compile(&[config(more)], &[secrets], Mode::Production, true);
    all.unwrap().pop().unwrap()
}

struct House {
    alerts: Alerts,
    clock: Arc<ManualClock>,
    _folder: TempDir,
}

impl House {
    async fn with(more: &str) -> House {
        let folder = tempfile::tempdir().unwrap();
        let url = Secret::new(format!("sqlite://{}/p.db", folder.path().display()));
        let config = portcullis_store::Config::default();
        let db = Db::open(&config, &url, NOW).await.unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let config = crate::audit::Config::default();
        let trail = Trail::start(db.clone(), clock.clone(), Metrics::new(), &config);
        let alerts = Alerts::new(Parts {
            db,
            clock: clock.clone(),
            trail,
            destinations: vec![destination(more)],
            mailer: None,
        });
        House {
            alerts,
            clock,
            _folder: folder,
        }
    }

    async fn raise(&self, source: &str, subject: &str, severity: Severity) {
        let notice = Notice {
            source: source.to_owned(),
            severity,
            subject: subject.to_owned(),
            told: "something".to_owned(),
            at: self.clock.now(),
            count: 1,
        };
        self.alerts.raise(&notice).await.unwrap();
    }

    /// What there is, oldest first.
    async fn words(&self) -> Vec<String> {
        let list = self.alerts.list(&Filter::default(), None, 100).await;
        let mut list = list.unwrap().unwrap();
        list.reverse();
        let word = |alert: &Alert| {
            let (kind, state) = (alert.kind.as_str(), alert.state.as_str());
            format!("{kind} {state} {}", alert.told)
        };
        list.iter().map(word).collect()
    }

    async fn settle_after(&self, span: Span) {
        self.clock.advance(span);
        self.alerts.settle(self.clock.now()).await.unwrap();
    }
}

#[tokio::test]
async fn the_same_is_told_once_in_its_time_and_summed_up_then() {
    let house = House::with("").await;
    for _ in 0..5 {
        house
            .raise("dependency-down", "redis", Severity::High)
            .await;
        house.clock.advance(Span::from_minutes(10));
    }
    house
        .raise("dependency-down", "database", Severity::High)
        .await;
    let first = [
        "began waiting redis: something",
        "began waiting database: something",
    ];
    assert_eq!(house.words().await, first);
    house.settle_after(Span::from_minutes(9)).await;
    assert_eq!(house.words().await, first, "the hour is not over");
    house.settle_after(Span::from_minutes(1)).await;
    let told = house.words().await;
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(
        told[2].starts_with("summary waiting redis: 4 more within 1h"),
        "{told:#?}"
    );
    // Of what came once there is no summary; and after its time it is told anew.
    house.settle_after(Span::from_hours(2)).await;
    assert_eq!(house.words().await.len(), 3);
    house
        .raise("dependency-down", "redis", Severity::High)
        .await;
    assert_eq!(house.words().await.len(), 4);
}

/// Also where its kind is a word that redaction knows; what was seen goes through it all the same.
#[tokio::test]
async fn whom_an_alert_is_about_is_said_whole() {
    let house = House::with("").await;
    let notice = |at| Notice {
        source: "key-networks".to_owned(),
        severity: Severity::High,
        subject: "api-key:018f0000-0000-7000-8000-000000000000".to_owned(),
        told: "used with password=canary4711 from 5 networks".to_owned(),
        at,
        count: 1,
    };
    for _ in 0..2 {
        let notice = notice(house.clock.now());
        house.alerts.raise(&notice).await.unwrap();
    }
    house.settle_after(Span::from_hours(2)).await;
    let told = house.words().await;
    assert_eq!(told.len(), 2, "{told:#?}");
    for words in &told {
        assert!(words.contains("api-key:018f0000-0000-7000-8000-000000000000"));
        assert!(!words.contains("canary4711"), "{words}");
    }
}

#[tokio::test]
async fn a_thousand_subjects_are_no_thousand_letters() {
    let house = House::with("").await;
    for number in 0..1000 {
        let subject = format!("address:203.0.{}.{}", number / 250, number % 250);
        house.raise("login-burst", &subject, Severity::High).await;
    }
    let told = house.words().await;
    assert_eq!(told.len(), 21, "{told:#?}");
    assert!(
        told[20].starts_with("began waiting others: more subjects"),
        "{told:#?}"
    );
    // Another source has its own.
    house.raise("audit-lost", "gate", Severity::High).await;
    assert_eq!(house.words().await.len(), 22);
}

#[tokio::test]
async fn a_destination_hears_what_it_asked_for() {
    let house = House::with("least = \"high\"\nsources = [\"audit-lost\"]").await;
    house.raise("audit-lost", "gate", Severity::Medium).await;
    house.raise("audit-failed", "gate", Severity::High).await;
    assert!(house.words().await.is_empty());
    house.raise("audit-lost", "gate", Severity::High).await;
    assert_eq!(house.words().await.len(), 1);
}

#[tokio::test]
async fn a_silence_is_of_its_source_and_subject_and_ends_by_itself() {
    let house = House::with("group = \"1s\"").await;
    let silencing = Silencing {
        source: "dependency-down".to_owned(),
        subject: Some("redis".to_owned()),
        span: Span::from_hours(1),
        because: "we move it".to_owned(),
    };
    house
        .alerts
        .silence(&silencing, &By::OPERATOR)
        .await
        .unwrap();
    house
        .raise("dependency-down", "redis", Severity::High)
        .await;
    house
        .raise("dependency-down", "database", Severity::High)
        .await;
    let told = house.words().await;
    assert!(told[0].starts_with("began silenced redis"), "{told:#?}");
    assert!(told[1].starts_with("began waiting database"), "{told:#?}");
    house.settle_after(Span::from_hours(1)).await;
    assert!(house.alerts.silences().await.unwrap().is_empty());
    house
        .raise("dependency-down", "redis", Severity::High)
        .await;
    let told = house.words().await;
    assert!(told[2].starts_with("began waiting redis"), "{told:#?}");
}

#[tokio::test]
async fn a_text_that_bears_an_address_or_a_token_loses_it() {
    let house = House::with("").await;
    house
        .raise("audit-lost", "ana@corp.test", Severity::High)
        .await;
    let told = house.words().await;
    assert!(!told[0].contains("ana@"), "{told:#?}");
}

#[test]
fn destinations_are_on_the_public_internet_and_have_one_way_and_a_good_secret() {
    let keys = |config: Config, secret: &str| {
        let secrets = config::Secrets {
            slack: None,
            secret: Some(Secret::new(secret.to_owned())),
        };
        match compile(&[config], &[secrets], Mode::Production, true) {
            Ok(_) => Vec::new(),
            Err(findings) => findings.into_iter().map(|finding| finding.key).collect(),
        }
    };
    assert!(keys(config(""), SECRET).is_empty());
    let mut plain = config("");
    plain.webhook = Some("http://127.0.0.1:80/".to_owned());
    assert_eq!(keys(plain, SECRET), ["alert.0.webhook"]);
    assert_eq!(keys(config(""), "whsec_c2hvcnQ="), ["alert.0.secret"]);
    assert_eq!(keys(config(""), "short"), ["alert.0.secret"]);
    assert_eq!(
        keys(config("email = [\"a@b.test\"]"), SECRET),
        ["alert.0.name"]
    );
    assert_eq!(keys(config("attempts = 0"), SECRET), ["alert.0.attempts"]);
    assert_eq!(keys(config("group = \"8d\""), SECRET), ["alert.0.group"]);
}

#[test]
fn every_detector_can_be_silenced() {
    for detector in crate::anomalies::DETECTORS {
        assert!(SOURCES.contains(&detector), "{detector}");
    }
}
