//! The tenants that callers come from, in memory: their short names, and whether they are suspended.
//!
//! Only ids of known callers are looked up, never what a request names, so that no flood of made-up
//! names reaches the database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_core::binding::Place;
use portcullis_core::{Clock, TenantId};
use portcullis_store::Db;
use portcullis_store::revocations::{Feed, Revocation};

use super::{Error, register};

const SHARDS: usize = 16;

/// What is remembered of tenants.
pub struct Directory {
    db: Db,
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
    shards: [RwLock<HashMap<TenantId, Arc<Place>>>; SHARDS],
    /// Counts revocations as they are applied.
    revocations: AtomicU64,
}

impl Directory {
    pub fn new(db: Db, feed: Arc<Feed>, clock: Arc<dyn Clock>) -> Self {
        Directory {
            db,
            feed,
            clock,
            shards: std::array::from_fn(|_| RwLock::default()),
            revocations: AtomicU64::new(0),
        }
    }

    /// The tenant from memory. Nothing where memory does not know it or cannot be trusted: then
    /// [`Directory::load`]. Never waits.
    pub fn lookup(&self, id: TenantId) -> Option<Arc<Place>> {
        if !self.feed.is_fresh(self.clock.now()) {
            return None;
        }
        let shard = self.shard(id)?.read();
        shard
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }

    /// The tenant from the database, and remembers it.
    pub async fn load(&self, id: TenantId) -> Result<Option<Arc<Place>>, Error> {
        let before = self.revocations.load(Ordering::SeqCst);
        let Some(tenant) = register::find(&self.db, id).await? else {
            return Ok(None);
        };
        let place = Arc::new(Place {
            id,
            slug: tenant.slug.into(),
            is_suspended: tenant.suspended_at.is_some(),
        });
        if let Some(shard) = self.shard(id) {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            // SECURITY: what was read before a revocation is not remembered after it.
            if self.revocations.load(Ordering::SeqCst) == before {
                shard.insert(id, Arc::clone(&place));
            }
        }
        Ok(Some(place))
    }

    /// Applies one revocation from the feed. Never waits.
    pub fn revoked(&self, revocation: Revocation) {
        match revocation {
            Revocation::Tenant(id) => {
                self.revocations.fetch_add(1, Ordering::SeqCst);
                if let Some(shard) = self.shard(id) {
                    let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
                    shard.remove(&id);
                }
            }
            Revocation::Everything => {
                self.revocations.fetch_add(1, Ordering::SeqCst);
                for shard in &self.shards {
                    shard
                        .write()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clear();
                }
            }
            Revocation::Session(_)
            | Revocation::User(_)
            | Revocation::ApiKey(_)
            | Revocation::TokenFamily(_)
            | Revocation::Visitor(_) => {}
        }
    }

    fn shard(&self, id: TenantId) -> Option<&RwLock<HashMap<TenantId, Arc<Place>>>> {
        let last = id.as_uuid().as_bytes().last().copied().unwrap_or_default();
        self.shards.get(usize::from(last) % SHARDS)
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}
