use std::net::Ipv4Addr;

use portcullis_core::principal::{Credential, User};
use portcullis_vault::jws;

use super::*;
use crate::accounts::By;
use crate::bearers::Bearer;
use crate::testing::{House, secret};

fn client(agent: &str, last: u8) -> Client {
    Client {
        address: Some(Ipv4Addr::new(198, 51, 100, last).into()),
        user_agent: Some(agent.to_owned()),
        ..Client::default()
    }
}

fn phone() -> Client {
    client("phone", 1)
}

impl House {
    fn tokens(&self) -> &Tokens {
        self.bearers.tokens().unwrap()
    }

    async fn pair(&self) -> Pair {
        let signed_in = self.login().await;
        self.tokens()
            .grant(self.user, signed_in.session.id, &phone())
            .await
            .unwrap()
    }

    async fn refresh(&self, pair: &Pair, client: &Client) -> Result<Pair, Error> {
        self.tokens()
            .refresh(pair.refresh_token.expose(), client)
            .await
    }

    /// As the pipeline does: memory first, then the database.
    async fn bearer(&self, token: &Secret) -> Option<User> {
        match self.bearers.lookup(token.expose()) {
            Bearer::Live(user) => Some(user),
            Bearer::Unknown => self.bearers.load(token.expose(), &phone()).await.unwrap(),
            Bearer::Refused | Bearer::NotOurs => None,
        }
    }

    async fn knows(&self, token: &Secret) -> bool {
        self.bearer(token).await.is_some()
    }
}

fn family_of(user: &User) -> TokenFamilyId {
    match user.credential {
        Credential::AccessToken(family) => family,
        Credential::Session(_) | Credential::Foreign => panic!("{user:?}"),
    }
}

#[tokio::test]
async fn an_access_token_is_its_user_from_memory_after_the_first_time() {
    let house = House::build().await;
    let pair = house.pair().await;
    assert_eq!(
        house.bearers.lookup(pair.access_token.expose()),
        Bearer::Unknown
    );
    let user = house.bearer(&pair.access_token).await.unwrap();
    assert_eq!(user.id, house.user);
    assert_eq!(&*user.roles, [Arc::<str>::from("member")]);
    assert_eq!(
        house.bearers.lookup(pair.access_token.expose()),
        Bearer::Live(user)
    );
    assert_eq!(pair.expires_in, Span::from_minutes(30));
}

#[tokio::test]
async fn an_access_token_ends_after_its_lifetime_and_a_refresh_token_after_its_own() {
    let house = House::build().await;
    let pair = house.pair().await;
    assert!(house.knows(&pair.access_token).await);
    house.clock.advance(Span::from_minutes(30));
    house.news().await;
    assert!(!house.knows(&pair.access_token).await);
    let next = house.refresh(&pair, &phone()).await.unwrap();
    assert!(house.knows(&next.access_token).await);
    house.clock.advance(Span::from_days(7));
    assert!(matches!(
        house.refresh(&next, &phone()).await,
        Err(Error::Refused)
    ));
}

#[tokio::test]
async fn a_refresh_token_never_serves_as_an_access_token_nor_the_other_way_round() {
    let house = House::build().await;
    let pair = house.pair().await;
    assert_eq!(
        house.bearers.lookup(pair.refresh_token.expose()),
        Bearer::Refused
    );
    assert!(
        house
            .bearers
            .load(pair.refresh_token.expose(), &phone())
            .await
            .unwrap()
            .is_none()
    );
    let swapped = house
        .tokens()
        .refresh(pair.access_token.expose(), &phone())
        .await;
    assert!(matches!(swapped, Err(Error::Refused)));
}

#[tokio::test]
async fn an_assertion_is_no_access_token() {
    let house = House::build().await;
    let pair = house.pair().await;
    let payload = pair
        .access_token
        .expose()
        .split('.')
        .nth(1)
        .unwrap()
        .to_owned();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload);
    let claims: serde_json::Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    let now = house.clock.now();
    for (typ, counts) in [
        ("at+jwt", true),
        ("portcullis-assertion+jwt", false),
        ("JWT", false),
        ("AT+JWT", false),
    ] {
        let token = Secret::new(house.ring.sign(typ, &claims, now).unwrap());
        assert_eq!(house.knows(&token).await, counts, "{typ}");
    }
}

