//! Who holds a bearer token, in memory: the hot path's whole knowledge of tokens.
//!
//! Two tables. One remembers what a token was found to be, by the hash of its whole text, so that
//! each token is verified once; only a key that was taken out empties it, for whom a token names is
//! looked up in the other. That one has the people behind the tokens, by token family, or by identity at another
//! issuer and the tenant that the token names, and everything that is revoked is taken out of it.
//!
//! - Only what the database confirmed is kept. That a token is refused is not remembered, for
//!   anybody can make up any number of those.
//! - Both are bounded: the first forgets a shard that is full, the second what was not used.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use portcullis_core::locks::{read, write};
use portcullis_core::principal::User;
use portcullis_core::{Span, TenantId, Timestamp};
use portcullis_store::revocations::Revocation;
use portcullis_vault::TokenHash;
use uuid::Uuid;

use crate::ApiKeys;

const SHARDS: usize = 64;

/// Tokens that a shard of the first table holds; about 100 bytes each.
const MOST_TOKENS: usize = 4096;

/// What was not used for so long is dropped from the second table.
const KEPT_FOR: Span = Span::from_minutes(30);

/// What a token was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verified {
    /// The token family, or the identity at another issuer.
    pub(crate) holder: Uuid,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) source: Source,
}

/// By what whoever is behind a token is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct HolderKey {
    /// The token family, or the identity at another issuer.
    id: Uuid,
    /// Of people of another issuer: where they come from, by their token.
    tenant: Option<TenantId>,
}

impl HolderKey {
    const fn of_family(id: Uuid) -> Self {
        HolderKey { id, tenant: None }
    }
}

impl Verified {
    pub(crate) const fn key(&self) -> HolderKey {
        let tenant = match self.source {
            Source::Own => None,
            Source::Issuer { tenant, .. } => tenant,
        };
        HolderKey {
            id: self.holder,
            tenant,
        }
    }
}

/// Whose token it is, and what it says beyond who holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Own,
    Issuer {
        position: usize,
        /// Of the keys that it was verified by.
        generation: u64,
        /// The one that the token names.
        tenant: Option<TenantId>,
        is_administrator: bool,
        authenticated_at: Timestamp,
        second_factor_at: Option<Timestamp>,
    },
}

/// Who is behind it.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) user: User,
    pub(crate) expires_at: Timestamp,
    /// Tokens that were issued before are over.
    pub(crate) not_before: Timestamp,
    /// When something of what the user holds ends by itself: then the database knows the rest.
    until: Option<Timestamp>,
    /// The roles where the token names an administrator.
    administrator: Option<Arc<[Arc<str>]>>,
    last_used: AtomicI64,
}

impl Holder {
    pub(crate) fn new(user: User, expires_at: Timestamp, not_before: Timestamp) -> Self {
        Holder {
            user,
            expires_at,
            not_before,
            until: None,
            administrator: None,
            last_used: AtomicI64::new(i64::MAX),
        }
    }

    /// The same, and to be asked for again from then on.
    pub(crate) const fn known_until(mut self, until: Option<Timestamp>) -> Self {
        self.until = until;
        self
    }

    pub(crate) fn with_administrator(mut self, roles: Arc<[Arc<str>]>) -> Self {
        self.administrator = Some(roles);
        self
    }

    /// The caller, by this token of theirs.
    pub(crate) fn user_by(&self, token: &Verified) -> User {
        match token.source {
            Source::Own => self.user.clone(),
            Source::Issuer {
                is_administrator,
                authenticated_at,
                second_factor_at,
                ..
            } => {
                let administrator = self.administrator.as_ref().filter(|_| is_administrator);
                User {
                    roles: Arc::clone(administrator.unwrap_or(&self.user.roles)),
                    authenticated_at,
                    second_factor_at,
                    ..self.user.clone()
                }
            }
        }
    }

    pub(crate) fn admits(&self, token: &Verified, now: Timestamp) -> bool {
        let is_known = self.until.is_none_or(|until| now < until);
        is_known && now < self.expires_at && token.issued_at >= self.not_before
    }
}

/// Proof of when a load began: see [`Holders::remember`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

type Shard<K, V> = RwLock<HashMap<K, V>>;

/// Both tables.
#[derive(Debug)]
pub struct Holders {
    tokens: Vec<Shard<TokenHash, Verified>>,
    people: Vec<Shard<HolderKey, Arc<Holder>>>,
    /// Counts revocations as they are applied.
    revocations: AtomicU64,
    keys: Option<Programs>,
}

