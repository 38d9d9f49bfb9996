//! What somebody may give to a key: no more than they hold.

use portcullis_core::Principal;
use portcullis_core::roles::Roles;

/// Whoever makes a key.
#[derive(Debug, Clone, Copy)]
pub enum Grantor<'a> {
    /// Whoever runs the command line: every permission that some role gives.
    Operator(&'a Roles),
    /// A caller: what they hold themselves.
    Caller(&'a Principal, &'a Roles),
}

impl Grantor<'_> {
    /// The policy that it is judged by.
    pub(super) const fn roles(&self) -> &Roles {
        match self {
            Grantor::Operator(roles) | Grantor::Caller(_, roles) => roles,
        }
    }

    /// Whether a key may be given this permission.
    pub fn may_give(&self, permission: &str) -> bool {
        match self {
            Grantor::Operator(roles) => roles.permission_mask(permission).is_ok(),
            Grantor::Caller(principal, roles) => {
                let Ok(mask) = roles.permission_mask(permission) else {
                    return false;
                };
                match principal {
                    Principal::User(user) => roles.resolve(&user.roles).has_permission(mask),
                    Principal::ApiKey(key) => key.may(permission, roles),
                    Principal::Anonymous | Principal::Visitor(_) => false,
                }
            }
        }
    }
}