#[tokio::test]
async fn a_used_refresh_token_gives_the_same_successor_to_the_same_client_for_ten_seconds() {
    let house = House::build().await;
    let first = house.pair().await;
    let second = house.refresh(&first, &phone()).await.unwrap();
    house.clock.advance(Span::from_seconds(9));
    let again = house.refresh(&first, &phone()).await.unwrap();
    assert_eq!(again.refresh_token.expose(), second.refresh_token.expose());
    assert!(house.knows(&again.access_token).await && house.knows(&second.access_token).await);
    let third = house.refresh(&second, &phone()).await.unwrap();
    assert_ne!(third.refresh_token.expose(), second.refresh_token.expose());
}

#[tokio::test]
async fn a_used_refresh_token_from_somebody_else_or_later_ends_the_family() {
    for (what, thief, after) in [
        ("another program", client("curl", 1), 0),
        ("another network", client("phone", 2), 0),
        (
            "no address",
            Client {
                address: None,
                ..phone()
            },
            0,
        ),
        ("the same client, too late", phone(), 10),
    ] {
        let house = House::build().await;
        let other = house.pair().await;
        let first = house.pair().await;
        let second = house.refresh(&first, &phone()).await.unwrap();
        assert!(house.knows(&second.access_token).await);
        house.clock.advance(Span::from_seconds(after));
        house.news().await;
        assert!(
            matches!(house.refresh(&first, &thief).await, Err(Error::Refused)),
            "{what}"
        );
        assert!(!house.knows(&second.access_token).await, "{what}");
        assert!(house.refresh(&second, &phone()).await.is_err(), "{what}");
        assert!(house.refresh(&first, &phone()).await.is_err(), "{what}");
        assert!(house.knows(&other.access_token).await, "{what}");
        let sql = "SELECT count(*) AS n FROM audit_event WHERE action = 'refresh-token.reused' AND outcome = 'denied'";
        assert_eq!(house.count(sql).await, 1, "{what}");
    }
}

