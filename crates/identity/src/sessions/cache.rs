//! Live sessions in memory: the hot path's whole knowledge of who is calling.
//!
//! - Sharded by the token's hash, which is uniform, so its own bits serve as the table's hash.
//! - About 130 bytes a session: 104 for the entry, the rest for the table at its emptiest. Tenant
//!   and roles are shared between all sessions that have the same.
//! - Times are whole seconds, rounded so that a session never lives longer for it.
//! - Only what the database confirmed is kept; that a token is unknown is not, for anybody can
//!   make up any number of those.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, Weak};

use hashbrown::{DefaultHashBuilder, HashTable};
use portcullis_core::locks::{lock, read, write};
use portcullis_core::principal::{Credential, Standing, User};
use portcullis_core::{SessionId, Span, TenantId, Timestamp, UserId};
use portcullis_vault::TokenHash;

use super::other_client::KnownClient;
use super::store::Stored;
use crate::revoke;
use portcullis_store::revocations::Revocation;

const SHARDS: usize = 256;

/// What memory knows about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Lookup {
    /// A live session. The activity is noted.
    Live(User),
    /// The session has reached the end of its lifetime.
    Dead,
    /// Not in memory, or idle by what this node knows: ask the database.
    Unknown,
    /// News of revocations is late, so memory is not to be trusted: ask the database.
    Stale,
}

/// Proof of when a load began: see [`SessionCache::remember`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

struct Entry {
    hash: TokenHash,
    id: SessionId,
    user: UserId,
    profile: Arc<Profile>,
    /// Seconds since the epoch, like all times here.
    authenticated_at: u32,
    /// Zero where there was one factor only.
    second_factor_at: u32,
    expires_at: u32,
    last_seen: AtomicU32,
    /// What of `last_seen` is in the database.
    written: AtomicU32,
    /// The client that signed in: see `other_client`.
    kind: u16,
    device: u32,
    agent: AtomicU32,
    has_alarmed: AtomicBool,
    /// When a new token was offered last: see `carried_over`.
    renewed: AtomicU32,
}

/// What many sessions have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Profile {
    tenant: Option<TenantId>,
    standing: Option<Arc<Standing>>,
    roles: Arc<[Arc<str>]>,
    /// Seconds since the epoch: when something of the standing ends by itself.
    until: Option<u32>,
}

type Profiles = HashMap<ProfileKey, Weak<Profile>>;

/// All that a profile is made of.
type ProfileKey = (
    Option<TenantId>,
    Option<Arc<Standing>>,
    Vec<Arc<str>>,
    Option<u32>,
);

type Shard = RwLock<HashTable<Box<Entry>>>;

/// Live sessions in memory.
pub struct SessionCache {
    shards: Vec<Shard>,
    /// Counts revocations as they are applied.
    revocations: AtomicU64,
    idle_timeout: Span,
    profiles: Mutex<Profiles>,
    /// For what is compared within this process alone.
    hasher: DefaultHashBuilder,
}

