//! The chunked transfer coding, byte by byte (RFC 9112 section 7.1), with no latitude.
//!
//! Sizes are at most 15 hexadecimal digits; extensions are tolerated but short and printable;
//! lines end in CRLF; trailers are a short list of plain header lines.

/// Most bytes of extensions in one body.
const MOST_EXTENSION: usize = 1024;
/// Most bytes of trailers, with their line ends.
const MOST_TRAILERS: usize = 4 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size { digits: u8, size: u64 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    LineStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
}

/// Where we are in one chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunked {
    at: At,
    extension: usize,
    trailers: usize,
}

/// How far one call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Everything was taken and the body goes on.
    More,
    /// The body ended behind this many bytes.
    Done(usize),
    /// The byte at this place cannot stand there.
    Wrong(usize),
}

impl Chunked {
    pub(super) const fn new() -> Self {
        Chunked {
            at: At::Size { digits: 0, size: 0 },
            extension: 0,
            trailers: 0,
        }
    }

    pub(super) fn advance(&mut self, bytes: &[u8]) -> Progress {
        let mut position = 0;
        while let Some(byte) = bytes.get(position).copied() {
            if let At::Data { left } = self.at {
                let here = bytes.len().saturating_sub(position);
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(here);
                position = position.saturating_add(taken);
                let left = left.saturating_sub(taken as u64);
                self.at = if left == 0 {
                    At::DataCr
                } else {
                    At::Data { left }
                };
                continue;
            }
            if self.at == At::LastLf && byte == b'\n' {
                return Progress::Done(position.saturating_add(1));
            }
            let Some(next) = self.step(byte) else {
                return Progress::Wrong(position);
            };
            self.at = next;
            position = position.saturating_add(1);
        }
        Progress::More
    }

    fn step(&mut self, byte: u8) -> Option<At> {
        match self.at {
            At::Size { digits, size } => match (char::from(byte).to_digit(16), byte) {
                (Some(digit), _) if digits < 15 => Some(At::Size {
                    digits: digits.saturating_add(1),
                    size: size << 4 | u64::from(digit),
                }),
                (None, b'\r') if digits > 0 => Some(At::SizeLf { size }),
                (None, b';') if digits > 0 => Some(At::Extension { size }),
                _ => None,
            },
            At::Extension { size } => match byte {
                b'\r' => Some(At::SizeLf { size }),
                b'\t' | b' '..=b'~' => {
                    self.extension = self.extension.saturating_add(1);
                    (self.extension <= MOST_EXTENSION).then_some(At::Extension { size })
                }
                _ => None,
            },
            At::SizeLf { size: 0 } => (byte == b'\n').then_some(At::LineStart),
            At::SizeLf { size } => (byte == b'\n').then_some(At::Data { left: size }),
            At::DataCr => (byte == b'\r').then_some(At::DataLf),
            At::DataLf => (byte == b'\n').then_some(At::Size { digits: 0, size: 0 }),
            At::LineStart if byte == b'\r' => Some(At::LastLf),
            At::LineStart | At::TrailerName | At::TrailerValue | At::TrailerLf => {
                self.trailers = self.trailers.saturating_add(1);
                if self.trailers > MOST_TRAILERS {
                    return None;
                }
                self.trailer(byte)
            }
            // Data and the last LF are taken in `advance`; anything else cannot stand here.
            At::Data { .. } | At::LastLf => None,
        }
    }

    fn trailer(&self, byte: u8) -> Option<At> {
        let is_name = byte.is_ascii_alphanumeric() || byte == b'-';
        match self.at {
            At::TrailerName if byte == b':' => Some(At::TrailerValue),
            At::LineStart | At::TrailerName => is_name.then_some(At::TrailerName),
            At::TrailerValue => match byte {
                b'\r' => Some(At::TrailerLf),
                b'\t' | b' '..=b'~' | 0x80..=0xff => Some(At::TrailerValue),
                _ => None,
            },
            At::TrailerLf => (byte == b'\n').then_some(At::LineStart),
            At::Size { .. }
            | At::Extension { .. }
            | At::SizeLf { .. }
            | At::Data { .. }
            | At::DataCr
            | At::DataLf
            | At::LastLf => None,
        }
    }
}