#[tokio::test]
async fn only_the_immediate_predecessor_may_come_again() {
    let house = House::build().await;
    let first = house.pair().await;
    let second = house.refresh(&first, &phone()).await.unwrap();
    let third = house.refresh(&second, &phone()).await.unwrap();
    assert!(house.refresh(&first, &phone()).await.is_err());
    assert!(house.refresh(&third, &phone()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_that_refresh_at_once_get_one_successor() {
    let house = House::build().await;
    let first = house.pair().await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let tokens = house.tokens().clone();
            let text = first.refresh_token.expose().clone();
            tokio::spawn(async move { tokens.refresh(&text, &phone()).await.unwrap() })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap().refresh_token.expose().clone());
    }
    all.dedup();
    assert_eq!(all.len(), 1);
    assert_eq!(
        house.count("SELECT count(*) AS n FROM refresh_token").await,
        2
    );
}

#[tokio::test]
async fn whatever_ends_a_sign_in_ends_its_tokens_at_once() {
    for act in 0..4 {
        let house = House::build().await;
        let pair = house.pair().await;
        let user = house.bearer(&pair.access_token).await.unwrap();
        match act {
            0 => drop(
                house
                    .tokens()
                    .end(user.id, family_of(&user), &phone())
                    .await
                    .unwrap(),
            ),
            1 => house
                .tokens()
                .end_by(pair.refresh_token.expose(), &phone())
                .await
                .unwrap(),
            2 => house
                .accounts
                .deactivate(user.id, &By::operator())
                .await
                .unwrap(),
            _ => house
                .accounts
                .set_password(
                    user.id,
                    &secret("another quiet harbour at dusk"),
                    &By::operator(),
                )
                .await
                .unwrap(),
        }
        house.news().await;
        assert!(!house.knows(&pair.access_token).await, "{act}");
        assert!(house.refresh(&pair, &phone()).await.is_err(), "{act}");
    }
}

#[tokio::test]
async fn under_another_policy_the_database_is_asked_anew() {
    let house = House::build().await;
    let pair = house.pair().await;
    let user = house.bearer(&pair.access_token).await.unwrap();
    let known = || house.bearers.lookup(pair.access_token.expose());
    assert_eq!(known(), Bearer::Live(user));
    house.bearers.policy_changed();
    assert_eq!(known(), Bearer::Unknown);
    assert!(house.knows(&pair.access_token).await);
}

#[tokio::test]
async fn a_session_becomes_tokens_once_and_ends() {
    let house = House::build().await;
    let signed_in = house.login().await;
    assert!(house.is_live(&signed_in).await);
    let client = phone();
    let tokens = house.tokens();
    let grant = || tokens.grant(house.user, signed_in.session.id, &client);
    let pair = grant().await.unwrap();
    assert!(!house.is_live(&signed_in).await);
    assert!(matches!(grant().await, Err(Error::NoSession)));
    let user = house.bearer(&pair.access_token).await.unwrap();
    assert_eq!(user.authenticated_at, house.clock.now());
    assert_eq!(user.second_factor_at, None, "nobody proved one");
}

#[tokio::test]
async fn one_client_too_many_ends_the_oldest() {
    let house = House::build().await;
    let mut all = Vec::new();
    for _ in 0..4 {
        house.clock.advance(Span::from_seconds(1));
        all.push(house.pair().await);
        house.knows(&all.last().unwrap().access_token).await;
    }
    assert!(!house.knows(&all[0].access_token).await);
    assert!(house.knows(&all[1].access_token).await);
}

#[tokio::test]
async fn new_roles_count_at_once() {
    let house = House::build().await;
    let pair = house.pair().await;
    assert!(house.knows(&pair.access_token).await);
    house
        .accounts
        .set_roles(house.user, &["admin".to_owned()], &By::operator())
        .await
        .unwrap();
    house.news().await;
    let user = house.bearer(&pair.access_token).await.unwrap();
    assert_eq!(&*user.roles, [Arc::<str>::from("admin")]);
}

#[tokio::test]
async fn without_news_of_revocations_memory_is_not_believed() {
    let house = House::build().await;
    let pair = house.pair().await;
    assert!(house.knows(&pair.access_token).await);
    house.clock.advance(Span::from_seconds(6));
    assert_eq!(
        house.bearers.lookup(pair.access_token.expose()),
        Bearer::Unknown
    );
    house.news().await;
    assert!(matches!(
        house.bearers.lookup(pair.access_token.expose()),
        Bearer::Live(_)
    ));
}

#[tokio::test]
async fn what_is_nobodys_is_left_to_the_product() {
    let house = House::build().await;
    let foreign = portcullis_vault::signing::sign_hs256(
        "JWT",
        &serde_json::json!({ "iss": "https://other.example" }),
        &[0; 32],
    );
    for text in ["", "opaque", "a.b", "a.b.c.d", foreign.unwrap().as_str()] {
        assert_eq!(house.bearers.lookup(text), Bearer::NotOurs, "{text}");
    }
    for text in ["a.b.c", "..", "e30.e30.", "pcr_", "pcr_x"] {
        assert_eq!(house.bearers.lookup(text), Bearer::Refused, "{text}");
    }
    assert!(!jws::is_compact("pcr_x"));
}

#[tokio::test]
async fn the_database_holds_no_token() {
    let house = House::build().await;
    let pair = house.pair().await;
    let next = house.refresh(&pair, &phone()).await.unwrap();
    house.db.close().await;
    for pair in [&pair, &next] {
        for text in [&pair.access_token, &pair.refresh_token] {
            for entry in std::fs::read_dir(house.folder.path()).unwrap() {
                let bytes = std::fs::read(entry.unwrap().path()).unwrap();
                let needle = text.expose().trim_start_matches(REFRESH_PREFIX).as_bytes();
                assert!(!bytes.windows(needle.len()).any(|window| window == needle));
            }
        }
    }
}