impl SessionCache {
    pub fn new(idle_timeout: Span) -> Self {
        SessionCache {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            revocations: AtomicU64::new(0),
            idle_timeout,
            profiles: Mutex::default(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Whom the token stands for, by memory alone.
    pub(super) fn lookup(&self, hash: &TokenHash, now: Timestamp) -> Lookup {
        let Some(shard) = self.read(hash) else {
            return Lookup::Unknown;
        };
        let Some(entry) = shard.find(key_of(hash), |entry| entry.hash == *hash) else {
            return Lookup::Unknown;
        };
        let seconds = floor(now);
        if seconds >= entry.expires_at {
            return Lookup::Dead;
        }
        // Something that was lent has ended: what is left, the database knows.
        if entry.profile.until.is_some_and(|until| seconds >= until) {
            return Lookup::Unknown;
        }
        if idles(
            entry.last_seen.load(Ordering::Relaxed),
            now,
            self.idle_timeout,
        ) {
            // Another node may have seen activity.
            return Lookup::Unknown;
        }
        if entry.last_seen.load(Ordering::Relaxed) < seconds {
            entry.last_seen.fetch_max(seconds, Ordering::Relaxed);
        }
        Lookup::Live(entry.as_user())
    }

    /// Applies one revocation from the feed.
    pub fn revoked(&self, revocation: Revocation) {
        match revocation {
            Revocation::Session(id) => self.forget_session(id),
            Revocation::User(id) => self.forget_user(id),
            Revocation::Tenant(id) => self.forget_tenant(id),
            Revocation::Everything => self.forget_everything(),
            Revocation::ApiKey(_)
            | Revocation::TokenFamily(_)
            | Revocation::Visitor(_)
            | Revocation::DataKeys
            | Revocation::Consents(_)
            | Revocation::Incidents => {}
        }
    }

    /// Forgets one session.
    pub fn forget(&self, hash: &TokenHash) {
        self.forget_session(revoke::session_id(hash));
    }

    /// Forgets all sessions of a user. Looks at each session there is: about 10 ms for a million,
    /// while lookups go on.
    pub fn forget_user(&self, user: UserId) {
        self.revocations.fetch_add(1, Ordering::SeqCst);
        for shard in &self.shards {
            let any = read(shard).iter().any(|entry| entry.user == user);
            if any {
                write(shard).retain(|entry| entry.user != user);
            }
        }
    }

    /// Forgets all sessions that work in a tenant. Looks at each session there is.
    pub fn forget_tenant(&self, tenant: TenantId) {
        self.revocations.fetch_add(1, Ordering::SeqCst);
        let works_there = |entry: &Entry| entry.profile.tenant == Some(tenant);
        for shard in &self.shards {
            let any = read(shard).iter().any(|entry| works_there(entry));
            if any {
                write(shard).retain(|entry| !works_there(entry));
            }
        }
    }

    /// Number of sessions in memory.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn forget_everything(&self) {
        self.revocations.fetch_add(1, Ordering::SeqCst);
        for shard in &self.shards {
            write(shard).clear();
        }
    }

    fn forget_session(&self, id: SessionId) {
        // INVARIANT: counted before it is removed, see `remember`.
        self.revocations.fetch_add(1, Ordering::SeqCst);
        let key = key(id);
        if let Some(shard) = self.shard(key)
            && let Ok(found) = write(shard).find_entry(key, |entry| entry.id == id)
        {
            found.remove();
        }
    }

    /// To be taken before the database is asked.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.revocations.load(Ordering::SeqCst))
    }

    /// Keeps what the database said, unless a revocation was applied since `ticket` was taken.
    ///
    /// SECURITY: without the ticket, a load that read a session just before it was revoked would
    /// put it back after the revocation was applied, and it would live on. The count is compared
    /// under the shard's lock, and raised before anything is removed: either this sees the higher
    /// count, or the removal comes after the insertion and takes it out.
    pub(super) fn remember(
        &self,
        hash: &TokenHash,
        found: &Stored,
        now: Timestamp,
        ticket: Ticket,
    ) -> User {
        let entry = Entry {
            hash: *hash,
            id: revoke::session_id(hash),
            user: found.user,
            profile: self.profile(found),
            authenticated_at: floor(found.authenticated_at),
            second_factor_at: found.second_factor_at.map_or(0, floor),
            expires_at: floor(found.expires_at),
            last_seen: AtomicU32::new(floor(now)),
            written: AtomicU32::new(floor(found.last_seen_at)),
            kind: found.client_kind,
            device: found.device_mark,
            agent: AtomicU32::new(0),
            has_alarmed: AtomicBool::new(false),
            renewed: AtomicU32::new(0),
        };
        let user = entry.as_user();
        if let Some(shard) = self.shard(key_of(hash)) {
            let mut table = write(shard);
            if self.ticket() == ticket {
                if let Ok(old) = table.find_entry(key_of(hash), |entry| entry.hash == *hash) {
                    old.remove();
                }
                table.insert_unique(key_of(hash), Box::new(entry), |entry| key(entry.id));
            }
        }
        user
    }

    /// The last activity that this node saw.
    pub(super) fn last_seen(&self, hash: &TokenHash) -> Option<Timestamp> {
        self.with_entry(hash, |entry| {
            seconds(entry.last_seen.load(Ordering::Relaxed))
        })
    }

    /// What is known of the client that signed in.
    pub(super) fn known_client(&self, hash: &TokenHash) -> Option<KnownClient> {
        self.with_entry(hash, |entry| KnownClient {
            kind: entry.kind,
            device: entry.device,
            agent: entry.agent.load(Ordering::Relaxed),
        })
    }

    /// Remembers headers that were found fitting, by their hash.
    pub(super) fn accept_client(&self, hash: &TokenHash, agent: u32) {
        self.with_entry(hash, |entry| entry.agent.store(agent, Ordering::Relaxed));
    }

    /// Notes that the session turned up elsewhere; whether that is news here.
    pub(super) fn raise_alarm(&self, hash: &TokenHash) -> bool {
        self.with_entry(hash, |entry| {
            !entry.has_alarmed.swap(true, Ordering::Relaxed)
        })
        .unwrap_or(true)
    }

    /// Whether a new token may be offered, which is once a minute, and notes that it is.
    pub(super) fn may_renew(&self, hash: &TokenHash, now: Timestamp) -> bool {
        let now = floor(now);
        self.with_entry(hash, |entry| {
            entry
                .renewed
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                    (now >= last.saturating_add(60)).then_some(now)
                })
                .is_ok()
        })
        .unwrap_or(false)
    }

    /// A hash for comparing within this process, never zero.
    pub(super) fn hash_of(&self, value: impl Hash) -> u32 {
        u32::try_from(self.hasher.hash_one(value) >> 32).map_or(1, |hash| hash.max(1))
    }

    fn with_entry<T>(&self, hash: &TokenHash, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        let shard = self.read(hash)?;
        shard
            .find(key_of(hash), |entry| entry.hash == *hash)
            .map(|entry| look(entry))
    }

    /// When the session reaches the end of its lifetime, as far as memory knows it.
    pub fn expires_at(&self, hash: &TokenHash) -> Option<Timestamp> {
        self.with_entry(hash, |entry| seconds(entry.expires_at))
    }

    /// Sessions whose last activity is not in the database yet.
    pub(super) fn unwritten(&self) -> Vec<(SessionId, Timestamp)> {
        let mut list = Vec::new();
        for shard in &self.shards {
            for entry in read(shard).iter() {
                let seen = entry.last_seen.load(Ordering::Relaxed);
                if seen > entry.written.load(Ordering::Relaxed) {
                    list.push((entry.id, seconds(seen)));
                }
            }
        }
        list
    }

    /// Says that what [`SessionCache::unwritten`] listed is in the database.
    pub(super) fn written(&self, list: &[(SessionId, Timestamp)]) {
        let written: HashMap<SessionId, Timestamp> = list.iter().copied().collect();
        if written.is_empty() {
            return;
        }
        for shard in &self.shards {
            for entry in read(shard).iter() {
                if let Some(at) = written.get(&entry.id) {
                    entry.written.fetch_max(floor(*at), Ordering::Relaxed);
                }
            }
        }
    }

    /// Drops sessions that have ended, and profiles that no session has any more.
    pub(super) fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            write(shard).retain(|entry| {
                floor(now) < entry.expires_at
                    && !idles(
                        entry.last_seen.load(Ordering::Relaxed),
                        now,
                        self.idle_timeout,
                    )
            });
        }
        lock(&self.profiles).retain(|_, profile| profile.strong_count() > 0);
    }

    fn profile(&self, found: &Stored) -> Arc<Profile> {
        let mut profiles = lock(&self.profiles);
        let until = found.until.map(floor);
        let key = (
            found.tenant,
            found.standing.clone(),
            found.roles.clone(),
            until,
        );
        if let Some(profile) = profiles.get(&key).and_then(Weak::upgrade) {
            return profile;
        }
        let profile = Arc::new(Profile {
            tenant: found.tenant,
            standing: found.standing.clone(),
            roles: found.roles.as_slice().into(),
            until,
        });
        profiles.insert(key, Arc::downgrade(&profile));
        profile
    }

    fn shard(&self, prefix: u64) -> Option<&Shard> {
        // The table uses the low and the topmost bits; these are neither, and not the version.
        let index = usize::try_from((prefix >> 40) & 0xff).ok()?;
        self.shards.get(index)
    }

    fn read(&self, hash: &TokenHash) -> Option<RwLockReadGuard<'_, HashTable<Box<Entry>>>> {
        self.shard(key_of(hash)).map(read)
    }
}

