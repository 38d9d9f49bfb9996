//! What recognisers see, and what they answer.

use super::extent::Extent;
use super::{Kind, MASK};

/// A piece of text, with what is known about its beginning and end.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) bytes: &'a [u8],
    /// Nothing before this may be masked: it is out.
    pub(super) floor: usize,
    /// Where the last mask stands for its end, if there was one.
    pub(super) masked: Option<usize>,
    /// Whether nothing follows. Otherwise what reaches the end goes on in the next piece.
    pub(super) whole: bool,
}

/// Something to mask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: End,
    pub(super) cover: Cover,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    At(usize),
    /// It goes on behind the piece.
    Open(Extent),
}

/// What is written in its place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cover {
    Mask,
    /// As a string, where a number or an object stood: JSON stays JSON.
    Quoted {
        quote: u8,
        slashes: usize,
    },
    /// The first letter, so many bytes of it, and stars.
    Stars {
        first: usize,
    },
}

impl<'a> View<'a> {
    pub(super) fn at(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    pub(super) fn from(&self, at: usize) -> &'a [u8] {
        self.bytes.get(at..).unwrap_or_default()
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// The byte before `at`, where that is still what it was.
    pub(super) fn before(&self, at: usize) -> Option<u8> {
        if self.masked == Some(at) {
            return None;
        }
        self.at(at.checked_sub(1)?)
    }

    /// Where the run of such bytes begins that ends before `at`; at most `most` of them.
    pub(super) fn back_while(&self, at: usize, most: usize, is_part: fn(u8) -> bool) -> usize {
        let lowest = self.floor.max(at.saturating_sub(most));
        let run = self.slice(lowest, at);
        let kept = run.iter().rev().take_while(|byte| is_part(**byte)).count();
        at - kept
    }

    /// How many such bytes stand from `at` on; no more than `most` are counted.
    pub(super) fn count(&self, at: usize, most: usize, is_part: fn(u8) -> bool) -> usize {
        let rest = self.from(at).iter().take(most);
        rest.take_while(|byte| is_part(**byte)).count()
    }

    pub(super) fn end(&self, mut extent: Extent, from: usize) -> End {
        match extent.end(self.bytes, from) {
            Some(end) => End::At(end),
            None if self.whole => End::At(self.bytes.len()),
            None => End::Open(extent),
        }
    }

    /// From `start` to where `extent` ends, unless that is nothing, or a mask already.
    pub(super) fn mask(&self, kind: Kind, start: usize, extent: Extent) -> Option<Found> {
        let mut end = self.end(extent, start);
        if let End::At(at) = &mut end {
            if let (Extent::While(_), Some(b'"' | b'\'' | b'`')) = (extent, self.at(*at)) {
                // The backslashes of `\"` are the quote's, not the value's.
                let content = self.slice(start, *at);
                let slashes = content.iter().rev().take_while(|byte| **byte == b'\\');
                *at -= slashes.count();
            }
            let content = self.slice(start, *at);
            if content.is_empty() || content == MASK.as_bytes() {
                return None;
            }
        }
        Some(Found {
            kind,
            start,
            end,
            cover: Cover::Mask,
        })
    }
}

pub(super) const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// What ends a word in the logs of this world.
pub(super) const fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || byte < b' '
        || matches!(
            byte,
            b'"' | b'\''
                | b'`'
                | b'<'
                | b'>'
                | b'('
                | b')'
                | b'{'
                | b'}'
                | b'['
                | b']'
                | b','
                | b';'
                | b'|'
                | b'\\'
        )
}
