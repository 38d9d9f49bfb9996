//! The one decision: may this principal use this route?
//!
//! [`decide`] is the only maker of a [`Permit`], and forwarding takes a [`Permit`] by value, so a
//! request that was not decided cannot be forwarded: it does not compile. In the path, beside a
//! proxy, in `explain`: all ask this function.

use std::fmt;

use http::Method;

use uuid::Uuid;

use crate::binding::{Asked, Binding};
use crate::principal::{ApiKey, CallerKind, Callers, Credential, Principal, User, Visitor};
use crate::problem::{self, Problem};
use crate::roles::{Grants, Mask, RoleError, Roles};
use crate::route::Params;
use crate::{Span, Timestamp};

/// What a route asks of its callers, compiled. Each condition stands for itself: all must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub access: Access,
    /// The kinds of callers that may come at all, where the route is not public.
    pub callers: Callers,
    /// The route's path as the policy writes it, for keys that are for some routes alone.
    pub path: Box<str>,
    /// Of whom a second factor is asked.
    pub second_factor: SecondFactor,
    /// How long ago a person may have signed in.
    pub max_age: Option<Span>,
    /// Where the request names the tenant that the caller has to work in.
    pub tenant: Option<Binding>,
    /// What the person must have agreed to.
    pub consent: Option<Consent>,
    pub scope: Scope,
}

/// A purpose, in the version of its text that is shown now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Consent {
    pub purpose: Box<str>,
    pub version: Box<str>,
}

/// As it is written in a configuration.
impl fmt::Display for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.purpose, self.version)
    }
}

/// Of whom a route asks a second factor. It is people who prove factors: a program has a key that a
/// person gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondFactor {
    /// Of nobody: the way to a second factor itself.
    NotAsked,
    /// Of people who hold one of these roles.
    OfRoles(Mask),
    /// Of every person.
    OfAll,
}

/// What a route is about, and so which of the caller's roles count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// The product, or something of the caller's own tenant: what is held there counts.
    #[default]
    Tenant,
    /// The gate itself, and so every tenant.
    ///
    /// SECURITY: only what is held everywhere counts. An administrator of one customer, and a key
    /// of one customer, would otherwise manage the accounts of all.
    Gate,
}

impl Rule {
    /// For people alone, with no further condition.
    pub fn new(access: Access) -> Self {
        Rule {
            access,
            callers: Callers::USERS,
            path: Box::default(),
            second_factor: SecondFactor::NotAsked,
            max_age: None,
            tenant: None,
            consent: None,
            scope: Scope::Tenant,
        }
    }
}

/// Who may use a route, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Nobody. What a person has not opened yet.
    Closed,
    /// Everybody, signed in or not.
    Public,
    /// Every caller who is known, of the kinds that the route admits.
    SignedIn,
    /// Who holds one of these roles.
    Role { any_of: Mask, names: Vec<String> },
    /// Who holds this permission.
    Permission { mask: Mask, name: String },
    /// Who holds `action:all`, or holds `action:own` and is the owner that the path names.
    Owned {
        action: String,
        all: Option<Mask>,
        own: Option<Mask>,
        owner: String,
    },
}

impl Access {
    /// Access for `action` on things whose owner stands in the path parameter `owner`.
    pub fn owned(action: &str, owner: &str, roles: &Roles) -> Result<Access, RoleError> {
        let all = roles.permission_mask(&format!("{action}:all"));
        let own = roles.permission_mask(&format!("{action}:own"));
        if let (Err(_), Err(_)) = (&all, &own) {
            return Err(RoleError::UnknownPermission(format!("{action}:own")));
        }
        Ok(Access::Owned {
            action: action.to_owned(),
            all: all.ok(),
            own: own.ok(),
            owner: owner.to_owned(),
        })
    }
}

/// Proof that a request may be forwarded. Only [`decide`] makes one.
#[must_use]
#[derive(Debug)]
pub struct Permit {
    because: Because,
}

impl Permit {
    pub const fn because(&self) -> Because {
        self.because
    }
}

