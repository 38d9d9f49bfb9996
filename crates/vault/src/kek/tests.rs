use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use portcullis_core::Timestamp;
use portcullis_core::time::ManualClock;
use portcullis_edge::openbao::Token;

use super::*;

/// What a service does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Fine,
    Away,
    Hangs,
    /// Unwraps whatever it wrapped, for anybody.
    BindsNothing,
}

/// A service, as moody as the test wants it.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) mood: Arc<Mutex<Mood>>,
    pub(crate) asked: Arc<AtomicUsize>,
    local: Arc<Local>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let keys = Keys::new(Secret::new("of the service".to_owned()), Vec::new());
        Fake {
            mood: Arc::new(Mutex::new(Mood::Fine)),
            asked: Arc::default(),
            local: Arc::new(Local::of_master(&keys).unwrap()),
        }
    }

    pub(crate) fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    async fn answer(&self) -> Result<Mood, Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Away => Err(Error::Away(KekKind::Transit, "it is away".into())),
            Mood::Hangs => std::future::pending().await,
            Mood::Fine | Mood::BindsNothing => Ok(mood),
        }
    }

    /// As the KEK in use.
    pub(crate) fn keks(&self, clock: &Arc<dyn Clock>, keys: &Keys) -> Keks {
        let guarded = Guarded {
            kek: Box::new(self.clone()),
            clock: Arc::clone(clock),
            timeout: Some(Duration::from_millis(100)),
            rests_until: AtomicI64::new(i64::MIN),
            health: AtomicU8::new(NOT_ASKED_YET),
        };
        let mut all = Keks::new(&Settings::of(KekKind::Master), &[], keys, clock).unwrap();
        let master = std::mem::replace(&mut all.current, guarded);
        all.previous.push(master);
        all
    }
}

impl Kek for Fake {
    fn kind(&self) -> KekKind {
        KekKind::Transit
    }

    fn mark(&self) -> [u8; MARK_LEN] {
        self.local.mark()
    }

    fn wrap<'a>(&'a self, whose: &'a Whose<'_>, key: &'a [u8]) -> Asked<'a, Vec<u8>> {
        Box::pin(async move {
            match self.answer().await? {
                Mood::BindsNothing => Ok([&self.mark()[..], key].concat()),
                _ => self.local.wrap(whose, key).await,
            }
        })
    }

    fn unwrap<'a>(&'a self, whose: &'a Whose<'_>, wrapped: &'a [u8]) -> Asked<'a, Secret<Vec<u8>>> {
        Box::pin(async move {
            match self.answer().await? {
                Mood::BindsNothing => Ok(Secret::new(wrapped[MARK_LEN..].to_vec())),
                _ => self.local.unwrap(whose, wrapped).await,
            }
        })
    }
}

fn keys() -> Keys {
    Keys::new(Secret::new("master".to_owned()), Vec::new())
}

fn clock() -> (Arc<ManualClock>, Arc<dyn Clock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_800_000_000)));
    (Arc::clone(&clock), clock)
}

