//! Versions and time, on a database and a clock of the test's own; what goes over sockets is tested in
//! `tests/it`.

use portcullis_core::time::ManualClock;
use portcullis_vault::keys::Keys;
use portcullis_vault::{Keks, KeyRing, kek};
use tempfile::TempDir;

use super::*;
use crate::audit::{self, Filter};
use crate::metrics::Metrics;

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

struct House {
    _folder: TempDir,
    clock: Arc<ManualClock>,
    db: Db,
    store: SecretStore,
}

async fn house() -> House {
    let folder = TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::at(START));
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let state = portcullis_store::Config::default();
    let db = Db::open(&state, &Secret::new(url), START).await.unwrap();
    let keys = Keys::new(Secret::new("master secret of the tests".to_owned()), vec![]);
    let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
    let audit = audit::Config::default();
    let trail = Trail::start(db.clone(), Arc::clone(&shared), Metrics::new(), &audit);
    let ring = KeyRing::open(db.clone(), keys.clone(), START)
        .await
        .unwrap();
    let of_fields = fields::Config::default();
    let master = kek::Settings::of(kek::KekKind::Master);
    let under = Keks::new(&master, &[], &keys, &shared).unwrap();
    let fields = Fields::new(
        db.clone(),
        under,
        Arc::clone(&shared),
        &of_fields,
        Span::from_minutes(15),
    );
    let hooks = webhooks::Parts {
        db: db.clone(),
        clock: Arc::clone(&shared),
        trail: trail.clone(),
        ring: Arc::new(ring),
        fields: fields.clone(),
    };
    let store = SecretStore::new(Parts {
        db: db.clone(),
        fields,
        clock: shared,
        trail,
        webhooks: Webhooks::new(hooks, &keys).unwrap(),
        config: Config {
            hook_path: Some("/internal/secret-rotated".to_owned()),
            ..Config::default()
        },
        remote: None,
    });
    House {
        _folder: folder,
        clock,
        db,
        store,
    }
}

fn label(name: &str) -> Label {
    Label {
        tenant: None,
        name: name.parse().unwrap(),
    }
}

