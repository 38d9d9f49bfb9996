//! The audit trail as this crate uses it: one event in the same transaction as the act.

use std::net::IpAddr;

use portcullis_core::{RequestId, SessionId, Timestamp, TokenFamilyId, UserId};
use portcullis_events::audit::Error;
use portcullis_events::{Action, Actor, By, Event, Outcome, Target, Trail};
use portcullis_store::Tx;

/// What happened here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    LoginSucceeded,
    LoginFailed,
    LoginThrottled,
    Logout,
    SessionRevoked,
    OtherClient,
    PasswordChanged,
    PasswordChangeRefused,
    RegistrationAsked,
    UserRegistered,
    UserCreated,
    UserUpdated,
    UserDeactivated,
    UserReactivated,
    TokensIssued,
    TokenReused,
    UserProvisioned,
    ResetAsked,
    VerifyAsked,
    RecoveryThrottled,
    PasswordReset,
    EmailVerified,
    SecondFactorAsked,
    SecondFactorProved,
    FactorAdded,
    FactorRemoved,
    FactorRefused,
    FactorThrottled,
    PasskeyCloned,
    RecoveryCodesMade,
    RecoveryCodeUsed,
    FactorsReset,
}

impl Act {
    const fn words(self) -> (Action, Outcome) {
        match self {
            Act::LoginSucceeded => (Action::LoginSucceeded, Outcome::Allowed),
            Act::LoginFailed => (Action::LoginFailed, Outcome::Denied),
            Act::LoginThrottled => (Action::LoginThrottled, Outcome::Denied),
            Act::Logout => (Action::Logout, Outcome::Allowed),
            Act::SessionRevoked => (Action::SessionRevoked, Outcome::Allowed),
            Act::OtherClient => (Action::SessionOtherClient, Outcome::Denied),
            Act::PasswordChanged => (Action::PasswordChanged, Outcome::Allowed),
            Act::PasswordChangeRefused => (Action::PasswordChanged, Outcome::Denied),
            Act::RegistrationAsked => (Action::RegistrationAsked, Outcome::Allowed),
            Act::UserRegistered => (Action::UserRegistered, Outcome::Allowed),
            Act::UserCreated => (Action::UserCreated, Outcome::Allowed),
            Act::UserUpdated => (Action::UserUpdated, Outcome::Allowed),
            Act::UserDeactivated => (Action::UserDeactivated, Outcome::Allowed),
            Act::UserReactivated => (Action::UserReactivated, Outcome::Allowed),
            Act::TokensIssued => (Action::TokensIssued, Outcome::Allowed),
            Act::TokenReused => (Action::RefreshTokenReused, Outcome::Denied),
            Act::UserProvisioned => (Action::UserProvisioned, Outcome::Allowed),
            Act::ResetAsked => (Action::PasswordResetAsked, Outcome::Allowed),
            Act::VerifyAsked => (Action::EmailVerificationAsked, Outcome::Allowed),
            Act::RecoveryThrottled => (Action::RecoveryThrottled, Outcome::Denied),
            Act::PasswordReset => (Action::PasswordReset, Outcome::Allowed),
            Act::SecondFactorAsked => (Action::SecondFactorAsked, Outcome::Allowed),
            Act::SecondFactorProved => (Action::SecondFactorProved, Outcome::Allowed),
            Act::FactorAdded => (Action::FactorAdded, Outcome::Allowed),
            Act::FactorRemoved => (Action::FactorRemoved, Outcome::Allowed),
            Act::FactorRefused => (Action::FactorRefused, Outcome::Denied),
            Act::FactorThrottled => (Action::FactorThrottled, Outcome::Denied),
            Act::PasskeyCloned => (Action::PasskeyCloned, Outcome::Denied),
            Act::RecoveryCodesMade => (Action::RecoveryCodesMade, Outcome::Allowed),
            Act::RecoveryCodeUsed => (Action::RecoveryCodeUsed, Outcome::Allowed),
            Act::FactorsReset => (Action::FactorsReset, Outcome::Allowed),
            Act::EmailVerified => (Action::EmailVerified, Outcome::Allowed),
        }
    }

