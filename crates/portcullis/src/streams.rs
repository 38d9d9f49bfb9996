//! Answers without an end of their own: open WebSockets and event streams, by their session.
//!
//! Such an answer was permitted once and may go on for hours. When its session is revoked, it is
//! cut: at once where the revocation is heard, which is within a second on every node. A session
//! that merely ends by time does not cut what it has open.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Response, StatusCode, header};
use portcullis_core::principal::User;
use portcullis_core::{SessionId, UserId};
use portcullis_edge::drain::{Stopper, drain};
use portcullis_edge::{Body, Drain};
use portcullis_store::revocations::Revocation;

/// The sessions of this process that have something open.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<HashMap<SessionId, Open>>);

#[derive(Debug)]
struct Open {
    user: UserId,
    /// Dropping it ends whatever listens.
    stopper: Stopper,
}

impl Streams {
    /// An ear for one more stream of a session. Look the session up behind this, not before: a
    /// revocation between the two would be missed.
    pub(crate) fn join(&self, user: &User) -> Drain {
        let mut sessions = self.sessions();
        if let Some(open) = sessions.get(&user.session) {
            return open.stopper.ear();
        }
        let (stopper, ear) = drain();
        let open = Open {
            user: user.id,
            stopper,
        };
        sessions.insert(user.session, open);
        ear
    }

    /// Cuts what a revocation concerns.
    pub(crate) fn revoked(&self, revocation: Revocation) {
        let mut sessions = self.sessions();
        match revocation {
            Revocation::Session(id) => {
                sessions.remove(&id);
            }
            Revocation::User(id) => sessions.retain(|_, open| open.user != id),
            // Nobody knows what was revoked: whoever still may will connect again.
            Revocation::Everything => sessions.clear(),
        }
    }

    /// Forgets sessions whose streams have all ended.
    pub(crate) fn forget_ended(&self) {
        self.sessions().retain(|_, open| open.stopper.is_heard());
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an answer may go on for as long as it likes.
pub(crate) fn is_endless(response: &Response<Body>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
        || response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.as_bytes().first_chunk::<17>())
            .is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
}

#[cfg(test)]
mod tests {
    use portcullis_core::Timestamp;

    use super::*;

    fn user() -> User {
        User {
            id: UserId::new(),
            session: SessionId::new(),
            tenant: None,
            roles: Vec::new().into(),
            authenticated_at: Timestamp::EPOCH,
        }
    }

    #[test]
    fn a_revocation_cuts_the_streams_of_its_session_or_user_and_no_other() {
        let streams = Streams::default();
        let (ana, bob) = (user(), user());
        let other_session = User {
            session: SessionId::new(),
            ..ana.clone()
        };
        let ears = [&ana, &ana, &other_session, &bob].map(|user| streams.join(user));
        let cut = || ears.each_ref().map(Drain::is_started);
        assert_eq!(cut(), [false; 4]);
        streams.revoked(Revocation::Session(ana.session));
        assert_eq!(cut(), [true, true, false, false]);
        streams.revoked(Revocation::User(ana.id));
        assert_eq!(cut(), [true, true, true, false]);
        streams.revoked(Revocation::Everything);
        assert_eq!(cut(), [true; 4]);
    }

    #[test]
    fn a_session_is_forgotten_when_its_last_stream_has_ended() {
        let streams = Streams::default();
        let ana = user();
        let ear = streams.join(&ana);
        streams.forget_ended();
        assert_eq!(streams.sessions().len(), 1);
        drop(ear);
        streams.forget_ended();
        assert_eq!(streams.sessions().len(), 0);
    }
}
