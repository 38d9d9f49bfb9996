//! What the database said, remembered until a revocation says otherwise.
//!
//! SECURITY: without a ticket, a load that read a row just before it was revoked would put it back
//! after the revocation was applied, and it would live on. Revocations are counted before anything is
//! removed, and the count is compared under the shard's lock: either [`Memory::remember`] sees the
//! higher count, or the removal comes after the insertion and takes it out.
//!
//! Sessions have a table of their own, for they are many and packed (`sessions/cache.rs`), and tokens
//! have two under one count (`holders.rs`); both follow the same rule.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_core::locks::{read, write};
use portcullis_core::{TenantId, UserId};
use portcullis_vault::TokenHash;
use uuid::Uuid;

const SHARDS: usize = 64;

/// By what something is remembered.
pub(crate) trait Key: Hash + Eq {
    /// Which shard it stands in. Not by the bits that the table uses.
    fn place(&self) -> u8;
}

impl Key for TokenHash {
    fn place(&self) -> u8 {
        self.as_bytes().last().copied().unwrap_or_default()
    }
}

/// Random in every version of identifier that is used here.
fn last(id: Uuid) -> u8 {
    id.as_bytes().last().copied().unwrap_or_default()
}

impl Key for TenantId {
    fn place(&self) -> u8 {
        last(self.as_uuid())
    }
}

impl Key for UserId {
    fn place(&self) -> u8 {
        last(self.as_uuid())
    }
}

impl Key for str {
    fn place(&self) -> u8 {
        self.bytes().fold(0, u8::wrapping_add)
    }
}

impl Key for Box<str> {
    fn place(&self) -> u8 {
        str::place(self)
    }
}

/// Proof of when a load began: to be taken before the database is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// A table that many read at once.
pub(crate) struct Memory<K, V> {
    shards: Vec<RwLock<HashMap<K, V>>>,
    most_per_shard: usize,
    /// Counts revocations as they are applied.
    revocations: AtomicU64,
}

impl<K: Key, V> Memory<K, V> {
    /// Holds about `most`: a shard that is full starts anew.
    pub(crate) fn holding(most: usize) -> Self {
        Memory {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            most_per_shard: most.div_ceil(SHARDS),
            revocations: AtomicU64::new(0),
        }
    }

    /// Looks at what is remembered, where it is. Never waits.
    pub(crate) fn with<Q, T>(&self, key: &Q, look: impl FnOnce(&V) -> T) -> Option<T>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        read(self.shard(key)?).get(key).map(look)
    }

    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.revocations.load(Ordering::SeqCst))
    }

    /// Keeps what the database said, unless a revocation was applied since `ticket` was taken.
    pub(crate) fn remember(&self, key: K, value: V, ticket: Ticket) {
        let Some(shard) = self.shard(&key) else {
            return;
        };
        let mut shard = write(shard);
        if self.ticket() != ticket {
            return;
        }
        if shard.len() >= self.most_per_shard {
            shard.clear();
        }
        shard.insert(key, value);
    }

    /// Applies a revocation: forgets whatever it concerns. Looks at each.
    pub(crate) fn forget(&self, concerns: impl Fn(&V) -> bool) {
        // INVARIANT: counted before it is removed, see above.
        self.revocations.fetch_add(1, Ordering::SeqCst);
        for shard in &self.shards {
            let any = read(shard).values().any(&concerns);
            if any {
                write(shard).retain(|_, value| !concerns(value));
            }
        }
    }

    /// The same of one, whose key says enough.
    pub(crate) fn forget_one(&self, key: &K) {
        // INVARIANT: counted before it is removed, see above.
        self.revocations.fetch_add(1, Ordering::SeqCst);
        if let Some(shard) = self.shard(key) {
            write(shard).remove(key);
        }
    }

    /// Looks at everything, and drops what is not to be kept. For the housekeeping: it revokes nothing.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&V) -> bool) {
        for shard in &self.shards {
            write(shard).retain(|_, value| keep(value));
        }
    }

    /// Looks at everything.
    pub(crate) fn each(&self, mut look: impl FnMut(&V)) {
        for shard in &self.shards {
            read(shard).values().for_each(&mut look);
        }
    }

    fn shard<Q: Key + ?Sized>(&self, key: &Q) -> Option<&RwLock<HashMap<K, V>>> {
        self.shards.get(usize::from(key.place()) % SHARDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(last: u8) -> TokenHash {
        let mut bytes = [7; 32];
        bytes[31] = last;
        TokenHash(bytes)
    }

    fn known(memory: &Memory<TokenHash, u32>) -> Vec<u32> {
        let mut all = Vec::new();
        memory.each(|value| all.push(*value));
        all.sort_unstable();
        all
    }

    #[test]
    fn a_load_that_began_before_a_revocation_is_not_remembered_after_it() {
        let memory = Memory::holding(1000);
        let ticket = memory.ticket();
        memory.remember(hash(1), 1, ticket);
        memory.forget(|_| false);
        memory.remember(hash(2), 2, ticket);
        assert_eq!(known(&memory), [1]);
        memory.remember(hash(2), 2, memory.ticket());
        assert_eq!(memory.with(&hash(2), |value| *value), Some(2));
        assert_eq!(memory.with(&hash(3), |value| *value), None);
    }

    #[test]
    fn a_revocation_takes_out_what_it_concerns_in_every_shard() {
        let memory = Memory::holding(1000);
        for number in 0..200_u8 {
            memory.remember(hash(number), u32::from(number), memory.ticket());
        }
        memory.forget(|value| value % 2 == 0);
        assert_eq!(known(&memory).len(), 100);
        memory.retain(|value| *value > 100);
        assert_eq!(known(&memory).first(), Some(&101));
    }

    #[test]
    fn a_full_shard_starts_anew() {
        let memory = Memory::holding(SHARDS * 2);
        for number in 0..3_u8 {
            // All of one shard.
            memory.remember(hash(number * 64), u32::from(number), memory.ticket());
        }
        assert_eq!(known(&memory), [2]);
    }
}
