use portcullis_core::Principal;
use portcullis_core::roles::{Roles, default_roles};

use super::import::Plan;
use super::*;
use crate::import::Run;
use crate::import::read::Rows;
use crate::testing::{House, secret};

fn roles() -> Roles {
    Roles::compile(&default_roles()).unwrap()
}

fn new(permissions: &[&str]) -> NewKey {
    NewKey {
        name: "a program".to_owned(),
        permissions: permissions.iter().map(ToString::to_string).collect(),
        ..NewKey::default()
    }
}

async fn make(keys: &ApiKeys, new: NewKey) -> Made {
    let roles = roles();
    let grantor = Grantor::Operator(&roles);
    keys.create(new, &grantor, &By::operator()).await.unwrap()
}

/// As the pipeline does: memory first, then the database.
async fn is_live(keys: &ApiKeys, text: &Secret<String>) -> bool {
    match keys.lookup(&keys.hash(text.expose())) {
        Found::Live(_) => true,
        Found::Dead => false,
        Found::Unknown => keys.load(text).await.unwrap().is_some(),
    }
}

#[tokio::test]
async fn a_key_is_known_by_its_text_and_the_database_holds_none_of_it() {
    let house = House::build().await;
    let keys = house.keys();
    let made = make(&keys, new(&["read:all"])).await;
    let key = keys.load(&made.text).await.unwrap().unwrap();
    assert_eq!(key.id, made.info.id);
    assert!(key.may("read:all", &roles()));
    assert!(!key.may("write:all", &roles()));
    let row = house
        .db
        .fetch_optional("SELECT hash FROM api_key", &[])
        .await
        .unwrap()
        .unwrap();
    let hash = row.bytes("hash").unwrap();
    assert_ne!(
        hash,
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, made.text.expose().as_bytes())
            .as_ref()
    );
    assert!(!is_live(&keys, &secret("pck_nothing")).await);
}

#[tokio::test]
async fn a_revoked_key_is_refused_here_at_once_and_elsewhere_with_the_news() {
    let house = House::build().await;
    let (here, there) = (house.keys(), house.keys());
    let made = make(&here, new(&[])).await;
    assert!(is_live(&here, &made.text).await && is_live(&there, &made.text).await);
    here.revoke(made.info.id, None, &By::operator())
        .await
        .unwrap();
    assert!(!is_live(&here, &made.text).await);
    let apply = |revocation| there.revoked(revocation);
    house.feed.poll(house.clock.now(), &apply).await.unwrap();
    assert!(!is_live(&there, &made.text).await);
    assert!(matches!(
        here.revoke(made.info.id, None, &By::operator()).await,
        Err(Error::NotFound)
    ));
}

#[tokio::test]
async fn memory_is_not_trusted_when_the_news_are_late() {
    let house = House::build().await;
    let keys = house.keys();
    let made = make(&keys, new(&[])).await;
    assert!(is_live(&keys, &made.text).await);
    let hash = keys.hash(made.text.expose());
    assert!(matches!(keys.lookup(&hash), Found::Live(_)));
    house.clock.advance(Span::from_seconds(6));
    assert_eq!(keys.lookup(&hash), Found::Unknown);
}

#[tokio::test]
async fn a_key_ends_at_its_time() {
    let house = House::build().await;
    let keys = house.keys();
    let ends = NewKey {
        expires_at: Some(house.clock.now() + Span::from_seconds(3)),
        ..new(&[])
    };
    let made = make(&keys, ends).await;
    assert!(is_live(&keys, &made.text).await);
    house.clock.advance(Span::from_seconds(3));
    assert!(!is_live(&keys, &made.text).await);
    assert!(keys.load(&made.text).await.unwrap().is_none());
}