    /// Who acts when nobody is signed in: the operator's acts have no client.
    const fn unsigned_actor(self) -> Actor {
        match self {
            Act::UserCreated
            | Act::UserUpdated
            | Act::UserDeactivated
            | Act::UserReactivated
            | Act::FactorsReset
            | Act::PasswordChanged => Actor::Operator,
            Act::LoginSucceeded
            | Act::LoginFailed
            | Act::LoginThrottled
            | Act::Logout
            | Act::SessionRevoked
            | Act::OtherClient
            | Act::PasswordChangeRefused
            | Act::ResetAsked
            | Act::VerifyAsked
            | Act::RecoveryThrottled
            | Act::PasswordReset
            | Act::EmailVerified
            | Act::SecondFactorAsked
            | Act::SecondFactorProved
            | Act::FactorAdded
            | Act::FactorRemoved
            | Act::FactorRefused
            | Act::FactorThrottled
            | Act::PasskeyCloned
            | Act::RecoveryCodesMade
            | Act::RecoveryCodeUsed
            | Act::RegistrationAsked
            | Act::UserRegistered
            | Act::TokensIssued
            | Act::TokenReused
            | Act::UserProvisioned => Actor::Anonymous,
        }
    }
}

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) act: Act,
    /// Who acted; nobody when the credential was refused.
    pub(crate) actor: Option<Actor>,
    /// Whose account it was about.
    pub(crate) user: Option<UserId>,
    pub(crate) session: Option<SessionId>,
    /// The token family, where it was about one.
    pub(crate) family: Option<TokenFamilyId>,
    pub(crate) request: Option<RequestId>,
    pub(crate) client: Option<IpAddr>,
    /// The roles that the account has from now on, where the act gives some.
    pub(crate) roles: Option<Vec<String>>,
    /// The kind of client that the act came from, where the act is about that.
    pub(crate) seen: Option<String>,
    /// A sign-in from a device that the account was not used on before.
    pub(crate) is_new_device: bool,
    /// The provider at which somebody signed in.
    pub(crate) provider: Option<String>,
}

/// Where events go.
#[derive(Debug, Clone)]
pub struct Record(Trail);

impl Record {
    pub const fn new(trail: Trail) -> Self {
        Record(trail)
    }

    /// Where events go that are about no account.
    pub(crate) const fn trail(&self) -> &Trail {
        &self.0
    }

    /// Writes the event in the caller's transaction: the act and its record are one.
    pub(crate) async fn record_in(&self, tx: &mut Tx, entry: Entry) -> Result<(), Error> {
        self.0.record_in(tx, event_of(entry)).await
    }

    /// Notes something that changed nothing. Repeats of one client are folded into one event, so
    /// that nobody chooses how much is written.
    pub(crate) fn note(&self, entry: Entry) {
        self.0.note(event_of(entry));
    }

    #[cfg(test)]
    pub(crate) async fn flush(&self) {
        self.0.flush().await.unwrap();
    }
}

fn event_of(entry: Entry) -> Event {
    let (action, outcome) = entry.act.words();
    let by = By {
        actor: entry.actor.unwrap_or(entry.act.unsigned_actor()),
        client: entry.client,
        request: entry.request,
    };
    let mut event = Event::new(entry.at, action, outcome).done(&by);
    if let Some(session) = entry.session {
        event = event.to(Target::session(session));
    } else if let Some(family) = entry.family {
        event = event.to(Target::named("token-family", &family.to_string()));
    } else if let Some(user) = entry.user {
        event = event.to(Target::user(user));
    }
    // Whose it is, where neither the target nor who acted says so.
    let is_of_another = entry.session.is_some() || entry.family.is_some();
    if let (true, None, Some(user)) = (is_of_another, entry.actor, entry.user) {
        event = event.with("user", user.to_string());
    }
    if let Some(seen) = entry.seen {
        event = event.with("seen", seen);
    }
    if entry.is_new_device {
        event = event.with("device", "new");
    }
    if let Some(provider) = entry.provider {
        event = event.with("provider", provider);
    }
    if let Some(roles) = entry.roles {
        event = event.with("roles", roles.join(" "));
    }
    event
}
