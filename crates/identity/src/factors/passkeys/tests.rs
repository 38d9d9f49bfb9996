use portcullis_core::Span;
use portcullis_vault::{Token, TokenHash};

use super::Config;
use super::ceremony::{self, Purpose};
use crate::testing::House;
use portcullis_core::Clock as _;

async fn keep(house: &House, purpose: Purpose) -> TokenHash {
    let token = Token::generate().unwrap();
    let mut tx = house.db.begin().await.unwrap();
    ceremony::keep(&mut tx, &token, purpose, "state", house.clock.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    token.hash()
}

async fn take(house: &House, hash: &TokenHash, purpose: Purpose) -> bool {
    let now = house.clock.now();
    let taken = ceremony::take(&house.db, Some(hash), purpose, now).await;
    taken.unwrap().is_some()
}

#[tokio::test]
async fn a_question_is_good_for_five_minutes_once_and_for_its_purpose() {
    let house = House::build().await;
    let purposes = [
        Purpose::SignIn,
        Purpose::Prove(house.user),
        Purpose::Register(house.user),
    ];
    for asked in purposes {
        for answered in purposes {
            let hash = keep(&house, asked).await;
            house.clock.advance(Span::from_seconds(299));
            let taken = take(&house, &hash, answered).await;
            assert_eq!(taken, asked == answered, "{asked:?} {answered:?}");
            assert!(!take(&house, &hash, asked).await, "it is used up");
        }
        let late = keep(&house, asked).await;
        house.clock.advance(Span::from_minutes(5));
        assert!(!take(&house, &late, asked).await);
    }
    let nobody = portcullis_core::UserId::new();
    let hash = keep(&house, Purpose::Prove(house.user)).await;
    assert!(!take(&house, &hash, Purpose::Prove(nobody)).await);
}

#[tokio::test]
async fn of_one_account_ten_questions_wait_and_what_is_over_is_deleted() {
    const COUNT: &str = "SELECT count(*) AS n FROM passkey_ceremony";
    let house = House::build().await;
    let first = keep(&house, Purpose::Prove(house.user)).await;
    for _ in 0..10 {
        house.clock.advance(Span::from_seconds(1));
        keep(&house, Purpose::Prove(house.user)).await;
    }
    assert_eq!(house.count(COUNT).await, 10);
    assert!(!take(&house, &first, Purpose::Prove(house.user)).await);
    house.clock.advance(Span::from_minutes(5));
    house.accounts.keep_house().await.unwrap();
    assert_eq!(house.count(COUNT).await, 0);
}

#[test]
fn a_domain_is_the_hosts_own_or_above_it() {
    let found = |rp_id: &str| {
        let config = Config {
            rp_id: Some(rp_id.to_owned()),
            origins: Vec::new(),
        };
        config.findings(Some("https://a.shop.example"), true).len()
    };
    for good in ["a.shop.example", "shop.example"] {
        assert_eq!(found(good), 0, "{good}");
    }
    for bad in [
        "",
        "example",
        "op.example",
        ".shop.example",
        "b.shop.example",
        "x.a.shop.example",
        "Shop.example",
    ] {
        assert_eq!(found(bad), 1, "{bad}");
    }
    for origin in [
        None,
        Some("https://203.0.113.7"),
        Some("https://[2001:db8::1]"),
    ] {
        assert_eq!(Config::default().findings(origin, true).len(), 0);
    }
    assert_eq!(
        Config::default()
            .findings(Some("http://localhost:8080"), false)
            .len(),
        0
    );
}
