//! Counting within a window, bounded in memory, whatever the order in which events come.
//!
//! Time is cut into sixtieths of the window (a second at least), so that a flood takes no more room
//! than a trickle. A late event goes into its own piece.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_core::{Span, Timestamp};

/// So many subjects are counted at once; further ones are not, until others have been quiet.
const MOST_SUBJECTS: usize = 50_000;
/// So many different things of one subject are told apart.
const MOST_ITEMS: usize = 1_000;
const PIECES: i64 = 60;

/// Sums per subject.
#[derive(Debug)]
pub(super) struct Tally {
    window: Span,
    subjects: HashMap<String, BTreeMap<i64, u64>>,
}

impl Tally {
    pub(super) fn new(window: Span) -> Self {
        Tally {
            window,
            subjects: HashMap::new(),
        }
    }

    /// Adds `count`, and says how much there is within the window that ends with the newest.
    pub(super) fn add(&mut self, subject: &str, at: Timestamp, count: u64) -> u64 {
        let piece = piece(self.window);
        if !self.subjects.contains_key(subject) && self.subjects.len() >= MOST_SUBJECTS {
            return 0;
        }
        let pieces = self.subjects.entry(subject.to_owned()).or_default();
        let sum = pieces.entry(number(at, piece)).or_default();
        *sum = sum.saturating_add(count);
        let newest = pieces.keys().next_back().copied().unwrap_or(0);
        let first = newest.saturating_sub(pieces_in(self.window, piece));
        pieces.retain(|at, _| *at > first);
        pieces
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Forgets whoever was quiet for a whole window.
    pub(super) fn pass(&mut self, now: Timestamp) {
        let piece = piece(self.window);
        let first = number(now, piece).saturating_sub(pieces_in(self.window, piece));
        self.subjects
            .retain(|_, pieces| pieces.keys().next_back().is_some_and(|at| *at > first));
    }
}

/// How many different things per subject.
#[derive(Debug)]
pub(super) struct Distinct {
    window: Span,
    subjects: HashMap<String, HashMap<String, Timestamp>>,
}

impl Distinct {
    pub(super) fn new(window: Span) -> Self {
        Distinct {
            window,
            subjects: HashMap::new(),
        }
    }

    /// Adds `item`, and says how many different ones there are within the window.
    pub(super) fn add(&mut self, subject: &str, item: String, at: Timestamp) -> u64 {
        if !self.subjects.contains_key(subject) && self.subjects.len() >= MOST_SUBJECTS {
            return 0;
        }
        let items = self.subjects.entry(subject.to_owned()).or_default();
        if items.len() < MOST_ITEMS || items.contains_key(&item) {
            let last = items.entry(item).or_insert(at);
            *last = (*last).max(at);
        }
        let newest = items.values().copied().max().unwrap_or(at);
        let first = newest - self.window;
        items.retain(|_, last| *last > first);
        u64::try_from(items.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn pass(&mut self, now: Timestamp) {
        let first = now - self.window;
        self.subjects
            .retain(|_, items| items.values().any(|last| *last > first));
    }
}

/// The usual amount, and the amount now: for what is conspicuous only because it is more than before.
#[derive(Debug)]
pub(super) struct Surge {
    window: Span,
    pieces: BTreeMap<i64, u64>,
}

/// What is usual is the mean of so many windows before this one.
const USUAL_WINDOWS: i64 = 60;

impl Surge {
    pub(super) fn new(window: Span) -> Self {
        Surge {
            window,
            pieces: BTreeMap::new(),
        }
    }

    /// How far back it looks.
    pub(super) fn lookback(window: Span) -> Span {
        let windows = USUAL_WINDOWS.saturating_add(1);
        Span::from_micros(window.as_micros().saturating_mul(windows))
    }

    /// Adds `count`; what there is in the window that ends at the newest, and the mean of the sixty
    /// windows before it.
    pub(super) fn add(&mut self, at: Timestamp, count: u64) -> (u64, u64) {
        let piece = piece(self.window);
        let sum = self.pieces.entry(number(at, piece)).or_default();
        *sum = sum.saturating_add(count);
        let newest = self.pieces.keys().next_back().copied().unwrap_or(0);
        let in_window = pieces_in(self.window, piece);
        let first = newest.saturating_sub(in_window);
        let oldest = first.saturating_sub(in_window.saturating_mul(USUAL_WINDOWS));
        self.pieces.retain(|at, _| *at > oldest);
        let (mut now, mut before) = (0_u64, 0_u64);
        for (at, count) in &self.pieces {
            let sum = if *at > first { &mut now } else { &mut before };
            *sum = sum.saturating_add(*count);
        }
        (now, before.div_ceil(60))
    }
}

fn piece(window: Span) -> i64 {
    (window.as_micros() / PIECES).max(1_000_000)
}

fn pieces_in(window: Span, piece: i64) -> i64 {
    window.as_micros().div_euclid(piece).max(1)
}

fn number(at: Timestamp, piece: i64) -> i64 {
    at.as_micros().div_euclid(piece)
}

/// One client: an IPv4 address, or the /64 that an IPv6 client can choose its addresses from.
pub(super) fn client(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("address:{address}"),
        IpAddr::V6(address) => {
            let network = Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX));
            format!("address:{network}/64")
        }
    }
}

