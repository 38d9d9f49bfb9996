use std::sync::Arc;

use portcullis_core::Span;
use portcullis_edge::mail::Mailer;

use super::{Delivered, Postman};
use crate::accounts::Error;
use crate::testing::{EMAIL, House, secret};
use crate::{Client, Email, users};

const NEW: &str = "an amber lantern over the fjord";

/// Asks for a link, lets the postman write it, and reads its token.
async fn token(house: &House) -> portcullis_core::Secret<String> {
    let client = Client::default();
    house.accounts.ask_reset(EMAIL, &client).await.unwrap();
    let folder = house.folder.path().join("mail");
    let postman = Postman {
        accounts: house.accounts.clone(),
        mailer: Arc::new(Mailer::folder("no-reply@shop.example", folder.clone()).unwrap()),
        origin: "https://shop.example".into(),
        mount: "/auth",
    };
    assert_eq!(postman.deliver_next().await.unwrap(), Delivered::Done);
    assert_eq!(postman.deliver_next().await.unwrap(), Delivered::Nothing);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let text = std::fs::read_to_string(files.last().unwrap()).unwrap();
    let text = text.replace("=\r\n", "").replace("=3D", "=");
    let (_, token) = text.split_once("?token=").unwrap();
    secret(token.get(..43).unwrap())
}

async fn reset(house: &House, token: &portcullis_core::Secret<String>) -> Result<(), Error> {
    let client = Client::default();
    let accounts = &house.accounts;
    accounts.reset_password(token, &secret(NEW), &client).await
}

#[tokio::test]
async fn a_link_works_until_its_lifetime_is_over() {
    let house = House::build().await;
    let late = token(&house).await;
    house.clock.advance(Span::from_minutes(30));
    assert!(matches!(reset(&house, &late).await, Err(Error::LinkSpent)));
    let in_time = token(&house).await;
    house.clock.advance(Span::from_minutes(29));
    reset(&house, &in_time).await.unwrap();
}

#[tokio::test]
async fn a_used_link_takes_the_others_of_its_account_with_it() {
    let house = House::build().await;
    let (one, two) = (token(&house).await, token(&house).await);
    reset(&house, &one).await.unwrap();
    assert!(matches!(reset(&house, &two).await, Err(Error::LinkSpent)));
}

#[tokio::test]
async fn a_link_to_a_former_address_proves_nothing() {
    let house = House::build().await;
    let token = token(&house).await;
    let mut tx = house.db.begin().await.unwrap();
    tx.execute("UPDATE users SET email_canonical = 'new@example.org'", &[])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(reset(&house, &token).await, Err(Error::LinkSpent)));
}

#[tokio::test]
async fn guessing_is_forgiven_after_a_reset() {
    let house = House::build().await;
    let client = Client::default();
    let accounts = &house.accounts;
    while !matches!(
        accounts.login(EMAIL, &secret("wrong"), &client).await,
        Err(Error::Throttled { .. })
    ) {}
    let token = token(&house).await;
    reset(&house, &token).await.unwrap();
    accounts.login(EMAIL, &secret(NEW), &client).await.unwrap();
}

#[tokio::test]
async fn what_is_over_is_deleted() {
    let house = House::build().await;
    let _unused = token(&house).await;
    house.clock.advance(Span::from_hours(2));
    house.accounts.keep_house().await.unwrap();
    for sql in [
        "SELECT count(*) AS n FROM recovery_token",
        "SELECT count(*) AS n FROM recovery_request",
    ] {
        assert_eq!(house.count(sql).await, 0, "{sql}");
    }
}

#[tokio::test]
async fn nothing_but_hashes_is_kept() {
    let house = House::build().await;
    let token = token(&house).await;
    let row = house
        .db
        .fetch_optional("SELECT token_hash FROM recovery_token", &[])
        .await
        .unwrap()
        .unwrap();
    let stored = row.bytes("token_hash").unwrap();
    let parsed = portcullis_vault::Token::parse(token.expose()).unwrap();
    assert_eq!(stored, parsed.hash().as_bytes());
    let email = Email::parse(EMAIL).unwrap();
    let found = users::find_by_email(&house.db, house.accounts.addresses(), &email)
        .await
        .unwrap();
    assert!(found.is_some());
}