/// Why a request was permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    Public,
    SignedIn,
    /// A program or a visitor, of a kind that the route admits.
    Admitted(CallerKind),
    Role,
    Permission,
    Owner,
}

impl Because {
    /// One sentence for `explain`.
    pub const fn sentence(self) -> &'static str {
        match self {
            Because::Public => "the route is public",
            Because::SignedIn => "the caller is signed in",
            Because::Admitted(CallerKind::User) => "the route admits users",
            Because::Admitted(CallerKind::ApiKey) => "the route admits API keys",
            Because::Admitted(CallerKind::Visitor) => "the route admits visitors",
            Because::Role => "the caller holds a role that the route names",
            Because::Permission => "the caller holds the permission that the route asks for",
            Because::Owner => "the caller is the owner that the path names",
        }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("no route matches the path")]
    NoRoute,
    #[error("the route does not answer to this method")]
    WrongMethod { allow: Vec<Method> },
    #[error("the route is closed")]
    Closed,
    #[error("nobody is signed in")]
    Anonymous,
    #[error("the route does not admit callers of the kind `{0}`")]
    Caller(CallerKind),
    #[error("the key is for other routes")]
    NotForKey,
    #[error("the caller has proved one factor, and a second one is asked for")]
    SecondFactor,
    #[error("the caller signed in longer than {0} ago")]
    TooLongAgo(Span),
    #[error("the person has not agreed to `{0}`, or does no more, or there is no person")]
    Consent(Consent),
    #[error("the caller does not work in the tenant that `tenant = {0}` names here")]
    OtherTenant(String),
    #[error("the route asks for somebody who works in a tenant, and the caller chose none")]
    NoTenant,
    #[error("the caller's tenant is suspended")]
    TenantSuspended,
    #[error("the caller holds none of the roles {0:?}")]
    Role(Vec<String>),
    #[error("the caller does not hold the permission `{0}`")]
    Permission(String),
    #[error(
        "the caller may `{action}` what is their own, and `{owner}` in the path is somebody else"
    )]
    NotOwner { action: String, owner: String },
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NoRoute => Problem::new(&problem::NO_ROUTE),
            Denied::WrongMethod { allow } => {
                Problem::new(&problem::METHOD_NOT_ALLOWED).allowing(&allow)
            }
            Denied::Closed => Problem::new(&problem::ROUTE_CLOSED),
            Denied::Anonymous => Problem::new(&problem::AUTHENTICATION_REQUIRED),
            Denied::Caller(_) | Denied::NotForKey | Denied::Role(_) | Denied::Permission(_) => {
                Problem::new(&problem::NOT_PERMITTED)
            }
            Denied::SecondFactor => Problem::second_factor_required(),
            Denied::TooLongAgo(limit) => Problem::reauthentication_required(limit),
            Denied::Consent(consent) => Problem::consent_required(&consent),
            Denied::NoTenant => Problem::new(&problem::TENANT_REQUIRED),
            Denied::TenantSuspended => Problem::new(&problem::TENANT_SUSPENDED),
            // Whether the thing of another exists is not the caller's to know.
            Denied::NotOwner { .. } | Denied::OtherTenant(_) => Problem::new(&problem::NOT_FOUND),
        }
    }
}

