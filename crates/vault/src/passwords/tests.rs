use super::*;

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn start() -> Passwords {
    Passwords::start(NonZero::new(2).unwrap(), 16).unwrap()
}

const FRESH: Verdict = Verdict::Match {
    needs_rehash: false,
};
const STALE: Verdict = Verdict::Match { needs_rehash: true };

#[tokio::test]
async fn a_hash_is_argon2id_with_our_parameters_and_verifies() {
    let passwords = start();
    let hash = passwords
        .hash(&secret("a quiet harbour at dawn"))
        .await
        .unwrap();
    assert!(
        hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{hash}"
    );
    let right = passwords
        .verify(&secret("a quiet harbour at dawn"), Some(&hash))
        .await;
    assert_eq!(right.unwrap(), FRESH);
    let wrong = passwords
        .verify(&secret("a quiet harbour at dusk"), Some(&hash))
        .await;
    assert_eq!(wrong.unwrap(), Verdict::Mismatch);
    let empty = passwords.verify(&secret(""), Some(&hash)).await;
    assert_eq!(empty.unwrap(), Verdict::Mismatch);
}

#[tokio::test]
async fn two_hashes_of_one_password_differ() {
    let passwords = start();
    let password = secret("a quiet harbour at dawn");
    assert_ne!(
        passwords.hash(&password).await.unwrap(),
        passwords.hash(&password).await.unwrap()
    );
}

#[tokio::test]
async fn bcrypt_of_each_imported_kind_verifies_and_asks_to_be_replaced() {
    let passwords = start();
    let parts = bcrypt::hash_with_salt("correct horse", 4, [7; 16]).unwrap();
    for version in [
        bcrypt::Version::TwoA,
        bcrypt::Version::TwoB,
        bcrypt::Version::TwoY,
    ] {
        let stored = parts.format_for_version(version);
        let right = passwords
            .verify(&secret("correct horse"), Some(&stored))
            .await;
        assert_eq!(right.unwrap(), STALE, "{stored}");
        let wrong = passwords
            .verify(&secret("correct house"), Some(&stored))
            .await;
        assert_eq!(wrong.unwrap(), Verdict::Mismatch, "{stored}");
    }
}

#[tokio::test]
async fn weaker_argon2_parameters_verify_and_ask_to_be_replaced() {
    let weak: PasswordHash = Argon2::new(
        Algorithm::Argon2id,
        Version::V0x13,
        Params::new(1024, 1, 1, None).unwrap(),
    )
    .hash_password_with_salt(b"correct horse", &[3; 16])
    .unwrap();
    let passwords = start();
    let stored = weak.to_string();
    let right = passwords
        .verify(&secret("correct horse"), Some(&stored))
        .await;
    assert_eq!(right.unwrap(), STALE);
}

#[tokio::test]
async fn a_stored_hash_that_cannot_be_read_refuses() {
    let passwords = start();
    let good = passwords.hash(&secret("correct horse")).await.unwrap();
    let mut hostile = vec![
        String::new(),
        "plain".to_owned(),
        "correct horse".to_owned(),
        "$2b$12$".to_owned(),
        "$2b$31$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
        "$2x$04$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
        "$2b$04$\u{e9}\u{e9}".to_owned(),
        "$argon2id$".to_owned(),
        "$argon2id$v=19$m=19456,t=2,p=1".to_owned(),
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ".to_owned(),
        "$argon2id$v=19$m=4194304,t=9999,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNo".to_owned(),
        "$5$rounds=1000$salt$hash".to_owned(),
        "\0".repeat(60),
    ];
    // Every tenth prefix: all of them would take seconds.
    hostile.extend(
        (0..good.len())
            .step_by(10)
            .map(|end| good.chars().take(end).collect()),
    );
    for stored in hostile {
        let verdict = passwords
            .verify(&secret("correct horse"), Some(&stored))
            .await;
        assert_eq!(verdict.unwrap(), Verdict::Mismatch, "{stored}");
    }
}

#[tokio::test]
async fn an_unknown_account_is_a_mismatch() {
    let verdict = start().verify(&secret("anything"), None).await.unwrap();
    assert_eq!(verdict, Verdict::Mismatch);
}

#[test]
fn the_work_for_an_unknown_account_has_the_parameters_of_a_real_one() {
    let (made_up, real) = (dummy().unwrap(), hash("real").unwrap());
    let (made_up, real) = (
        PasswordHash::new(&made_up).unwrap(),
        PasswordHash::new(&real).unwrap(),
    );
    assert!(is_current(&made_up));
    assert_eq!(made_up.algorithm, real.algorithm);
    assert_eq!(made_up.version, real.version);
    assert_eq!(made_up.params, real.params);
    let lengths = |hash: &PasswordHash| {
        let salt = hash.salt.as_ref().map(|salt| salt.as_ref().len());
        (
            salt,
            hash.hash.as_ref().map(|output| output.as_bytes().len()),
        )
    };
    assert_eq!(lengths(&made_up), lengths(&real));
    // A comparison that ends before the work is done would be a mismatch as well.
    assert!(matches!(
        Stored::parse(&dummy().unwrap()),
        Stored::Argon2(_)
    ));
}

#[tokio::test]
async fn long_and_unicode_passwords_count_to_the_last_character() {
    let passwords = start();
    for password in [
        "x".repeat(64),
        "x".repeat(MAX_LEN),
        "Gr\u{fc}\u{df}e \u{1f600} \u{65e5}\u{672c}\u{8a9e}".repeat(4),
        " leading and trailing ".to_owned(),
        "with a \0 in it, which C would cut".to_owned(),
    ] {
        let hash = passwords.hash(&secret(&password)).await.unwrap();
        let right = passwords.verify(&secret(&password), Some(&hash)).await;
        assert_eq!(right.unwrap(), FRESH);
        let mut shorter = password.clone();
        shorter.pop();
        let wrong = passwords.verify(&secret(&shorter), Some(&hash)).await;
        assert_eq!(wrong.unwrap(), Verdict::Mismatch, "{password}");
    }
}

#[tokio::test]
async fn the_same_password_composed_differently_is_the_same_password() {
    let passwords = start();
    let hash = passwords.hash(&secret("caf\u{e9} au lait")).await.unwrap();
    let decomposed = passwords
        .verify(&secret("cafe\u{301} au lait"), Some(&hash))
        .await;
    assert_eq!(decomposed.unwrap(), FRESH);
}

#[tokio::test]
async fn a_password_over_the_limit_is_refused_and_never_cut() {
    let passwords = start();
    let long = secret(&"x".repeat(MAX_LEN + 1));
    assert!(matches!(passwords.hash(&long).await, Err(Error::TooLong)));
    let hash = passwords.hash(&secret(&"x".repeat(MAX_LEN))).await.unwrap();
    let verdict = passwords.verify(&long, Some(&hash)).await.unwrap();
    assert_eq!(verdict, Verdict::Mismatch);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    // No thread takes anything out of this queue.
    let (queue, _jobs) = sync_channel(1);
    let passwords = Passwords { queue };
    let password = secret("anything");
    let first = passwords.verify(&password, None);
    tokio::pin!(first);
    assert!(
        std::future::Future::poll(
            first.as_mut(),
            &mut std::task::Context::from_waker(std::task::Waker::noop())
        )
        .is_pending()
    );
    let refused = passwords.verify(&password, None).await;
    assert!(matches!(refused, Err(Error::Busy)));
    let problem = Problem::from(Error::Busy);
    assert_eq!(problem.kind.status, 503);
    assert!(problem.retry_after.is_some());
}
