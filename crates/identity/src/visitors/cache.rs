//! Live visits in memory: what the hot path knows of visitors.
//!
//! An end that memory knows may be an old one, since another node can have renewed the visit: what
//! seems to be over is asked for in the database.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use portcullis_core::principal::Visitor;
use portcullis_core::{Span, Timestamp};
use portcullis_store::revocations::Revocation;
use portcullis_vault::TokenHash;

use super::store::Stored;
use crate::memory::{Memory, Ticket};

/// So many are remembered.
const MOST: usize = 1_048_576;

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

struct Entry {
    visitor: Visitor,
    /// Microseconds since the epoch.
    expires_at: AtomicI64,
    /// Beyond this it is never renewed.
    longest: Timestamp,
    /// Somebody has been told to renew it.
    is_taken: AtomicBool,
}

pub(super) struct Cache(Memory<TokenHash, Entry>);

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

impl Entry {
    fn end(&self) -> Timestamp {
        Timestamp::from_micros(self.expires_at.load(Ordering::Relaxed))
    }
}

impl Cache {
    pub(super) fn new() -> Self {
        Cache(Memory::holding(MOST))
    }

    /// Whose token it is, by memory alone.
    pub(super) fn lookup(&self, hash: &TokenHash, now: Timestamp, renew_below: Span) -> Found {
        let found = self.0.with(hash, |entry| {
            let expires_at = entry.end();
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
        });
        found.unwrap_or(Found::Unknown)
    }

    /// When it ends, as far as memory knows.
    pub(super) fn end(&self, hash: &TokenHash) -> Option<Timestamp> {
        self.0.with(hash, Entry::end)
    }

    /// To be taken before the database is asked.
    pub(super) fn ticket(&self) -> Ticket {
        self.0.ticket()
    }

    /// Keeps what the database said, unless a revocation was applied since `ticket` was taken.
    pub(super) fn remember(
        &self,
        hash: &TokenHash,
        stored: &Stored,
        longest: Timestamp,
        ticket: Ticket,
    ) {
        let entry = Entry {
            visitor: stored.visitor.clone(),
            expires_at: AtomicI64::new(stored.expires_at.as_micros()),
            longest,
            is_taken: AtomicBool::new(false),
        };
        self.0.remember(*hash, entry, ticket);
    }

    /// A visit that is remembered lasts until `end`. One that was forgotten meanwhile stays forgotten.
    pub(super) fn renewed(&self, hash: &TokenHash, end: Timestamp) {
        self.0.with(hash, |entry| {
            entry
                .expires_at
                .fetch_max(end.as_micros(), Ordering::Relaxed);
            entry.is_taken.store(false, Ordering::Relaxed);
        });
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
            | Revocation::TokenFamily(_)
            | Revocation::DataKeys
            | Revocation::Consents(_)
            | Revocation::Incidents => {}
        }
    }

    fn forget(&self, concerns: impl Fn(&Visitor) -> bool) {
        self.0.forget(|entry| concerns(&entry.visitor));
    }

    /// Drops what is over, and lets a renewal that came to nothing be tried again.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.0.retain(|entry| {
            entry.is_taken.store(false, Ordering::Relaxed);
            now < entry.end()
        });
    }
}
