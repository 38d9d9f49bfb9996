//! Rows on a database of the test's own; what goes over sockets is tested in `tests/it`.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_core::time::ManualClock;
use portcullis_core::{Clock, Secret, Span, Timestamp};
use portcullis_edge::Upstream;
use portcullis_store::Db;
use portcullis_vault::fields::{self, Fields};
use portcullis_vault::keys::{ForeignMac, Keys, Purpose};
use portcullis_vault::seal::Sealer;
use portcullis_vault::{Keks, KeyRing, kek};
use tempfile::TempDir;
use uuid::Uuid;

use super::content::Message;
use super::store::{self, State};
use super::{Config, Endpoint, Known, Parts, Receipt, Stamp, Webhooks, compile};
use crate::audit::{self, By, Trail};
use crate::metrics::Metrics;

pub(super) const SECRET: &str = "a secret of this test alone";
const NOW: i64 = 1_700_000_000;

pub(super) fn config(scheme: &str, more: &str) -> Config {
    let text = format!(
        "name = \"one\"\npath = \"/hooks/one\"\nscheme = \"{scheme}\"\nsecrets = [{{ env = \"X\" }}]\n{more}"
    );
    toml::from_str(&text).unwrap()
}

pub(super) fn compiled(configs: &[Config], secret: &str) -> Result<super::Endpoints, Vec<String>> {
    let upstream = portcullis_edge::upstream::Config::new("http://127.0.0.1:9");
    let known = Known {
        upstreams: &[Upstream::compile("app", &upstream).unwrap()],
        limits: &["default".to_owned()],
        is_taken: &|path| path.starts_with("/.portcullis"),
        stamp: Stamp {
            header: HeaderName::from_static("x-portcullis-assertion"),
            issuer: "portcullis".to_owned(),
            lifetime: Span::from_seconds(60),
        },
    };
    let secrets: Vec<_> = configs
        .iter()
        .map(|config| {
            config
                .secrets
                .iter()
                .map(|_| Secret::new(secret.to_owned()))
                .collect()
        })
        .collect();
    compile(configs, &secrets, &known)
        .map_err(|findings| findings.into_iter().map(|finding| finding.key).collect())
}

/// One endpoint with these keys. Its secret is one that every scheme takes.
pub(super) fn endpoint(scheme: &str, more: &str) -> Arc<Endpoint> {
    let secret = match scheme {
        "standard" => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        _ => SECRET,
    };
    let endpoints = compiled(&[config(scheme, more)], secret).unwrap();
    Arc::clone(&endpoints.all[0])
}

struct House {
    _folder: TempDir,
    clock: Arc<ManualClock>,
    db: Db,
    webhooks: Webhooks,
}

async fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(NOW)));
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let config = portcullis_store::Config::default();
    let db = Db::open(&config, &Secret::new(url), clock.now())
        .await
        .unwrap();
    let webhooks = on(&db, &clock, &["master secret of the tests"]).await;
    House {
        _folder: folder,
        clock,
        db,
        webhooks,
    }
}

async fn on(db: &Db, clock: &Arc<ManualClock>, masters: &[&str]) -> Webhooks {
    let mut masters = masters.iter().map(|text| Secret::new((*text).to_owned()));
    let keys = Keys::new(masters.next().unwrap(), masters.collect());
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let audit = audit::Config::default();
    let master = kek::Settings::of(kek::KekKind::Master);
    let under = Keks::new(&master, &[], &keys, &clock).unwrap();
    let of_fields = fields::Config::default();
    let remember = Span::from_minutes(15);
    let parts = Parts {
        db: db.clone(),
        clock: Arc::clone(&clock),
        fields: Fields::new(db.clone(), under, Arc::clone(&clock), &of_fields, remember),
        trail: Trail::start(db.clone(), Arc::clone(&clock), Metrics::new(), &audit),
        ring: Arc::new(
            KeyRing::open(db.clone(), keys.clone(), clock.now())
                .await
                .unwrap(),
        ),
    };
    Webhooks::new(parts, &keys).unwrap()
}

impl House {
    async fn post(&self, endpoint: &Endpoint, body: &str) -> Receipt {
        let time = self.clock.now().as_seconds().to_string();
        let tag = ForeignMac::new(&Secret::new(SECRET.to_owned()))
            .tag(format!("{time}.{body}").as_bytes());
        let value = format!("t={time},v1={}", hex::encode(tag));
        let mut headers = HeaderMap::new();
        headers.insert("stripe-signature", HeaderValue::try_from(value).unwrap());
        headers.insert("cookie", HeaderValue::from_static("not=forwarded"));
        let receipt = self
            .webhooks
            .receive(endpoint, &headers, body.as_bytes(), &By::OPERATOR);
        receipt.await.unwrap()
    }

    async fn claim(&self) -> Option<store::Claimed> {
        let now = self.clock.now();
        let lease = now + Span::from_seconds(30);
        store::claim(&self.db, "one", now, lease).await.unwrap()
    }

