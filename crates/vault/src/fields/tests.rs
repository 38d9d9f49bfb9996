use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::Timestamp;
use portcullis_core::time::ManualClock;
use tempfile::TempDir;

use super::*;
use crate::kek::tests::{Fake, Mood};
use crate::kek::{KekKind, Settings};
use crate::keys::Keys;

const REMEMBERED: Span = Span::from_minutes(15);
const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

struct Here {
    folder: TempDir,
    clock: Arc<ManualClock>,
}

impl Here {
    fn new() -> Self {
        Here {
            folder: TempDir::new().unwrap(),
            clock: Arc::new(ManualClock::at(START)),
        }
    }

    /// A node with this master secret, and those before it.
    async fn node(&self, master: &str, previous: &[&str]) -> (Fields, Db) {
        let url = format!("sqlite://{}", self.folder.path().join("test.db").display());
        let config = portcullis_store::Config::default();
        let db = Db::open(&config, &Secret::new(url), START).await.unwrap();
        let secret = |text: &str| Secret::new(text.to_owned());
        let previous = previous.iter().map(|text| secret(text)).collect();
        let keys = Keys::new(secret(master), previous);
        let master = Keks::new(&Settings::of(KekKind::Master), &[], &keys, &self.clock());
        (self.fields(&db, master.unwrap()), db)
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as _
    }

    fn fields(&self, db: &Db, keks: Keks) -> Fields {
        Fields::new(
            db.clone(),
            keks,
            self.clock(),
            &Config::default(),
            REMEMBERED,
        )
    }

    /// A node whose KEK is a service.
    async fn served(&self, fake: &Fake) -> (Fields, Db) {
        let (_, db) = self.node("one", &[]).await;
        let keys = Keys::new(Secret::new("one".to_owned()), Vec::new());
        (self.fields(&db, fake.keks(&self.clock(), &keys)), db)
    }
}

const PLACE: Place<'static> = Place {
    tenant: None,
    table: "users",
    field: "email",
    row: "42",
};

fn tenant(number: u128) -> TenantId {
    TenantId::from_uuid(uuid::Uuid::from_u128(number))
}

