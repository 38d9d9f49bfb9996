//! Over a real database: members, what they may give, and when it counts.

use std::sync::Arc;

use portcullis_core::principal::User;
use portcullis_core::roles::{Roles, default_roles};
use portcullis_core::{Secret, Span, TenantId, UserId};
use portcullis_events::Actor;
use portcullis_vault::TokenHash;

use super::made_roles::Gives;
use super::*;
use crate::Client;
use crate::accounts::Registering;
use crate::testing::{EMAIL, House, PASSWORD, secret};

struct Town {
    house: House,
    tenants: Tenants,
    acme: TenantId,
}

fn operator() -> By {
    By::operator()
}

fn by(user: UserId) -> By {
    By::themselves(Actor::User(user), Client::default())
}

fn words_of(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

impl Town {
    async fn build() -> Town {
        let house = House::build().await;
        let roles = Roles::compile(&default_roles()).unwrap();
        house.sessions().policy().set(Arc::new(roles));
        let tenants = house.tenants();
        let acme = tenants
            .create("acme", "Acme", &operator())
            .await
            .unwrap()
            .id;
        Town {
            house,
            tenants,
            acme,
        }
    }

    /// A member of acme with these roles, and nothing anywhere else.
    async fn member(&self, email: &str, roles: &[&str]) -> UserId {
        let password = secret(PASSWORD);
        let new = Registering {
            email,
            password: &password,
            display_name: None,
        };
        let id = self.house.open(&new).await;
        self.tenants
            .set_roles(self.acme, id, &words_of(roles), &operator())
            .await
            .unwrap();
        id
    }

    async fn session(&self, email: &str) -> TokenHash {
        let signed_in = self
            .house
            .accounts
            .login(email, &secret(PASSWORD), &Client::default())
            .await
            .unwrap();
        signed_in.session.token.hash()
    }

    /// As the pipeline does: memory first.
    async fn user(&self, hash: &TokenHash) -> User {
        match self.house.sessions().lookup(hash) {
            crate::Lookup::Live(user) => user,
            crate::Lookup::Dead | crate::Lookup::Unknown | crate::Lookup::Stale => {
                self.house.sessions().load(hash).await.unwrap().unwrap()
            }
        }
    }

    async fn permissions(&self, hash: &TokenHash) -> Vec<String> {
        let standing = self.user(hash).await.standing.unwrap();
        standing
            .permissions
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

#[tokio::test]
async fn a_short_name_is_never_given_twice_and_never_looks_like_an_id() {
    let town = Town::build().await;
    let again = town.tenants.create("acme", "Other", &operator()).await;
    assert!(matches!(again, Err(Error::SlugTaken)));
    let id = town.acme.to_string();
    let id = town.tenants.create(&id, "Other", &operator()).await;
    assert!(matches!(id, Err(Error::Slug)));
}

#[tokio::test]
async fn a_session_bears_what_its_user_holds_in_the_tenant_and_drops_it_at_once() {
    let town = Town::build().await;
    let bob = town.member("bob@corp.test", &["user"]).await;
    let hash = town.session("bob@corp.test").await;
    let user = town.user(&hash).await;
    assert_eq!(user.tenant, Some(town.acme));
    assert_eq!(&*user.standing.unwrap().roles, [Arc::<str>::from("user")]);
    assert!(user.roles.is_empty(), "nothing of it counts elsewhere");
    town.tenants
        .set_roles(town.acme, bob, &words_of(&["moderator"]), &operator())
        .await
        .unwrap();
    let roles = town.user(&hash).await.standing.unwrap().roles.clone();
    assert_eq!(&*roles, [Arc::<str>::from("moderator")]);
    town.tenants
        .remove(town.acme, bob, &operator())
        .await
        .unwrap();
    let user = town.user(&hash).await;
    assert_eq!((user.tenant, user.standing), (None, None));
}

#[tokio::test]
async fn nobody_gives_a_role_that_is_more_than_theirs_nor_takes_one() {
    let town = Town::build().await;
    let admin = town.member("admin@corp.test", &["admin"]).await;
    let premium = town.member("premium@corp.test", &["premium"]).await;
    let bob = town.member("bob@corp.test", &["user"]).await;
    let set = async |giver, user, roles: &[&str]| {
        town.tenants
            .set_roles(town.acme, user, &words_of(roles), &by(giver))
            .await
    };
    assert!(set(premium, bob, &["premium"]).await.is_ok());
    assert!(matches!(
        set(premium, bob, &["admin"]).await,
        Err(Error::MoreThanHeld(_))
    ));
    assert!(matches!(
        set(premium, premium, &["premium", "admin"]).await,
        Err(Error::MoreThanHeld(_))
    ));
    assert!(matches!(
        set(premium, admin, &[]).await,
        Err(Error::MoreThanHeld(_))
    ));
    assert!(matches!(
        set(admin, bob, &["emperor"]).await,
        Err(Error::UnknownRole(_))
    ));
    assert!(set(admin, bob, &["moderator"]).await.is_ok());
    let stranger = town.house.user;
    assert!(matches!(
        set(stranger, bob, &["user"]).await,
        Err(Error::MoreThanHeld(_))
    ));
    assert!(matches!(
        set(admin, stranger, &["user"]).await,
        Err(Error::NotFound)
    ));
}

#[tokio::test]
async fn an_invitation_works_once_for_its_address_while_its_inviter_holds_what_it_gives() {
    let town = Town::build().await;
    let admin = town.member("admin@corp.test", &["admin"]).await;
    let invite = async |roles: &[&str]| {
        town.tenants
            .invite(town.acme, EMAIL, &words_of(roles), &by(admin))
            .await
    };
    let redeem = async |token: &Secret<String>, user| {
        town.tenants
            .redeem(token, (user, None), &Client::default())
            .await
    };
    let token = invite(&["user"]).await.unwrap().token;
    let stranger = town.member("bob@corp.test", &[]).await;
    assert!(matches!(
        redeem(&token, stranger).await,
        Err(Error::NotFound)
    ));
    assert_eq!(redeem(&token, town.house.user).await.unwrap().id, town.acme);
    assert!(matches!(
        redeem(&token, town.house.user).await,
        Err(Error::NotFound)
    ));
    town.tenants
        .remove(town.acme, town.house.user, &operator())
        .await
        .unwrap();
    let token = invite(&["moderator"]).await.unwrap().token;
    town.tenants
        .set_roles(town.acme, admin, &words_of(&["user"]), &operator())
        .await
        .unwrap();
    assert!(matches!(
        redeem(&token, town.house.user).await,
        Err(Error::NotFound)
    ));
    let late = invite(&["user"]).await.unwrap().token;
    town.house.clock.advance(Span::from_days(7));
    assert!(matches!(
        redeem(&late, town.house.user).await,
        Err(Error::NotFound)
    ));
    let hashes = "SELECT count(*) AS n FROM invitation WHERE length(token_hash) = 32";
    assert_eq!(town.house.count(hashes).await, 3);
}

#[tokio::test]
async fn a_role_of_the_tenant_s_own_gives_what_it_says_from_the_next_request_on() {
    let town = Town::build().await;
    let admin = town.member("admin@corp.test", &["admin"]).await;
    let bob = town.member("bob@corp.test", &["user"]).await;
    let make = async |permissions: &[&str]| {
        let gives = Gives {
            permissions: words_of(permissions),
            inherits: Vec::new(),
        };
        town.tenants
            .make_role(town.acme, "auditor", &gives, &by(admin))
            .await
    };
    make(&["read:all"]).await.unwrap();
    let roles = words_of(&["user", "custom:auditor"]);
    town.tenants
        .set_roles(town.acme, bob, &roles, &by(admin))
        .await
        .unwrap();
    let hash = town.session("bob@corp.test").await;
    assert_eq!(town.permissions(&hash).await, ["read:all"]);
    make(&["delete:all"]).await.unwrap();
    assert_eq!(town.permissions(&hash).await, ["delete:all"]);
    assert!(matches!(
        make(&["moderate:content"]).await,
        Err(Error::MoreThanHeld(_))
    ));
    assert!(matches!(
        make(&["fly:all"]).await,
        Err(Error::UnknownPermission(_))
    ));
    town.tenants
        .unmake_role(town.acme, "auditor", &by(admin))
        .await
        .unwrap();
    assert!(town.permissions(&hash).await.is_empty());
    make(&["read:all"]).await.unwrap();
    assert!(
        town.permissions(&hash).await.is_empty(),
        "another role of the same name"
    );
}

#[tokio::test]
async fn what_is_lent_ends_with_its_time_and_falls_with_the_lender() {
    let town = Town::build().await;
    let admin = town.member("admin@corp.test", &["admin"]).await;
    let bob = town.member("bob@corp.test", &["user"]).await;
    let hash = town.session("bob@corp.test").await;
    let lend = async |lender, to, permission: &str, time| {
        town.tenants
            .lend(town.acme, to, permission, time, &by(lender))
            .await
    };
    let hour = Span::from_hours(1);
    assert!(matches!(
        lend(bob, admin, "read:all", hour).await,
        Err(Error::MoreThanHeld(_))
    ));
    assert!(matches!(
        lend(admin, bob, "read:all", Span::from_days(31)).await,
        Err(Error::Lifetime)
    ));
    lend(admin, bob, "read:all", hour).await.unwrap();
    assert_eq!(town.permissions(&hash).await, ["read:all"]);
    // Nothing is lent on.
    assert!(matches!(
        lend(bob, admin, "read:all", hour).await,
        Err(Error::MoreThanHeld(_))
    ));
    for _ in 0..3 {
        town.house.clock.advance(Span::from_minutes(20));
        town.house.news().await;
        let _ = town.user(&hash).await;
        town.house.sessions().flush().await.unwrap();
    }
    assert!(town.permissions(&hash).await.is_empty(), "its time is over");
    let again = lend(admin, bob, "read:all", hour).await.unwrap();
    assert_eq!(town.permissions(&hash).await, ["read:all"]);
    town.tenants
        .take_back(town.acme, again.id, &by(admin))
        .await
        .unwrap();
    assert!(town.permissions(&hash).await.is_empty(), "taken back");
    for fall in ["role", "membership", "account"] {
        let lender = town.member(&format!("{fall}@corp.test"), &["admin"]).await;
        lend(lender, bob, "write:all", hour).await.unwrap();
        assert_eq!(town.permissions(&hash).await, ["write:all"], "{fall}");
        match fall {
            "role" => town
                .tenants
                .set_roles(town.acme, lender, &words_of(&["user"]), &operator())
                .await
                .unwrap(),
            "membership" => town
                .tenants
                .remove(town.acme, lender, &operator())
                .await
                .unwrap(),
            _ => town.house.deactivate(lender).await,
        }
        town.house.news().await;
        assert!(town.permissions(&hash).await.is_empty(), "{fall}");
    }
}

#[tokio::test]
async fn working_in_another_tenant_takes_another_token() {
    let town = Town::build().await;
    let bob = town.member("bob@corp.test", &["user"]).await;
    let globex = town
        .tenants
        .create("globex", "Globex", &operator())
        .await
        .unwrap()
        .id;
    let initech = town
        .tenants
        .create("initech", "Initech", &operator())
        .await
        .unwrap()
        .id;
    town.tenants
        .set_roles(globex, bob, &words_of(&["admin"]), &operator())
        .await
        .unwrap();
    let old = town.session("bob@corp.test").await;
    let user = town.user(&old).await;
    let session = crate::revoke::session_id(&old);
    let to = async |tenant| {
        let client = Client::default();
        town.tenants.switch(user.id, session, tenant, &client).await
    };
    assert!(matches!(to(initech).await, Err(Error::NotFound)));
    let new = to(globex).await.unwrap().hash();
    let user = town.user(&new).await;
    assert_eq!(user.tenant, Some(globex));
    assert_eq!(&*user.standing.unwrap().roles, [Arc::<str>::from("admin")]);
    assert!(town.house.sessions().load(&old).await.unwrap().is_none());
    assert!(
        matches!(to(globex).await, Err(Error::NotFound)),
        "the old session has ended"
    );
}

#[tokio::test]
async fn the_directory_forgets_what_was_suspended_and_trusts_no_late_memory() {
    let town = Town::build().await;
    let directory = town.tenants.directory();
    assert!(directory.lookup(town.acme).is_none());
    assert!(
        !directory
            .load(town.acme)
            .await
            .unwrap()
            .unwrap()
            .is_suspended
    );
    assert!(directory.lookup(town.acme).is_some());
    town.tenants.suspend(town.acme, &operator()).await.unwrap();
    assert!(directory.lookup(town.acme).is_none());
    assert!(
        directory
            .load(town.acme)
            .await
            .unwrap()
            .unwrap()
            .is_suspended
    );
    town.house.clock.advance(Span::from_seconds(6));
    assert!(directory.lookup(town.acme).is_none(), "news is late");
}