/// API keys, which hear of what this node does from here.
struct Programs(ApiKeys);

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Programs(..)")
    }
}

impl Default for Holders {
    fn default() -> Self {
        Holders {
            tokens: (0..SHARDS).map(|_| Shard::default()).collect(),
            people: (0..SHARDS).map(|_| Shard::default()).collect(),
            revocations: AtomicU64::new(0),
            keys: None,
        }
    }
}

impl Holders {
    /// With keys that are to hear at once of what happens here.
    pub fn telling(keys: ApiKeys) -> Self {
        Holders {
            keys: Some(Programs(keys)),
            ..Holders::default()
        }
    }

    /// What this very node does counts here from the next request on, whatever somebody comes with.
    /// The feed tells the others, and this node a second time.
    pub(crate) fn revoked_here(&self, revocation: Revocation) {
        self.revoked(revocation);
        if let Some(Programs(keys)) = &self.keys {
            keys.revoked(revocation);
        }
    }

    /// What this token was found to be, while it lives.
    pub(crate) fn verified(&self, hash: &TokenHash, now: Timestamp) -> Option<Verified> {
        let table = read(shard(&self.tokens, hash.prefix())?);
        table
            .get(hash)
            .copied()
            .filter(|found| now < found.expires_at)
    }

    /// Keeps what a token was found to be, with the same care as [`Holders::remember`].
    pub(crate) fn remember_verified(
        &self,
        hash: TokenHash,
        found: Verified,
        ticket: Ticket,
        now: Timestamp,
    ) {
        let Some(shard) = shard(&self.tokens, hash.prefix()) else {
            return;
        };
        let mut table = write(shard);
        if table.len() >= MOST_TOKENS {
            table.retain(|_, found| now < found.expires_at);
        }
        if table.len() >= MOST_TOKENS {
            table.clear();
        }
        if self.ticket() == ticket {
            table.insert(hash, found);
        }
    }

    /// Who is behind it, by memory alone. Notes the use.
    pub(crate) fn find(&self, key: HolderKey, now: Timestamp) -> Option<Arc<Holder>> {
        let table = read(shard(&self.people, place(key.id))?);
        let holder = table.get(&key)?;
        holder.last_used.store(now.as_micros(), Ordering::Relaxed);
        Some(Arc::clone(holder))
    }

    /// To be taken before the database is asked.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.revocations.load(Ordering::SeqCst))
    }

    /// Keeps what the database said, unless a revocation was applied since `ticket` was taken.
    ///
    /// SECURITY: without the ticket, a load that read a family just before it was revoked would put
    /// it back after the revocation was applied. The count is compared under the shard's lock, and
    /// raised before anything is removed: either this sees the higher count, or the removal comes
    /// after the insertion and takes it out.
    pub(crate) fn remember(
        &self,
        key: HolderKey,
        holder: Arc<Holder>,
        ticket: Ticket,
        now: Timestamp,
    ) {
        let Some(shard) = shard(&self.people, place(key.id)) else {
            return;
        };
        holder.last_used.store(now.as_micros(), Ordering::Relaxed);
        let mut table = write(shard);
        if self.ticket() == ticket {
            table.insert(key, holder);
        }
    }

    /// Applies one revocation from the feed, or of this node's own. Never waits.
    pub fn revoked(&self, revocation: Revocation) {
        match revocation {
            Revocation::TokenFamily(id) => self.forget(id.as_uuid()),
            Revocation::User(id) => self.forget_where(|user| user.id == id),
            Revocation::Tenant(id) => self.forget_where(|user| user.tenant == Some(id)),
            Revocation::Everything => self.forget_everything(),
            // Not of these tables.
            Revocation::Session(_)
            | Revocation::ApiKey(_)
            | Revocation::Visitor(_)
            | Revocation::DataKeys
            | Revocation::Consents(_)
            | Revocation::Incidents => {}
        }
    }

    /// Forgets everybody, but not what tokens were found to be: another policy is in force.
    pub(crate) fn forget_people(&self) {
        self.forget_where(|_| true);
    }

    fn forget_everything(&self) {
        self.forget_people();
        // What signed the tokens may count no longer, either.
        for shard in &self.tokens {
            write(shard).clear();
        }
    }

    fn forget(&self, id: Uuid) {
        self.revocations.fetch_add(1, Ordering::SeqCst);
        if let Some(shard) = shard(&self.people, place(id)) {
            write(shard).remove(&HolderKey::of_family(id));
        }
    }

    /// Looks at each.
    fn forget_where(&self, is_meant: impl Fn(&User) -> bool) {
        // INVARIANT: counted before anything is removed, see `remember`.
        self.revocations.fetch_add(1, Ordering::SeqCst);
        for shard in &self.people {
            let any = read(shard).values().any(|holder| is_meant(&holder.user));
            if any {
                write(shard).retain(|_, holder| !is_meant(&holder.user));
            }
        }
    }

    /// Drops what has ended and what was not used for a while.
    pub(crate) fn sweep(&self, now: Timestamp) {
        for shard in &self.tokens {
            write(shard).retain(|_, found| now < found.expires_at);
        }
        for shard in &self.people {
            write(shard).retain(|_, holder| {
                let used = Timestamp::from_micros(holder.last_used.load(Ordering::Relaxed));
                now < holder.expires_at && now.since(used) < KEPT_FOR
            });
        }
    }
}

