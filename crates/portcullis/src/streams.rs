//! Answers without an end of their own: open WebSockets and event streams, by their caller's credential.
//!
//! Such an answer was permitted once and may go on for hours. When its session, key or token is
//! revoked, it is cut: at once where the revocation is heard, which is within a second on every
//! node. The end of a session's lifetime cuts as well. That a session makes no other request meanwhile
//! cuts nothing: an open stream is use.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Response, StatusCode};
use portcullis_core::principal::Credential;
use portcullis_core::{
    ApiKeyId, Principal, SessionId, TenantId, Timestamp, TokenFamilyId, UserId, VisitorId,
};
use portcullis_edge::drain::{Stopper, drain};
use portcullis_edge::forward::is_event_stream;
use portcullis_edge::{Body, Drain};
use portcullis_store::revocations::Revocation;

/// What of this process has something open, by what it is revoked by.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<HashMap<Holder, Open>>);

/// What a stream's caller is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    Session(SessionId),
    TokenFamily(TokenFamilyId),
    /// By a token of another issuer: the user alone is known.
    User(UserId),
    ApiKey(ApiKeyId),
    Visitor(VisitorId),
}

#[derive(Debug)]
struct Open {
    /// Whose act it ends with: the user's, or that of the user who made the key.
    user: Option<UserId>,
    tenant: Option<TenantId>,
    /// The end of the session's lifetime.
    until: Timestamp,
    /// Dropping it ends whatever listens.
    stopper: Stopper,
}

impl Holder {
    fn of(principal: &Principal) -> Option<(Holder, Option<UserId>)> {
        Some(match principal {
            Principal::Anonymous => return None,
            Principal::User(user) => {
                let holder = match user.credential {
                    Credential::Session(id) => Holder::Session(id),
                    Credential::AccessToken(family) => Holder::TokenFamily(family),
                    Credential::Foreign => Holder::User(user.id),
                };
                (holder, Some(user.id))
            }
            Principal::ApiKey(key) => {
                let owner = key.owner.as_ref().map(|owner| owner.id);
                (Holder::ApiKey(key.id), owner)
            }
            Principal::Visitor(visitor) => (Holder::Visitor(visitor.id), None),
        })
    }
}

impl Streams {
    /// An ear for one more stream of a caller who can be revoked. Look the credential up behind
    /// this, not before: a revocation between the two would be missed.
    pub(crate) fn join(&self, principal: &Principal) -> Option<Drain> {
        let (holder, user) = Holder::of(principal)?;
        let mut all = self.all();
        if let Some(open) = all.get(&holder) {
            return Some(open.stopper.ear());
        }
        let (stopper, ear) = drain();
        let until = Timestamp::from_micros(i64::MAX);
        let tenant = principal.tenant();
        all.insert(
            holder,
            Open {
                user,
                tenant,
                until,
                stopper,
            },
        );
        Some(ear)
    }

    /// Says until when the caller's credential lives, once that is known.
    pub(crate) fn set_end(&self, principal: &Principal, until: Timestamp) {
        if let Some((holder, _)) = Holder::of(principal)
            && let Some(open) = self.all().get_mut(&holder)
        {
            open.until = until;
        }
    }

    /// Cuts what belongs to credentials that have reached their end.
    pub(crate) fn cut_ended(&self, now: Timestamp) {
        self.all().retain(|_, open| now < open.until);
    }

    /// Cuts what a revocation concerns.
    pub(crate) fn revoked(&self, revocation: Revocation) {
        let mut all = self.all();
        let holder = match revocation {
            Revocation::Session(id) => Holder::Session(id),
            Revocation::ApiKey(id) => Holder::ApiKey(id),
            Revocation::TokenFamily(id) => Holder::TokenFamily(id),
            Revocation::Visitor(id) => Holder::Visitor(id),
            Revocation::User(id) => return all.retain(|_, open| open.user != Some(id)),
            Revocation::Tenant(id) => return all.retain(|_, open| open.tenant != Some(id)),
            // Nobody loses anything by what they agree to: a withdrawal is a revocation of the person.
            Revocation::DataKeys | Revocation::Incidents | Revocation::Consents(_) => return,
            // Nobody knows what was revoked: whoever still may will connect again.
            Revocation::Everything => return all.clear(),
        };
        all.remove(&holder);
    }

