//! Who is calling.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limit::Rate;
use crate::roles::Roles;
use crate::{ApiKeyId, SessionId, TenantId, Timestamp, TokenFamilyId, UserId, VisitorId};

/// The caller of one request, after authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Nobody has been authenticated.
    Anonymous,
    /// A person with an account.
    User(User),
    /// A program.
    ApiKey(ApiKey),
    /// Somebody without an account, in a widget on another site.
    Visitor(Visitor),
}

/// A signed-in person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub credential: Credential,
    /// The tenant that the person works in at present.
    pub tenant: Option<TenantId>,
    /// What the person holds in that tenant and nowhere else.
    pub standing: Option<Arc<Standing>>,
    /// Names of the roles held. What they allow is the policy's matter ([`crate::roles::Roles`]).
    pub roles: Arc<[Arc<str>]>,
    /// When the person last proved who they are, with the first factor.
    pub authenticated_at: Timestamp,
    /// When the second factor was proved; nothing where there was one factor only.
    pub second_factor_at: Option<Timestamp>,
}

/// By what a person is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    Session(SessionId),
    /// An access token of our own, by the family that its refresh tokens belong to.
    AccessToken(TokenFamilyId),
    /// A token of another issuer.
    Foreign,
}

/// A program that bears an API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub tenant: Option<TenantId>,
    /// The person whose key it is; nothing for a key of a tenant or of the operator.
    pub owner: Option<Owner>,
    /// What the key may do, each `action:scope`. A key has no roles.
    pub permissions: Arc<[Arc<str>]>,
    /// Beginnings of the paths of routes that it may use; nothing for all that admit keys.
    pub routes: Option<Arc<[Arc<str>]>>,
    /// A limit of its own, beside those of the route.
    pub rate: Option<Rate>,
}

/// The person whose key a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub id: UserId,
    /// The key may do nothing that these do not give: what the owner loses, the key loses.
    pub roles: Arc<[Arc<str>]>,
}

/// Somebody without an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    pub id: VisitorId,
    pub tenant: TenantId,
    /// The origin of the page that the visit began on. From no other page may it go on.
    pub origin: Arc<str>,
}

impl User {
    /// The session, where the caller came with one.
    pub const fn session(&self) -> Option<SessionId> {
        match self.credential {
            Credential::Session(id) => Some(id),
            Credential::AccessToken(_) | Credential::Foreign => None,
        }
    }
}

impl Credential {
    /// The name under which it stands in the list of one's devices.
    pub const fn listed_as(self) -> Option<Uuid> {
        match self {
            Credential::Session(id) => Some(id.as_uuid()),
            Credential::AccessToken(family) => Some(family.as_uuid()),
            Credential::Foreign => None,
        }
    }
}

impl ApiKey {
    /// Whether the key may do this: it was given the permission, or the scope `all` of its action,
    /// and its owner still holds it.
    pub fn may(&self, permission: &str, roles: &Roles) -> bool {
        let all_of = |held: &str| {
            let action = permission.split_once(':').map(|(action, _)| action);
            held.split_once(':')
                .is_some_and(|(held, scope)| scope == "all" && Some(held) == action)
        };
        let is_given = self
            .permissions
            .iter()
            .any(|held| **held == *permission || all_of(held));
        let owner_may = self.owner.as_ref().is_none_or(|owner| {
            roles
                .permission_mask(permission)
                .is_ok_and(|mask| roles.resolve(&owner.roles).has_permission(mask))
        });
        is_given && owner_may
    }

    /// Whether the key is for the route with this path, as the policy writes it. A beginning covers
    /// whole segments.
    pub fn is_for(&self, route: &str) -> bool {
        let covers = |beginning: &str| {
            let beginning = beginning.trim_end_matches('/').as_bytes();
            route
                .as_bytes()
                .split_at_checked(beginning.len())
                .is_some_and(|(start, rest)| {
                    start.eq_ignore_ascii_case(beginning) && matches!(rest, [] | [b'/', ..])
                })
        };
        self.routes
            .as_ref()
            .is_none_or(|routes| routes.iter().any(|beginning| covers(beginning)))
    }
}

/// What a member holds in one tenant, besides what they hold everywhere.
///
/// It counts for the product alone. What the gate itself lets people do to all tenants asks for a
/// role that is held everywhere: an administrator of one customer is not one of the gate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Standing {
    /// Roles of the policy, and the tenant's own (`custom:NAME`).
    pub roles: Arc<[Arc<str>]>,
    /// What the tenant's own roles give, and what others lent.
    pub permissions: Arc<[Arc<str>]>,
}

impl Principal {
    pub const fn user(&self) -> Option<&User> {
        match self {
            Principal::User(user) => Some(user),
            Principal::Anonymous | Principal::ApiKey(_) | Principal::Visitor(_) => None,
        }
    }

    pub fn tenant(&self) -> Option<TenantId> {
        match self {
            Principal::Anonymous => None,
            Principal::User(user) => user.tenant,
            Principal::ApiKey(key) => key.tenant,
            Principal::Visitor(visitor) => Some(visitor.tenant),
        }
    }

    /// The caller's kind; nothing for nobody.
    pub const fn kind(&self) -> Option<CallerKind> {
        match self {
            Principal::Anonymous => None,
            Principal::User(_) => Some(CallerKind::User),
            Principal::ApiKey(_) => Some(CallerKind::ApiKey),
            Principal::Visitor(_) => Some(CallerKind::Visitor),
        }
    }

    pub const fn is_anonymous(&self) -> bool {
        self.kind().is_none()
    }
}

/// The kinds of callers that a route may admit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallerKind {
    User,
    ApiKey,
    Visitor,
}

impl CallerKind {
    /// The word for it in the configuration, in assertions and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            CallerKind::User => "user",
            CallerKind::ApiKey => "api-key",
            CallerKind::Visitor => "visitor",
        }
    }
}

impl fmt::Display for CallerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A set of kinds of callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Callers(u8);

impl Callers {
    /// People with an account, and nobody else: what a route admits unless it says otherwise.
    pub const USERS: Callers = Callers::NONE.and(CallerKind::User);
    pub const NONE: Callers = Callers(0);

    #[must_use]
    pub const fn and(self, kind: CallerKind) -> Self {
        Callers(self.0 | Callers::bit(kind))
    }

    pub const fn admit(self, kind: CallerKind) -> bool {
        self.0 & Callers::bit(kind) != 0
    }

    const fn bit(kind: CallerKind) -> u8 {
        match kind {
            CallerKind::User => 1,
            CallerKind::ApiKey => 2,
            CallerKind::Visitor => 4,
        }
    }
}

impl FromIterator<CallerKind> for Callers {
    fn from_iter<I: IntoIterator<Item = CallerKind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Callers::NONE, Callers::and)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_holds_what_it_names_and_every_scope_of_all() {
        let key = ApiKey {
            id: ApiKeyId::new(),
            tenant: None,
            owner: None,
            permissions: [Arc::from("delete:all"), Arc::from("read:own")].into(),
            routes: None,
            rate: None,
        };
        let roles = Roles::default();
        for (permission, expected) in [
            ("delete:all", true),
            ("delete:reported", true),
            ("read:own", true),
            ("read:all", false),
            ("deleted:reported", false),
            ("delete", false),
        ] {
            assert_eq!(key.may(permission, &roles), expected, "{permission}");
        }
    }
}
