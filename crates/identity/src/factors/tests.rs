use std::sync::Arc;

use portcullis_core::principal::User;
use portcullis_core::{Clock, Span, UserId};
use portcullis_vault::fields::Which;
use portcullis_vault::keys::Purpose;
use portcullis_vault::{Keys, Sealer, seal};
use totp_rs::{Builder, Secret, Totp};

use super::{Challenge, Config, Factors, Proof, Typed, totp};
use crate::Client;
use crate::accounts::{Error, SignedIn};
use crate::testing::{EMAIL, House, PASSWORD, fields, keys, secret};

struct Phone(Totp);

impl Phone {
    fn code(&self, house: &House) -> String {
        let now = u64::try_from(house.clock.now().as_seconds()).unwrap();
        self.0.generate(now).to_string()
    }
}

async fn user_of(house: &House, signed_in: &SignedIn) -> User {
    let hash = signed_in.session.token.hash();
    house.sessions().load(&hash).await.unwrap().unwrap()
}

/// Takes an app into use; the user as their new session has them.
async fn enrol(house: &House) -> (Phone, User, Vec<portcullis_core::Secret<String>>) {
    let user = user_of(house, &house.login().await).await;
    let begun = house.accounts.begin_totp(&user).await.unwrap();
    let shared = Secret::try_from_base32(begun.secret.expose()).unwrap();
    let phone = Phone(Builder::new().with_secret(shared).build().unwrap());
    let code = phone.code(house);
    let client = Client::default();
    let enrolled = house
        .accounts
        .confirm_totp(&user, Typed(&code), &client)
        .await
        .unwrap();
    let user = user_of(house, &enrolled.signed_in).await;
    (phone, user, enrolled.codes)
}

async fn challenge(house: &House) -> Challenge {
    let client = Client::default();
    match house
        .accounts
        .login(EMAIL, &secret(PASSWORD), &client)
        .await
    {
        Err(Error::SecondFactor(challenge)) => challenge,
        other => panic!("{other:?}"),
    }
}

async fn finish(house: &House, challenge: &Challenge, code: &str) -> Result<SignedIn, Error> {
    let client = Client::default();
    house
        .accounts
        .finish_sign_in(&challenge.token.hash(), Proof::Typed(Typed(code)), &client)
        .await
}

#[tokio::test]
async fn a_challenge_is_over_after_five_minutes_and_works_once() {
    let house = House::build().await;
    let (phone, ..) = enrol(&house).await;
    let late = challenge(&house).await;
    house.clock.advance(Span::from_minutes(5));
    let code = phone.code(&house);
    let refused = finish(&house, &late, &code).await;
    assert!(matches!(refused, Err(Error::ChallengeOver)));
    let in_time = challenge(&house).await;
    finish(&house, &in_time, &code).await.unwrap();
    house.clock.advance(Span::from_minutes(1));
    let again = finish(&house, &in_time, &phone.code(&house)).await;
    assert!(matches!(again, Err(Error::ChallengeOver)));
}

#[tokio::test]
async fn a_step_counts_once_and_none_before_it_counts_again() {
    let house = House::build().await;
    let (phone, ..) = enrol(&house).await;
    let used = phone.code(&house);
    house.clock.advance(Span::from_seconds(30));
    let one = challenge(&house).await;
    let refused = finish(&house, &one, &used).await;
    assert!(matches!(refused, Err(Error::WrongCode)));
    let code = phone.code(&house);
    finish(&house, &one, &code).await.unwrap();
    let two = challenge(&house).await;
    let refused = finish(&house, &two, &code).await;
    assert!(matches!(refused, Err(Error::WrongCode)));
}

#[tokio::test]
async fn factors_are_changed_by_whoever_proved_all_of_them_a_short_while_ago() {
    let house = House::build().await;
    let (_, user, _) = enrol(&house).await;
    let client = Client::default();
    let half = User {
        second_factor_at: None,
        ..user.clone()
    };
    let refused = house.accounts.remove_totp(&half, &client).await;
    assert!(matches!(refused, Err(Error::SecondFactorMissing)));
    house.clock.advance(Span::from_minutes(16));
    let refused = house.accounts.remove_totp(&user, &client).await;
    assert!(matches!(refused, Err(Error::TooLongAgo(_))));
    let refused = house.accounts.make_codes(&user, &client).await;
    assert!(matches!(refused, Err(Error::TooLongAgo(_))));
}