impl std::fmt::Debug for SessionCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionCache")
            .field("sessions", &self.len())
            .finish_non_exhaustive()
    }
}

impl Entry {
    fn as_user(&self) -> User {
        User {
            id: self.user,
            credential: Credential::Session(self.id),
            tenant: self.profile.tenant,
            standing: self.profile.standing.clone(),
            roles: Arc::clone(&self.profile.roles),
            authenticated_at: seconds(self.authenticated_at),
            second_factor_at: (self.second_factor_at > 0).then(|| seconds(self.second_factor_at)),
        }
    }
}

/// Where a session is in the table: the first bits of its name, which are those of its hash.
fn key(id: SessionId) -> u64 {
    let (first, _) = id.as_uuid().as_u64_pair();
    first
}

fn key_of(hash: &TokenHash) -> u64 {
    key(revoke::session_id(hash))
}

fn idles(last_seen: u32, now: Timestamp, idle_timeout: Span) -> bool {
    now.since(seconds(last_seen)) >= idle_timeout
}

fn floor(at: Timestamp) -> u32 {
    u32::try_from(at.as_seconds().max(0)).unwrap_or(u32::MAX)
}

fn seconds(at: u32) -> Timestamp {
    Timestamp::from_seconds(i64::from(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_no_more_than_its_share_of_150_bytes() {
        // One pointer and one control byte a slot, at a load of 7/16 after the table has grown.
        let worst_slot = (size_of::<Box<Entry>>() + 1) * 16 / 7 + 1;
        // 112 is a class of the allocator's.
        assert!(size_of::<Entry>() <= 112);
        assert!(112 + worst_slot <= 150);
    }
}
