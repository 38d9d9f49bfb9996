use portcullis_core::Span;

use super::*;
use crate::revoke;
use crate::testing::{House, PASSWORD, node, secret};

#[tokio::test]
async fn a_session_is_unknown_until_loaded_and_then_live_from_memory() {
    let house = House::build().await;
    let hash = house.login().await.session.token.hash();
    assert_eq!(house.sessions().lookup(&hash), Lookup::Unknown);
    let loaded = house.sessions().load(&hash).await.unwrap().unwrap();
    assert_eq!(loaded.id, house.user);
    assert_eq!(&*loaded.roles, [Arc::<str>::from("member")]);
    assert_eq!(house.sessions().lookup(&hash), Lookup::Live(loaded));
}

#[tokio::test]
async fn a_token_that_was_never_issued_is_nobody_and_is_not_remembered() {
    let house = House::build().await;
    for _ in 0..100 {
        let hash = Token::generate().unwrap().hash();
        assert_eq!(house.sessions().lookup(&hash), Lookup::Unknown);
        assert_eq!(house.sessions().load(&hash).await.unwrap(), None);
    }
    assert!(house.sessions().cache().is_empty());
}

#[tokio::test]
async fn memory_is_not_trusted_when_news_of_revocations_is_late() {
    let house = House::build().await;
    let hash = house.login().await.session.token.hash();
    house.sessions().load(&hash).await.unwrap();
    house.clock.advance(Span::from_seconds(6));
    assert_eq!(house.sessions().lookup(&hash), Lookup::Stale);
    house.news().await;
    assert!(matches!(house.sessions().lookup(&hash), Lookup::Live(_)));
}

#[tokio::test]
async fn a_session_ends_with_its_lifetime_however_active() {
    let house = House::build().await;
    let signed_in = house.login().await;
    for _ in 0..23 * 4 {
        house.clock.advance(Span::from_minutes(15));
        house.news().await;
        assert!(house.is_live(&signed_in).await);
    }
    house.clock.advance(Span::from_minutes(59));
    house.news().await;
    assert!(!house.is_live(&signed_in).await, "idle before its end");
    let signed_in = house.login().await;
    for _ in 0..24 * 4 {
        assert!(house.is_live(&signed_in).await);
        house.clock.advance(Span::from_minutes(15));
        house.news().await;
    }
    assert!(!house.is_live(&signed_in).await, "at its end");
}

#[tokio::test]
async fn an_idle_session_ends() {
    let house = House::build().await;
    let signed_in = house.login().await;
    assert!(house.is_live(&signed_in).await);
    house.clock.advance(Span::from_minutes(30));
    house.news().await;
    assert!(!house.is_live(&signed_in).await);
    assert!(house.sessions().cache().is_empty());
}

#[tokio::test]
async fn activity_on_another_node_keeps_a_session_alive_here() {
    let house = House::build().await;
    let signed_in = house.login().await;
    assert!(house.is_live(&signed_in).await);
    let (_, other, _) = node(&house.folder, &house.clock).await;
    let hash = signed_in.session.token.hash();
    house.clock.advance(Span::from_minutes(20));
    other.sessions().load(&hash).await.unwrap().unwrap();
    assert_eq!(other.sessions().flush().await.unwrap(), 1);
    house.clock.advance(Span::from_minutes(15));
    house.news().await;
    assert_eq!(house.sessions().lookup(&hash), Lookup::Unknown);
    assert!(house.is_live(&signed_in).await);
}

