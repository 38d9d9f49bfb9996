//! Refused sign-ins that take as long for every address, while accounts are here whose passwords were
//! hashed elsewhere (CWE-208).
//!
//! bcrypt, which accounts bring along, takes longer than the argon2id that stands in where there is no
//! account: until such an account has signed in once, the time of a refusal told that it is there. So,
//! while the store has such a hash, a refusal is answered at the next multiple of a step after the
//! sign-in arrived. The step is twice what the dearest hash in the store takes on this machine, so that
//! the work of either kind ends within the first step. A multiple, and not only a least time: where the
//! hashing threads have a queue and the work ends later, what tells kinds apart is rounded away there too.
//!
//! - The wait is a timer: no thread, no place among the hashing threads, no connection to the database.
//!   The request keeps its place among those in flight (`listen.max-in-flight`), and a client that leaves
//!   takes its wait along. Attempts are limited before, per address and per account.
//! - Working on both kinds for everybody would be the other way. It costs what bcrypt costs for every
//!   guess at an address that nobody has, which is a gift to whoever wants the gate busy.
//! - Whoever knows the password is not slowed: they know that the account is there.
//!
//! What it does not do: an import shows after a minute at most, when the store is looked at again;
//! argon2id of other parameters than ours, brought along, is still told apart by its time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use portcullis_store::Db;
use portcullis_vault::passwords::Passwords;
use tokio::time::Instant;

use super::Error;

/// The dearest bcrypt that is taken over takes some seconds on a slow machine. Nobody waits longer.
const LONGEST: Duration = Duration::from_secs(10);

/// How far apart refusals are.
#[derive(Debug, Default)]
pub struct Evenly {
    /// The cost of the dearest hash that was brought along; zero where there is none.
    cost: AtomicU32,
    /// In microseconds; zero while nothing has to be hidden.
    step: AtomicU64,
}

impl Evenly {
    /// Looks for hashes that were brought along, and measures once what the dearest one takes here.
    pub(super) async fn look(&self, db: &Db, passwords: &Passwords) -> Result<(), Error> {
        // By an index of those accounts alone.
        const DEAREST: &str = "SELECT max(substr(password_hash, 5, 2)) AS cost FROM users WHERE substr(password_hash, 1, 2) = '$2'";
        let row = db.fetch_optional(DEAREST, &[]).await?;
        let text = row.map(|row| row.opt_text("cost")).transpose()?.flatten();
        let cost = text.and_then(|text| text.parse().ok()).unwrap_or(0);
        if cost == self.cost.load(Ordering::Relaxed) {
            return Ok(());
        }
        let step = if cost == 0 {
            Duration::ZERO
        } else {
            let dearest = passwords.time_of_bcrypt(cost).await?;
            dearest.saturating_mul(2).min(LONGEST)
        };
        let micros = u64::try_from(step.as_micros()).unwrap_or(u64::MAX);
        self.step.store(micros, Ordering::Relaxed);
        self.cost.store(cost, Ordering::Relaxed);
        Ok(())
    }

    /// Waits with a refusal of what arrived then.
    pub(super) async fn wait(&self, arrived: Instant) {
        let step = Duration::from_micros(self.step.load(Ordering::Relaxed));
        if let Some(left) = left(step, arrived.elapsed()) {
            tokio::time::sleep(left).await;
        }
    }
}

/// How long it is to the next multiple of `step`.
fn left(step: Duration, passed: Duration) -> Option<Duration> {
    let over = passed.as_micros().checked_rem(step.as_micros())?;
    let over = Duration::from_micros(u64::try_from(over).ok()?);
    Some(step.saturating_sub(over))
}

#[cfg(test)]
impl Evenly {
    /// As if such hashes were here, and the dearest took half of this.
    pub(super) fn every(&self, step: Duration) {
        let micros = u64::try_from(step.as_micros()).unwrap_or(u64::MAX);
        self.step.store(micros, Ordering::Relaxed);
    }

    pub(super) fn is_on(&self) -> bool {
        self.step.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_leaves_at_a_multiple_of_the_step_whatever_its_work_took() {
        let step = Duration::from_millis(500);
        for (work, answered) in [(0, 500), (30, 500), (260, 500), (499, 500), (510, 1000)] {
            let work = Duration::from_millis(work);
            let left = left(step, work).unwrap();
            assert_eq!(work + left, Duration::from_millis(answered));
        }
    }

    #[test]
    fn without_hashes_from_elsewhere_nobody_waits() {
        assert_eq!(left(Duration::ZERO, Duration::from_millis(30)), None);
    }
}
