//! Live keys in memory: what the hot path knows of programs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_core::principal::ApiKey;
use portcullis_core::{ApiKeyId, Timestamp};
use portcullis_store::revocations::Revocation;

use super::KeyHash;
use super::store::Stored;
use crate::memory::{Memory, Ticket};

/// So many are remembered.
const MOST: usize = 2_097_152;

/// What memory knows about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Found {
    Live(ApiKey),
    /// It has expired.
    Dead,
    /// Not in memory, or memory is not to be trusted: ask the database.
    Unknown,
}

struct Entry {
    key: ApiKey,
    expires_at: Option<Timestamp>,
    /// Seconds since the epoch, like the next.
    last_used: AtomicU32,
    /// What of `last_used` is in the database.
    written: AtomicU32,
}

/// Live keys in memory.
pub(super) struct Cache(Memory<KeyHash, Entry>);

impl Cache {
    pub(super) fn new() -> Self {
        Cache(Memory::holding(MOST))
    }

    /// Whom the key stands for, by memory alone; notes that it was used.
    pub(super) fn lookup(&self, hash: &KeyHash, now: Timestamp) -> Found {
        let found = self.0.with(hash, |entry| {
            if entry.expires_at.is_some_and(|end| now >= end) {
                return Found::Dead;
            }
            let seconds = seconds(now);
            if entry.last_used.load(Ordering::Relaxed) < seconds {
                entry.last_used.fetch_max(seconds, Ordering::Relaxed);
            }
            Found::Live(entry.key.clone())
        });
        found.unwrap_or(Found::Unknown)
    }

    /// To be taken before the database is asked.
    pub(super) fn ticket(&self) -> Ticket {
        self.0.ticket()
    }

    /// Keeps what the database said, unless a revocation was applied since `ticket` was taken.
    pub(super) fn remember(&self, hash: &KeyHash, found: &Stored, now: Timestamp, ticket: Ticket) {
        let entry = Entry {
            key: found.key.clone(),
            expires_at: found.expires_at,
            last_used: AtomicU32::new(seconds(now)),
            written: AtomicU32::new(found.last_used_at.map_or(0, seconds)),
        };
        self.0.remember(*hash, entry, ticket);
    }

    /// Applies one revocation from the feed.
    pub(super) fn revoked(&self, revocation: Revocation) {
        match revocation {
            Revocation::ApiKey(id) => self.forget(|key| key.id == id),
            // Closed, or with other roles: either way what was remembered holds no more.
            Revocation::User(id) => {
                self.forget(|key| key.owner.as_ref().is_some_and(|owner| owner.id == id));
            }
            Revocation::Tenant(id) => self.forget(|key| key.tenant == Some(id)),
            Revocation::Everything => self.forget(|_| true),
            Revocation::Session(_)
            | Revocation::TokenFamily(_)
            | Revocation::Visitor(_)
            | Revocation::DataKeys
            | Revocation::Consents(_)
            | Revocation::Incidents => {}
        }
    }

    /// Forgets the keys that `concerns` names. Uses that are not written yet are lost with them.
    fn forget(&self, concerns: impl Fn(&ApiKey) -> bool) {
        self.0.forget(|entry| concerns(&entry.key));
    }

    /// Keys whose last use is not in the database yet.
    pub(super) fn unwritten(&self) -> Vec<(ApiKeyId, Timestamp)> {
        let mut list = Vec::new();
        self.0.each(|entry| {
            let used = entry.last_used.load(Ordering::Relaxed);
            if used > entry.written.load(Ordering::Relaxed) {
                list.push((entry.key.id, Timestamp::from_seconds(i64::from(used))));
            }
        });
        list
    }

    /// Says that what [`Cache::unwritten`] listed is in the database, and drops what has expired.
    pub(super) fn written(&self, list: &[(ApiKeyId, Timestamp)], now: Timestamp) {
        let written: HashMap<ApiKeyId, Timestamp> = list.iter().copied().collect();
        self.0.retain(|entry| {
            if let Some(at) = written.get(&entry.key.id) {
                entry.written.fetch_max(seconds(*at), Ordering::Relaxed);
            }
            entry.expires_at.is_none_or(|end| now < end)
        });
    }
}

fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.as_seconds().max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use portcullis_core::{Span, UserId};

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const HASH: KeyHash = portcullis_vault::TokenHash([7; 32]);

    fn stored(id: ApiKeyId) -> Stored {
        Stored {
            key: ApiKey {
                id,
                tenant: None,
                owner: None,
                permissions: Vec::new().into(),
                routes: None,
                rate: None,
            },
            expires_at: Some(NOW + Span::from_days(1)),
            last_used_at: None,
        }
    }

    #[test]
    fn a_load_that_began_before_a_revocation_does_not_bring_the_key_back() {
        let id = ApiKeyId::new();
        for revocation in [
            Revocation::ApiKey(id),
            Revocation::User(UserId::new()),
            Revocation::Everything,
        ] {
            let cache = Cache::new();
            let ticket = cache.ticket();
            cache.revoked(revocation);
            cache.remember(&HASH, &stored(id), NOW, ticket);
            assert_eq!(cache.lookup(&HASH, NOW), Found::Unknown, "{revocation:?}");
            cache.remember(&HASH, &stored(id), NOW, cache.ticket());
            assert!(matches!(cache.lookup(&HASH, NOW), Found::Live(_)));
        }
    }
}
