use std::sync::Arc;

use super::*;
use crate::binding::Place;
use crate::principal::Owner;
use crate::roles::default_roles;
use crate::route::{Found, Methods, Pattern, RouteTable};
use crate::{ApiKeyId, SessionId, TenantId, Timestamp, UserId, VisitorId};

const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

fn holder(role: &str) -> Principal {
    Principal::User(User {
        id: UserId::new(),
        credential: Credential::Session(SessionId::new()),
        tenant: None,
        standing: None,
        roles: Arc::from([Arc::from(role)]),
        authenticated_at: Timestamp::EPOCH,
        second_factor_at: None,
    })
}

fn decide_plain(access: &Access, principal: &Principal) -> Result<Because, Denied> {
    let roles = Roles::compile(&default_roles()).unwrap();
    let rule = Rule {
        callers: every_kind(),
        ..Rule::new(access.clone())
    };
    let place = home(principal);
    let params = Params::default();
    let asked = Asked {
        place: place.as_ref(),
        ..Asked::path(&params, NOW)
    };
    decide(&rule, principal, &roles, &asked).map(|permit| permit.because())
}

/// The tenant of a caller, as the register would have it.
fn home(principal: &Principal) -> Option<Place> {
    Some(Place {
        id: principal.tenant()?,
        slug: "acme".into(),
        is_suspended: false,
    })
}

fn every_kind() -> Callers {
    [CallerKind::User, CallerKind::ApiKey, CallerKind::Visitor]
        .into_iter()
        .collect()
}

fn key(permissions: &[&str]) -> Principal {
    Principal::ApiKey(ApiKey {
        id: ApiKeyId::new(),
        tenant: None,
        owner: None,
        permissions: permissions.iter().copied().map(Arc::from).collect(),
        routes: None,
        rate: None,
    })
}

#[test]
fn a_key_may_no_more_than_its_owner_and_uses_its_routes_alone() {
    let roles = Roles::compile(&default_roles()).unwrap();
    let manage = Access::Permission {
        mask: roles.permission_mask("manage:users").unwrap(),
        name: "manage:users".to_owned(),
    };
    let Principal::ApiKey(plain) = key(&["manage:users"]) else {
        panic!("no key")
    };
    for (role, allowed) in [("admin", true), ("user", false), ("gone", false)] {
        let owner = Owner {
            id: UserId::new(),
            roles: Arc::from([Arc::from(role)]),
        };
        let key = ApiKey {
            owner: Some(owner),
            ..plain.clone()
        };
        let decided = decide_plain(&manage, &Principal::ApiKey(key));
        assert_eq!(decided.is_ok(), allowed, "{role}");
    }
    for (path, allowed) in [
        ("/api/export", true),
        ("/API/export/{id}", true),
        ("/api/exports", false),
        ("/api/{*rest}", false),
        ("/", false),
    ] {
        let rule = Rule {
            callers: every_kind(),
            path: path.into(),
            ..Rule::new(Access::SignedIn)
        };
        let key = ApiKey {
            routes: Some(Arc::from([Arc::from("/api/export/")])),
            ..plain.clone()
        };
        let params = Params::default();
        let asked = Asked::path(&params, NOW);
        let decided = decide(&rule, &Principal::ApiKey(key), &roles, &asked);
        assert_eq!(decided.is_ok(), allowed, "{path}");
    }
}

fn visitor() -> Principal {
    Principal::Visitor(Visitor {
        id: VisitorId::new(),
        tenant: TenantId::new(),
        origin: "https://shop.test".into(),
    })
}

#[test]
fn a_route_admits_the_kinds_of_callers_that_it_names_and_no_other() {
    let roles = Roles::compile(&default_roles()).unwrap();
    let callers = [holder("admin"), key(&["manage:users"]), visitor()];
    for (position, caller) in callers.iter().enumerate() {
        let kind = caller.kind().unwrap();
        for (other, named) in callers.iter().enumerate() {
            let rule = Rule {
                callers: Callers::NONE.and(named.kind().unwrap()),
                ..Rule::new(Access::SignedIn)
            };
            let place = home(caller);
            let params = Params::default();
            let asked = Asked {
                place: place.as_ref(),
                ..Asked::path(&params, NOW)
            };
            let decided = decide(&rule, caller, &roles, &asked);
            if position == other {
                assert!(decided.is_ok(), "{kind}");
            } else {
                assert_eq!(decided.unwrap_err(), Denied::Caller(kind));
            }
        }
    }
    let decided = |caller| {
        let place = home(caller);
        let params = Params::default();
        let asked = Asked {
            place: place.as_ref(),
            ..Asked::path(&params, NOW)
        };
        decide(&Rule::new(Access::SignedIn), caller, &roles, &asked).is_ok()
    };
    assert_eq!(callers.each_ref().map(decided), [true, false, false]);
}

