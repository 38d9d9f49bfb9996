//! Tenants in the decision: who comes from where, and what counts there.

use std::sync::Arc;

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::binding::Place;
use crate::principal::{Credential, Standing};
use crate::roles::default_roles;
use crate::route::{Found, Methods, Pattern, RouteTable};
use crate::{ApiKeyId, SessionId, TenantId, Timestamp, UserId};

fn roles() -> Roles {
    Roles::compile(&default_roles()).unwrap()
}

fn place(slug: &str) -> Place {
    Place {
        id: TenantId::new(),
        slug: slug.into(),
        is_suspended: false,
    }
}

fn arcs(words: &[&str]) -> Arc<[Arc<str>]> {
    words.iter().copied().map(Arc::from).collect()
}

/// Somebody with these roles everywhere, and that standing in the tenant.
fn member(place: &Place, everywhere: &[&str], there: &[&str], permissions: &[&str]) -> Principal {
    Principal::User(User {
        id: UserId::new(),
        credential: Credential::Session(SessionId::new()),
        tenant: Some(place.id),
        standing: Some(Arc::new(Standing {
            roles: arcs(there),
            permissions: arcs(permissions),
        })),
        roles: arcs(everywhere),
        authenticated_at: Timestamp::EPOCH,
        second_factor_at: None,
    })
}

fn asks(
    rule: &Rule,
    principal: &Principal,
    place: Option<&Place>,
    org: &str,
) -> Result<Because, Denied> {
    let mut table = RouteTable::default();
    table
        .insert(Pattern::parse("/orgs/{org}").unwrap(), Methods::Any, ())
        .unwrap();
    let path = format!("/orgs/{org}");
    let Found::Route { params, .. } = table.find(&Method::GET, &path) else {
        panic!("no route")
    };
    let asked = Asked {
        place,
        ..Asked::path(&params, Timestamp::EPOCH)
    };
    decide(rule, principal, &roles(), &asked).map(|permit| permit.because())
}

fn bound(access: Access) -> Rule {
    Rule {
        tenant: Some(Binding::Path("org".to_owned())),
        ..Rule::new(access)
    }
}

fn permission(name: &str) -> Access {
    Access::Permission {
        mask: roles().permission_mask(name).unwrap(),
        name: name.to_owned(),
    }
}

#[test]
fn only_a_caller_of_the_tenant_that_is_named_passes_whatever_else_they_hold() {
    let (acme, globex) = (place("acme"), place("globex"));
    let rule = bound(Access::SignedIn);
    let ours = member(&acme, &[], &["user"], &[]);
    let theirs = member(&globex, &["admin"], &["admin"], &[]);
    assert_eq!(
        asks(&rule, &ours, Some(&acme), "acme"),
        Ok(Because::SignedIn)
    );
    assert_eq!(
        asks(&rule, &ours, Some(&acme), &acme.id.to_string()),
        Ok(Because::SignedIn)
    );
    for (caller, place, org) in [
        (&theirs, Some(&globex), "acme"),
        (&ours, Some(&acme), "globex"),
        // A register that knows nothing, or something else, of the caller's tenant.
        (&ours, None, "acme"),
        (&theirs, Some(&acme), "acme"),
    ] {
        assert!(matches!(
            asks(&rule, caller, place, org),
            Err(Denied::OtherTenant(_))
        ));
    }
    assert_eq!(
        asks(&rule, &Principal::Anonymous, None, "acme"),
        Err(Denied::Anonymous)
    );
}

#[test]
fn somebody_without_a_tenant_passes_no_route_that_asks_for_one() {
    let caller = Principal::User(User {
        tenant: None,
        standing: None,
        ..member(&place("acme"), &["admin"], &[], &[])
            .user()
            .unwrap()
            .clone()
    });
    let any = Rule {
        tenant: Some(Binding::Any),
        ..Rule::new(Access::SignedIn)
    };
    for rule in [&any, &bound(Access::SignedIn)] {
        let decided = asks(rule, &caller, None, "acme");
        assert_eq!(decided, Err(Denied::NoTenant));
    }
    assert_eq!(
        asks(&Rule::new(Access::SignedIn), &caller, None, "acme"),
        Ok(Because::SignedIn)
    );
}

