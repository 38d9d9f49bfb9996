//! Rules on events of the test's own, and the node that looks on a real database; what goes over sockets
//! is tested in `tests/it`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use portcullis_core::time::ManualClock;
use portcullis_core::{ApiKeyId, Clock as _, Secret, SessionId, Span, Timestamp, UserId};
use portcullis_store::Db;
use tempfile::TempDir;

use super::*;
use crate::Actor;
use crate::audit::{Action, Event, Outcome, Target};
use crate::places::{Place, Places};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn at(seconds: u64) -> Timestamp {
    NOW + Span::from_seconds(seconds)
}

fn address(last: u64) -> IpAddr {
    format!("203.0.113.{last}").parse().unwrap()
}

fn failed(seconds: u64, user: UserId, last: u64) -> Event {
    Event::new(at(seconds), Action::LoginFailed, Outcome::Denied)
        .to(Target::user(user))
        .from(address(last))
}

fn signed_in(seconds: u64, user: UserId, last: u64) -> Event {
    Event::new(at(seconds), Action::LoginSucceeded, Outcome::Allowed)
        .by(Actor::User(user))
        .from(address(last))
}

/// The default figures, and a map: `.1` is in Berlin, `.2` in Potsdam beside it, `.9` in Tokyo.
fn mapped() -> Config {
    let place = |latitude, longitude, country: &str| Place {
        latitude,
        longitude,
        radius: 20.0,
        country: country.to_owned(),
    };
    let places = Places::by(
        move |address| match address.to_string().rsplit('.').next() {
            Some("1") => Some(place(52.52, 13.405, "DE")),
            Some("2") => Some(place(52.4, 13.06, "DE")),
            Some("9") => Some(place(35.676, 139.65, "JP")),
            _ => None,
        },
    );
    Config {
        places,
        ..Config::default()
    }
}

#[test]
fn nobody_travels_so_fast_and_who_has_the_time_or_is_near_does() {
    let user = UserId::new();
    let of = |one: (u64, u64), two: (u64, u64)| {
        let events = [one, two].map(|(seconds, last)| signed_in(seconds, user, last));
        begun(&mapped(), &events)
    };
    assert_eq!(of((0, 1), (3600, 9)), ["impossible-travel"]);
    assert_eq!(of((0, 9), (3600, 1)), ["impossible-travel"]);
    let nothing = Vec::<&str>::new();
    assert_eq!(
        of((0, 1), (11 * 3600, 9)),
        nothing,
        "an airliner takes ten hours"
    );
    assert_eq!(of((0, 1), (1, 2)), nothing, "a phone that changes networks");
    assert_eq!(of((0, 1), (60, 77)), nothing, "nobody knows where that is");
    let others = [
        signed_in(0, UserId::new(), 1),
        signed_in(60, UserId::new(), 9),
    ];
    assert_eq!(begun(&mapped(), &others), nothing, "two people");
    let without = [signed_in(0, user, 1), signed_in(60, user, 9)];
    assert_eq!(
        begun(&Config::default(), &without),
        nothing,
        "without a map"
    );
    // A replay with other figures has the map as well.
    let slower = mapped().with("impossible-travel.speed=5000").unwrap();
    let events = [signed_in(0, user, 1), signed_in(2 * 3600, user, 9)];
    assert_eq!(begun(&slower, &events), nothing);
    assert_eq!(begun(&mapped(), &events), ["impossible-travel"]);
}

fn denied(action: Action, seconds: u64, last: u64, times: u64) -> Event {
    let mut event = Event::new(at(seconds), action, Outcome::Denied).from(address(last));
    event.metadata.count(times);
    event
}

/// What begins, by detector.
fn begun(config: &Config, events: &[Event]) -> Vec<&'static str> {
    let mut feeder = Feeder::new(config);
    let mut names = Vec::new();
    for event in events {
        for step in feeder.observe(event) {
            if let Step::Began(episode) = step {
                names.push(episode.detector);
            }
        }
    }
    names
}