    async fn end(&self, claimed: &store::Claimed, state: State) -> bool {
        let now = self.clock.now();
        let keep = now + Span::from_days(30);
        let mut tx = self.db.begin().await.unwrap();
        let ended = store::end(&mut tx, claimed, state, (Some(200), None), (now, keep)).await;
        tx.commit().await.unwrap();
        ended.unwrap()
    }
}

#[tokio::test]
async fn a_message_is_sealed_taken_by_one_and_known_when_it_comes_again() {
    let house = house().await;
    let endpoint = endpoint("stripe", "");
    let body = r#"{"id":"evt_1","type":"invoice.paid","email":"ada@example.org"}"#;
    assert_eq!(house.post(&endpoint, body).await, Receipt::Received);
    assert_eq!(house.post(&endpoint, body).await, Receipt::AlreadySeen);
    let claimed = house.claim().await.unwrap();
    assert!(!String::from_utf8_lossy(&claimed.sealed).contains("ada"));
    let message = house.webhooks.message(claimed.id).await.unwrap();
    assert_eq!(message.body, body.as_bytes());
    let names: Vec<&str> = message.headers.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["stripe-signature"]);
    assert!(house.claim().await.is_none(), "one node has it");
    assert!(house.end(&claimed, State::Delivered).await);
    assert!(!house.end(&claimed, State::Dead).await, "it has ended");
    let delivery = house.webhooks.get(claimed.id).await.unwrap();
    assert_eq!(
        (
            delivery.event.as_str(),
            delivery.kind.as_deref(),
            delivery.state
        ),
        ("evt_1", Some("invoice.paid"), State::Delivered)
    );
    assert_eq!(house.post(&endpoint, body).await, Receipt::AlreadySeen);
}

#[tokio::test]
async fn a_message_of_a_node_that_died_is_taken_again_and_the_dead_node_decides_nothing_more() {
    let house = house().await;
    house.post(&endpoint("stripe", ""), "{}").await;
    let died = house.claim().await.unwrap();
    house.clock.advance(Span::from_seconds(30));
    let taken = house.claim().await.unwrap();
    assert_eq!((taken.id, taken.attempts), (died.id, 2));
    assert!(!house.end(&died, State::Dead).await);
    assert!(house.end(&taken, State::Delivered).await);
}

