use portcullis_core::Span;
use portcullis_core::principal::User;
use portcullis_vault::Keys;
use totp_rs::{Builder, Secret, Totp};

use super::{Challenge, Config, Factors, Proof, Typed};
use crate::Client;
use crate::accounts::{Error, SignedIn};
use crate::testing::{EMAIL, House, PASSWORD, keys, secret};

struct Phone(Totp);

impl Phone {
    fn code(&self, house: &House) -> String {
        use portcullis_core::Clock as _;
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

#[tokio::test]
async fn a_new_master_secret_takes_over_what_the_old_one_sealed() {
    let house = House::build().await;
    enrol(&house).await;
    let new = Keys::new(secret("another master secret"), vec![keys().current]);
    let factors = Factors::new(&new, &Config::default(), None).unwrap();
    assert_eq!(factors.reseal(&house.db).await.unwrap(), 1);
    assert_eq!(factors.reseal(&house.db).await.unwrap(), 0);
    let alone = Keys::new(secret("another master secret"), vec![]);
    let alone = Factors::new(&alone, &Config::default(), None).unwrap();
    assert_eq!(alone.reseal(&house.db).await.unwrap(), 0);
    // Without either it is lost, and that ends: it is not tried for ever.
    let stranger = Keys::new(secret("a third"), vec![]);
    let stranger = Factors::new(&stranger, &Config::default(), None).unwrap();
    assert_eq!(stranger.reseal(&house.db).await.unwrap(), 0);
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