fn value(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn new(text: &str) -> Change {
    Change {
        value: Some(value(text)),
        owner: Some("payments".to_owned()),
        purpose: Some("charges cards".to_owned()),
        ..Change::default()
    }
}

impl House {
    async fn put(&self, name: &str, change: &Change) -> Done {
        let put = self.store.put(&label(name), change, &By::OPERATOR).await;
        put.unwrap()
    }

    async fn rotate(&self, name: &str, text: &str, overlap: Option<Span>) -> i64 {
        let rotation = Rotation {
            value: Some(value(text)),
            overlap,
            ..Rotation::default()
        };
        let label = label(name);
        let rotated = self.store.rotate(&label, &rotation, &By::OPERATOR);
        rotated.await.unwrap()
    }

    async fn read(&self, name: &str, which: Which) -> Option<String> {
        match self.store.read(&label(name), which, &By::OPERATOR).await {
            Ok(served) => Some(served.value.expose().clone()),
            Err(Error::NotFound) => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn count(&self, action: Action) -> usize {
        let filter = Filter {
            action: Some(action),
            ..Filter::default()
        };
        let page = audit::list(&self.db, &filter, None, 1000).await.unwrap();
        page.events.len()
    }

    async fn messages(&self) -> i64 {
        let sql = "SELECT count(*) AS n FROM webhook_delivery";
        let row = self.db.fetch_optional(sql, &[]).await.unwrap();
        row.unwrap().int("n").unwrap()
    }
}

#[test]
fn names_and_forms_are_read_strictly() {
    for good in ["stripe", "OPENAI_API_KEY", "a.b-c", "7"] {
        assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
    }
    for bad in ["", ".a", "-a", "a b", "a/b", "a\u{e9}", &"a".repeat(101)] {
        assert!(bad.parse::<Name>().is_err(), "{bad}");
    }
    for good in ["provider", "hex:16", "hex:256", "base64url:32"] {
        assert_eq!(good.parse::<Made>().unwrap().to_string(), good);
    }
    for bad in [
        "",
        "hex",
        "hex:15",
        "hex:257",
        "hex:-1",
        "base64:32",
        "Provider",
    ] {
        assert!(bad.parse::<Made>().is_err(), "{bad}");
    }
    let made = Made::Base64Url(32).value().unwrap().unwrap();
    assert_eq!(made.expose().len(), 43);
    let other = Made::Base64Url(32).value().unwrap().unwrap();
    assert_ne!(made.expose(), other.expose());
}

#[test]
fn a_public_part_that_shows_the_private_value_is_known() {
    let secret = Secret::new("a long private value".to_owned());
    let public = |json: serde_json::Value| Public::new(json.as_object().unwrap().clone()).unwrap();
    for shown in [
        json!({ "k": "a long private value" }),
        json!({ "k": { "x": ["Bearer a long private value"] } }),
        json!({ "a long private value": true }),
    ] {
        assert!(public(shown.clone()).shows(&secret), "{shown}");
    }
    assert!(!public(json!({ "publicApiKey": "a long" })).shows(&secret));
    // A few letters stand everywhere.
    assert!(!public(json!({ "k": "abc" })).shows(&Secret::new("a".to_owned())));
}

#[tokio::test]
async fn an_old_value_counts_until_its_time_is_over_to_the_moment() {
    let house = house().await;
    assert_eq!(house.put("stripe", &new("one")).await, Done::Created);
    assert_eq!(house.rotate("stripe", "two", None).await, 2);
    house.clock.advance(Span::from_hours(23));
    assert_eq!(
        house
            .rotate("stripe", "three", Some(Span::from_hours(2)))
            .await,
        3
    );
    let which = [
        Which::Current,
        Which::Previous,
        Which::Number(1),
        Which::Number(2),
    ];
    let all = async || {
        let mut values = Vec::new();
        for which in which {
            values.push(house.read("stripe", which).await);
        }
        values
    };
    let some = |texts: [Option<&str>; 4]| texts.map(|text| text.map(str::to_owned)).to_vec();
    assert_eq!(
        all().await,
        some([Some("three"), Some("two"), Some("one"), Some("two")])
    );
    // What was to end sooner is not served longer for it.
    house.clock.advance(Span::from_hours(1));
    assert_eq!(
        all().await,
        some([Some("three"), Some("two"), None, Some("two")])
    );
    house.clock.advance(Span::from_hours(1));
    assert_eq!(all().await, some([Some("three"), None, None, None]));
    house.store.keep_house().await.unwrap();
    let sql = "SELECT count(*) AS n FROM stored_secret_version WHERE sealed IS NOT NULL";
    let row = house.db.fetch_optional(sql, &[]).await.unwrap().unwrap();
    assert_eq!(row.int("n").unwrap(), 1);
    // At once, also what was still served.
    house.rotate("stripe", "four", None).await;
    house.rotate("stripe", "five", Some(Span::ZERO)).await;
    assert_eq!(all().await, some([Some("five"), None, None, None]));
}

#[tokio::test]
async fn many_writers_of_the_same_make_one_version_and_of_others_one_each() {
    let house = house().await;
    house.put("stripe", &new("one")).await;
    let same = futures(&house, vec!["two"; 8]).await;
    assert_eq!(
        same.iter()
            .filter(|done| **done == Done::NewVersion)
            .count(),
        1
    );
    let stored = house.store.find(&label("stripe")).await.unwrap();
    assert_eq!(stored.version, 2);
    assert_eq!(house.messages().await, 1);
    assert_eq!(house.count(Action::SecretRotated).await, 1);
}

async fn futures(house: &House, texts: Vec<&'static str>) -> Vec<Done> {
    let mut tasks = tokio::task::JoinSet::new();
    for text in texts {
        let store = house.store.clone();
        tasks.spawn(async move {
            let (label, change) = (label("stripe"), new(text));
            let put = store.put(&label, &change, &By::OPERATOR);
            put.await.unwrap()
        });
    }
    tasks.join_all().await
}

#[tokio::test]
async fn what_is_due_is_replaced_once_and_what_is_old_is_told_once_a_day() {
    let house = house().await;
    let made = Change {
        value: None,
        made: Some(Made::Hex(32)),
        rotate_every: Some(Span::from_days(30)),
        ..new("")
    };
    house.put("cookies", &made).await;
    house.put("stripe", &new("one")).await;
    house.clock.advance(Span::from_days(30));
    let other = house.store.clone();
    let (here, there) = tokio::join!(house.store.keep_house(), other.keep_house());
    here.and(there).unwrap();
    let cookies = house.store.find(&label("cookies")).await.unwrap();
    assert_eq!(cookies.version, 2);
    assert_eq!(house.count(Action::SecretOverdue).await, 0);
    house.clock.advance(Span::from_days(60));
    // Both have seen it before one has written down that it was told.
    let (here, there) = tokio::join!(house.store.keep_house(), other.keep_house());
    here.and(there).unwrap();
    assert_eq!(house.count(Action::SecretOverdue).await, 1);
    for _ in 0..3 {
        house.store.keep_house().await.unwrap();
    }
    assert_eq!(house.count(Action::SecretOverdue).await, 1);
    let aged = house.store.ages().await.unwrap();
    assert_eq!((aged.overdue, aged.oldest), (1, Some(START)));
    house.clock.advance(Span::from_days(1));
    house.store.keep_house().await.unwrap();
    house.store.keep_house().await.unwrap();
    assert_eq!(house.count(Action::SecretOverdue).await, 2);
    // A new value is told of anew when it is old itself.
    house.rotate("stripe", "two", None).await;
    house.store.keep_house().await.unwrap();
    assert_eq!(house.count(Action::SecretOverdue).await, 2);
    house.clock.advance(Span::from_days(90));
    house.store.keep_house().await.unwrap();
    assert_eq!(house.count(Action::SecretOverdue).await, 3);
}

#[tokio::test]
async fn steps_of_a_replacement_come_in_their_order_and_the_value_comes_once() {
    use replacement::Step;
    let house = house().await;
    house.put("stripe", &new("one")).await;
    let (store, by, stripe) = (&house.store, &By::OPERATOR, label("stripe"));
    let now = async || store.replacement(&stripe).await.unwrap();
    let begun = now().await;
    assert_eq!(begun.1.next(), Some(Step::Identify));
    let early = store.bring(&begun, Some(value("two")), None, by).await;
    assert!(matches!(early, Err(Error::NotThisStep)));
    store.identify(&begun, by).await.unwrap();
    // Somebody else looked at it before.
    assert!(matches!(
        store.identify(&begun, by).await,
        Err(Error::NotThisStep)
    ));
    let confirmed = (Step::Provider, "done");
    store.confirm(&now().await, confirmed, by).await.unwrap();
    assert!(store.needs_value(&now().await).await.unwrap());
    // The process ends between the value and the note of it: the same rotation by its own key.
    let half = now().await;
    store
        .bring(&half, Some(value("two")), None, by)
        .await
        .unwrap();
    let sql = "DELETE FROM secret_replacement_step WHERE step = 3";
    let mut tx = house.db.begin().await.unwrap();
    tx.execute(sql, &[]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!store.needs_value(&now().await).await.unwrap());
    store.bring(&now().await, None, None, by).await.unwrap();
    assert_eq!(store.find(&stripe).await.unwrap().version, 2);
    let invalidated = store.invalidate(&now().await, "", by).await;
    assert!(matches!(invalidated, Err(Error::NotThisStep)));
    let confirmed = (Step::Redeploy, "done");
    store.confirm(&now().await, confirmed, by).await.unwrap();
    assert_eq!(
        house.read("stripe", Which::Previous).await.as_deref(),
        Some("one")
    );
    store.invalidate(&now().await, "", by).await.unwrap();
    assert_eq!(house.read("stripe", Which::Previous).await, None);
    let (over, uses) = store.look_back(&now().await, by).await.unwrap();
    assert_eq!((over.next(), uses.len()), (None, 1));
    assert_eq!(
        now().await.1.next(),
        Some(Step::Identify),
        "another one begins"
    );
}

#[tokio::test]
async fn of_two_nodes_one_carries_a_secret_and_another_store_begins_anew() {
    let house = house().await;
    house
        .put("stripe", &new("value of the first version"))
        .await;
    let stored = house.store.find(&label("stripe")).await.unwrap();
    let (now, until) = (START, START + Span::from_seconds(15));
    let take = async |store: &str, now, until| {
        let taken = remote::rows::take(&house.db, stored.id, store, (now, until));
        taken.await.unwrap()
    };
    let first = take("one", now, until).await.unwrap();
    assert!(take("one", now, until).await.is_none(), "one node has it");
    // Its lease is over, and another has it: what the first says of it is not heard.
    let late = until + Span::from_seconds(15);
    let second = take("one", until, late).await.unwrap();
    let mut tx = house.db.begin().await.unwrap();
    let written = async |tx: &mut portcullis_store::Tx, taken: &remote::rows::Taken, name: &str| {
        let written = remote::rows::written(tx, taken, (1, name), now);
        written.await.unwrap()
    };
    assert!(!written(&mut tx, &first, "of the first").await);
    assert!(written(&mut tx, &second, "of the second").await);
    tx.commit().await.unwrap();
    let waits = async |store: &str| {
        let waiting = rows::to_carry(&house.db, store, late, 10).await.unwrap();
        waiting.len()
    };
    assert_eq!((waits("one").await, waits("two").await), (0, 1));
    let third = take("two", late, late + Span::from_seconds(15))
        .await
        .unwrap();
    assert_eq!(third.carried(), (0, None));
    // A new version waits.
    let mut tx = house.db.begin().await.unwrap();
    assert!(written(&mut tx, &third, "of the third").await);
    tx.commit().await.unwrap();
    assert_eq!(waits("two").await, 0);
    house
        .rotate("stripe", "value of the second version", None)
        .await;
    assert_eq!(waits("two").await, 1);
}