#[tokio::test]
async fn what_is_about_the_same_thing_waits_for_what_came_before_it() {
    let house = house().await;
    let endpoint = endpoint("stripe", "order-by = \"/object\"");
    for (id, object) in [("a1", "\"a\""), ("a2", "\"a\""), ("b1", "7"), ("c", "null")] {
        let body = format!(r#"{{"id":"{id}","object":{object}}}"#);
        house.post(&endpoint, &body).await;
    }
    let first = house.claim().await.unwrap();
    let others = [house.claim().await.unwrap(), house.claim().await.unwrap()];
    let events: Vec<&str> = others.iter().map(|one| one.event.as_str()).collect();
    assert_eq!((first.event.as_str(), events), ("a1", vec!["b1", "c"]));
    assert!(
        house.claim().await.is_none(),
        "a2 waits, though a1 is under way"
    );
    for other in &others {
        house.end(other, State::Delivered).await;
    }
    let mut tx = house.db.begin().await.unwrap();
    let later = house.clock.now() + Span::from_seconds(60);
    store::put_back(&mut tx, &first, (later, true), (Some(503), Some("busy")))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert!(
        house.claim().await.is_none(),
        "a2 waits, though a1 is not due"
    );
    house.clock.advance(Span::from_seconds(60));
    let again = house.claim().await.unwrap();
    assert_eq!(again.event, "a1");
    house.end(&again, State::Dead).await;
    let next = house.claim().await.unwrap();
    assert_eq!(next.event, "a2", "a dead letter holds up nothing");
}

#[tokio::test]
async fn what_was_kept_for_long_enough_is_forgotten_and_what_waits_is_not() {
    let house = house().await;
    let endpoint = endpoint("stripe", "");
    house.post(&endpoint, r#"{"id":"done"}"#).await;
    house
        .end(&house.claim().await.unwrap(), State::Delivered)
        .await;
    house.post(&endpoint, r#"{"id":"waits"}"#).await;
    house.clock.advance(Span::from_days(29));
    house.webhooks.keep_house().await.unwrap();
    let list = async || {
        house
            .webhooks
            .list(&super::Filter::default(), None, 10)
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(list().await.len(), 2);
    house.clock.advance(Span::from_days(2));
    house.webhooks.keep_house().await.unwrap();
    let left = list().await;
    assert_eq!((left.len(), left[0].event.as_str()), (1, "waits"));
}

/// A message as it was sealed before there was a vault.
async fn as_before(house: &House, masters: &str, id: Uuid) {
    const SQL: &str = "UPDATE webhook_delivery SET sealed = $2 WHERE id = $1";
    let keys = Keys::new(Secret::new(masters.to_owned()), Vec::new());
    let sealer = Sealer::new(&keys, Purpose::Webhook).unwrap();
    let plain = house
        .webhooks
        .message(id)
        .await
        .unwrap()
        .to_bytes()
        .unwrap();
    let place: [&[u8]; 3] = [b"webhook", id.as_bytes(), b"one"];
    let text = sealer.seal(&place, &plain).unwrap();
    let mut tx = house.db.begin().await.unwrap();
    let args = [id.into(), (&text).into()];
    tx.execute(SQL, &args).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn what_was_sealed_before_there_was_a_vault_opens_and_is_taken_into_it() {
    let house = house().await;
    house.post(&endpoint("stripe", ""), r#"{"id":"one"}"#).await;
    let id = house.claim().await.unwrap().id;
    let old = "master secret of the tests";
    as_before(&house, old, id).await;
    let body = br#"{"id":"one"}"#;
    assert_eq!(house.webhooks.message(id).await.unwrap().body, body);
    // Under a new master secret as well, while the old one is known.
    let both = on(&house.db, &house.clock, &["a new one", old]).await;
    assert_eq!(both.carry_over().await.unwrap(), 1);
    assert_eq!(both.carry_over().await.unwrap(), 0);
    assert_eq!(both.message(id).await.unwrap().body, body);
    let (_, sealed) = store::sealed(&house.db, id).await.unwrap().unwrap();
    assert!(sealed.starts_with(b"pcv1."));
    // What nobody can open any more stays as it is, and does not hold up the others.
    as_before(&house, old, id).await;
    let alone = on(&house.db, &house.clock, &["a third one"]).await;
    assert_eq!(alone.carry_over().await.unwrap(), 0);
    assert!(alone.message(id).await.is_err());
}

#[tokio::test]
async fn a_message_of_another_row_does_not_open() {
    let house = house().await;
    let endpoint = endpoint("stripe", "");
    house.post(&endpoint, r#"{"id":"one"}"#).await;
    house.post(&endpoint, r#"{"id":"two"}"#).await;
    let (one, two) = (house.claim().await.unwrap(), house.claim().await.unwrap());
    let opens = async |name, sealed| house.webhooks.open(name, one.id, sealed).await.is_ok();
    assert!(opens("one", &one.sealed).await);
    assert!(!opens("one", &two.sealed).await);
    assert!(!opens("other", &one.sealed).await);
}

#[tokio::test]
async fn dead_letters_are_delivered_again_when_asked() {
    let house = house().await;
    let endpoint = endpoint("stripe", "");
    for id in ["one", "two"] {
        house.post(&endpoint, &format!(r#"{{"id":"{id}"}}"#)).await;
        house.end(&house.claim().await.unwrap(), State::Dead).await;
    }
    assert_eq!(
        house
            .webhooks
            .replay_dead("other", &By::OPERATOR)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        house
            .webhooks
            .replay_dead("one", &By::OPERATOR)
            .await
            .unwrap(),
        2
    );
    let taken = house.claim().await.unwrap();
    assert_eq!((taken.event.as_str(), taken.attempts), ("one", 1));
    let unknown = house
        .webhooks
        .replay(uuid::Uuid::now_v7(), &By::OPERATOR)
        .await;
    assert!(matches!(unknown, Err(super::Error::NotFound)));
}

#[test]
fn mistakes_in_the_configuration_name_their_keys() {
    for (scheme, more, key) in [
        ("stripe", "tolerance = \"0s\"", "tolerance"),
        ("stripe", "tolerance = \"2h\"", "tolerance"),
        ("stripe", "retention = \"1h\"", "retention"),
        ("stripe", "upstream = \"other\"", "upstream"),
        (
            "stripe",
            "upstream-path = \"/.portcullis/x\"",
            "upstream-path",
        ),
        ("stripe", "upstream-path = \"/x/\"", "upstream-path"),
        ("stripe", "order-by = \"id\"", "order-by"),
        ("stripe", "limits = [\"none\"]", "limits"),
        ("stripe", "attempts = 0", "attempts"),
        ("stripe", "at-once = 65", "at-once"),
        ("stripe", "max-body = \"26MiB\"", "max-body"),
        ("stripe", "signature-header = \"X\"", "signature-header"),
        ("hmac", "", "signature-header"),
        ("hmac", "signature-header = \"a b\"", "signature-header"),
        ("hmac", "signature-header = \"X\"\nid-at = \"id\"", "id-at"),
        ("standard", "", "secrets.0"),
    ] {
        let found = compiled(&[config(scheme, more)], SECRET).unwrap_err();
        assert_eq!(found, [format!("webhook.0.{key}")], "{more}");
    }
    let short = compiled(&[config("stripe", "")], "short").unwrap_err();
    assert_eq!(short, ["webhook.0.secrets.0"]);
    let twice = compiled(&[config("stripe", ""), config("stripe", "")], SECRET).unwrap_err();
    assert_eq!(twice, ["webhook.1.name", "webhook.1.path"]);
}

#[test]
fn a_message_is_read_back_as_it_was_and_nothing_else_is_read() {
    let message = Message {
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: vec![0, 255, 10],
    };
    let bytes = message.to_bytes().unwrap();
    assert_eq!(Message::from_bytes(&bytes).unwrap(), message);
    for end in 0..bytes.len().saturating_sub(3) {
        assert!(Message::from_bytes(&bytes[..end]).is_none());
    }
}