    /// Forgets callers whose streams have all ended.
    pub(crate) fn forget_ended(&self) {
        self.all().retain(|_, open| open.stopper.is_heard());
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Holder, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an answer may go on for as long as it likes.
pub(crate) fn is_endless(response: &Response<Body>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS || is_event_stream(response.headers())
}

#[cfg(test)]
mod tests {
    use portcullis_core::principal::{ApiKey, Owner, User};

    use super::*;

    fn user() -> User {
        User {
            id: UserId::new(),
            credential: Credential::Session(SessionId::new()),
            tenant: None,
            standing: None,
            roles: Vec::new().into(),
            authenticated_at: Timestamp::EPOCH,
            second_factor_at: None,
        }
    }

    #[test]
    fn a_revocation_cuts_the_streams_of_its_session_or_user_and_no_other() {
        let streams = Streams::default();
        let (ana, bob) = (user(), user());
        let other_session = User {
            credential: Credential::Session(SessionId::new()),
            ..ana.clone()
        };
        let join = |user: &User| streams.join(&Principal::User(user.clone())).unwrap();
        let ears = [&ana, &ana, &other_session, &bob].map(join);
        let cut = || ears.each_ref().map(Drain::is_started);
        assert_eq!(cut(), [false; 4]);
        streams.revoked(Revocation::Session(ana.session().unwrap()));
        assert_eq!(cut(), [true, true, false, false]);
        streams.revoked(Revocation::User(ana.id));
        assert_eq!(cut(), [true, true, true, false]);
        streams.revoked(Revocation::Everything);
        assert_eq!(cut(), [true; 4]);
    }

    #[test]
    fn a_keys_streams_end_with_the_key_and_with_the_user_who_made_it() {
        let (maker, key) = (UserId::new(), ApiKeyId::new());
        let caller = Principal::ApiKey(ApiKey {
            id: key,
            tenant: None,
            owner: Some(Owner {
                id: maker,
                roles: Vec::new().into(),
            }),
            routes: None,
            rate: None,
            permissions: Vec::new().into(),
        });
        for (revocation, cut) in [
            (Revocation::ApiKey(ApiKeyId::new()), false),
            (Revocation::User(UserId::new()), false),
            (Revocation::ApiKey(key), true),
            (Revocation::User(maker), true),
        ] {
            let streams = Streams::default();
            let ear = streams.join(&caller).unwrap();
            streams.revoked(revocation);
            assert_eq!(ear.is_started(), cut, "{revocation:?}");
        }
        assert!(Streams::default().join(&Principal::Anonymous).is_none());
    }

    #[test]
    fn the_end_of_a_session_cuts_its_streams_and_no_other() {
        let streams = Streams::default();
        let (ana, bob) = (Principal::User(user()), Principal::User(user()));
        let ears = [&ana, &bob].map(|caller| streams.join(caller).unwrap());
        let cut = || ears.each_ref().map(Drain::is_started);
        streams.set_end(&ana, Timestamp::from_seconds(100));
        streams.cut_ended(Timestamp::from_seconds(99));
        assert_eq!(cut(), [false; 2]);
        streams.cut_ended(Timestamp::from_seconds(100));
        assert_eq!(cut(), [true, false]);
    }

    #[test]
    fn a_session_is_forgotten_when_its_last_stream_has_ended() {
        let streams = Streams::default();
        let ana = user();
        let ear = streams.join(&Principal::User(ana));
        streams.forget_ended();
        assert_eq!(streams.all().len(), 1);
        drop(ear);
        streams.forget_ended();
        assert_eq!(streams.all().len(), 0);
    }
}