#[test]
fn a_key_has_its_permissions_and_no_role_and_a_visitor_has_neither() {
    let roles = Roles::compile(&default_roles()).unwrap();
    let admin = Access::Role {
        any_of: roles.role_mask(&["admin".to_owned()]).unwrap(),
        names: vec!["admin".to_owned()],
    };
    let manage = Access::Permission {
        mask: roles.permission_mask("manage:users").unwrap(),
        name: "manage:users".to_owned(),
    };
    let owned = Access::owned("read", "id", &roles).unwrap();
    let able = key(&["manage:users", "read:all"]);
    assert_eq!(decide_plain(&manage, &able), Ok(Because::Permission));
    assert_eq!(decide_plain(&owned, &able), Ok(Because::Permission));
    for (access, caller) in [
        (&admin, &able),
        (&manage, &key(&["manage:user"])),
        (&owned, &key(&["read:own"])),
        (&admin, &visitor()),
        (&manage, &visitor()),
        (&owned, &visitor()),
    ] {
        assert!(decide_plain(access, caller).is_err(), "{access:?}");
    }
}

#[test]
fn a_closed_route_is_closed_to_everybody() {
    assert_eq!(
        decide_plain(&Access::Closed, &holder("admin")),
        Err(Denied::Closed)
    );
}

#[test]
fn only_public_routes_are_open_to_nobody_in_particular() {
    let roles = Roles::compile(&default_roles()).unwrap();
    let admin = Access::Role {
        any_of: roles.role_mask(&["admin".to_owned()]).unwrap(),
        names: vec!["admin".to_owned()],
    };
    let manage = Access::Permission {
        mask: roles.permission_mask("manage:users").unwrap(),
        name: "manage:users".to_owned(),
    };
    let own = Access::owned("read", "id", &roles).unwrap();
    assert_eq!(
        decide_plain(&Access::Public, &Principal::Anonymous),
        Ok(Because::Public)
    );
    for access in [Access::SignedIn, admin, manage, own] {
        assert_eq!(
            decide_plain(&access, &Principal::Anonymous),
            Err(Denied::Anonymous),
            "{access:?}"
        );
    }
}

#[test]
fn roles_and_permissions_are_asked_for() {
    let roles = Roles::compile(&default_roles()).unwrap();
    let admin = Access::Role {
        any_of: roles.role_mask(&["admin".to_owned()]).unwrap(),
        names: vec!["admin".to_owned()],
    };
    assert_eq!(decide_plain(&admin, &holder("admin")), Ok(Because::Role));
    assert_eq!(
        decide_plain(&admin, &holder("user")),
        Err(Denied::Role(vec!["admin".to_owned()]))
    );
    let manage = Access::Permission {
        mask: roles.permission_mask("manage:users").unwrap(),
        name: "manage:users".to_owned(),
    };
    assert_eq!(
        decide_plain(&manage, &holder("admin")),
        Ok(Because::Permission)
    );
    assert!(matches!(
        decide_plain(&manage, &holder("user")),
        Err(Denied::Permission(_))
    ));
}

#[test]
fn an_owner_reaches_what_is_theirs_and_nothing_else() {
    let roles = Roles::compile(&default_roles()).unwrap();
    let access = Access::owned("read", "id", &roles).unwrap();
    let mut table = RouteTable::default();
    table
        .insert(Pattern::parse("/users/{id}").unwrap(), Methods::Any, ())
        .unwrap();
    let asks = |principal: &Principal, id: String| {
        let path = format!("/users/{id}");
        let Found::Route { params, .. } = table.find(&Method::GET, &path) else {
            panic!("no route")
        };
        decide(
            &Rule::new(access.clone()),
            principal,
            &roles,
            &Asked::path(&params, NOW),
        )
        .map(|permit| permit.because())
    };
    let user = holder("user");
    let own = user.user().unwrap().id.to_string();
    assert_eq!(asks(&user, own.clone()), Ok(Because::Owner));
    assert_eq!(asks(&user, own.to_uppercase()), Ok(Because::Owner));
    assert!(matches!(
        asks(&user, UserId::new().to_string()),
        Err(Denied::NotOwner { .. })
    ));
    assert_eq!(asks(&holder("admin"), own), Ok(Because::Permission));
}