#[tokio::test]
async fn activity_is_written_once_and_never_moved_back() {
    let house = House::build().await;
    let signed_in = house.login().await;
    house.clock.advance(Span::from_minutes(10));
    house.news().await;
    assert!(house.is_live(&signed_in).await);
    assert_eq!(house.sessions().flush().await.unwrap(), 1);
    assert_eq!(house.sessions().flush().await.unwrap(), 0);
    let list = house.sessions().list(house.user).await.unwrap();
    assert_eq!(list[0].last_seen_at, house.clock.now());
    let mut tx = house.db.begin().await.unwrap();
    let before = house.clock.now() - Span::from_minutes(5);
    store::touch(&mut tx, signed_in.session.id, before)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let list = house.sessions().list(house.user).await.unwrap();
    assert_eq!(list[0].last_seen_at, house.clock.now());
}

#[tokio::test]
async fn a_revocation_from_the_feed_ends_a_remembered_session() {
    let house = House::build().await;
    let one = house.login().await;
    let two = house.login().await;
    assert!(house.is_live(&one).await && house.is_live(&two).await);
    let cache = house.sessions().cache();
    cache.revoked(Revocation::Session(one.session.id));
    assert_eq!(
        house.sessions().lookup(&one.session.token.hash()),
        Lookup::Unknown
    );
    assert!(matches!(
        house.sessions().lookup(&two.session.token.hash()),
        Lookup::Live(_)
    ));
    cache.revoked(Revocation::User(house.user));
    assert!(cache.is_empty());
}

