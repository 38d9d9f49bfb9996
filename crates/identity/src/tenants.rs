//! Tenants: the customers of the product, who belongs to them, and what each member may there.
//!
//! - A tenant is a row that is never deleted. Suspended, nobody reaches the product from it.
//! - A person can be a member of several tenants, and works in one at a time: the session says in
//!   which, and changing it makes a new token ([`switch`]).
//! - What a member may in a tenant comes from roles of the policy, from roles that the tenant made
//!   for itself ([`made_roles`]), and from permissions that another member lent
//!   ([`delegations`]). [`standing`] adds them up when a session is read from the database.
//! - Nobody gives what they do not hold at that moment: not by a role, not by an invitation, not by
//!   lending. It is looked at in the transaction that gives.
//! - Every change publishes a revocation, so that it acts on the next request on every node.

pub(crate) mod choose;
pub mod delegations;
pub mod directory;
pub mod invitations;
pub mod made_roles;
pub mod manage;
pub mod members;
pub mod own;
pub(crate) mod pages;
pub mod register;
pub mod standing;
pub mod switch;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use portcullis_core::{Clock, Problem, TenantId, Timestamp, UserId, problem};
use portcullis_events::{Action, Actor, Event, Outcome, Target, Trail};
use portcullis_store::{Db, Tx};
use portcullis_vault::tokens;

use crate::accounts::By;
use crate::addresses;
use crate::email::NotAnEmail;
use crate::holders::Holders;
use crate::sessions::Sessions;
pub use directory::Directory;
pub use standing::PolicyRoles;

/// No list is longer.
const PAGE: i64 = 1000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One answer for what is not there, is another tenant's, or has ended.
    #[error("there is no such thing in this tenant")]
    NotFound,
    #[error("the short name is taken, or was once")]
    SlugTaken,
    #[error("the short name is not acceptable")]
    Slug,
    #[error("the name is not acceptable")]
    Name,
    #[error("no role named `{0}` is known here")]
    UnknownRole(String),
    #[error("no role of the policy gives the permission `{0}`")]
    UnknownPermission(String),
    #[error("`{0}` is more than the giver holds")]
    MoreThanHeld(String),
    #[error("the end is not within the time that is allowed")]
    Lifetime,
    #[error("there are too many of these")]
    TooMany,
    #[error(transparent)]
    NotAnEmail(#[from] NotAnEmail),
    #[error(transparent)]
    Randomness(#[from] tokens::Error),
    #[error(transparent)]
    Address(#[from] addresses::Error),
    #[error(transparent)]
    Trail(#[from] portcullis_events::audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let invalid =
            |field, message: String| Problem::new(&problem::INVALID_INPUT).field(field, message);
        match error {
            Error::NotFound => Problem::new(&problem::NOT_FOUND),
            Error::SlugTaken => Problem::new(&problem::CONFLICT)
                .detail("This short name is taken. One that was used once is never free again."),
            Error::Slug => invalid(
                "slug",
                "must be 2 to 63 lower-case letters, digits and inner `-`, and no id".to_owned(),
            ),
            Error::Name => invalid(
                "name",
                "must be 1 to 100 characters without control characters".to_owned(),
            ),
            Error::UnknownRole(role) => invalid("roles", format!("`{role}` is not a role here")),
            Error::UnknownPermission(permission) => invalid(
                "permissions",
                format!("`{permission}` is given by no role of the policy"),
            ),
            Error::MoreThanHeld(what) => Problem::new(&problem::NOT_PERMITTED).detail(format!(
                "You cannot give `{what}`: you do not hold it yourself."
            )),
            Error::Lifetime => invalid(
                "expires_in",
                "must be at least 1 minute and at most 30 days, such as \"8h\"".to_owned(),
            ),
            Error::TooMany => {
                Problem::new(&problem::CONFLICT).detail("There are too many of these already.")
            }
            Error::NotAnEmail(_) => invalid("email", "must be an e-mail address".to_owned()),
            Error::Randomness(error) => error.into(),
            Error::Address(error) => error.into(),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

/// What whoever gives something may give at most.
#[derive(Debug, Clone, Copy)]
enum Giver {
    /// Whoever runs the gate.
    Anything,
    /// What this member holds.
    Held(UserId),
    Nothing,
}

/// The person who does it, if it is one.
const fn person(by: &By) -> Option<UserId> {
    match by.actor {
        Actor::User(id) => Some(id),
        Actor::Anonymous
        | Actor::ApiKey(_)
        | Actor::Visitor(_)
        | Actor::System
        | Actor::Operator => None,
    }
}

impl From<&By> for Giver {
    fn from(by: &By) -> Self {
        match by.actor {
            Actor::Operator | Actor::System => Giver::Anything,
            Actor::User(id) => Giver::Held(id),
            // A key holds no role that it could give.
            Actor::Anonymous | Actor::ApiKey(_) | Actor::Visitor(_) => Giver::Nothing,
        }
    }
}

/// Tenants and their members. Cheap to clone.
#[derive(Clone)]
pub struct Tenants {
    db: Db,
    clock: Arc<dyn Clock>,
    trail: Trail,
    sessions: Sessions,
    holders: Arc<Holders>,
    directory: Arc<Directory>,
}

impl Tenants {
    pub fn new(
        db: Db,
        clock: Arc<dyn Clock>,
        trail: Trail,
        sessions: Sessions,
        holders: Arc<Holders>,
        directory: Arc<Directory>,
    ) -> Self {
        Tenants {
            db,
            clock,
            trail,
            sessions,
            holders,
            directory,
        }
    }

    pub const fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Writes the record of an act in the act's own transaction.
    async fn record(
        &self,
        tx: &mut Tx,
        by: &By,
        tenant: TenantId,
        act: Done<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut event = Event::new(now, act.action, Outcome::Allowed)
            .done(&by.recorded())
            .to(act.target)
            .tenant(Some(tenant));
        for (name, value) in act.details {
            event = event.with(name, *value);
        }
        Ok(self.trail.record_in(tx, event).await?)
    }
}

/// An act, as it is recorded.
struct Done<'a> {
    action: Action,
    target: Target,
    details: &'a [(&'static str, &'a str)],
}

fn is_name(text: &str) -> bool {
    let length = text.chars().count();
    (1..=100).contains(&length) && text.trim() == text && !text.chars().any(char::is_control)
}

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}