#[tokio::test]
async fn a_data_key_unwraps_for_its_own_row_only() {
    let (_, clock) = clock();
    let keks = Keks::new(&Settings::of(KekKind::Master), &[], &keys(), &clock).unwrap();
    let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mine = Whose::new(&id, "acme", "ana", "seal", 1);
    let wrapped = keks.wrap(&mine, &[7; 32]).await.unwrap();
    assert_eq!(
        keks.unwrap(&mine, &wrapped).await.unwrap().expose(),
        &[7; 32]
    );
    for stranger in [
        Whose::new(&other, "acme", "ana", "seal", 1),
        Whose::new(&id, "globex", "ana", "seal", 1),
        Whose::new(&id, "acme", "bob", "seal", 1),
        Whose::new(&id, "acme", "ana", "index", 1),
        Whose::new(&id, "acme", "ana", "seal", 2),
        Whose::new(&id, "acmea", "na", "seal", 1),
    ] {
        let refused = keks.unwrap(&stranger, &wrapped).await;
        assert!(matches!(refused, Err(Error::Refused(..))), "{stranger:?}");
    }
    assert!(keks.try_out().await.is_ok());
    assert_eq!(keks.health(), Health::Here);
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_given_up_rests_and_is_asked_again() {
    let (hands, clock) = clock();
    let fake = Fake::new();
    let keks = fake.keks(&clock, &keys());
    assert_eq!(keks.health(), Health::NotAskedYet);
    for mood in [Mood::Hangs, Mood::Away] {
        fake.is(mood);
        let before = fake.asked();
        for _ in 0..3 {
            let id = Uuid::now_v7();
            let mine = Whose::new(&id, "", "", "seal", 1);
            let away = keks.wrap(&mine, &[7; 32]).await;
            assert!(matches!(away, Err(Error::Away(..))), "{away:?}");
        }
        assert_eq!(
            fake.asked() - before,
            1,
            "one asked, and the others did not wait"
        );
        assert_eq!(keks.health(), Health::Away);
        hands.advance(PAUSE);
    }
    fake.is(Mood::Fine);
    keks.try_out().await.unwrap();
    assert_eq!(keks.health(), Health::Answers);
}

#[tokio::test]
async fn a_service_that_binds_keys_to_nobody_is_found_out() {
    let (_, clock) = clock();
    let fake = Fake::new();
    let keks = fake.keks(&clock, &keys());
    fake.is(Mood::BindsNothing);
    let found = keks.try_out().await.unwrap_err();
    assert!(matches!(found, Error::Refused(..)), "{found}");
}

#[test]
fn keks_that_could_be_taken_for_each_other_are_refused() {
    let (_, clock) = clock();
    let config = |address: &str| Config {
        kind: KekKind::Transit,
        address: Some(address.to_owned()),
        key: Some("portcullis".to_owned()),
        token: Some(portcullis_core::SecretRef::Env {
            env: "TOKEN".to_owned(),
        }),
        ..Config::default()
    };
    let compiled = |address: &str| {
        let token = Some(Token::Fixed(Secret::new("t".to_owned())));
        let secrets = Secrets {
            token,
            ..Secrets::default()
        };
        config(address).compile(secrets).unwrap()
    };
    let (one, two) = (compiled("https://a.test"), compiled("https://b.test"));
    assert!(Keks::new(&one, &[], &keys(), &clock).is_ok());
    let refused = Keks::new(&one, &[two], &keys(), &clock);
    assert!(matches!(refused, Err(Error::Settings(..))));
}

#[test]
fn what_is_missing_or_belongs_to_another_kind_is_named() {
    let faults = |config: &Config| match config.compile(Secrets::default()) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.into_iter().map(|(key, _)| key).collect(),
    };
    assert!(faults(&Config::default()).is_empty());
    let transit = Config {
        kind: KekKind::Transit,
        region: Some("eu-central-1".to_owned()),
        endpoint: Some("https://kms.test".to_owned()),
        ..Config::default()
    };
    assert_eq!(faults(&transit), ["address", "key", "token", "endpoint"]);
    let both = Config {
        kind: KekKind::Transit,
        address: Some("ftp://bao.test".to_owned()),
        key: Some("../sys".to_owned()),
        mount: "a b".to_owned(),
        role_id: Some("role".to_owned()),
        timeout: Span::from_minutes(1),
        remember_for: Span::ZERO,
        ..Config::default()
    };
    assert_eq!(
        faults(&both),
        [
            "secret-id",
            "timeout",
            "remember-for",
            "address",
            "key",
            "mount"
        ]
    );
    let arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let aws = Config {
        kind: KekKind::AwsKms,
        key: Some(arn.to_owned()),
        ..Config::default()
    };
    assert_eq!(aws.aws_region().as_deref(), Some("eu-central-1"));
    assert!(faults(&aws).contains(&"credentials-file"));
}
