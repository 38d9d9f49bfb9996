//! Where something that is masked ends. It may end in a later piece of a very long line, so that
//! this is a state, and not a search.

/// What is masked goes on like this.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extent {
    /// As long as the bytes are of this kind. A line's end ends it in any case.
    While(fn(u8) -> bool),
    /// To the closing quote.
    Quoted(Quoted),
    /// To the bracket that closes the first one.
    Nested(Nested),
    /// To `-----END ...-----`, or to what ends the string or line that it stands in.
    Pem,
}

impl Extent {
    /// Where it ends, looking from `at`; `None` where it goes on behind `bytes`.
    pub(super) fn end(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let rest = bytes.get(at..)?;
        let found = match self {
            Extent::While(is_part) => {
                let is_part = *is_part;
                rest.iter()
                    .position(|byte| !is_part(*byte) || is_break(*byte))
            }
            Extent::Quoted(quoted) => quoted.end(rest),
            Extent::Nested(nested) => nested.end(rest),
            Extent::Pem => pem_end(rest),
        };
        found.map(|found| at + found)
    }
}

pub(super) const fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// A string, perhaps inside of strings: JSON in JSON writes `\"`, and JSON in that `\\\"`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quoted {
    quote: u8,
    /// Backslashes before its opening quote.
    slashes: usize,
    /// Backslashes that were just seen.
    seen: usize,
}

impl Quoted {
    pub(super) const fn new(quote: u8, slashes: usize) -> Self {
        Quoted {
            quote,
            slashes,
            seen: 0,
        }
    }

    /// Whether a quote behind so many backslashes ends the string. Inside, one that is part of the
    /// value has as many again and one more.
    const fn is_closed_by(self, seen: usize) -> bool {
        // 0, 1, 3, 7 ..: each level of strings doubles them and adds the one that escapes the quote.
        let level = self.slashes + 1;
        seen < self.slashes || !level.is_power_of_two() || seen % (2 * level) == self.slashes
    }

    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            match *byte {
                b'\\' => {
                    self.seen += 1;
                    continue;
                }
                byte if is_break(byte) => return Some(at),
                byte if byte == self.quote && self.is_closed_by(self.seen) => {
                    // Of the backslashes, those that opened it belong to the quote.
                    return Some(at.saturating_sub(self.seen.min(self.slashes)));
                }
                _ => {}
            }
            self.seen = 0;
        }
        None
    }
}

/// A JSON array or object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nested {
    depth: usize,
    inside: Option<Quoted>,
    slashes: usize,
    seen: usize,
    /// What may follow the closing bracket and still belong to it.
    tail: Option<fn(u8) -> bool>,
    closed: bool,
}

impl Nested {
    pub(super) const fn new(slashes: usize, tail: Option<fn(u8) -> bool>) -> Self {
        Nested {
            depth: 0,
            inside: None,
            slashes,
            seen: 0,
            tail,
            closed: false,
        }
    }

    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            if is_break(byte) {
                return Some(at);
            }
            if self.closed {
                if !self.tail.is_some_and(|is_part| is_part(byte)) {
                    return Some(at);
                }
                at += 1;
                continue;
            }
            if let Some(mut inside) = self.inside {
                let rest = bytes.get(at..)?;
                let end = inside.end(rest);
                self.inside = Some(inside);
                at += end?;
                if bytes.get(at).is_some_and(|byte| is_break(*byte)) {
                    return Some(at);
                }
                // Past the backslashes of the closing quote, and the quote.
                let slashes = bytes.get(at..)?.iter().take_while(|byte| **byte == b'\\');
                at += slashes.count() + 1;
                self.inside = None;
                continue;
            }
            match byte {
                b'\\' => self.seen += 1,
                b'"' if self.seen < self.slashes => return Some(at - self.seen),
                b'"' => {
                    self.inside = Some(Quoted::new(b'"', self.seen));
                    self.seen = 0;
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.closed = self.depth == 0;
                }
                _ => {}
            }
            if byte != b'\\' {
                self.seen = 0;
            }
            at += 1;
        }
        None
    }
}

const END: &[u8] = b"-----END ";

fn pem_end(bytes: &[u8]) -> Option<usize> {
    let line = bytes
        .iter()
        .position(|byte| is_break(*byte) || matches!(byte, b'"'));
    let inside = bytes.get(..line.unwrap_or(bytes.len()))?;
    if let Some(at) = find(inside, END) {
        let label = at + END.len();
        let close = inside.get(label..).and_then(|rest| find(rest, b"-----"));
        if let Some(close) = close {
            return Some(label + close + 5);
        }
    }
    line
}

/// The first place of a short needle. Only for what is hardly ever looked for.
pub(super) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