#[tokio::test]
async fn proving_again_makes_no_session_live_longer() {
    let house = House::build().await;
    let (phone, user, _) = enrol(&house).await;
    let ends = "SELECT max(expires_at) AS n FROM session WHERE revoked_at IS NULL";
    let before = house.count(ends).await;
    house.clock.advance(Span::from_minutes(20));
    let client = Client::default();
    let code = phone.code(&house);
    let signed_in = house
        .accounts
        .step_up(&user, Proof::Typed(Typed(&code)), &client)
        .await
        .unwrap();
    assert_eq!(house.count(ends).await, before);
    let proved = user_of(&house, &signed_in).await;
    assert_eq!(proved.authenticated_at, user.authenticated_at);
    assert!(proved.second_factor_at > user.second_factor_at);
}

#[tokio::test]
async fn an_abandoned_secret_is_no_factor_and_is_forgotten() {
    let house = House::build().await;
    let user = user_of(&house, &house.login().await).await;
    house.accounts.begin_totp(&user).await.unwrap();
    house.login().await;
    house.clock.advance(Span::from_hours(25));
    house.accounts.keep_house().await.unwrap();
    assert_eq!(house.count("SELECT count(*) AS n FROM totp").await, 0);
}

/// What is stored of the only authenticator.
async fn stored(house: &House) -> Vec<u8> {
    let sql = "SELECT sealed FROM totp";
    let row = house.db.fetch_optional(sql, &[]).await.unwrap().unwrap();
    row.bytes("sealed").unwrap()
}

async fn store(house: &House, sealed: &[u8]) {
    let mut tx = house.db.begin().await.unwrap();
    tx.execute("UPDATE totp SET sealed = $1", &[sealed.into()])
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// The factors of a node with these master secrets.
fn factors(house: &House, keys: &Keys) -> Factors {
    let clock: Arc<dyn Clock> = Arc::clone(&house.clock) as _;
    let fields = fields(&house.db, &clock, keys);
    Factors::new(&fields, keys, &Config::default(), None).unwrap()
}

#[tokio::test]
async fn a_secret_from_before_the_vault_works_and_is_carried_over_into_it() {
    let house = House::build().await;
    let (phone, user, _) = enrol(&house).await;
    let of_vault = stored(&house).await;
    assert!(of_vault.starts_with(b"pcv1."));
    let now = factors(&house, &keys());
    let seed = totp::open(&now, user.id, &of_vault).await.unwrap();
    let sealer = Sealer::new(&keys(), Purpose::Factor).unwrap();
    let place = user.id.as_uuid().into_bytes();
    let old = sealer.seal(&[b"totp", &place], seed.expose()).unwrap();
    store(&house, &old).await;
    house.clock.advance(Span::from_seconds(30));
    let code = phone.code(&house);
    finish(&house, &challenge(&house).await, &code)
        .await
        .unwrap();
    // Under another master secret, with the old one still there; then without it.
    let new = Keys::new(secret("another master secret"), vec![keys().current]);
    let both = factors(&house, &new);
    assert_eq!(both.carry_over(&house.db).await.unwrap(), 1);
    assert_eq!(both.carry_over(&house.db).await.unwrap(), 0);
    both.fields.rewrap(Which::Earlier, None, 10).await.unwrap();
    let alone = Keys::new(secret("another master secret"), vec![]);
    let alone = factors(&house, &alone);
    let carried = stored(&house).await;
    let opened = totp::open(&alone, user.id, &carried).await.unwrap();
    assert_eq!(opened.expose(), seed.expose());
    // In the row of another user it opens nothing.
    let elsewhere = totp::open(&alone, UserId::new(), &carried).await;
    assert!(matches!(elsewhere, Err(Error::Seal(seal::Error::Open))));
    // Without its master secret it is lost, and that ends: it is not tried for ever.
    store(&house, &old).await;
    assert_eq!(alone.carry_over(&house.db).await.unwrap(), 0);
}

#[tokio::test]
async fn a_recovery_code_is_used_up_with_the_sign_in_or_not_at_all() {
    let house = House::build().await;
    let (_, _, codes) = enrol(&house).await;
    let late = challenge(&house).await;
    house.clock.advance(Span::from_minutes(5));
    let refused = finish(&house, &late, codes[0].expose()).await;
    assert!(matches!(refused, Err(Error::ChallengeOver)));
    let sql = "SELECT count(*) AS n FROM recovery_code";
    assert_eq!(house.count(sql).await, 10);
    let one = challenge(&house).await;
    finish(&house, &one, codes[0].expose()).await.unwrap();
    assert_eq!(house.count(sql).await, 9);
}
