use portcullis_core::Timestamp;
use portcullis_core::time::ManualClock;
use tempfile::TempDir;

use super::*;

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
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let fields = Fields::new(db.clone(), &keys, clock, &Config::default()).unwrap();
        (fields, db)
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
        Err(Error::Key(seal::Error::Open))
    ));
    // In steps, each of which may be the last for a while.
    assert_eq!(
        both.rewrap(5).await.unwrap(),
        Rewrapped { done: 5, left: 2 }
    );
    assert_eq!(
        both.rewrap(5).await.unwrap(),
        Rewrapped { done: 2, left: 0 }
    );
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
        Err(Error::Key(seal::Error::Open))
    ));
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