#[tokio::test]
async fn a_rotated_key_works_until_the_overlap_has_passed_and_is_rotated_once() {
    let house = House::build().await;
    let keys = house.keys();
    let made = make(&keys, new(&["read:all"])).await;
    assert!(is_live(&keys, &made.text).await);
    let roles = roles();
    let grantor = Grantor::Operator(&roles);
    let overlap = Span::from_seconds(4);
    let (one, other) = {
        let by = By::operator();
        tokio::join!(
            keys.rotate(made.info.id, overlap, &grantor, &by),
            keys.rotate(made.info.id, overlap, &grantor, &by)
        )
    };
    let next = match (one, other) {
        (Ok(next), Err(Error::Ended)) | (Err(Error::Ended), Ok(next)) => next,
        both => panic!("{both:?}"),
    };
    assert_eq!(next.info.permissions, ["read:all"]);
    assert!(is_live(&keys, &made.text).await && is_live(&keys, &next.text).await);
    house.clock.advance(overlap);
    assert!(!is_live(&keys, &made.text).await);
    assert!(is_live(&keys, &next.text).await);
}

#[tokio::test]
async fn an_owners_keys_end_with_the_account_and_lose_what_the_owner_loses() {
    let house = House::build().await;
    let keys = house.keys();
    let by = By::operator();
    let owned = NewKey {
        user: Some(house.user),
        ..new(&["read:all"])
    };
    let admin = ["admin".to_owned()];
    house
        .accounts
        .set_roles(house.user, &admin, &by)
        .await
        .unwrap();
    let made = make(&keys, owned).await;
    let key = keys.load(&made.text).await.unwrap().unwrap();
    assert!(key.may("read:all", &roles()));
    let member = ["user".to_owned()];
    house
        .accounts
        .set_roles(house.user, &member, &by)
        .await
        .unwrap();
    let apply = |revocation| keys.revoked(revocation);
    house.feed.poll(house.clock.now(), &apply).await.unwrap();
    assert_eq!(keys.lookup(&keys.hash(made.text.expose())), Found::Unknown);
    let key = keys.load(&made.text).await.unwrap().unwrap();
    assert!(!key.may("read:all", &roles()));
    house.accounts.deactivate(house.user, &by).await.unwrap();
    house.feed.poll(house.clock.now(), &apply).await.unwrap();
    assert!(!is_live(&keys, &made.text).await);
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_hold() {
    let house = House::build().await;
    let keys = house.keys();
    let roles = roles();
    let bounded = Principal::ApiKey(ApiKey {
        id: ApiKeyId::new(),
        owner: None,
        tenant: None,
        permissions: Arc::from([Arc::from("read:all")]),
        routes: None,
        rate: None,
    });
    let grantor = Grantor::Caller(&bounded, &roles);
    let by = By::operator();
    assert!(keys.create(new(&["read:all"]), &grantor, &by).await.is_ok());
    for permission in ["write:all", "read:al", "manage:keys", "nonsense"] {
        let refused = keys.create(new(&[permission]), &grantor, &by).await;
        assert!(matches!(refused, Err(Error::NotHeld(_))), "{permission}");
    }
}

#[tokio::test]
async fn a_person_has_no_more_keys_than_may_be() {
    let house = House::build().await;
    let config = Config {
        max_per_user: 2,
        ..Config::default()
    };
    let masters = Keys::new(secret("master secret of the tests"), vec![]);
    let keys = house.keys_with(config, &masters, None);
    let own = || NewKey {
        user: Some(house.user),
        ..new(&[])
    };
    let first = make(&keys, own()).await;
    make(&keys, own()).await;
    let roles = roles();
    let grantor = Grantor::Operator(&roles);
    let by = By::operator();
    let third = keys.create(own(), &grantor, &by).await;
    assert!(matches!(third, Err(Error::TooMany)));
    keys.revoke(first.info.id, Some(house.user), &by)
        .await
        .unwrap();
    assert!(keys.create(own(), &grantor, &by).await.is_ok());
}

#[tokio::test]
async fn a_key_outlives_its_master_secret_once_it_was_used() {
    let house = House::build().await;
    let before = Keys::new(secret("the old master"), vec![]);
    let overlap = Keys::new(secret("the new master"), vec![secret("the old master")]);
    let after = Keys::new(secret("the new master"), vec![]);
    let node = |masters: &Keys| house.keys_with(Config::default(), masters, None);
    let (used, unused) = (
        make(&node(&before), new(&[])).await,
        make(&node(&before), new(&[])).await,
    );
    assert!(is_live(&node(&overlap), &used.text).await);
    assert!(is_live(&node(&after), &used.text).await);
    assert!(!is_live(&node(&after), &unused.text).await);
}

#[tokio::test]
async fn keys_of_another_system_go_on_working_and_then_without_its_secret() {
    let house = House::build().await;
    let config = || Config {
        imported_prefix: Some("shop".to_owned()),
        ..Config::default()
    };
    let masters = Keys::new(secret("master secret of the tests"), vec![]);
    let keys = house.keys_with(config(), &masters, Some("the shop's SECRET_KEY"));
    // Computed apart, with Python's `hmac`: key `shop_` and 43 characters of base64url.
    let text = secret("shop_6Zq1cM3kFh0-2rXv_T8aJ5uYw9sPdLbGeNiQoRtKzBc");
    let lines = ["key_hash", SHOP_VECTOR, "not hex", SHOP_VECTOR].join("\n");
    let by = By::operator();
    let import = async |run| {
        let rows = Rows::csv(Box::new(std::io::Cursor::new(lines.clone())));
        let roles = roles();
        let as_who = (&Grantor::Operator(&roles), &by);
        let report = keys
            .import(rows, &Plan::default(), run, as_who, |_| ())
            .await;
        let report = report.unwrap();
        (report.imported, report.already, report.refused.len())
    };
    assert_eq!(import(Run::Dry).await, (1, 1, 1));
    assert!(keys.load(&text).await.unwrap().is_none(), "a dry run");
    assert_eq!(import(Run::Apply).await, (1, 1, 1));
    assert_eq!(import(Run::Apply).await, (0, 2, 1));
    assert!(keys.load(&text).await.unwrap().is_some());
    // The first use moved it to a hash of our own.
    let without = house.keys_with(config(), &masters, None);
    let key = without.load(&text).await.unwrap().unwrap();
    // A second import does not bring back what was revoked.
    without.revoke(key.id, None, &by).await.unwrap();
    assert_eq!(import(Run::Apply).await, (0, 2, 1));
    assert!(keys.load(&text).await.unwrap().is_none());
}

const SHOP_VECTOR: &str = "36673217e7c0afc654e8c0e4ce619242df477577d7f497bb20c957fab90ee6e1";

#[tokio::test]
async fn the_last_use_is_written_once_and_never_moved_back() {
    let house = House::build().await;
    let keys = house.keys();
    let made = make(&keys, new(&[])).await;
    assert!(is_live(&keys, &made.text).await);
    house.clock.advance(Span::from_seconds(2));
    assert!(is_live(&keys, &made.text).await);
    let used = house.clock.now();
    assert_eq!(keys.flush().await.unwrap(), 1);
    assert_eq!(keys.flush().await.unwrap(), 0);
    let info = &keys.list(None, None, 10).await.unwrap().unwrap()[0];
    assert_eq!(info.last_used_at, Some(used));
}

#[tokio::test]
async fn whoever_holds_a_key_may_end_it_and_learns_nothing() {
    let house = House::build().await;
    let keys = house.keys();
    let made = make(&keys, new(&[])).await;
    let other = make(&keys, new(&[])).await;
    let by = By::operator();
    for text in [
        "nonsense",
        "pck_short",
        made.text.expose(),
        made.text.expose(),
    ] {
        keys.report(&secret(text), &by).await.unwrap();
    }
    assert!(!is_live(&keys, &made.text).await);
    assert!(is_live(&keys, &other.text).await);
}