#[tokio::test]
async fn a_load_that_began_before_a_revocation_does_not_bring_the_session_back() {
    let house = House::build().await;
    let hash = house.login().await.session.token.hash();
    let cache = house.sessions().cache();
    // The load has read the database ..
    let ticket = cache.ticket();
    let found = store::find(
        &house.db,
        &hash,
        (house.sessions().policy(), TenantAtSignIn::Last),
        house.clock.now(),
    )
    .await
    .unwrap()
    .unwrap();
    // .. the revocation is applied ..
    cache.revoked(Revocation::Session(revoke::session_id(&hash)));
    // .. and only then the load comes to its end.
    cache.remember(&hash, &found, house.clock.now(), ticket);
    assert_eq!(house.sessions().lookup(&hash), Lookup::Unknown);

    let ticket = cache.ticket();
    let found = store::find(
        &house.db,
        &hash,
        (house.sessions().policy(), TenantAtSignIn::Last),
        house.clock.now(),
    )
    .await
    .unwrap()
    .unwrap();
    cache.revoked(Revocation::User(house.user));
    cache.remember(&hash, &found, house.clock.now(), ticket);
    assert_eq!(house.sessions().lookup(&hash), Lookup::Unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_interleaving_of_loads_and_a_revocation_leaves_the_session_in_memory() {
    let house = House::build().await;
    for _ in 0..20 {
        let signed_in = house.login().await;
        let hash = signed_in.session.token.hash();
        let loads: Vec<_> = (0..8)
            .map(|_| {
                let sessions = house.sessions().clone();
                tokio::spawn(async move { sessions.load(&hash).await.unwrap().is_some() })
            })
            .collect();
        let user = house.sessions().load(&hash).await.unwrap().unwrap();
        let client = crate::Client::default();
        house.accounts.logout(&user, &client).await.unwrap();
        for load in loads {
            load.await.unwrap();
        }
        assert_eq!(house.sessions().lookup(&hash), Lookup::Unknown);
        assert!(!house.is_live(&signed_in).await);
    }
}

#[tokio::test]
async fn one_session_too_many_ends_the_oldest() {
    let house = House::build().await;
    let mut all = Vec::new();
    for _ in 0..4 {
        house.clock.advance(Span::from_seconds(1));
        all.push(house.login().await);
        house.is_live(all.last().unwrap()).await;
    }
    house.news().await;
    assert!(!house.is_live(&all[0]).await);
    for newer in &all[1..] {
        assert!(house.is_live(newer).await);
    }
    assert_eq!(house.sessions().list(house.user).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_sign_ins_at_once_leave_no_more_sessions_than_allowed() {
    let house = House::build().await;
    let logins: Vec<_> = (0..4)
        .map(|_| {
            let accounts = house.accounts.clone();
            tokio::spawn(async move {
                let password = secret(PASSWORD);
                let client = crate::Client::default();
                let email = crate::testing::EMAIL;
                accounts.login(email, &password, &client).await.is_ok()
            })
        })
        .collect();
    for login in logins {
        assert!(login.await.unwrap());
    }
    assert_eq!(house.sessions().list(house.user).await.unwrap().len(), 3);
}

#[tokio::test]
async fn new_roles_count_at_once() {
    let house = House::build().await;
    let signed_in = house.login().await;
    assert!(house.is_live(&signed_in).await);
    let roles = ["admin".to_owned()];
    house
        .accounts
        .set_roles(house.user, &roles, &crate::accounts::By::operator())
        .await
        .unwrap();
    let hash = signed_in.session.token.hash();
    let user = house.sessions().load(&hash).await.unwrap().unwrap();
    assert_eq!(&*user.roles, [Arc::<str>::from("admin")]);
}

#[tokio::test]
async fn a_deactivated_users_sessions_end() {
    let house = House::build().await;
    let signed_in = house.login().await;
    assert!(house.is_live(&signed_in).await);
    house
        .accounts
        .deactivate(house.user, &crate::accounts::By::operator())
        .await
        .unwrap();
    assert!(!house.is_live(&signed_in).await);
}

#[tokio::test]
async fn the_database_holds_no_token() {
    let house = House::build().await;
    let signed_in = house.login().await;
    let text = signed_in.session.token.text();
    house.db.close().await;
    for entry in std::fs::read_dir(house.folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let needle = text.expose().as_bytes();
        assert!(!bytes.windows(needle.len()).any(|window| window == needle));
    }
}

#[tokio::test]
async fn ended_sessions_are_deleted_after_a_week() {
    let house = House::build().await;
    house.login().await;
    house.clock.advance(Span::from_days(7));
    assert_eq!(house.sessions().prune().await.unwrap(), 0);
    house.clock.advance(Span::from_days(2));
    assert_eq!(house.sessions().prune().await.unwrap(), 1);
}

#[tokio::test]
async fn what_one_node_revokes_another_hears_of() {
    let house = House::build().await;
    let (_, other, _) = node(&house.folder, &house.clock).await;
    let (one, two) = (house.login().await, house.login().await);
    assert!(house.is_live(&one).await && house.is_live(&two).await);
    let user = other.sessions().load(&one.session.token.hash()).await;
    let client = crate::Client::default();
    other
        .logout(&user.unwrap().unwrap(), &client)
        .await
        .unwrap();
    house.news().await;
    assert!(!house.is_live(&one).await);
    assert!(house.is_live(&two).await);
    other
        .deactivate(house.user, &crate::accounts::By::operator())
        .await
        .unwrap();
    house.news().await;
    assert!(!house.is_live(&two).await);
}

#[tokio::test]
async fn acts_leave_events_in_the_trail() {
    let house = House::build().await;
    let signed_in = house.login().await;
    let wrong = secret("not it");
    let client = crate::Client::default();
    let email = crate::testing::EMAIL;
    let _ = house.accounts.login(email, &wrong, &client).await;
    let hash = signed_in.session.token.hash();
    let user = house.sessions().load(&hash).await.unwrap().unwrap();
    house.accounts.logout(&user, &client).await.unwrap();
    for (count, sql) in [
        (
            1,
            "SELECT count(*) AS n FROM audit_event WHERE action = 'user.created'",
        ),
        (
            1,
            "SELECT count(*) AS n FROM audit_event WHERE action = 'login.succeeded'",
        ),
        (
            1,
            "SELECT count(*) AS n FROM audit_event WHERE action = 'login.failed'",
        ),
        (
            1,
            "SELECT count(*) AS n FROM audit_event WHERE action = 'logout'",
        ),
    ] {
        assert_eq!(house.count(sql).await, count, "{sql}");
    }
}
