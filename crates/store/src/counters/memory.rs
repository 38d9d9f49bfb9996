//! Counters in memory.
//!
//! 16 bytes a key: a keyed fingerprint of limit and subject (`SipHash` with a key from the
//! operating system, so that nobody can choose subjects that collide), and the arrival time. Two
//! keys of a million share a counter once in tens of millions of runs; such a pair is limited
//! together, never unlimited.
//!
//! - A key whose arrival time has passed says the same as no key; it is swept when its shard has
//!   doubled since the last sweep, or is full.
//! - A live key is never thrown out: whoever is limited stays limited, however many others come.
//! - At the bound, when all keys are live, newcomers share counters: one per limit and shard, at
//!   the limit's ordinary rate. Known subjects notice nothing; a flood of new ones slows itself.
//! - The clock may be set back: the counters' own time stands still then, and goes on from there.
//!   (Set forward, it looks like idle time: everybody has a full burst again.)

use std::hash::{BuildHasher, Hasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use portcullis_core::limit::Spent;
use portcullis_core::{Span, Timestamp};

use super::{Charge, MAX_CHARGES, Taken};

/// A power of two.
const SHARDS: usize = 256;

/// At the bound a shard is swept at most this often.
const SWEEP_PAUSE: Span = Span::from_millis(10);

/// Steps back by less than this are requests overtaking each other, not a clock that was set.
const OVERTAKING: i64 = 1_000_000;

/// Counters of this node alone.
pub struct Memory {
    hasher: RandomState,
    shards: Box<[Padded]>,
    /// Keys in one shard.
    bound: usize,
}

/// On cache lines of its own, so that cores do not disturb each other beyond the locks.
#[repr(align(128))]
struct Padded(Mutex<Shard>);

struct Shard {
    slots: HashTable<Slot>,
    /// The number of keys at which dead ones are swept before another is added.
    sweep_at: usize,
    /// At the bound: no sweep before this time.
    sweep_again: i64,
    /// The latest time that was seen here, and what is added to the clock since it was set back.
    latest: i64,
    shift: i64,
}

#[derive(Clone, Copy)]
struct Slot {
    fingerprint: u64,
    tat: i64,
}

/// Where a charge is counted, once its shard is locked: at its own counter, or at the shared one of
/// its limit when the shard is full of live keys and does not know it.
#[derive(Clone, Copy, Default)]
struct Place {
    fingerprint: u64,
    /// Position in the list of locked shards.
    lock: usize,
    now: i64,
    /// What is stored, and what is to be stored.
    tat: Option<i64>,
    next: Option<i64>,
}

impl Default for Memory {
    /// Room for 917,504 keys: at most 18 MB.
    fn default() -> Self {
        Memory::with_bound(SHARDS * 3584)
    }
}

impl Memory {
    /// Room for about `keys` subjects at once.
    pub fn with_bound(keys: usize) -> Self {
        let shard = || Shard {
            slots: HashTable::new(),
            sweep_at: 64,
            sweep_again: i64::MIN,
            latest: i64::MIN,
            shift: 0,
        };
        Memory {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Padded(Mutex::new(shard()))).collect(),
            bound: keys.div_ceil(SHARDS).max(1),
        }
    }

    /// How many keys are held, dead ones included.
    pub fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| lock(shard).slots.len())
            .sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all charges or none.
    pub fn take(&self, now: Timestamp, charges: &[Charge]) -> Taken {
        if charges.len() > MAX_CHARGES {
            return Taken::too_many();
        }
        let mut fingerprints = [0; MAX_CHARGES];
        let mut wanted = [usize::MAX; MAX_CHARGES];
        for (charge, (fingerprint, shard)) in
            charges.iter().zip(fingerprints.iter_mut().zip(&mut wanted))
        {
            *fingerprint = self.fingerprint(charge);
            *shard = shard_of(*fingerprint);
        }
        // INVARIANT: shards are locked in ascending order, each once: no two requests can wait for
        // each other.
        let wanted = wanted.get_mut(..charges.len()).unwrap_or_default();
        wanted.sort_unstable();
        let mut held: [Option<MutexGuard<'_, Shard>>; MAX_CHARGES] = Default::default();
        let mut previous = usize::MAX;
        for (slot, index) in held.iter_mut().zip(wanted.iter().copied()) {
            if index != previous {
                *slot = self.shards.get(index).map(lock);
                previous = index;
            }
        }

        // All counters are looked up before the first is judged: a counter that is in no cache takes
        // longer to come than everything else here, and so they come at the same time.
        let mut places: [Place; MAX_CHARGES] = Default::default();
        for (place, fingerprint) in places.iter_mut().zip(fingerprints).take(charges.len()) {
            let index = shard_of(fingerprint);
            let lock = wanted.partition_point(|wanted| *wanted < index);
            let known = held.get(lock).and_then(Option::as_ref);
            *place = Place {
                fingerprint,
                lock,
                tat: known.and_then(|shard| shard.tat(fingerprint)),
                ..Place::default()
            };
        }
        let taken = Taken::judged(charges, |position, charge| {
            let Some((before, place)) = split(&mut places, position) else {
                return super::NOTHING;
            };
            let Some(shard) = held.get_mut(place.lock).and_then(Option::as_mut) else {
                return super::NOTHING;
            };
            place.now = shard.now(now);
            if place.tat.is_none() && shard.is_full(place.now, self.bound) {
                place.fingerprint = self.hasher.hash_one(charge.limit.as_u64());
                place.tat = shard.tat(place.fingerprint);
            }
            // The same counter may be charged twice by one request.
            let twice = before.iter().rev().find(|other| {
                other.next.is_some()
                    && other.fingerprint == place.fingerprint
                    && other.lock == place.lock
            });
            let tat = twice.and_then(|other| other.next).or(place.tat);
            let spent = charge
                .rate
                .take(tat.unwrap_or(0), Timestamp::from_micros(place.now));
            if let Spent::Allowed { tat, .. } = spent {
                place.next = Some(tat);
            }
            spent
        });
        if taken.is_allowed() {
            for place in places.iter().take(charges.len()) {
                if let (Some(tat), Some(shard)) = (
                    place.next,
                    held.get_mut(place.lock).and_then(Option::as_mut),
                ) {
                    shard.store(place.fingerprint, tat, place.now, self.bound);
                }
            }
        }
        taken
    }

    fn fingerprint(&self, charge: &Charge) -> u64 {
        // One write of the whole key: hashed in parts it costs three times as much.
        let mut key = [0; 25];
        let (limit, subject) = key.split_at_mut(8);
        limit.copy_from_slice(&charge.limit.as_u64().to_ne_bytes());
        subject.copy_from_slice(charge.subject.as_bytes());
        let mut hasher = self.hasher.build_hasher();
        hasher.write(&key);
        hasher.finish()
    }
}

