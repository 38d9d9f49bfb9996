//! One file within the spool, read at any place without a position of its own.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

/// `length` bytes of `file`, from `at` on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice<'f> {
    file: &'f File,
    at: u64,
    pub(super) length: u64,
}

impl<'f> Slice<'f> {
    pub(super) const fn new(file: &'f File, at: u64, length: u64) -> Self {
        Slice { file, at, length }
    }

    /// A part of it; what lies beyond its end is not there.
    pub(super) fn part(self, at: u64, length: u64) -> Slice<'f> {
        let at = at.min(self.length);
        Slice {
            file: self.file,
            at: self.at.saturating_add(at),
            length: length.min(self.length.saturating_sub(at)),
        }
    }

    /// Its last bytes, at most so many.
    pub(super) fn tail(self, most: u64) -> Slice<'f> {
        let length = most.min(self.length);
        self.part(self.length.saturating_sub(length), length)
    }

    /// All of it in memory. For parts whose length has a bound.
    pub(super) fn bytes(self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The bytes at a place, where they are all there.
    pub(super) fn array<const N: usize>(self, at: u64) -> io::Result<Option<[u8; N]>> {
        let bytes = self
            .part(at, u64::try_from(N).unwrap_or(u64::MAX))
            .bytes()?;
        Ok(bytes.try_into().ok())
    }

    pub(super) const fn reader(self) -> SliceReader<'f> {
        SliceReader { left: self }
    }
}

/// Reads a slice from its beginning.
#[derive(Debug)]
pub(super) struct SliceReader<'f> {
    left: Slice<'f>,
}

impl Read for SliceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left.length).unwrap_or(usize::MAX);
        let room = buffer.len().min(most);
        let Some(buffer) = buffer.get_mut(..room) else {
            return Ok(0);
        };
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.left.file.read_at(buffer, self.left.at)?;
        if count == 0 {
            // The file is ours alone: what was written must be there.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let read = u64::try_from(count).unwrap_or(u64::MAX);
        self.left = self.left.part(read, u64::MAX);
        Ok(count)
    }
}