/// A network as others see it: /24 of IPv4, /48 of IPv6.
pub(super) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let network = Ipv4Addr::from_bits(address.to_bits() & 0xffff_ff00);
            format!("{network}/24")
        }
        IpAddr::V6(address) => {
            let network = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80));
            format!("{network}/48")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn after(seconds: u64) -> Timestamp {
        NOW + Span::from_seconds(seconds)
    }

    #[test]
    fn a_window_holds_what_is_in_it_and_no_more() {
        let mut tally = Tally::new(Span::from_minutes(10));
        assert_eq!(tally.add("a", after(0), 2), 2);
        assert_eq!(tally.add("b", after(0), 1), 1);
        assert_eq!(tally.add("a", after(599), 1), 3);
        assert_eq!(tally.add("a", after(601), 1), 2);
        tally.pass(after(1300));
        assert!(tally.subjects.is_empty());
    }

    #[test]
    fn the_order_in_which_events_come_changes_nothing() {
        let mut tally = Tally::new(Span::from_minutes(1));
        tally.add("a", after(30), 1);
        assert_eq!(tally.add("a", after(10), 1), 2);
        let mut distinct = Distinct::new(Span::from_minutes(1));
        distinct.add("a", "x".to_owned(), after(30));
        assert_eq!(distinct.add("a", "y".to_owned(), after(10)), 2);
        assert_eq!(distinct.add("a", "y".to_owned(), after(11)), 2);
        assert_eq!(distinct.add("a", "z".to_owned(), after(80)), 2);
    }

    #[test]
    fn many_subjects_and_items_take_no_more_than_their_room() {
        let mut tally = Tally::new(Span::from_minutes(1));
        for number in 0..MOST_SUBJECTS + 10 {
            tally.add(&number.to_string(), NOW, 1);
        }
        assert_eq!(tally.subjects.len(), MOST_SUBJECTS);
        let mut distinct = Distinct::new(Span::from_minutes(1));
        for number in 0..MOST_ITEMS + 10 {
            distinct.add("a", number.to_string(), NOW);
        }
        assert_eq!(distinct.subjects["a"].len(), MOST_ITEMS);
    }

    #[test]
    fn what_is_usual_is_the_mean_of_the_sixty_windows_before() {
        let mut surge = Surge::new(Span::from_minutes(1));
        for minute in 0..60 {
            surge.add(after(minute * 60), 6);
        }
        assert_eq!(surge.add(after(3600), 30), (30, 6));
    }

    #[test]
    fn a_client_is_an_address_or_the_network_that_it_chooses_from() {
        assert_eq!(
            client("203.0.113.7".parse().unwrap()),
            "address:203.0.113.7"
        );
        assert_eq!(
            client("::ffff:203.0.113.7".parse().unwrap()),
            "address:203.0.113.7"
        );
        assert_eq!(
            client("2001:db8:1:2:3::4".parse().unwrap()),
            "address:2001:db8:1:2::/64"
        );
        assert_eq!(network("203.0.113.7".parse().unwrap()), "203.0.113.0/24");
        assert_eq!(
            network("2001:db8:1:2:3::4".parse().unwrap()),
            "2001:db8:1::/48"
        );
    }
}