/// Decides whether `principal` may use a route with this `rule`, as it was `asked`.
pub fn decide(
    rule: &Rule,
    principal: &Principal,
    roles: &Roles,
    asked: &Asked<'_>,
) -> Result<Permit, Denied> {
    match &rule.access {
        Access::Closed => return Err(Denied::Closed),
        Access::Public if rule.consent.is_none() => return permit(Because::Public),
        // SECURITY: of strangers nobody knows what they agreed to. `check` refuses such a route; here nobody comes in.
        Access::Public
        | Access::SignedIn
        | Access::Role { .. }
        | Access::Permission { .. }
        | Access::Owned { .. } => {}
    }
    let kind = principal.kind().ok_or(Denied::Anonymous)?;
    // Before anything else that tells something: to a caller of another tenant it is not there.
    check_tenant(rule, principal, asked)?;
    if !rule.callers.admit(kind) {
        return Err(Denied::Caller(kind));
    }
    let permit = match principal {
        Principal::Anonymous => Err(Denied::Anonymous),
        Principal::User(user) => {
            let permit = decide_user(rule, user, roles, asked.params)?;
            // After the rest: who may not come at all need not look for their phone first.
            check_proofs(rule, user, roles, asked.now)?;
            Ok(permit)
        }
        Principal::ApiKey(key) if !key.is_for(&rule.path) => Err(Denied::NotForKey),
        Principal::ApiKey(key) => decide_key(rule, key, roles, asked.params),
        Principal::Visitor(visitor) => decide_visitor(&rule.access, visitor, asked.params),
    }?;
    // Last: nobody is asked to agree to what they may not have.
    match &rule.consent {
        Some(consent) if !asked.agreed.contains(consent) => Err(Denied::Consent(consent.clone())),
        Some(_) | None => Ok(permit),
    }
}

/// Whether the caller comes from where the route says, and that place may come at all.
fn check_tenant(rule: &Rule, principal: &Principal, asked: &Asked<'_>) -> Result<(), Denied> {
    // Who works in none is told so: it says nothing of what is there. Programs and visitors choose
    // no tenant.
    if rule.scope == Scope::Tenant
        && rule.tenant.is_some()
        && matches!(principal, Principal::User(user) if user.tenant.is_none())
    {
        return Err(Denied::NoTenant);
    }
    let place = match (rule.scope, principal.tenant(), asked.place) {
        // What a person does about themselves, and what an operator does, has no tenant. One that
        // the register does not know (another issuer's word) is none that a route could name.
        (Scope::Gate, _, _) | (Scope::Tenant, _, None) => None,
        (Scope::Tenant, Some(tenant), Some(place)) if place.id == tenant => Some(place),
        // Another place than the caller's.
        (Scope::Tenant, _, Some(_)) => {
            return Err(Denied::OtherTenant(binding_text(rule)));
        }
    };
    if let Some(binding) = &rule.tenant
        && !place.is_some_and(|place| binding.admits(place, asked))
    {
        return Err(Denied::OtherTenant(binding_text(rule)));
    }
    match place {
        Some(place) if place.is_suspended => Err(Denied::TenantSuspended),
        Some(_) | None => Ok(()),
    }
}

fn binding_text(rule: &Rule) -> String {
    rule.tenant
        .as_ref()
        .map_or_else(String::new, ToString::to_string)
}

/// What a person's roles amount to, for a route of this scope.
pub fn grants(user: &User, roles: &Roles, scope: Scope) -> Grants {
    let everywhere = roles.resolve(&user.roles);
    match (scope, &user.standing) {
        (Scope::Tenant, Some(standing)) => everywhere
            .and(roles.resolve(&standing.roles))
            .and(roles.permissions(&standing.permissions)),
        (Scope::Tenant, None) | (Scope::Gate, _) => everywhere,
    }
}

/// Whether the person has proved as much, and as lately, as the route asks.
fn check_proofs(rule: &Rule, user: &User, roles: &Roles, now: Timestamp) -> Result<(), Denied> {
    let is_asked = || match rule.second_factor {
        SecondFactor::NotAsked => false,
        SecondFactor::OfAll => true,
        SecondFactor::OfRoles(mask) => grants(user, roles, rule.scope).has_role(mask),
    };
    if user.second_factor_at.is_none() && is_asked() {
        return Err(Denied::SecondFactor);
    }
    let Some(max_age) = rule.max_age else {
        return Ok(());
    };
    let proved_at = match (user.credential, user.second_factor_at) {
        // SECURITY: another issuer asks for its factors one by one, so that the second may be a
        // week old where the first is new. Here whoever proves the first anew had both.
        (Credential::Foreign, Some(second)) if is_asked() => second.min(user.authenticated_at),
        (Credential::Foreign | Credential::Session(_) | Credential::AccessToken(_), _) => {
            user.authenticated_at
        }
    };
    if now.since(proved_at) > max_age {
        return Err(Denied::TooLongAgo(max_age));
    }
    Ok(())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it stands where a decision is answered, beside refusals"
)]
const fn permit(because: Because) -> Result<Permit, Denied> {
    Ok(Permit { because })
}