async fn opens(fields: &Fields, place: &Place<'_>, sealed: &str) -> bool {
    match fields.open(place, sealed).await {
        Ok(plain) => {
            assert_eq!(plain.expose(), b"ana@corp.test");
            true
        }
        Err(Error::DoesNotOpen) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_value_opens_in_its_own_place_and_in_no_other() {
    let here = Here::new();
    let (fields, _) = here.node("one", &[]).await;
    let place = Place {
        tenant: Some(tenant(1)),
        ..PLACE
    };
    let sealed = fields.seal(&place, None, b"ana@corp.test").await.unwrap();
    assert!(opens(&fields, &place, &sealed).await);
    for elsewhere in [
        Place { row: "43", ..place },
        Place {
            field: "phone",
            ..place
        },
        Place {
            table: "contacts",
            ..place
        },
        Place {
            tenant: Some(tenant(2)),
            ..place
        },
        Place {
            tenant: None,
            ..place
        },
        Place {
            field: "emai",
            row: "l42",
            ..place
        },
    ] {
        assert!(!opens(&fields, &elsewhere, &sealed).await, "{elsewhere:?}");
    }
}

#[tokio::test]
async fn whatever_is_cut_changed_or_no_sealed_value_is_one_error() {
    let here = Here::new();
    let (fields, _) = here.node("one", &[]).await;
    let sealed = fields.seal(&PLACE, None, b"ana@corp.test").await.unwrap();
    for end in 0..sealed.len() {
        let cut = sealed.get(..end).unwrap();
        assert!(!opens(&fields, &PLACE, cut).await, "{end}");
    }
    for at in 0..sealed.len() {
        let mut bytes = sealed.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(!opens(&fields, &PLACE, &changed).await, "{at}");
    }
    for text in ["", "pcv1.", "pcv1.====", "gAAAAABx", &format!("{sealed}A")] {
        assert!(!opens(&fields, &PLACE, text).await, "{text}");
    }
}

#[tokio::test]
async fn bytes_and_text_are_one_envelope() {
    let here = Here::new();
    let (fields, _) = here.node("one", &[]).await;
    let bytes = fields.seal_bytes(&PLACE, None, b"ana@corp.test").await;
    let bytes = bytes.unwrap();
    assert!(!bytes.windows(3).any(|part| part == b"ana"));
    let text = format!("{MARK}{}", URL_SAFE_NO_PAD.encode(&bytes));
    assert!(opens(&fields, &PLACE, &text).await);

    let open = async |place: Place<'_>, sealed: Vec<u8>| {
        let opened = fields.open_bytes(&place, sealed).await;
        opened.map(|plain| plain.expose().clone())
    };
    let whole = open(PLACE, bytes.clone()).await.unwrap();
    assert_eq!(whole, b"ana@corp.test");
    let elsewhere = Place { row: "43", ..PLACE };
    assert!(open(elsewhere, bytes.clone()).await.is_err());
    for at in 0..bytes.len() {
        let cut = bytes[..at].to_vec();
        assert!(matches!(open(PLACE, cut).await, Err(Error::DoesNotOpen)));
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(matches!(
            open(PLACE, changed).await,
            Err(Error::DoesNotOpen)
        ));
    }
}

#[tokio::test]
async fn a_key_seals_for_its_time_and_opens_afterwards_and_a_value_is_sealed_anew() {
    let here = Here::new();
    let (fields, _) = here.node("one", &[]).await;
    let sealed = fields
        .seal(&PLACE, Some("ana"), b"ana@corp.test")
        .await
        .unwrap();
    let again = fields
        .seal(&PLACE, Some("ana"), b"ana@corp.test")
        .await
        .unwrap();
    assert_ne!(sealed, again);
    assert_eq!(fields.list(None, 10).await.unwrap().len(), 1);
    here.clock.advance(Span::from_days(91));
    let anew = fields.reseal(&PLACE, &sealed).await.unwrap();
    let keys = fields.list(None, 10).await.unwrap();
    let told: Vec<_> = keys.iter().map(|key| (key.version, key.state)).collect();
    assert_eq!(told, [(1, KeyState::Opening), (2, KeyState::Sealing)]);
    assert_eq!(keys[1].subject.as_deref(), Some("ana"));
    for sealed in [&sealed, &anew] {
        assert!(opens(&fields, &PLACE, sealed).await);
    }
    assert_ne!(
        envelope::read(&sealed).unwrap().key,
        envelope::read(&anew).unwrap().key
    );
}

#[tokio::test]
async fn equal_values_have_one_index_within_a_tenant_and_a_field_and_after_rotations() {
    let here = Here::new();
    let (fields, _) = here.node("one", &[]).await;
    let index = async |tenant, field, plain: &[u8]| {
        fields
            .blind_index(tenant, "users", field, plain)
            .await
            .unwrap()
    };
    let first = index(Some(tenant(1)), "email", b"a").await;
    assert_ne!(first, index(Some(tenant(1)), "email", b"b").await);
    assert_ne!(first, index(Some(tenant(2)), "email", b"a").await);
    assert_ne!(first, index(Some(tenant(1)), "phone", b"a").await);
    fields.rotate(None).await.unwrap();
    here.clock.advance(Span::from_days(400));
    assert_eq!(first, index(Some(tenant(1)), "email", b"a").await);
}

#[tokio::test]
async fn another_node_opens_and_after_a_rewrap_the_old_master_is_needed_no_more() {
    let here = Here::new();
    let (old, _) = here.node("old", &[]).await;
    let mut sealed = Vec::new();
    for number in 1..=7 {
        let place = Place {
            tenant: Some(tenant(number)),
            ..PLACE
        };
        sealed.push((
            place,
            old.seal(&place, None, b"ana@corp.test").await.unwrap(),
        ));
    }
    let (both, _) = here.node("new", &["old"]).await;
    assert!(opens(&both, &sealed[0].0, &sealed[0].1).await);
    let (alone, _) = here.node("new", &[]).await;
    assert!(matches!(
        alone.open(&sealed[0].0, &sealed[0].1).await,
        Err(Error::Kek(kek::Error::Unknown))
    ));
    // In steps, each of which may be the last for a while.
    let step = async |after| {
        let step = both.rewrap(Which::Earlier, after, 5).await.unwrap();
        (step.done, step.failed, step.left, step.next)
    };
    let (done, failed, left, next) = step(None).await;
    assert_eq!((done, failed, left), (5, 0, 2));
    let (done, _, left, next) = step(next).await;
    assert_eq!((done, left), (2, 0));
    assert_eq!(step(next).await, (0, 0, 0, None));
    let (alone, _) = here.node("new", &[]).await;
    for (place, sealed) in &sealed {
        assert!(opens(&alone, place, sealed).await);
    }
}

#[tokio::test]
async fn the_table_shows_no_key_and_a_row_moved_to_another_tenant_is_refused() {
    let here = Here::new();
    let (fields, db) = here.node("one", &[]).await;
    let (mine, theirs) = (
        Place {
            tenant: Some(tenant(1)),
            ..PLACE
        },
        Place {
            tenant: Some(tenant(2)),
            ..PLACE
        },
    );
    let sealed = fields.seal(&mine, None, b"ana@corp.test").await.unwrap();
    // Somebody who can write to the database gives the key to another tenant.
    let mut tx = db.begin().await.unwrap();
    let to = name_of(theirs.tenant);
    tx.execute("UPDATE data_key SET tenant = $1", &[(&to).into()])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let (anew, _) = here.node("one", &[]).await;
    assert!(matches!(
        anew.open(&theirs, &sealed).await,
        Err(Error::Kek(kek::Error::Refused(..)))
    ));
    // Nor does the node that has it in memory take it for theirs.
    let other = fields.seal(&theirs, None, b"ana@corp.test").await;
    assert!(matches!(other, Err(Error::Kek(kek::Error::Refused(..)))));
}

fn name_of(tenant: Option<TenantId>) -> String {
    tenant.unwrap().to_string()
}

#[tokio::test]
async fn two_nodes_that_need_a_key_at_once_make_one() {
    let here = Here::new();
    let (one, _) = here.node("one", &[]).await;
    let (two, _) = here.node("one", &[]).await;
    let (a, b) = tokio::join!(
        one.seal(&PLACE, None, b"ana@corp.test"),
        two.seal(&PLACE, None, b"ana@corp.test"),
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(one.list(None, 10).await.unwrap().len(), 1);
    assert!(opens(&one, &PLACE, &b).await);
    assert!(opens(&two, &PLACE, &a).await);
}

#[tokio::test]
async fn names_that_are_empty_too_long_or_unprintable_are_refused() {
    let here = Here::new();
    let (fields, _) = here.node("one", &[]).await;
    let long = "x".repeat(LONGEST_NAME + 1);
    for row in ["", "a\nb", long.as_str()] {
        let place = Place { row, ..PLACE };
        let answer = fields.seal(&place, None, b"x").await;
        assert!(matches!(answer, Err(Error::Name("row"))));
    }
}

fn is_sealed<T: std::fmt::Debug>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Kek(kek::Error::Away(..))))
}

