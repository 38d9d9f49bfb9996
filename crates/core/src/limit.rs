//! The arithmetic of rate limits: the generic cell rate algorithm (GCRA, ITU-T I.371).
//!
//! One number is kept per key, the theoretical arrival time (TAT) in microseconds. The same
//! arithmetic runs in memory and, as one script, in Redis. A refused request changes nothing, so
//! whoever keeps knocking is not locked out for longer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Span, Timestamp};

/// `count` requests per `per`, written `"60/minute"`; `burst` of them at once, written
/// `"60/minute burst 10"`. Without it the burst is `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    per: Span,
    burst: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a rate: write \"60/minute\", \"5/15m\" or \"100/minute burst 200\"; both numbers at least 1, and at most a million a second"
)]
pub struct ParseRateError(String);

impl Rate {
    /// Nothing where the figures make no rate: a zero, or more than a million a second.
    pub fn new(count: u32, per: Span, burst: u32) -> Option<Self> {
        let rate = Rate { count, per, burst };
        (count > 0 && burst > 0 && per.as_micros().checked_div(i64::from(count))? >= 1)
            .then_some(rate)
    }

    pub const fn count(self) -> u32 {
        self.count
    }

    pub const fn per(self) -> Span {
        self.per
    }

    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// Microseconds between two requests at the steady rate; at least 1.
    pub fn interval_micros(self) -> i64 {
        self.per
            .as_micros()
            .checked_div(i64::from(self.count))
            .unwrap_or(1)
            .max(1)
    }

    /// Microseconds by which the arrival time may run ahead: what a full burst costs.
    pub fn capacity_micros(self) -> i64 {
        self.interval_micros().saturating_mul(i64::from(self.burst))
    }

    /// This rate shared by `parts`: what one node may let through when it cannot ask the others.
    #[must_use]
    pub fn divided_by(self, parts: u32) -> Rate {
        let parts = parts.max(1);
        Rate {
            count: self.count,
            per: Span::from_micros(self.per.as_micros().saturating_mul(i64::from(parts))),
            burst: self.burst.checked_div(parts).unwrap_or(1).max(1),
        }
    }

    /// Spends one request. `tat` is what was stored for the key, 0 for a new one.
    pub fn take(self, tat: i64, now: Timestamp) -> Spent {
        let now = now.as_micros();
        let ahead = tat.saturating_sub(now).max(0);
        let wanted = ahead.saturating_add(self.interval_micros());
        let over = wanted.saturating_sub(self.capacity_micros());
        if over > 0 {
            return Spent::Refused {
                retry_after: Span::from_micros(over),
                reset_after: Span::from_micros(ahead),
            };
        }
        let left = self
            .capacity_micros()
            .saturating_sub(wanted)
            .checked_div(self.interval_micros())
            .unwrap_or(0);
        Spent::Allowed {
            tat: now.saturating_add(wanted),
            remaining: u32::try_from(left).unwrap_or(u32::MAX),
            reset_after: Span::from_micros(wanted),
        }
    }
}

/// The outcome for one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// `tat` is to be stored. `reset_after` is when the whole burst is free again.
    Allowed {
        tat: i64,
        remaining: u32,
        reset_after: Span,
    },
    /// Nothing is to be stored.
    Refused {
        retry_after: Span,
        reset_after: Span,
    },
}

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseRateError(text.to_owned());
        let (rate, burst) = match text.split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(burst.trim().parse().map_err(|_| refuse())?)),
            None => (text, None),
        };
        let (count, per) = rate.trim().split_once('/').ok_or_else(refuse)?;
        let count: u32 = count.trim().parse().map_err(|_| refuse())?;
        let per = match per.trim() {
            "second" => Span::from_seconds(1),
            "minute" => Span::from_minutes(1),
            "hour" => Span::from_hours(1),
            "day" => Span::from_days(1),
            span => span.parse().map_err(|_| refuse())?,
        };
        Rate::new(count, per, burst.unwrap_or(count)).ok_or_else(refuse)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per.as_seconds() {
            1 => "second".to_owned(),
            60 => "minute".to_owned(),
            3600 => "hour".to_owned(),
            86_400 => "day".to_owned(),
            _ => self.per.to_string(),
        };
        write!(f, "{}/{per}", self.count)?;
        if self.burst == self.count {
            Ok(())
        } else {
            write!(f, " burst {}", self.burst)
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    /// How many of `asks` (microseconds, ascending) are allowed.
    fn allowed(rate: Rate, asks: &[i64]) -> usize {
        let mut tat = 0;
        asks.iter()
            .filter(|at| match rate.take(tat, Timestamp::from_micros(**at)) {
                Spent::Allowed { tat: next, .. } => {
                    tat = next;
                    true
                }
                Spent::Refused { .. } => false,
            })
            .count()
    }

    #[test]
    fn rates_are_read_and_written_alike() {
        for text in [
            "60/minute",
            "5/15m",
            "10/hour",
            "100/minute burst 200",
            "1/second",
        ] {
            assert_eq!(rate(text).to_string(), text);
        }
    }

    #[test]
    fn what_makes_no_rate_is_refused() {
        for text in [
            "",
            "60",
            "0/minute",
            "5/0s",
            "-1/minute",
            "5/minute burst 0",
            "2000000/second",
            "5 per minute",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_burst_passes_and_the_next_is_told_when_to_return() {
        let five = rate("5/minute");
        assert_eq!(allowed(five, &[0; 9]), 5);
        let mut tat = 0;
        for _ in 0..5 {
            let Spent::Allowed { tat: next, .. } = five.take(tat, Timestamp::EPOCH) else {
                panic!("refused")
            };
            tat = next;
        }
        let Spent::Refused { retry_after, .. } = five.take(tat, Timestamp::EPOCH) else {
            panic!("allowed")
        };
        assert_eq!(retry_after, Span::from_seconds(12));
        assert!(matches!(
            five.take(tat, Timestamp::EPOCH + retry_after),
            Spent::Allowed { .. }
        ));
    }

    #[test]
    fn knocking_does_not_prolong_the_block() {
        let one = rate("1/minute");
        let patient = [0, 60_000_000];
        let impatient: Vec<i64> = (0..=60).map(|second| second * 1_000_000).collect();
        assert_eq!(allowed(one, &patient), 2);
        assert_eq!(allowed(one, &impatient), 2);
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_allow(count in 1_u32..50, burst in 1_u32..50, gaps in prop::collection::vec(0_i64..3_000_000, 1..200)) {
            let rate = Rate::new(count, Span::from_seconds(1), burst).unwrap();
            let mut now = 0;
            let asks: Vec<i64> = gaps.iter().map(|gap| { now += gap; now }).collect();
            let ceiling = i64::from(burst) + (now - asks[0]) / rate.interval_micros() + 1;
            prop_assert!(i64::try_from(allowed(rate, &asks)).unwrap() <= ceiling);
        }

        #[test]
        fn whoever_waits_as_told_is_let_through(count in 1_u32..1000, burst in 1_u32..100, tat in 0_i64..10_000_000, now in 0_i64..10_000_000) {
            let rate = Rate::new(count, Span::from_minutes(1), burst).unwrap();
            let now = Timestamp::from_micros(now);
            if let Spent::Refused { retry_after, .. } = rate.take(tat, now) {
                let allowed = matches!(rate.take(tat, now + retry_after), Spent::Allowed { .. });
                prop_assert!(allowed);
            }
        }
    }
}
