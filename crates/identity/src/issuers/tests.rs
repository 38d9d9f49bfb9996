use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_core::time::ManualClock;
use portcullis_core::{Mode, Secret, Span};
use portcullis_vault::SigningKey;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::testing::House;

/// An issuer on loopback that publishes what it is told to, or nothing.
struct Server {
    url: String,
    asked: Arc<AtomicUsize>,
    answer: Arc<Mutex<Option<String>>>,
}

impl Server {
    async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, answer) = (
            Arc::<AtomicUsize>::default(),
            Arc::<Mutex<Option<String>>>::default(),
        );
        let (count, said) = (Arc::clone(&asked), Arc::clone(&answer));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let body = said.lock().unwrap().clone();
                let answer = match body {
                    Some(body) => format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    ),
                    None => "HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                        .to_owned(),
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Server { url, asked, answer }
    }

    fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        *self.answer.lock().unwrap() = Some(json!({ "keys": keys }).to_string());
    }

    fn fall_silent(&self) {
        *self.answer.lock().unwrap() = None;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

struct Place {
    house: House,
    server: Server,
    issuers: Issuers,
}

impl Place {
    async fn build() -> Place {
        let house = House::build().await;
        let server = Server::start().await;
        let text = format!(
            "profile = \"clerk\"\nissuer = \"{}\"\naudience = [\"product\"]\nloopback = true\nroles = [\"member\"]\n",
            server.url
        );
        let config: Config = toml::from_str(&text).unwrap();
        let configs = BTreeMap::from([("clerk".to_owned(), config)]);
        let all = All::compile(&configs, &BTreeMap::new(), None, Mode::Development, &|_| {
            true
        })
        .unwrap();
        let clock: Arc<ManualClock> = Arc::clone(&house.clock);
        let issuers = Issuers::new(
            all,
            house.db.clone(),
            clock,
            house.accounts.record().clone(),
            Arc::clone(house.accounts.holders()),
            house.accounts.sessions(),
        );
        Place {
            house,
            server,
            issuers,
        }
    }

    fn token(&self, key: &SigningKey) -> Secret {
        let now = self.house.clock.now().as_seconds();
        let claims = json!({ "iss": self.server.url, "aud": "product", "sub": "u", "iat": now, "exp": now + 3600 });
        Secret::new(key.sign("JWT", &claims).unwrap())
    }

    /// Whether the token is good; an error where nobody knows.
    async fn judge(&self, key: &SigningKey) -> Result<bool, Error> {
        let token = self.token(key);
        Ok(self.issuers.verify(0, token.expose()).await?.is_some())
    }

    fn later(&self, seconds: u64) {
        self.house.clock.advance(Span::from_seconds(seconds));
    }
}

#[tokio::test]
async fn keys_are_asked_for_when_a_token_names_a_new_one_and_at_most_once_in_thirty_seconds() {
    let place = Place::build().await;
    place.server.publish(&[&key(1)]);
    assert!(place.judge(&key(1)).await.unwrap());
    assert_eq!(place.server.asked(), 1);
    for _ in 0..50 {
        assert!(!place.judge(&key(2)).await.unwrap());
    }
    assert_eq!(place.server.asked(), 1, "asked a moment ago");
    place.server.publish(&[&key(2)]);
    place.later(30);
    assert!(place.judge(&key(2)).await.unwrap());
    assert_eq!(place.server.asked(), 2);
    assert!(!place.judge(&key(1)).await.unwrap(), "taken out");
}

#[tokio::test]
async fn of_many_that_miss_a_key_at_once_one_asks() {
    let place = Arc::new(Place::build().await);
    place.server.publish(&[&key(1)]);
    let all: Vec<_> = (0..32)
        .map(|_| {
            let place = Arc::clone(&place);
            tokio::spawn(async move { place.judge(&key(1)).await.unwrap() })
        })
        .collect();
    for one in all {
        assert!(one.await.unwrap());
    }
    assert_eq!(place.server.asked(), 1);
}

#[tokio::test]
async fn an_issuer_that_is_away_is_believed_for_a_day_and_then_nobody_knows() {
    let place = Place::build().await;
    assert!(
        place.judge(&key(1)).await.is_err(),
        "it never gave its keys"
    );
    place.server.publish(&[&key(1)]);
    assert!(place.judge(&key(1)).await.is_err(), "asked a moment ago");
    place.later(30);
    assert!(place.judge(&key(1)).await.unwrap());
    place.server.fall_silent();
    place.later(24 * 3600 - 1);
    assert!(place.judge(&key(1)).await.unwrap());
    assert!(
        !place.judge(&key(2)).await.unwrap(),
        "not in its last answer"
    );
    place.later(1);
    assert!(place.judge(&key(1)).await.is_err());
}

#[tokio::test]
async fn keys_are_read_again_every_ten_minutes_and_what_they_verified_is_verified_anew() {
    let place = Place::build().await;
    place.server.publish(&[&key(1)]);
    place.issuers.keep().await;
    assert!(place.judge(&key(1)).await.unwrap());
    let before = place.issuers.0.issuers[0].keys.generation();
    place.later(599);
    place.issuers.keep().await;
    assert_eq!(place.server.asked(), 1);
    place.later(1);
    place.issuers.keep().await;
    assert_eq!(place.server.asked(), 2);
    assert!(place.issuers.is_current(0, before), "the same keys");
    place.server.publish(&[&key(2)]);
    place.later(600);
    place.issuers.keep().await;
    assert!(!place.issuers.is_current(0, before));
    assert!(!place.judge(&key(1)).await.unwrap());
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_changes_nothing() {
    let place = Place::build().await;
    place.server.publish(&[&key(1)]);
    assert!(place.judge(&key(1)).await.unwrap());
    for answer in [
        "",
        "{}",
        "{\"keys\":[]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}",
    ] {
        *place.server.answer.lock().unwrap() = Some(answer.to_owned());
        place.later(600);
        place.issuers.keep().await;
        assert!(place.judge(&key(1)).await.unwrap(), "{answer}");
    }
}

#[test]
fn what_is_wrong_with_a_table_is_said() {
    let compile = |text: &str, mode| {
        let config: Config = toml::from_str(text).unwrap();
        let configs = BTreeMap::from([("x".to_owned(), config)]);
        let known = |role: &str| ["user", "admin"].contains(&role);
        All::compile(&configs, &BTreeMap::new(), Some("portcullis"), mode, &known)
            .err()
            .map(|findings| {
                findings
                    .into_iter()
                    .map(|finding| finding.key)
                    .collect::<Vec<_>>()
            })
            .unwrap_or_default()
    };
    let good = "profile = \"oidc\"\nissuer = \"https://id.example\"\naudience = [\"a\"]\n";
    assert!(compile(good, Mode::Production).is_empty());
    for (text, key) in [
        (
            "profile = \"oidc\"\nissuer = \"https://id.example\"\n",
            "issuer.x.audience",
        ),
        (
            "profile = \"clerk\"\nissuer = \"https://id.example\"\n",
            "issuer.x.audience",
        ),
        (
            "profile = \"oidc\"\nissuer = \"http://id.example\"\naudience = [\"a\"]\n",
            "issuer.x.issuer",
        ),
        (
            &format!("{good}tenant-claim = \"user_metadata.org\"\n"),
            "issuer.x.tenant-claim",
        ),
        (&format!("{good}loopback = true\n"), "issuer.x.loopback"),
        (&format!("{good}roles = [\"root\"]\n"), "issuer.x.roles"),
        (&format!("{good}leeway = \"1h\"\n"), "issuer.x.leeway"),
        (
            &format!("{good}algorithms = [\"HS256\"]\n"),
            "issuer.x.algorithms",
        ),
        (&format!("{good}algorithms = []\n"), "issuer.x.algorithms"),
        (
            &format!("{good}administrators = [\"x\"]\n"),
            "issuer.x.administrators",
        ),
        (
            &format!("{good}secret = {{ env = \"X\" }}\n"),
            "issuer.x.secret",
        ),
    ] {
        assert!(
            compile(text, Mode::Production)
                .iter()
                .any(|found| found == key),
            "{text}"
        );
    }
}

#[test]
fn a_tenants_name_is_of_its_issuer() {
    let id = tenant_id("https://a.example", "org_1");
    assert_eq!(id, tenant_id("https://a.example", "org_1"));
    assert_ne!(id, tenant_id("https://b.example", "org_1"));
    assert_ne!(tenant_id("https://a.exampleo", "rg_1"), id);
    let uuid = "0190b3a4-7c1e-7000-8000-000000000001";
    assert_eq!(tenant_id("https://a.example", uuid).to_string(), uuid);
}