/// The place at `position`, and those before it.
fn split(places: &mut [Place], position: usize) -> Option<(&[Place], &mut Place)> {
    let (before, rest) = places.split_at_mut_checked(position)?;
    Some((before, rest.first_mut()?))
}

fn shard_of(fingerprint: u64) -> usize {
    // Not the bits that the table itself looks at first: the lowest and the highest.
    usize::try_from((fingerprint >> 32) & (SHARDS as u64 - 1)).unwrap_or(0)
}

/// A panic while a shard was locked cannot have left it half written: a slot is one assignment.
fn lock(shard: &Padded) -> MutexGuard<'_, Shard> {
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    /// The counters' own time, which never runs backwards.
    fn now(&mut self, now: Timestamp) -> i64 {
        let here = now.as_micros().saturating_add(self.shift);
        let back = self.latest.saturating_sub(here);
        if back > OVERTAKING {
            self.shift = self.shift.saturating_add(back);
        }
        self.latest = self.latest.max(here);
        self.latest
    }

    fn tat(&self, fingerprint: u64) -> Option<i64> {
        self.slots
            .find(fingerprint, |slot| slot.fingerprint == fingerprint)
            .map(|slot| slot.tat)
    }

    fn store(&mut self, fingerprint: u64, tat: i64, now: i64, bound: usize) {
        if self.slots.len() >= self.sweep_at && self.slots.len() < bound {
            self.sweep(now);
        }
        match self.slots.entry(
            fingerprint,
            |slot| slot.fingerprint == fingerprint,
            |slot| slot.fingerprint,
        ) {
            Entry::Occupied(mut entry) => entry.get_mut().tat = tat,
            Entry::Vacant(entry) => {
                entry.insert(Slot { fingerprint, tat });
            }
        }
    }

    /// Whether a key that is not known has to share a counter: at the bound, when all others are
    /// live. Sweeps, unless that was done a moment ago.
    fn is_full(&mut self, now: i64, bound: usize) -> bool {
        if self.slots.len() < bound {
            return false;
        }
        if now >= self.sweep_again {
            self.sweep(now);
            self.sweep_again = now.saturating_add(SWEEP_PAUSE.as_micros());
        }
        self.slots.len() >= bound
    }

    fn sweep(&mut self, now: i64) {
        self.slots.retain(|slot| slot.tat > now);
        let left = self.slots.len();
        self.sweep_at = left.saturating_mul(2).max(64);
        if self.slots.capacity() > left.saturating_mul(8).max(128) {
            self.slots
                .shrink_to(left.saturating_mul(2), |slot| slot.fingerprint);
        }
    }
}
