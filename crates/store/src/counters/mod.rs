//! Counters for rate limits, in memory or shared through Redis: one meaning, two places.
//!
//! - A request brings all its [`Charge`]s at once (at most [`MAX_CHARGES`]). They are taken
//!   together or not at all: a request that one limit refuses costs nothing under the others.
//! - The arithmetic is `portcullis_core::limit` (GCRA); time in Redis is the server's own, so that
//!   nodes whose clocks differ agree.
//! - Redis away: after one failed question the local counters answer, at this node's share of the
//!   rate (limits that guard a login: at a tenth), until Redis has answered a probe. Never unlimited.
//! - What happens when memory is full is said in [`Memory`].

mod charge;
mod memory;
#[cfg(not(feature = "redis"))]
mod no_redis;
#[cfg(feature = "redis")]
mod redis;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::limit::Spent;
use portcullis_core::{Span, Timestamp};

pub use charge::{Charge, LimitId, Subject, WhenDegraded};
pub use memory::Memory;
#[cfg(not(feature = "redis"))]
pub use no_redis::{Keeper, Redis, contents};
#[cfg(feature = "redis")]
pub use redis::{Keeper, Redis, contents};

/// How many charges one request may bring. A request with more is refused.
pub const MAX_CHARGES: usize = 8;

/// The counters of this node; cheap to clone.
#[derive(Clone)]
pub enum Counters {
    Memory(Arc<Memory>),
    Redis(Arc<Redis>),
}

/// Who answers, for readiness and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// This node's memory, as configured.
    Local,
    /// Redis.
    Shared,
    /// Redis is configured and away: this node's memory, at a share of the rates.
    Degraded,
}

/// What stands in Redis, by key.
pub type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

/// Why what stands in Redis was not read.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    #[error(transparent)]
    Address(#[from] crate::Error),
    #[error("its {0} keys are more than are looked through")]
    TooMany(u64),
    #[error("it did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("it does not let itself be read: {0}")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Then that something is not found says nothing.
    #[error("what was written there is not found there")]
    Blind,
}

impl NotRead {
    #[cfg(feature = "redis")]
    fn because(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        NotRead::Refused(Box::new(cause))
    }
}

/// What became of a request's charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    spent: [Spent; MAX_CHARGES],
    number: u8,
    refused: Option<u8>,
    degraded: bool,
}

impl Counters {
    /// The answer, where it takes no waiting: from memory, or while Redis is away. Nothing when
    /// Redis has to be asked, with [`Counters::take`].
    pub fn take_now(&self, now: Timestamp, charges: &[Charge]) -> Option<Taken> {
        match self {
            Counters::Memory(memory) => Some(memory.take(now, charges)),
            Counters::Redis(redis) => redis.take_now(now, charges),
        }
    }

    /// The answer, at the latest after the configured time limit of Redis. Cancel safe in this
    /// sense: a dropped call has charged or has not, never in part.
    pub async fn take(&self, now: Timestamp, charges: &[Charge]) -> Taken {
        match self {
            Counters::Memory(memory) => memory.take(now, charges),
            Counters::Redis(redis) => redis.take(now, charges).await,
        }
    }

    pub fn health(&self) -> Health {
        match self {
            Counters::Memory(_) => Health::Local,
            Counters::Redis(redis) => redis.health(),
        }
    }
}

impl Taken {
    /// What each charge came to, in their order. Where one was refused, the others say what they
    /// would have come to.
    pub fn spent(&self) -> &[Spent] {
        self.spent
            .get(..usize::from(self.number))
            .unwrap_or(&self.spent)
    }

    /// The position of the charge that was refused; of several, the one with the longest wait.
    pub fn refused(&self) -> Option<usize> {
        self.refused.map(usize::from)
    }

    pub const fn is_allowed(&self) -> bool {
        self.refused.is_none()
    }

    /// Whether a node's own counters answered in place of Redis.
    pub const fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// What `judge` says of each charge, by position.
    fn judged(charges: &[Charge], mut judge: impl FnMut(usize, &Charge) -> Spent) -> Taken {
        let mut taken = Taken {
            spent: [NOTHING; MAX_CHARGES],
            number: 0,
            refused: None,
            degraded: false,
        };
        let mut longest = Span::ZERO;
        for (position, (charge, slot)) in (0_u8..).zip(charges.iter().zip(&mut taken.spent)) {
            let spent = judge(usize::from(position), charge);
            if let Spent::Refused { retry_after, .. } = spent
                && (taken.refused.is_none() || retry_after > longest)
            {
                longest = retry_after;
                taken.refused = Some(position);
            }
            *slot = spent;
            taken.number = position.saturating_add(1);
        }
        taken
    }

    /// For a request with more charges than can be taken together.
    fn too_many() -> Taken {
        Taken {
            spent: [NOTHING; MAX_CHARGES],
            number: 1,
            refused: Some(0),
            degraded: false,
        }
    }
}

/// What stands in places that no charge fills: a refusal, so that a slip would close, not open.
const NOTHING: Spent = Spent::Refused {
    retry_after: Span::from_seconds(1),
    reset_after: Span::from_seconds(1),
};
