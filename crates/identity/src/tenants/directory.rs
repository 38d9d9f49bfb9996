//! The tenants that callers come from, in memory: their short names, and whether they are suspended.
//!
//! Only ids of known callers are looked up, never what a request names, so that no flood of made-up
//! names reaches the database.

use std::sync::Arc;

use portcullis_core::binding::Place;
use portcullis_core::{Clock, TenantId};
use portcullis_store::Db;
use portcullis_store::revocations::{Feed, Revocation};

use super::{Error, register};
use crate::memory::Memory;

/// So many are remembered.
const MOST: usize = 1_048_576;

/// What is remembered of tenants.
pub struct Directory {
    db: Db,
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
    places: Memory<TenantId, Arc<Place>>,
}

impl Directory {
    pub fn new(db: Db, feed: Arc<Feed>, clock: Arc<dyn Clock>) -> Self {
        Directory {
            db,
            feed,
            clock,
            places: Memory::holding(MOST),
        }
    }

    /// The tenant from memory. Nothing where memory does not know it or cannot be trusted: then
    /// [`Directory::load`]. Never waits.
    pub fn lookup(&self, id: TenantId) -> Option<Arc<Place>> {
        if !self.feed.is_fresh(self.clock.now()) {
            return None;
        }
        self.places.with(&id, Arc::clone)
    }

    /// The tenant from the database, and remembers it.
    pub async fn load(&self, id: TenantId) -> Result<Option<Arc<Place>>, Error> {
        let ticket = self.places.ticket();
        let Some(tenant) = register::find(&self.db, id).await? else {
            return Ok(None);
        };
        let place = Arc::new(Place {
            id,
            slug: tenant.slug.into(),
            is_suspended: tenant.suspended_at.is_some(),
        });
        self.places.remember(id, Arc::clone(&place), ticket);
        Ok(Some(place))
    }

    /// Applies one revocation from the feed. Never waits.
    pub fn revoked(&self, revocation: Revocation) {
        match revocation {
            Revocation::Tenant(id) => self.places.forget(|place| place.id == id),
            Revocation::Everything => self.places.forget(|_| true),
            Revocation::Session(_)
            | Revocation::User(_)
            | Revocation::ApiKey(_)
            | Revocation::TokenFamily(_)
            | Revocation::Visitor(_)
            | Revocation::DataKeys
            | Revocation::Consents(_)
            | Revocation::Incidents => {}
        }
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}
