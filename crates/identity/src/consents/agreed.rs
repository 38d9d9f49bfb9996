//! What people have agreed to, in memory: what a route asks for with `consent`.
//!
//! It is of accounts alone. A consent is remembered as the ledger has it, with its version: whether that is the one
//! that is shown now, the decision sees. Where memory does not know or cannot be trusted, the database is asked, and
//! where that is away nobody comes in.

use std::sync::Arc;

use portcullis_core::decision::Consent;
use portcullis_core::{Clock, Principal, UserId};
use portcullis_store::Db;
use portcullis_store::revocations::{Feed, Revocation};

use super::{Error, State, Subject, ledger};
use crate::memory::Memory;

/// So many people are remembered.
const MOST: usize = 1_048_576;

/// What is remembered of consents.
pub struct Agreed {
    db: Db,
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
    people: Memory<UserId, Arc<[Consent]>>,
}

impl Agreed {
    pub fn new(db: Db, feed: Arc<Feed>, clock: Arc<dyn Clock>) -> Self {
        Agreed {
            db,
            feed,
            clock,
            people: Memory::holding(MOST),
        }
    }

    /// Whose consents count for a caller: a person's own, and for a key those of the person whose it is. A key of
    /// nobody and a visitor have none.
    pub fn whose(caller: &Principal) -> Option<UserId> {
        match caller {
            Principal::User(user) => Some(user.id),
            Principal::ApiKey(key) => key.owner.as_ref().map(|owner| owner.id),
            Principal::Visitor(_) | Principal::Anonymous => None,
        }
    }

    /// From memory. Nothing where memory does not know the person or cannot be trusted: then [`Agreed::load`]. Never
    /// waits.
    pub fn lookup(&self, id: UserId) -> Option<Arc<[Consent]>> {
        if !self.feed.is_fresh(self.clock.now()) {
            return None;
        }
        self.people.with(&id, Arc::clone)
    }

    /// From the database, and remembers it.
    pub async fn load(&self, id: UserId) -> Result<Arc<[Consent]>, Error> {
        let ticket = self.people.ticket();
        let newest = ledger::newest(&self.db, &Subject::user(id)).await?;
        let agreed: Arc<[Consent]> = newest
            .into_iter()
            .filter(|entry| match entry.state {
                State::Given => true,
                State::Withdrawn => false,
            })
            .map(|entry| Consent {
                purpose: entry.purpose.into(),
                version: entry.version.into(),
            })
            .collect();
        self.people.remember(id, Arc::clone(&agreed), ticket);
        Ok(agreed)
    }

    /// Applies one revocation from the feed. Never waits.
    pub fn revoked(&self, revocation: Revocation) {
        match revocation {
            Revocation::Consents(id) | Revocation::User(id) => self.people.forget_one(&id),
            Revocation::Everything => self.people.forget(|_| true),
            Revocation::Session(_)
            | Revocation::ApiKey(_)
            | Revocation::TokenFamily(_)
            | Revocation::Visitor(_)
            | Revocation::Tenant(_)
            | Revocation::DataKeys
            | Revocation::Incidents => {}
        }
    }
}

impl std::fmt::Debug for Agreed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agreed").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::Span;

    use super::*;
    use crate::testing::House;

    #[tokio::test]
    async fn memory_is_not_trusted_when_the_news_are_late() {
        let house = House::build().await;
        let agreed = Arc::clone(house.consents().agreed());
        assert!(agreed.load(house.user).await.unwrap().is_empty());
        house.clock.advance(Span::from_seconds(4));
        assert!(agreed.lookup(house.user).is_some());
        house.clock.advance(Span::from_seconds(2));
        assert!(agreed.lookup(house.user).is_none());
    }

    #[tokio::test]
    async fn what_is_heard_of_is_forgotten_and_what_is_not_stays() {
        let house = House::build().await;
        let agreed = Arc::clone(house.consents().agreed());
        let heard = [
            Revocation::Consents(house.user),
            Revocation::User(house.user),
            Revocation::Everything,
        ];
        for revocation in heard {
            agreed.load(house.user).await.unwrap();
            agreed.revoked(Revocation::Consents(UserId::new()));
            agreed.revoked(Revocation::DataKeys);
            assert!(agreed.lookup(house.user).is_some());
            agreed.revoked(revocation);
            assert!(agreed.lookup(house.user).is_none(), "{revocation:?}");
        }
    }
}