fn place(id: Uuid) -> u64 {
    // The last bits are random in every version of identifier that is used here.
    id.as_u64_pair().1
}

fn shard<T>(shards: &[T], key: u64) -> Option<&T> {
    let index = usize::try_from(key & 0x3f).ok()?;
    shards.get(index)
}

#[cfg(test)]
mod tests {
    use portcullis_core::principal::Credential;
    use portcullis_core::{TokenFamilyId, UserId};

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn key(family: TokenFamilyId) -> HolderKey {
        HolderKey::of_family(family.as_uuid())
    }

    fn holder(family: TokenFamilyId) -> Arc<Holder> {
        let user = User {
            id: UserId::new(),
            credential: Credential::AccessToken(family),
            tenant: None,
            standing: None,
            roles: Vec::new().into(),
            authenticated_at: NOW,
            second_factor_at: None,
        };
        Arc::new(Holder::new(user, NOW + Span::from_days(1), NOW))
    }

    fn remembered(holders: &Holders) -> (TokenFamilyId, Arc<Holder>) {
        let family = TokenFamilyId::new();
        let holder = holder(family);
        holders.remember(key(family), Arc::clone(&holder), holders.ticket(), NOW);
        (family, holder)
    }

    #[test]
    fn a_revocation_takes_out_its_family_or_user_and_no_other() {
        let holders = Holders::default();
        let all: Vec<_> = (0..100).map(|_| remembered(&holders)).collect();
        let known = || {
            let is_known = |(id, _): &&(TokenFamilyId, _)| holders.find(key(*id), NOW).is_some();
            all.iter().filter(is_known).count()
        };
        holders.revoked(Revocation::TokenFamily(all[3].0));
        assert_eq!(known(), 99);
        holders.revoked(Revocation::User(all[4].1.user.id));
        assert_eq!(known(), 98);
        holders.revoked(Revocation::Everything);
        assert_eq!(known(), 0);
    }

    #[test]
    fn a_load_that_began_before_a_revocation_does_not_bring_the_family_back() {
        let holders = Holders::default();
        let family = TokenFamilyId::new();
        let ticket = holders.ticket();
        holders.revoked(Revocation::TokenFamily(family));
        holders.remember(key(family), holder(family), ticket, NOW);
        assert!(holders.find(key(family), NOW).is_none());
    }

    #[test]
    fn no_number_of_tokens_fills_the_memory() {
        let holders = Holders::default();
        let found = Verified {
            holder: Uuid::nil(),
            issued_at: NOW,
            expires_at: NOW + Span::from_minutes(1),
            source: Source::Own,
        };
        for count in 0..20_000_u32 {
            let mut bytes = [0; 32];
            // All of one shard.
            bytes[1..5].copy_from_slice(&count.to_le_bytes());
            holders.remember_verified(TokenHash(bytes), found, holders.ticket(), NOW);
        }
        let kept: usize = holders.tokens.iter().map(|shard| read(shard).len()).sum();
        assert!((1..=MOST_TOKENS).contains(&kept));
    }

    #[test]
    fn what_is_over_or_unused_is_swept() {
        let holders = Holders::default();
        let (family, _) = remembered(&holders);
        holders.sweep(NOW + Span::from_minutes(29));
        assert!(
            holders
                .find(key(family), NOW + Span::from_minutes(29))
                .is_some()
        );
        holders.sweep(NOW + Span::from_minutes(60));
        assert!(holders.find(key(family), NOW).is_none());
    }
}
