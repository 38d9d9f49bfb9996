//! Any amount of text in pieces of any size, in constant memory.
//!
//! Whole lines are gone over as soon as they are there. A line that is longer than the buffer is taken
//! in pieces that overlap: what begins near the end of a piece waits for the next, and what is masked
//! and does not end is passed over until it does. So a secret that is split anywhere is found all the
//! same.

use super::engine::{Counts, Engine, Piece, State};
use super::runs::{is_card_part, is_opaque_part};

/// A line that is longer than this is taken in pieces.
const PIECE: usize = 128 * 1024;
/// So much has to follow a beginning before it is judged.
const AHEAD: usize = 4 * 1024;
/// Recognisers look back no farther than this.
const BEHIND: usize = 4 * 1024;
/// So much of what is out already is kept, to see what a word begins with.
const CONTEXT: usize = 64;

/// One text on its way through an engine.
#[derive(Debug)]
pub struct Stream<'e> {
    engine: &'e Engine,
    state: State,
    /// What has come and is not out yet, behind `floor` bytes that are.
    held: Vec<u8>,
    floor: usize,
}

impl<'e> Stream<'e> {
    pub fn new(engine: &'e Engine) -> Self {
        Stream {
            engine,
            state: State::default(),
            held: Vec::new(),
            floor: 0,
        }
    }

    /// Takes more of the text, and adds to `out` what of it is decided.
    pub fn push(&mut self, more: &[u8], out: &mut Vec<u8>) {
        let Some(last) = more.iter().rposition(|byte| *byte == b'\n') else {
            self.hold(more, out);
            return;
        };
        let (lines, rest) = more.split_at(last + 1);
        if self.held.is_empty() {
            self.whole(lines, 0, out);
        } else {
            // The first line began earlier.
            let first = lines.iter().position(|byte| *byte == b'\n').unwrap_or(last);
            let (first, others) = lines.split_at(first + 1);
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(first);
            self.whole(&held, self.floor, out);
            held.clear();
            self.held = held;
            self.floor = 0;
            self.whole(others, 0, out);
        }
        self.hold(rest, out);
    }

    /// The text is at its end: what was held back comes out.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        self.whole(&held, self.floor, out);
        self.floor = 0;
        self.state.open = None;
        self.state.pem = None;
    }

    pub const fn counts(&self) -> Counts {
        self.state.counts
    }

    fn whole(&mut self, bytes: &[u8], floor: usize, out: &mut Vec<u8>) {
        let piece = Piece {
            bytes,
            floor,
            limit: bytes.len(),
            whole: true,
        };
        self.engine.pass(piece, &mut self.state, out);
    }

    /// Keeps the beginning of a line, and gives out what of it is decided where that is long.
    fn hold(&mut self, more: &[u8], out: &mut Vec<u8>) {
        for part in more.chunks(PIECE) {
            self.held.extend_from_slice(part);
            if self.held.len() < PIECE {
                continue;
            }
            let held = std::mem::take(&mut self.held);
            let piece = Piece {
                bytes: &held,
                floor: self.floor,
                limit: held.len() - AHEAD,
                whole: false,
            };
            let written = self.engine.pass(piece, &mut self.state, out);
            let drop = written.saturating_sub(CONTEXT);
            self.held = held;
            self.held.drain(..drop);
            self.floor = written - drop;
        }
    }
}

/// Where a piece of a long line may be cut, so that nothing that would be found lies across: as far
/// before `limit` as recognisers look back, and where neither an address nor a number goes on.
pub(super) fn cut(bytes: &[u8], written: usize, limit: usize) -> usize {
    let lowest = written.max(limit.saturating_sub(BEHIND));
    let span = bytes.get(lowest..limit).unwrap_or_default();
    let before = |at: usize| at.checked_sub(1).and_then(|at| span.get(at));
    let ends_word = |at: usize| match span.get(at) {
        Some(b' ') => before(at).is_some_and(|byte| !is_card_part(*byte)),
        Some(byte) => byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>'),
        None => false,
    };
    let ends_run = |at: usize| {
        let goes_on = |byte: u8| {
            is_card_part(byte)
                || is_opaque_part(byte)
                || !byte.is_ascii()
                || matches!(byte, b'.' | b'%' | b'!' | b'#' | b'$')
        };
        span.get(at).is_some_and(|byte| !goes_on(*byte))
    };
    let place = (0..span.len())
        .rev()
        .find(|at| ends_word(*at))
        .or_else(|| (0..span.len()).rev().find(|at| ends_run(*at)));
    match place {
        Some(at) => lowest + at + 1,
        None => lowest,
    }
}
