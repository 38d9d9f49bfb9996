use portcullis_core::{Problem, Span};

use super::*;
use crate::testing::{EMAIL, House, PASSWORD, secret};

const NEW: &str = "a stone bridge by the mill";

async fn login(
    house: &House,
    email: &str,
    password: &str,
    device: Option<&str>,
) -> Result<SignedIn, Error> {
    let client = Client {
        device: device.map(str::to_owned),
        ..Client::default()
    };
    house
        .accounts
        .login(email, &secret(password), &client)
        .await
}

fn told(error: Error) -> (&'static str, Option<Span>) {
    let problem = Problem::from(error);
    assert!(problem.detail.is_none_or(|detail| !detail.contains('@')));
    (problem.kind.slug, problem.retry_after)
}

async fn user(house: &House, signed_in: &SignedIn) -> User {
    let hash = signed_in.session.token.hash();
    house.sessions().load(&hash).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_right_password_signs_in_under_any_spelling_of_the_address() {
    let house = House::build().await;
    for email in [EMAIL, " ADA@Example.org "] {
        assert!(
            login(&house, email, PASSWORD, None).await.is_ok(),
            "{email}"
        );
    }
}

#[tokio::test]
async fn wrong_unknown_deactivated_and_malformed_are_refused_alike() {
    let house = House::build().await;
    let wrong = told(login(&house, EMAIL, "not it", None).await.unwrap_err());
    assert_eq!(wrong, ("credentials-refused", None));
    for email in ["nobody@example.org", "no address", ""] {
        let refused = login(&house, email, PASSWORD, None).await.unwrap_err();
        assert_eq!(told(refused), wrong, "{email}");
    }
    house
        .accounts
        .deactivate(house.user, &By::operator())
        .await
        .unwrap();
    let closed = login(&house, EMAIL, PASSWORD, None).await.unwrap_err();
    assert_eq!(told(closed), wrong);
}

#[tokio::test]
async fn throttling_says_nothing_about_which_accounts_exist() {
    let house = House::build().await;
    let mut answers = Vec::new();
    for email in [EMAIL, "nobody@example.org"] {
        let mut told_here = Vec::new();
        for _ in 0..7 {
            told_here.push(told(
                login(&house, email, "not it", None).await.unwrap_err(),
            ));
        }
        answers.push(told_here);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0][4].0, "credentials-refused");
    assert_eq!(
        answers[0][5],
        ("rate-limited", Some(Span::from_seconds(30)))
    );
}

#[tokio::test]
async fn the_right_password_is_throttled_too_and_counts_anew_when_it_was_right() {
    let house = House::build().await;
    for _ in 0..5 {
        let _ = login(&house, EMAIL, "not it", None).await;
    }
    let early = login(&house, EMAIL, PASSWORD, None).await;
    assert!(matches!(early, Err(Error::Throttled { .. })));
    house.clock.advance(Span::from_seconds(30));
    assert!(login(&house, EMAIL, PASSWORD, None).await.is_ok());
    for _ in 0..5 {
        let again = login(&house, EMAIL, "not it", None).await;
        assert!(matches!(again, Err(Error::Refused)));
    }
}

#[tokio::test]
async fn a_stranger_who_guesses_does_not_lock_out_a_known_device() {
    let house = House::build().await;
    let device = login(&house, EMAIL, PASSWORD, None).await.unwrap().device;
    for _ in 0..10 {
        let _ = login(&house, EMAIL, "not it", None).await;
    }
    let stranger = login(&house, EMAIL, PASSWORD, None).await;
    assert!(matches!(stranger, Err(Error::Throttled { .. })));
    assert!(login(&house, EMAIL, PASSWORD, Some(&device)).await.is_ok());
}

#[tokio::test]
async fn a_device_known_for_one_account_counts_as_unknown_for_another() {
    let house = House::build().await;
    let device = login(&house, EMAIL, PASSWORD, None).await.unwrap().device;
    for _ in 0..5 {
        let _ = login(&house, "eve@example.org", "not it", None).await;
    }
    let same = login(&house, "eve@example.org", "not it", Some(&device)).await;
    assert!(matches!(same, Err(Error::Throttled { .. })));
}

#[tokio::test]
async fn an_imported_bcrypt_hash_is_replaced_at_the_first_sign_in() {
    let house = House::build().await;
    brought_along(&house, &bcrypt::hash(PASSWORD, 4).unwrap()).await;
    assert!(login(&house, EMAIL, PASSWORD, None).await.is_ok());
    let account = users::find(&house.db, house.accounts.addresses(), house.user)
        .await
        .unwrap()
        .unwrap();
    assert!(account.password_hash.0.starts_with("$argon2id$"));
    assert!(login(&house, EMAIL, PASSWORD, None).await.is_ok());
}

