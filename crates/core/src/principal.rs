//! Who is calling.

use std::sync::Arc;

use crate::{SessionId, TenantId, Timestamp, UserId};

/// The caller of one request, after authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Nobody has been authenticated.
    Anonymous,
    /// A person with an account, signed in by a session.
    User(User),
}

/// A signed-in person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub session: SessionId,
    pub tenant: Option<TenantId>,
    /// Names of the roles held. What they allow is the policy's matter ([`crate::roles::Roles`]).
    pub roles: Arc<[Arc<str>]>,
    /// When the person last proved who they are.
    pub authenticated_at: Timestamp,
}

impl Principal {
    pub const fn user(&self) -> Option<&User> {
        match self {
            Principal::Anonymous => None,
            Principal::User(user) => Some(user),
        }
    }

    pub const fn is_anonymous(&self) -> bool {
        match self {
            Principal::Anonymous => true,
            Principal::User(_) => false,
        }
    }
}
