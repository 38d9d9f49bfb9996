//! Live visits in memory: what the hot path knows of visitors. See `sessions/cache.rs`, which this
//! follows.
//!
//! An end that memory knows may be an old one, since another node can have renewed the visit: what
//! seems to be over is asked for in the database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use portcullis_core::principal::Visitor;
use portcullis_core::{Span, Timestamp};
use portcullis_store::revocations::Revocation;
use portcullis_vault::TokenHash;

use super::store::Stored;

const SHARDS: usize = 64;
/// So many are remembered by a shard; with more, it starts anew.
const MOST_PER_SHARD: usize = 16_384;

/// A visit that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    pub visitor: Visitor,
    pub expires_at: Timestamp,
    /// It is to be renewed, and whoever reads this is the one to do it.
    pub is_due: bool,
}

/// What memory knows about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Found {
    Live(Live),
    /// Not in memory, or memory is not to be trusted: ask the database.
    Unknown,
}

/// Proof of when a load began: see [`Cache::remember`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

struct Entry {
    visitor: Visitor,
    /// Microseconds since the epoch.
    expires_at: AtomicI64,
    /// Beyond this it is never renewed.
    longest: Timestamp,
    /// Somebody has been told to renew it.
    is_taken: AtomicBool,
}

type Shard = RwLock<HashMap<TokenHash, Entry>>;

pub(super) struct Cache {
    shards: Vec<Shard>,
    /// Counts revocations as they are applied.
    revocations: AtomicU64,
}

/// A visit as the database has it.
pub(super) fn live(
    visitor: Visitor,
    expires_at: Timestamp,
    longest: Timestamp,
    now: Timestamp,
    renew_below: Span,
) -> Live {
    Live {
        visitor,
        expires_at,
        is_due: is_due(expires_at, longest, now, renew_below),
    }
}

fn is_due(expires_at: Timestamp, longest: Timestamp, now: Timestamp, renew_below: Span) -> bool {
    expires_at.since(now) < renew_below && expires_at < longest
}

impl Cache {
    pub(super) fn new() -> Self {
        Cache {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            revocations: AtomicU64::new(0),
        }
    }

    /// Whose token it is, by memory alone.
    pub(super) fn lookup(&self, hash: &TokenHash, now: Timestamp, renew_below: Span) -> Found {
        let Some(shard) = self.shard(hash) else {
            return Found::Unknown;
        };
        let shard = read(shard);
        let Some(entry) = shard.get(hash) else {
            return Found::Unknown;
        };
        let expires_at = Timestamp::from_micros(entry.expires_at.load(Ordering::Relaxed));
        if now >= expires_at {
            return Found::Unknown;
        }
        let is_due = is_due(expires_at, entry.longest, now, renew_below)
            && !entry.is_taken.swap(true, Ordering::Relaxed);
        Found::Live(Live {
            visitor: entry.visitor.clone(),
            expires_at,
            is_due,
        })
    }

    /// When it ends, as far as memory knows.
    pub(super) fn end(&self, hash: &TokenHash) -> Option<Timestamp> {
        let shard = read(self.shard(hash)?);
        let entry = shard.get(hash)?;
        Some(Timestamp::from_micros(
            entry.expires_at.load(Ordering::Relaxed),
        ))
    }

    /// To be taken before the database is asked.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.revocations.load(Ordering::SeqCst))
    }

    /// Keeps what the database said, unless a revocation was applied since `ticket` was taken.
    ///
    /// SECURITY: without the ticket, a load that read a visit just before it was revoked would put it
    /// back after the revocation was applied. Counted before removed, and compared under the lock.
    pub(super) fn remember(
        &self,
        hash: &TokenHash,
        stored: &Stored,
        longest: Timestamp,
        ticket: Ticket,
    ) {
        let Some(shard) = self.shard(hash) else {
            return;
        };
        let mut shard = write(shard);
        if self.ticket() != ticket {
            return;
        }
        if shard.len() >= MOST_PER_SHARD {
            shard.clear();
        }
        let entry = Entry {
            visitor: stored.visitor.clone(),
            expires_at: AtomicI64::new(stored.expires_at.as_micros()),
            longest,
            is_taken: AtomicBool::new(false),
        };
        shard.insert(*hash, entry);
    }

    /// A visit that is remembered lasts until `end`. One that was forgotten meanwhile stays forgotten.
    pub(super) fn renewed(&self, hash: &TokenHash, end: Timestamp) {
        let Some(shard) = self.shard(hash) else {
            return;
        };
        if let Some(entry) = read(shard).get(hash) {
            entry
                .expires_at
                .fetch_max(end.as_micros(), Ordering::Relaxed);
            entry.is_taken.store(false, Ordering::Relaxed);
        }
    }

    /// Applies one revocation from the feed.
    pub(super) fn revoked(&self, revocation: Revocation) {
        match revocation {
            Revocation::Visitor(id) => self.forget(|visitor| visitor.id == id),
            Revocation::Tenant(id) => self.forget(|visitor| visitor.tenant == id),
            Revocation::Everything => self.forget(|_| true),
            Revocation::Session(_)
            | Revocation::User(_)
            | Revocation::ApiKey(_)
            | Revocation::TokenFamily(_) => {}
        }
    }

    fn forget(&self, concerns: impl Fn(&Visitor) -> bool) {
        // INVARIANT: counted before it is removed, see `remember`.
        self.revocations.fetch_add(1, Ordering::SeqCst);
        for shard in &self.shards {
            let any = read(shard).values().any(|entry| concerns(&entry.visitor));
            if any {
                write(shard).retain(|_, entry| !concerns(&entry.visitor));
            }
        }
    }

    /// Drops what is over, and lets a renewal that came to nothing be tried again.
    pub(super) fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            write(shard).retain(|_, entry| {
                entry.is_taken.store(false, Ordering::Relaxed);
                now.as_micros() < entry.expires_at.load(Ordering::Relaxed)
            });
        }
    }

    fn shard(&self, hash: &TokenHash) -> Option<&Shard> {
        // Not the bits that the table uses.
        let index = usize::from(hash.as_bytes().last().copied()?) % SHARDS;
        self.shards.get(index)
    }
}

/// A panic elsewhere leaves the tables whole: every change to them is a single call.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