/// Stores this hash for Ada.
async fn brought_along(house: &House, hash: &str) {
    let mut tx = house.db.begin().await.unwrap();
    let now = house.clock.now();
    users::set_password(&mut tx, house.user, hash, now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn refusals_are_evened_while_a_hash_from_elsewhere_is_here_and_no_longer() {
    let house = House::build().await;
    let evenly = &house.accounts.parts().evenly;
    house.accounts.even_refusals().await.unwrap();
    assert!(!evenly.is_on());
    brought_along(&house, &bcrypt::hash(PASSWORD, 4).unwrap()).await;
    house.accounts.keep_house().await.unwrap();
    assert!(evenly.is_on());
    // A sign-in replaces the last such hash.
    assert!(login(&house, EMAIL, PASSWORD, None).await.is_ok());
    house.accounts.keep_house().await.unwrap();
    assert!(!evenly.is_on());
}

#[tokio::test]
async fn whoever_is_refused_waits_and_whoever_is_right_does_not() {
    const REFUSED: &str = "SELECT count(*) AS n FROM audit_event WHERE action = 'login.failed'";
    let house = std::sync::Arc::new(House::build().await);
    house
        .accounts
        .parts()
        .evenly
        .every(std::time::Duration::from_hours(1));
    let emails = [EMAIL, "nobody@example.org", "no address"];
    let waiting: Vec<_> = emails
        .map(|email| {
            let house = std::sync::Arc::clone(&house);
            tokio::spawn(async move { login(&house, email, "not it", None).await.is_err() })
        })
        .into();
    while house.count(REFUSED).await < 3 {
        tokio::task::yield_now().await;
    }
    // A whole sign-in later they are still there: nobody holds a thread or a connection.
    assert!(login(&house, EMAIL, PASSWORD, None).await.is_ok());
    assert!(waiting.iter().all(|refused| !refused.is_finished()));
    for refused in waiting {
        refused.abort();
    }
}

#[tokio::test]
async fn a_password_change_ends_every_session_and_gives_a_new_one() {
    let house = House::build().await;
    let (here, there) = (house.login().await, house.login().await);
    let user = user(&house, &here).await;
    assert!(house.is_live(&here).await && house.is_live(&there).await);
    let changed = house
        .accounts
        .change_password(&user, &secret(PASSWORD), &secret(NEW), &Client::default())
        .await
        .unwrap();
    assert!(!house.is_live(&here).await && !house.is_live(&there).await);
    assert!(house.is_live(&changed).await);
    assert!(login(&house, EMAIL, PASSWORD, None).await.is_err());
    assert!(login(&house, EMAIL, NEW, None).await.is_ok());
}

#[tokio::test]
async fn three_attempts_to_change_a_password_in_fifteen_minutes() {
    let house = House::build().await;
    let here = house.login().await;
    let user = user(&house, &here).await;
    let change = async |old: &str| {
        let client = Client::default();
        house
            .accounts
            .change_password(&user, &secret(old), &secret(NEW), &client)
            .await
    };
    for _ in 0..3 {
        assert!(matches!(change("not it").await, Err(Error::OldPassword)));
    }
    let Err(Error::Throttled { retry_after }) = change(PASSWORD).await else {
        panic!("a fourth attempt was accepted");
    };
    assert_eq!(retry_after, Span::from_minutes(15));
    house.clock.advance(Span::from_minutes(15));
    assert!(change(PASSWORD).await.is_ok());
}

#[tokio::test]
async fn a_new_password_must_be_good_and_new() {
    let house = House::build().await;
    let here = house.login().await;
    let user = user(&house, &here).await;
    let client = Client::default();
    let old = secret(PASSWORD);
    let short = house
        .accounts
        .change_password(&user, &old, &secret("short"), &client)
        .await;
    let problem = Problem::from(short.unwrap_err());
    assert_eq!(problem.fields[0].field, "new_password");
    let same = house
        .accounts
        .change_password(&user, &old, &old, &client)
        .await;
    assert!(matches!(same, Err(Error::SamePassword)));
    assert!(house.is_live(&here).await);
}

#[tokio::test]
async fn a_sign_in_that_overlaps_a_password_change_leaves_no_session() {
    let house = House::build().await;
    // The sign-in has verified the old password ..
    let account = users::find(&house.db, house.accounts.addresses(), house.user)
        .await
        .unwrap()
        .unwrap();
    // .. the password is changed ..
    house
        .accounts
        .set_password(house.user, &secret(NEW), &By::operator())
        .await
        .unwrap();
    // .. and only then the sign-in comes to its end.
    let subject = crate::testing::backoff().subject(EMAIL, None, house.clock.now());
    let client = Client::default();
    let admitted = house
        .accounts
        .admit(
            house.user,
            &account.password_hash,
            None,
            &subject,
            &client,
            String::new(),
        )
        .await;
    assert!(matches!(admitted, Err(Error::Refused)));
    assert_eq!(house.count("SELECT count(*) AS n FROM session").await, 0);
}

#[tokio::test]
async fn a_user_ends_only_their_own_sessions() {
    let house = House::build().await;
    let new = Registering {
        email: "eve@example.org",
        password: &secret(NEW),
        display_name: Some("Eve"),
    };
    let client = Client::default();
    house.accounts.register(&new, &client).await.unwrap();
    let eve = login(&house, "eve@example.org", NEW, None).await.unwrap();
    let eve = user(&house, &eve).await;
    let here = house.login().await;
    let foreign = house
        .accounts
        .revoke_session(&eve, here.session.id.as_uuid(), &client)
        .await;
    assert!(matches!(foreign, Err(Error::NotFound)));
    assert!(house.is_live(&here).await);
    let there = house.login().await;
    let ada = user(&house, &here).await;
    assert_eq!(
        house.accounts.revoke_others(&ada, &client).await.unwrap(),
        1
    );
    assert!(house.is_live(&here).await && !house.is_live(&there).await);
}

#[tokio::test]
async fn registering_gives_no_more_than_the_configured_roles_and_no_second_account() {
    let house = House::build().await;
    let password = secret(NEW);
    let new = |email| Registering {
        email,
        password: &password,
        display_name: None,
    };
    let client = Client::default();
    let made = house
        .accounts
        .register(&new("Eve@Example.org"), &client)
        .await
        .unwrap();
    assert_eq!(made.roles, ["member"]);
    let again = house
        .accounts
        .register(&new("eve@example.ORG"), &client)
        .await;
    assert!(matches!(again, Err(Error::EmailTaken)));
    let bad = house.accounts.register(&new("eve"), &client).await;
    assert!(matches!(bad, Err(Error::NotAnEmail(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_registrations_at_once_make_one_account() {
    let house = House::build().await;
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let accounts = house.accounts.clone();
            tokio::spawn(async move {
                let new = Registering {
                    email: "eve@example.org",
                    password: &secret(NEW),
                    display_name: None,
                };
                accounts.register(&new, &Client::default()).await.is_ok()
            })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += i32::from(task.await.unwrap());
    }
    assert_eq!(made, 1);
}

#[tokio::test]
async fn housekeeping_deletes_revocations_that_every_node_has_long_read() {
    const COUNT: &str = "SELECT count(*) AS n FROM revocation";
    let house = House::build().await;
    let ada = house.login().await;
    let ada = user(&house, &ada).await;
    for _ in 0..3 {
        house.login().await;
        house
            .accounts
            .revoke_others(&ada, &Client::default())
            .await
            .unwrap();
    }
    assert_eq!(house.count(COUNT).await, 3);
    house.accounts.keep_house().await.unwrap();
    assert_eq!(house.count(COUNT).await, 3);
    house.clock.advance(portcullis_store::revocations::KEPT_FOR);
    house.clock.advance(Span::from_seconds(1));
    house.accounts.keep_house().await.unwrap();
    // The newest stays: readers find their place by it.
    assert_eq!(house.count(COUNT).await, 1);
}

#[tokio::test]
async fn attempts_that_come_too_early_write_next_to_nothing() {
    const EVENTS: &str = "SELECT count(*) AS n FROM audit_event";
    const FAILURES: &str = "SELECT failures AS n FROM login_backoff";
    let house = House::build().await;
    for _ in 0..6 {
        let _ = login(&house, EMAIL, "not it", None).await;
    }
    house.accounts.0.record.flush().await;
    let (events, failures) = (house.count(EVENTS).await, house.count(FAILURES).await);
    for _ in 0..50 {
        let refused = login(&house, EMAIL, "not it", None).await.unwrap_err();
        assert!(matches!(refused, Error::Throttled { .. }));
    }
    // One for the first, and at most one more for all the others.
    house.accounts.0.record.flush().await;
    let written = house.count(EVENTS).await - events;
    assert!((1..=2).contains(&written), "{written}");
    assert_eq!(house.count(FAILURES).await, failures);
}
