//! How many requests are in flight in the whole process, all lanes together.
//!
//! A count and a limit. The edge only marks the requests beyond the limit ([`Crowded`]); which of
//! them are refused is for whoever knows what they ask for: health, sign-out and revocation never.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// In a request's extensions: it came when `listen.max-in-flight` requests were in flight already.
/// Only the edge puts it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded;

/// The requests in flight, and how many there may be.
#[derive(Debug)]
pub(crate) struct Load {
    most: usize,
    now: AtomicUsize,
}

/// One request in flight; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    load: Arc<Load>,
    is_crowded: bool,
}

impl Load {
    pub(crate) const fn new(most: usize) -> Self {
        Load {
            most,
            now: AtomicUsize::new(0),
        }
    }

    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        let before = self.now.fetch_add(1, Ordering::Relaxed);
        InFlight {
            load: Arc::clone(self),
            is_crowded: before >= self.most,
        }
    }
}

impl InFlight {
    pub(crate) const fn is_crowded(&self) -> bool {
        self.is_crowded
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.load.now.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_beyond_the_limit_is_marked_and_a_place_comes_back() {
        let load = Arc::new(Load::new(2));
        let first = load.begin();
        let second = load.begin();
        let third = load.begin();
        assert_eq!(
            [&first, &second, &third].map(InFlight::is_crowded),
            [false, false, true]
        );
        drop((first, third));
        assert!(!load.begin().is_crowded());
        drop(second);
    }
}
