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
mod tests;
