//! The ids of one lane's requests.

use std::cell::{Cell, RefCell};

use portcullis_core::{RequestId, Timestamp};
use portcullis_vault::tokens;

/// Random bits of one id, in bytes.
const EACH: usize = 10;
/// Ids for which random bits are drawn together. Asking for few costs as much as asking for many.
const BLOCK: usize = 64;

/// Makes ids: time-ordered UUIDs whose random bits come from the system's source, 64 at a time.
#[derive(Default)]
pub(crate) struct RequestIds {
    drawn: RefCell<Vec<[u8; EACH]>>,
    /// What drawing them failed with is told once; ids then come one by one.
    failing: Cell<bool>,
}

impl RequestIds {
    /// The id of a request that arrived at `now`.
    pub(crate) fn next(&self, now: Timestamp) -> RequestId {
        let mut drawn = self.drawn.borrow_mut();
        if drawn.is_empty() {
            self.draw(&mut drawn);
        }
        drawn
            .pop()
            .map_or_else(RequestId::new, |random| RequestId::of(now, &random))
    }

    fn draw(&self, drawn: &mut Vec<[u8; EACH]>) {
        match tokens::random::<{ EACH * BLOCK }>() {
            Ok(bytes) => drawn.extend(bytes.as_chunks::<EACH>().0),
            Err(error) => {
                if !self.failing.replace(true) {
                    tracing::error!(%error, "random bits for request ids could not be drawn");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_differ_across_blocks_and_bear_the_time() {
        let ids = RequestIds::default();
        let now = Timestamp::from_seconds(1_700_000_000);
        let made: HashSet<String> = (0..BLOCK * 3).map(|_| ids.next(now).to_string()).collect();
        assert_eq!(made.len(), BLOCK * 3);
        let first = made.iter().next().unwrap();
        let uuid: uuid::Uuid = first.parse().unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_timestamp().unwrap().to_unix().0, 1_700_000_000);
    }
}