/// Events of which every one is needed for `detector` to find something by its default figures.
fn just_enough(detector: &str) -> Vec<Event> {
    let (user, key) = (UserId::new(), ApiKeyId::new());
    match detector {
        "login-burst" => (0..8).map(|n| failed(n, user, n)).collect(),
        "credential-stuffing" => (0..8).map(|n| failed(n, UserId::new(), 1)).collect(),
        "enumeration" => (0..20)
            .map(|n| {
                Event::new(at(n), Action::RegistrationAsked, Outcome::Allowed).from(address(1))
            })
            .collect(),
        "new-device" => vec![
            Event::new(NOW, Action::LoginSucceeded, Outcome::Allowed)
                .by(Actor::User(user))
                .with("device", "new"),
        ],
        "key-networks" => (0..5)
            .map(|n| {
                Event::new(at(n), Action::ApiKeySeen, Outcome::Allowed)
                    .by(Actor::ApiKey(key))
                    .from(format!("198.51.{n}.1").parse().unwrap())
            })
            .collect(),
        "limit-attack" => (0..3)
            .map(|n| denied(Action::LimitExceeded, n, 1, 100))
            .collect(),
        "denial-surge" => (0..20)
            .map(|n| denied(Action::CsrfRefused, n, n, 10))
            .collect(),
        "error-surge" => (0..2)
            .map(|n| {
                Event::new(at(n * 10), Action::TrafficErrors, Outcome::Failed)
                    .with("requests", 200)
                    .with("errors", 10)
            })
            .collect(),
        "stolen-credential" => vec![
            Event::new(NOW, Action::RefreshTokenReused, Outcome::Denied)
                .to(Target::session(SessionId::new())),
        ],
        "impossible-travel" => {
            let user = UserId::new();
            [(0, 1), (60, 9)]
                .map(|(seconds, address)| signed_in(seconds, user, address))
                .to_vec()
        }
        other => panic!("no events for {other}"),
    }
}

#[test]
fn every_rule_holds_at_its_figures_and_not_one_event_before() {
    let config = mapped();
    assert_eq!(rules(&config).len(), DETECTORS.len());
    for detector in DETECTORS {
        let events = just_enough(detector);
        assert_eq!(begun(&config, &events), [detector], "{detector}");
        for without in 0..events.len() {
            let mut fewer = events.clone();
            fewer.remove(without);
            assert!(
                begun(&config, &fewer).is_empty(),
                "{detector} without {without}"
            );
        }
    }
}

#[test]
fn what_is_spread_over_more_than_the_window_is_nothing() {
    let config = Config::default();
    let (user, address) = (UserId::new(), 1);
    let slow: Vec<Event> = (0..40).map(|n| failed(n * 120, user, address)).collect();
    assert!(begun(&config, &slow).is_empty());
}

#[test]
fn a_rule_that_is_off_finds_nothing_and_says_why() {
    for detector in DETECTORS {
        let config = mapped().with(&format!("{detector}.off=we know"));
        let config = config.unwrap();
        assert!(
            begun(&config, &just_enough(detector)).is_empty(),
            "{detector}"
        );
        let silent = Config::default().with(&format!("{detector}.off= "));
        assert!(silent.is_err(), "{detector} is off without a reason");
    }
}