#[tokio::test]
async fn keys_in_memory_work_for_their_time_while_the_service_is_away_and_not_longer() {
    let here = Here::new();
    let fake = Fake::new();
    let (fields, _) = here.served(&fake).await;
    let sealed = fields.seal(&PLACE, None, b"ana@corp.test").await.unwrap();
    let index = async || fields.blind_index(None, "users", "email", b"a").await;
    index().await.unwrap();
    fake.is(Mood::Away);
    // Used all the while, which makes no key live longer.
    for _ in 0..14 {
        here.clock.advance(Span::from_minutes(1));
        assert!(opens(&fields, &PLACE, &sealed).await);
        fields.seal(&PLACE, None, b"x").await.unwrap();
        index().await.unwrap();
    }
    here.clock.advance(Span::from_minutes(1));
    assert!(is_sealed(&fields.open(&PLACE, &sealed).await));
    assert!(is_sealed(&fields.seal(&PLACE, None, b"x").await));
    assert!(is_sealed(&fields.reseal(&PLACE, &sealed).await));
    assert!(is_sealed(&index().await));
    assert_eq!(fields.health(), Health::Away);
    // A new subject has no key in memory at all.
    assert!(is_sealed(&fields.seal(&PLACE, Some("ana"), b"x").await));
    fake.is(Mood::Fine);
    here.clock.advance(Span::from_seconds(1));
    assert!(opens(&fields, &PLACE, &sealed).await);
    fields.seal(&PLACE, Some("ana"), b"x").await.unwrap();
}

#[tokio::test]
async fn a_node_that_starts_without_its_service_is_sealed_until_it_is_back() {
    let here = Here::new();
    let fake = Fake::new();
    let (before, _) = here.served(&fake).await;
    let sealed = before.seal(&PLACE, None, b"ana@corp.test").await.unwrap();
    fake.is(Mood::Hangs);
    let (fields, _) = here.served(&fake).await;
    assert!(is_sealed(&fields.open(&PLACE, &sealed).await));
    assert!(is_sealed(&fields.seal(&PLACE, None, b"x").await));
    fake.is(Mood::Fine);
    here.clock.advance(Span::from_seconds(1));
    assert!(opens(&fields, &PLACE, &sealed).await);
}

#[tokio::test]
async fn keys_whose_time_is_over_leave_the_memory_and_the_service_is_asked_rarely() {
    let here = Here::new();
    let fake = Fake::new();
    let (fields, _) = here.served(&fake).await;
    let sealed = fields.seal(&PLACE, None, b"ana@corp.test").await.unwrap();
    let asked = fake.asked();
    for _ in 0..10 {
        here.clock.advance(Span::from_minutes(1));
        assert!(opens(&fields, &PLACE, &sealed).await);
        fields.seal(&PLACE, None, b"x").await.unwrap();
    }
    assert_eq!(fake.asked(), asked, "the newest key is known already");
    fields.keep_house();
    assert_eq!(fields.keys.remembered(), 1);
    here.clock.advance(Span::from_minutes(5));
    fields.keep_house();
    assert_eq!(fields.keys.remembered(), 0);
}