fn decide_user(
    rule: &Rule,
    user: &User,
    roles: &Roles,
    params: &Params<'_, '_>,
) -> Result<Permit, Denied> {
    let grants = || grants(user, roles, rule.scope);
    match &rule.access {
        Access::Closed => Err(Denied::Closed),
        Access::Public => permit(Because::Public),
        Access::SignedIn => permit(Because::SignedIn),
        Access::Role { any_of, names } => {
            if grants().has_role(*any_of) {
                return permit(Because::Role);
            }
            Err(Denied::Role(names.clone()))
        }
        Access::Permission { mask, name } => {
            if grants().has_permission(*mask) {
                return permit(Because::Permission);
            }
            Err(Denied::Permission(name.clone()))
        }
        Access::Owned {
            action,
            all,
            own,
            owner,
        } => {
            let grants = grants();
            let holds = |mask: &Option<Mask>| mask.is_some_and(|mask| grants.has_permission(mask));
            if holds(all) {
                return permit(Because::Permission);
            }
            if !holds(own) {
                return Err(Denied::Permission(format!("{action}:own")));
            }
            decide_owner(action, owner, Some(user.id.as_uuid()), params)
        }
    }
}

/// A key has permissions and no roles; what is `own` to it is its owner's.
fn decide_key(
    rule: &Rule,
    key: &ApiKey,
    roles: &Roles,
    params: &Params<'_, '_>,
) -> Result<Permit, Denied> {
    match &rule.access {
        Access::Closed => Err(Denied::Closed),
        Access::Public => permit(Because::Public),
        Access::SignedIn => permit(Because::Admitted(CallerKind::ApiKey)),
        Access::Role { names, .. } => Err(Denied::Role(names.clone())),
        Access::Permission { name, .. } => {
            let is_anybodys = match rule.scope {
                Scope::Tenant => true,
                Scope::Gate => key.tenant.is_none(),
            };
            if is_anybodys && key.may(name, roles) {
                return permit(Because::Permission);
            }
            Err(Denied::Permission(name.clone()))
        }
        Access::Owned { action, owner, .. } => {
            if key.may(&format!("{action}:all"), roles) {
                return permit(Because::Permission);
            }
            if !key.may(&format!("{action}:own"), roles) {
                return Err(Denied::Permission(format!("{action}:own")));
            }
            decide_owner(
                action,
                owner,
                key.owner.as_ref().map(|owner| owner.id.as_uuid()),
                params,
            )
        }
    }
}

/// A visitor holds nothing: what asks for a role or a permission is not theirs. What has an owner
/// is theirs where the path names them.
fn decide_visitor(
    access: &Access,
    visitor: &Visitor,
    params: &Params<'_, '_>,
) -> Result<Permit, Denied> {
    match access {
        Access::Closed => Err(Denied::Closed),
        Access::Public => permit(Because::Public),
        Access::SignedIn => permit(Because::Admitted(CallerKind::Visitor)),
        Access::Role { names, .. } => Err(Denied::Role(names.clone())),
        Access::Permission { name, .. } => Err(Denied::Permission(name.clone())),
        Access::Owned { action, owner, .. } => {
            decide_owner(action, owner, Some(visitor.id.as_uuid()), params)
        }
    }
}

fn decide_owner(
    action: &str,
    owner: &str,
    caller: Option<Uuid>,
    params: &Params<'_, '_>,
) -> Result<Permit, Denied> {
    let owns = caller
        .zip(params.get(owner))
        .is_some_and(|(caller, value)| {
            crate::path::decode_segment(value).eq_ignore_ascii_case(&caller.to_string())
        });
    if owns {
        permit(Because::Owner)
    } else {
        Err(Denied::NotOwner {
            action: action.to_owned(),
            owner: owner.to_owned(),
        })
    }
}

#[cfg(test)]
mod tenancy_tests;

#[cfg(test)]
mod tests {
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
}
