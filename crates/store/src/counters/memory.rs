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

/// Where a charge is counted, once its shard is locked.
#[derive(Clone, Copy, Default)]
struct Place {
    fingerprint: u64,
    /// Position in the list of locked shards.
    lock: usize,
    now: i64,
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

        let mut places: [Place; MAX_CHARGES] = Default::default();
        let taken = Taken::judged(charges, |position, charge| {
            let fingerprint = fingerprints.get(position).copied().unwrap_or(0);
            let lock = wanted.partition_point(|index| *index < shard_of(fingerprint));
            let Some(shard) = held.get_mut(lock).and_then(Option::as_mut) else {
                return super::NOTHING;
            };
            let now = shard.now(now);
            let fingerprint = self.seat(shard, now, fingerprint, charge);
            // The same counter may be charged twice by one request.
            let before = places
                .iter()
                .rev()
                .find(|place| {
                    place.next.is_some() && place.lock == lock && place.fingerprint == fingerprint
                })
                .and_then(|place| place.next);
            let tat = before.unwrap_or_else(|| shard.tat(fingerprint));
            let spent = charge.rate.take(tat, Timestamp::from_micros(now));
            if let (Spent::Allowed { tat, .. }, Some(place)) = (spent, places.get_mut(position)) {
                *place = Place {
                    fingerprint,
                    lock,
                    now,
                    next: Some(tat),
                };
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

    /// The counter that a charge goes to: its own, or the shared one of its limit when the shard is
    /// full of live keys and does not know it.
    fn seat(&self, shard: &mut Shard, now: i64, fingerprint: u64, charge: &Charge) -> u64 {
        if shard.slots.len() < self.bound
            || shard.knows(fingerprint)
            || shard.has_room(now, self.bound)
        {
            fingerprint
        } else {
            self.hasher.hash_one(charge.limit.as_u64())
        }
    }
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

    fn knows(&self, fingerprint: u64) -> bool {
        self.slots
            .find(fingerprint, |slot| slot.fingerprint == fingerprint)
            .is_some()
    }

    fn tat(&self, fingerprint: u64) -> i64 {
        self.slots
            .find(fingerprint, |slot| slot.fingerprint == fingerprint)
            .map_or(0, |slot| slot.tat)
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

    /// At the bound: sweeps, unless that was done a moment ago.
    fn has_room(&mut self, now: i64, bound: usize) -> bool {
        if now >= self.sweep_again {
            self.sweep(now);
            self.sweep_again = now.saturating_add(SWEEP_PAUSE.as_micros());
        }
        self.slots.len() < bound
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
