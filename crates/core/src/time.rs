//! Points in time, lengths of time, and the clock that hands them out.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// A point in time: microseconds since the Unix epoch, UTC. Stored as `BIGINT` in both databases.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const EPOCH: Timestamp = Timestamp(0);

    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    pub const fn from_seconds(seconds: i64) -> Self {
        Timestamp(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down: the unit of JWT claims.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// How long `earlier` lies back; nothing when it lies ahead.
    pub fn since(self, earlier: Timestamp) -> Span {
        Span::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.as_micros()))
    }
}

impl std::ops::Sub<Span> for Timestamp {
    type Output = Timestamp;
    fn sub(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.as_micros()))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a point in time: write it like \"2026-12-31T23:59:59Z\"")]
pub struct NotATime(String);

/// RFC 3339. Without an offset it is no point in time, and refused.
impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        text.parse::<jiff::Timestamp>()
            .map(|instant| Timestamp(instant.as_microsecond()))
            .map_err(|_| NotATime(text.to_owned()))
    }
}

/// RFC 3339 in UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(instant) => instant.fmt(f),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// A length of time, written `"250ms"`, `"30s"`, `"15m"`, `"12h"`, `"7d"`. Never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(Duration);

#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a length of time: write a whole number and a unit, such as \"30s\", \"15m\", \"12h\" or \"7d\""
)]
pub struct ParseSpanError(String);

impl Span {
    pub const ZERO: Span = Span(Duration::ZERO);

    pub const fn from_millis(millis: u64) -> Self {
        Span(Duration::from_millis(millis))
    }

    pub const fn from_seconds(seconds: u64) -> Self {
        Span(Duration::from_secs(seconds))
    }

    pub const fn from_minutes(minutes: u64) -> Self {
        Span(Duration::from_secs(minutes.saturating_mul(60)))
    }

    pub const fn from_hours(hours: u64) -> Self {
        Span(Duration::from_secs(hours.saturating_mul(3600)))
    }

    pub const fn from_days(days: u64) -> Self {
        Span(Duration::from_secs(days.saturating_mul(86_400)))
    }

    /// Negative lengths become zero.
    pub fn from_micros(micros: i64) -> Self {
        Span(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }

    pub fn as_micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX)
    }

    pub const fn as_seconds(self) -> u64 {
        self.0.as_secs()
    }

    /// Rounded up, so that a client told to wait this long never comes back too early.
    pub const fn as_seconds_ceil(self) -> u64 {
        if self.0.subsec_nanos() == 0 {
            self.0.as_secs()
        } else {
            self.0.as_secs().saturating_add(1)
        }
    }

    /// The wait after an attempt that failed, when this was the first: twice as long `times` over, and
    /// never longer than `longest`.
    #[must_use]
    pub fn doubled(self, times: i64, longest: Span) -> Span {
        let times = u32::try_from(times.max(0)).unwrap_or(u32::MAX);
        let factor = 2_u32.saturating_pow(times);
        Span(self.0.saturating_mul(factor)).min(longest)
    }

    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    pub const fn as_duration(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Span(duration)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseSpanError(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = trimmed.split_at_checked(digits).ok_or_else(refuse)?;
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let millis_per_unit: u64 = match unit.trim() {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refuse()),
        };
        number
            .checked_mul(millis_per_unit)
            .map(Span::from_millis)
            .ok_or_else(refuse)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (unit, name) = [
            (86_400_000, "d"),
            (3_600_000, "h"),
            (60_000, "m"),
            (1000, "s"),
        ]
        .into_iter()
        .find(|(unit, _)| millis != 0 && millis.is_multiple_of(*unit))
        .unwrap_or((1, "ms"));
        write!(f, "{}{name}", millis.checked_div(unit).unwrap_or(millis))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where the time comes from. A parameter everywhere, so that a test can hold it.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the machine's clock is read"
    )]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is moved. For tests and for `explain`.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub const fn at(now: Timestamp) -> Self {
        ManualClock(AtomicI64::new(now.0))
    }

    pub fn advance(&self, by: Span) {
        self.0.fetch_add(by.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_alike() {
        for text in ["250ms", "30s", "15m", "12h", "7d", "0ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_span_without_a_unit_is_refused() {
        for text in ["30", "", "s", "-1s", "1.5h", "1w", "99999999999999999999s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn timestamps_print_as_rfc_3339() {
        assert_eq!(
            Timestamp::from_seconds(0).to_string(),
            "1970-01-01T00:00:00Z"
        );
    }

    #[test]
    fn a_wait_doubles_up_to_the_longest() {
        let (first, longest) = (Span::from_seconds(5), Span::from_minutes(1));
        let wait = |times| first.doubled(times, longest).as_seconds();
        assert_eq!(
            [i64::MIN, 0, 1, 3, 4, i64::MAX].map(wait),
            [5, 5, 10, 40, 60, 60]
        );
    }

    #[test]
    fn a_wait_is_rounded_up() {
        assert_eq!(Span::from_millis(1001).as_seconds_ceil(), 2);
    }
}