#[test]
fn a_suspended_tenant_reaches_nothing_of_the_product() {
    let acme = Place {
        is_suspended: true,
        ..place("acme")
    };
    let caller = member(&acme, &["admin"], &["admin"], &[]);
    for rule in [
        Rule::new(Access::SignedIn),
        bound(permission("manage:users")),
    ] {
        assert_eq!(
            asks(&rule, &caller, Some(&acme), "acme"),
            Err(Denied::TenantSuspended)
        );
    }
}

#[test]
fn what_is_held_in_a_tenant_does_not_count_for_the_gate_itself() {
    let acme = place("acme");
    let of_tenant = member(&acme, &[], &["admin"], &["manage:users"]);
    let of_gate = member(&acme, &["admin"], &[], &[]);
    let for_gate = Rule {
        scope: Scope::Gate,
        ..Rule::new(permission("manage:users"))
    };
    let for_tenant = bound(permission("manage:users"));
    assert_eq!(
        asks(&for_tenant, &of_tenant, Some(&acme), "acme"),
        Ok(Because::Permission)
    );
    assert!(matches!(
        asks(&for_gate, &of_tenant, Some(&acme), "acme"),
        Err(Denied::Permission(_))
    ));
    assert_eq!(
        asks(&for_gate, &of_gate, Some(&acme), "acme"),
        Ok(Because::Permission)
    );
    let key = |tenant| {
        Principal::ApiKey(ApiKey {
            id: ApiKeyId::new(),
            tenant,
            owner: None,
            routes: None,
            rate: None,
            permissions: arcs(&["manage:users"]),
        })
    };
    let for_gate = Rule {
        callers: [CallerKind::ApiKey].into_iter().collect(),
        ..for_gate
    };
    assert!(matches!(
        asks(&for_gate, &key(Some(acme.id)), Some(&acme), "acme"),
        Err(Denied::Permission(_))
    ));
    assert_eq!(
        asks(&for_gate, &key(None), None, "acme"),
        Ok(Because::Permission)
    );
}

#[test]
fn permissions_of_the_tenant_s_own_roles_and_lent_ones_count_there() {
    let acme = place("acme");
    let caller = member(&acme, &[], &["custom:auditor"], &["read:all"]);
    assert_eq!(
        asks(&bound(permission("read:all")), &caller, Some(&acme), "acme"),
        Ok(Because::Permission)
    );
    assert!(
        asks(
            &bound(permission("write:all")),
            &caller,
            Some(&acme),
            "acme"
        )
        .is_err()
    );
}

#[test]
fn a_visitor_reaches_what_the_path_says_is_theirs_and_nothing_else() {
    let acme = place("acme");
    let visitor = Visitor {
        id: crate::VisitorId::new(),
        tenant: acme.id,
        origin: "https://shop.test".into(),
    };
    let caller = Principal::Visitor(visitor.clone());
    let rule = Rule {
        callers: [CallerKind::Visitor].into_iter().collect(),
        ..Rule::new(Access::owned("read", "org", &roles()).unwrap())
    };
    let own = visitor.id.to_string();
    assert_eq!(asks(&rule, &caller, Some(&acme), &own), Ok(Because::Owner));
    let other = crate::VisitorId::new().to_string();
    assert!(matches!(
        asks(&rule, &caller, Some(&acme), &other),
        Err(Denied::NotOwner { .. })
    ));
}

proptest! {
    #[test]
    fn no_holding_opens_another_tenant(
        everywhere in proptest::sample::subsequence(vec!["user", "premium", "moderator", "admin"], 0..=4),
        there in proptest::sample::subsequence(vec!["user", "premium", "moderator", "admin"], 0..=4),
        org in "[a-zA-Z0-9%.-]{1,16}",
    ) {
        let acme = place("acme");
        let caller = member(&acme, &everywhere, &there, &["read:all"]);
        let decided = asks(&bound(Access::SignedIn), &caller, Some(&acme), &org);
        let names_acme = crate::path::decode_segment(&org) == "acme";
        prop_assert_eq!(decided.is_ok(), names_acme);
    }
}