#[tokio::test]
async fn data_keys_move_to_another_kek_and_a_broken_row_stops_nobody() {
    let here = Here::new();
    let (old, db) = here.node("one", &[]).await;
    let mut sealed = Vec::new();
    for number in 1..=5 {
        let place = Place {
            tenant: Some(tenant(number)),
            ..PLACE
        };
        sealed.push((
            place,
            old.seal(&place, None, b"ana@corp.test").await.unwrap(),
        ));
    }
    let mut tx = db.begin().await.unwrap();
    let broken = name_of(Some(tenant(1)));
    tx.execute(
        "UPDATE data_key SET version = 7 WHERE tenant = $1",
        &[(&broken).into()],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let fake = Fake::new();
    let (fields, _) = here.served(&fake).await;
    // It may be away in the middle: what was done stays done.
    let first = fields.rewrap(Which::Earlier, None, 2).await.unwrap();
    assert_eq!((first.done, first.failed, first.left), (1, 1, 4));
    fake.is(Mood::Away);
    let away = fields.rewrap(Which::Earlier, first.next, 10).await;
    assert!(is_sealed(&away));
    fake.is(Mood::Fine);
    here.clock.advance(Span::from_seconds(1));
    let rest = fields.rewrap(Which::Earlier, None, 10).await.unwrap();
    assert_eq!((rest.done, rest.failed, rest.left), (3, 1, 1));
    let (anew, _) = here.served(&fake).await;
    for (place, sealed) in &sealed[1..] {
        assert!(opens(&anew, place, sealed).await);
    }
    let under: Vec<_> = anew.list(None, 10).await.unwrap();
    let under: Vec<_> = under
        .iter()
        .map(|key| key.under.is_under_current_kek)
        .collect();
    assert_eq!(under, [false, true, true, true, true]);
    // The same KEK with a newer version: all of them.
    let every = anew.rewrap(Which::Every, None, 10).await.unwrap();
    assert_eq!((every.done, every.failed), (4, 1));
}

#[tokio::test]
async fn destroyed_keys_open_nothing_ever_again_and_nobody_elses_are_touched() {
    let here = Here::new();
    let (fields, db) = here.node("one", &[]).await;
    let other = Place {
        row: "43",
        tenant: Some(tenant(1)),
        ..PLACE
    };
    let mut sealed = Vec::new();
    for (place, subject) in [
        (PLACE, Some("ana")),
        (PLACE, None),
        (other, Some("ana")),
        (other, Some("bob")),
    ] {
        let text = fields.seal(&place, subject, b"ana@corp.test").await;
        sealed.push((place, text.unwrap()));
    }
    let opening = async || {
        let mut all = Vec::new();
        for (place, sealed) in &sealed {
            all.push(opens(&fields, place, sealed).await);
        }
        all
    };
    let destroy = async |tenant, subject| {
        let mut tx = db.begin().await.unwrap();
        let keys = fields.destroy(&mut tx, tenant, subject).await.unwrap();
        tx.commit().await.unwrap();
        fields.forget();
        keys.len()
    };
    assert_eq!(opening().await, [true, true, true, true]);
    assert_eq!(destroy(None, Some("ana")).await, 1);
    assert_eq!(opening().await, [false, true, true, true]);
    assert_eq!(destroy(Some(tenant(1)), None).await, 2);
    assert_eq!(opening().await, [false, true, false, false]);
    // What is sealed afterwards has a key of its own, and the old stays lost.
    let anew = fields.seal(&PLACE, Some("ana"), b"ana@corp.test").await;
    assert!(opens(&fields, &PLACE, &anew.unwrap()).await);
    assert_eq!(opening().await, [false, true, false, false]);
}

#[tokio::test]
async fn what_the_gate_keeps_opens_for_no_call_of_the_product() {
    let here = Here::new();
    let (product, _) = here.node("one", &[]).await;
    let gate = product.of_gate();
    let of_tenant = Place {
        tenant: Some(tenant(1)),
        ..PLACE
    };
    for place in [PLACE, of_tenant] {
        let own = gate.seal(&place, Some("ana"), b"ana@corp.test").await;
        let own = own.unwrap();
        assert!(opens(&gate, &place, &own).await);
        assert!(!opens(&product, &place, &own).await);
        let theirs = product.seal(&place, Some("ana"), b"ana@corp.test").await;
        assert!(!opens(&gate, &place, &theirs.unwrap()).await);
    }
}