#[test]
fn figures_can_be_changed_within_their_bounds() {
    let config = Config::default();
    let changed = config.with("login-burst.account-failures=3").unwrap();
    let user = UserId::new();
    let three: Vec<Event> = (0..3).map(|n| failed(n, user, n)).collect();
    assert_eq!(begun(&changed, &three), ["login-burst"]);
    let longer = config.with("login-burst.window=1h").unwrap();
    let slow: Vec<Event> = (0..8).map(|n| failed(n * 240, user, n)).collect();
    assert_eq!(begun(&longer, &slow), ["login-burst"]);
    for wrong in [
        "login-burst.account-failures=1",
        "login-burst.account-failures=many",
        "login-burst.window=1s",
        "login-burst.nothing=1",
        "nothing.window=1h",
        "window=1h",
        "login-burst",
    ] {
        assert!(config.with(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_episode_is_found_once_however_long_it_goes_on_and_a_later_one_is_another() {
    let user = UserId::new();
    let mut events: Vec<Event> = (0..30).map(|n| failed(n * 30, user, n)).collect();
    events.extend((0..8).map(|n| failed(5000 + n, user, n)));
    let mut feeder = Feeder::new(&Config::default());
    let mut steps = Vec::new();
    for event in &events {
        steps.extend(feeder.observe(event));
    }
    steps.extend(feeder.pass(at(9000)));
    let words: Vec<_> = steps
        .iter()
        .map(|step| match step {
            Step::Began(episode) => ("began", episode.count),
            Step::Ended(episode) => ("ended", episode.count),
        })
        .collect();
    assert_eq!(
        words,
        [("began", 8), ("ended", 30), ("began", 8), ("ended", 8)]
    );
}

#[test]
fn a_new_device_of_a_new_account_is_no_news() {
    let user = UserId::new();
    let login = |seconds| {
        Event::new(at(seconds), Action::LoginSucceeded, Outcome::Allowed)
            .by(Actor::User(user))
            .with("device", "new")
    };
    let made = Event::new(NOW, Action::UserRegistered, Outcome::Allowed).to(Target::user(user));
    let config = Config::default();
    assert!(begun(&config, &[made.clone(), login(10)]).is_empty());
    assert_eq!(begun(&config, &[made, login(90_000)]), ["new-device"]);
}

#[test]
fn stuffing_from_many_addresses_is_seen_though_none_does_much() {
    let events: Vec<Event> = (0..50).map(|n| failed(n, UserId::new(), n % 10)).collect();
    assert_eq!(begun(&Config::default(), &events), ["credential-stuffing"]);
}

#[test]
fn a_surge_is_measured_by_what_is_usual() {
    let config = Config::default();
    let usual = |n: u64| denied(Action::AccessDenied, n * 60, n % 200, 60);
    let mut events: Vec<Event> = (0..61).map(usual).collect();
    events.push(denied(Action::AccessDenied, 3661, 1, 200));
    let surges = |events: &[Event]| {
        let found = begun(&config, events);
        found.iter().filter(|name| **name == "denial-surge").count()
    };
    assert_eq!(surges(&events), 0, "260 where 60 are usual");
    events.push(denied(Action::AccessDenied, 3662, 2, 100));
    assert_eq!(surges(&events), 1, "360 where 60 are usual");
}

/// A node, with a database that others may share.
struct Node {
    anomalies: Anomalies,
    trail: Trail,
    looking: Option<watch::Looking>,
}

impl Node {
    fn on(db: &Db, clock: &Arc<ManualClock>) -> Node {
        let (log, trail) = audit::log_tests::log(db, clock, &["one"]);
        let alerts = Alerts::new(alerts::Parts {
            db: db.clone(),
            clock: clock.clone(),
            trail: trail.clone(),
            destinations: Vec::new(),
            mailer: None,
        });
        Node {
            anomalies: Anomalies::new(Parts {
                db: db.clone(),
                log,
                clock: clock.clone(),
                trail: trail.clone(),
                alerts,
                config: mapped(),
            }),
            trail,
            looking: None,
        }
    }

    async fn look(&mut self) {
        let looked = self.anomalies.look(&mut self.looking).await;
        if let Err(error) = looked {
            assert!(matches!(error, Error::Taken), "{error}");
            self.looking = None;
        }
    }
}

async fn open(folder: &TempDir) -> Db {
    let url = format!("sqlite://{}/p.db", folder.path().display());
    let config = portcullis_store::Config::default();
    Db::open(&config, &Secret::new(url), NOW).await.unwrap()
}

async fn rows(node: &Node) -> Vec<Found> {
    let list = node.anomalies.list(&Filter::default(), None, 1000).await;
    let mut list = list.unwrap().unwrap();
    list.reverse();
    list
}

#[tokio::test]
async fn a_burst_over_two_nodes_is_found_once_and_a_kill_at_any_point_changes_nothing() {
    for kill_at in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder).await;
        let clock = Arc::new(ManualClock::at(NOW));
        let mut nodes = [Node::on(&db, &clock), Node::on(&db, &clock)];
        for node in &mut nodes {
            node.look().await;
        }
        let user = UserId::new();
        for step in 0..12_u64 {
            clock.advance(Span::from_seconds(3));
            for (number, node) in nodes.iter_mut().enumerate() {
                let last = u64::try_from(number).unwrap();
                let mut event = failed(0, user, last);
                event.at = clock.now();
                node.trail.record(event).await.unwrap();
                node.look().await;
            }
            if step == kill_at {
                // The node that looks is gone, without a word; the other goes on when its lease is over.
                nodes[0] = Node::on(&db, &clock);
            }
        }
        for _ in 0..20 {
            clock.advance(Span::from_seconds(40));
            for node in &mut nodes {
                node.look().await;
            }
        }
        let found = rows(&nodes[0]).await;
        let all: Vec<_> = found.iter().map(|one| one.detector.as_str()).collect();
        // 24 refused sign-ins of one account, 12 from each address.
        assert_eq!(all, ["login-burst"], "killed at {kill_at}: {found:#?}");
        assert_eq!(found[0].count, 24, "killed at {kill_at}");
        assert!(found[0].ended_at.is_some(), "{found:#?}");
        let filter = audit::Filter {
            action: Some(Action::AnomalyFound),
            ..audit::Filter::default()
        };
        let events = audit::list(&db, &filter, None, 100).await.unwrap();
        assert_eq!(events.events.len(), 1);
    }
}

#[tokio::test]
async fn a_replay_of_recorded_events_says_what_was_found_live() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    let clock = Arc::new(ManualClock::at(NOW));
    let mut node = Node::on(&db, &clock);
    node.look().await;
    for detector in DETECTORS {
        clock.advance(Span::from_hours(2));
        let begin = clock.now();
        for mut event in just_enough(detector) {
            let later = event.at.since(NOW);
            event.at = begin + later;
            node.trail.record(event).await.unwrap();
        }
        for _ in 0..40 {
            clock.advance(Span::from_seconds(10));
            node.look().await;
        }
    }
    let key = |detector: &str, subject: &str, began: Timestamp, ended: bool, count: u64| {
        (detector.to_owned(), subject.to_owned(), began, ended, count)
    };
    let live: BTreeSet<_> = rows(&node)
        .await
        .iter()
        .map(|one| {
            key(
                &one.detector,
                &one.subject,
                one.began_at,
                one.ended_at.is_some(),
                one.count,
            )
        })
        .collect();
    let until = clock.now() - node.anomalies.config().delay;
    let again = node.anomalies.replay(&mapped(), NOW, until).await;
    let again: BTreeSet<_> = again
        .unwrap()
        .iter()
        .map(|(one, ended)| key(one.detector, &one.subject, one.began_at, *ended, one.count))
        .collect();
    assert_eq!(live, again);
    let detectors: BTreeSet<&str> = live.iter().map(|one| one.0.as_str()).collect();
    assert_eq!(detectors, DETECTORS.into_iter().collect());

    // The figures of a replay are its own, and it begins where it is told to.
    let strict = Config::default()
        .with("login-burst.account-failures=9")
        .unwrap();
    let fewer = node.anomalies.replay(&strict, NOW, until).await.unwrap();
    assert!(!fewer.iter().any(|(one, _)| one.detector == "login-burst"));
    let later = node
        .anomalies
        .replay(&Config::default(), until, until)
        .await;
    assert!(later.unwrap().is_empty());
}

#[tokio::test]
async fn events_that_come_late_are_counted_when_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    let clock = Arc::new(ManualClock::at(NOW));
    let mut node = Node::on(&db, &clock);
    node.look().await;
    let user = UserId::new();
    for number in 0..7 {
        node.trail.record(failed(1, user, number)).await.unwrap();
    }
    for _ in 0..3 {
        clock.advance(Span::from_seconds(10));
        node.look().await;
    }
    assert!(rows(&node).await.is_empty());
    // Of the same second, committed half a minute later.
    node.trail.record(failed(1, user, 7)).await.unwrap();
    for _ in 0..2 {
        clock.advance(Span::from_seconds(10));
        node.look().await;
    }
    assert_eq!(rows(&node).await.len(), 1);
}

#[tokio::test]
async fn what_happened_while_nobody_could_look_is_found_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    let clock = Arc::new(ManualClock::at(NOW));
    let mut node = Node::on(&db, &clock);
    node.look().await;
    clock.advance(Span::from_seconds(10));
    node.look().await;
    let user = UserId::new();
    for number in 0..4 {
        node.trail.record(failed(20, user, number)).await.unwrap();
    }
    // Ten minutes later the database is back; the rest of the notes comes a moment after.
    clock.advance(Span::from_minutes(9));
    node.look().await;
    for number in 4..8 {
        node.trail.record(failed(25, user, number)).await.unwrap();
    }
    clock.advance(Span::from_seconds(15));
    node.look().await;
    let found = rows(&node).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].count, 8);
}
