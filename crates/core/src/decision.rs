//! The one decision: may this principal use this route?
//!
//! [`decide`] is the only maker of a [`Permit`], and forwarding takes a [`Permit`] by value, so a
//! request that was not decided cannot be forwarded: it does not compile. In the path, beside a
//! proxy, in `explain`: all ask this function.

use http::Method;

use crate::principal::Principal;
use crate::problem::{self, Problem};
use crate::roles::{Mask, RoleError, Roles};
use crate::route::Params;

/// Who may use a route, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Nobody. What a person has not opened yet.
    Closed,
    /// Everybody, signed in or not.
    Public,
    /// Everybody who is signed in.
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
            Denied::Role(_) | Denied::Permission(_) => Problem::new(&problem::NOT_PERMITTED),
            // Whether the thing of another exists is not the caller's to know.
            Denied::NotOwner { .. } => Problem::new(&problem::NOT_FOUND),
        }
    }
}

/// Decides whether `principal` may use a route with this `access`, whose path gave `params`.
pub fn decide(
    access: &Access,
    principal: &Principal,
    roles: &Roles,
    params: &Params<'_, '_>,
) -> Result<Permit, Denied> {
    let permit = |because| Ok(Permit { because });
    let user = || principal.user().ok_or(Denied::Anonymous);
    match access {
        Access::Closed => Err(Denied::Closed),
        Access::Public => permit(Because::Public),
        Access::SignedIn => user().and_then(|_| permit(Because::SignedIn)),
        Access::Role { any_of, names } => {
            if roles.resolve(&user()?.roles).has_role(*any_of) {
                return permit(Because::Role);
            }
            Err(Denied::Role(names.clone()))
        }
        Access::Permission { mask, name } => {
            if roles.resolve(&user()?.roles).has_permission(*mask) {
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
            let user = user()?;
            let grants = roles.resolve(&user.roles);
            let holds = |mask: &Option<Mask>| mask.is_some_and(|mask| grants.has_permission(mask));
            if holds(all) {
                return permit(Because::Permission);
            }
            if !holds(own) {
                return Err(Denied::Permission(format!("{action}:own")));
            }
            let owns = params.get(owner).is_some_and(|value| {
                crate::path::decode_segment(value).eq_ignore_ascii_case(&user.id.to_string())
            });
            if owns {
                permit(Because::Owner)
            } else {
                Err(Denied::NotOwner {
                    action: action.clone(),
                    owner: owner.clone(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::principal::User;
    use crate::roles::default_roles;
    use crate::route::{Found, Methods, Pattern, RouteTable};
    use crate::{SessionId, Timestamp, UserId};

    fn holder(role: &str) -> Principal {
        Principal::User(User {
            id: UserId::new(),
            session: SessionId::new(),
            tenant: None,
            roles: Arc::from([Arc::from(role)]),
            authenticated_at: Timestamp::EPOCH,
        })
    }

    fn decide_plain(access: &Access, principal: &Principal) -> Result<Because, Denied> {
        let roles = Roles::compile(&default_roles()).unwrap();
        decide(access, principal, &roles, &Params::default()).map(|permit| permit.because())
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
            decide(&access, principal, &roles, &params).map(|permit| permit.because())
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
}