#[test]
fn a_second_factor_is_asked_of_people_and_only_where_it_is_missing() {
    let roles = Roles::compile(&default_roles()).unwrap();
    let mask = roles.role_mask(&["admin".to_owned()]).unwrap();
    let proved = |principal: &Principal| match principal.clone() {
        Principal::User(user) => Principal::User(User {
            second_factor_at: Some(NOW),
            ..user
        }),
        other => other,
    };
    let asks = |second_factor, principal: &Principal| {
        let rule = Rule {
            second_factor,
            callers: every_kind(),
            ..Rule::new(Access::SignedIn)
        };
        let params = Params::default();
        decide(&rule, principal, &roles, &Asked::path(&params, NOW)).map(|_| ())
    };
    let (admin, user) = (holder("admin"), holder("user"));
    let no = Err(Denied::SecondFactor);
    assert_eq!(asks(SecondFactor::OfAll, &user), no);
    assert_eq!(asks(SecondFactor::OfAll, &admin), no);
    assert_eq!(asks(SecondFactor::OfRoles(mask), &admin), no);
    assert_eq!(asks(SecondFactor::OfRoles(mask), &user), Ok(()));
    assert_eq!(asks(SecondFactor::NotAsked, &admin), Ok(()));
    for factor in [SecondFactor::OfAll, SecondFactor::OfRoles(mask)] {
        assert_eq!(asks(factor, &proved(&admin)), Ok(()));
        assert_eq!(asks(factor, &key(&[])), Ok(()));
        assert_eq!(asks(factor, &visitor()), Ok(()));
    }
}

#[test]
fn a_consent_is_asked_of_everybody_who_would_come_in_and_in_its_version_alone() {
    let roles = Roles::compile(&default_roles()).unwrap();
    let consent = |version: &str| Consent {
        purpose: "marketing".into(),
        version: version.into(),
    };
    let asks = |access: Access, principal: &Principal, agreed: &[Consent]| {
        let rule = Rule {
            consent: Some(consent("2")),
            callers: every_kind(),
            ..Rule::new(access)
        };
        let params = Params::default();
        let asked = Asked {
            agreed,
            ..Asked::path(&params, NOW)
        };
        decide(&rule, principal, &roles, &asked).map(|_| ())
    };
    let no = Err(Denied::Consent(consent("2")));
    let user = holder("user");
    for principal in [&user, &holder("admin"), &key(&[]), &visitor()] {
        assert_eq!(asks(Access::SignedIn, principal, &[]), no);
        assert_eq!(asks(Access::SignedIn, principal, &[consent("1")]), no);
        let both = [consent("1"), consent("2")];
        assert_eq!(asks(Access::SignedIn, principal, &both), Ok(()));
    }
    // Whoever may not come at all is not asked to agree to anything.
    let closed = asks(Access::Closed, &user, &[consent("2")]);
    assert_eq!(closed, Err(Denied::Closed));
    let stranger = asks(Access::SignedIn, &Principal::Anonymous, &[consent("2")]);
    assert_eq!(stranger, Err(Denied::Anonymous));
    // A route that is open to everybody and asks all the same is open to no stranger.
    let stranger = asks(Access::Public, &Principal::Anonymous, &[consent("2")]);
    assert_eq!(stranger, Err(Denied::Anonymous));
    assert_eq!(asks(Access::Public, &user, &[]), no);
}

#[test]
fn an_old_sign_in_is_not_enough_where_a_recent_one_is_asked_for() {
    let roles = Roles::compile(&default_roles()).unwrap();
    let max_age = Span::from_minutes(15);
    let rule = Rule {
        max_age: Some(max_age),
        ..Rule::new(Access::SignedIn)
    };
    let signed_in = |ago: u64| match holder("user") {
        Principal::User(user) => Principal::User(User {
            authenticated_at: NOW - Span::from_seconds(ago),
            // A code alone makes no sign-in newer.
            second_factor_at: Some(NOW),
            ..user
        }),
        other => other,
    };
    let decided = |ago| {
        let params = Params::default();
        decide(&rule, &signed_in(ago), &roles, &Asked::path(&params, NOW)).map(|_| ())
    };
    assert_eq!(decided(900), Ok(()));
    assert_eq!(decided(901), Err(Denied::TooLongAgo(max_age)));
}
