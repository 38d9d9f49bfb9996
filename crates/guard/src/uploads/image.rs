//! Pictures, from their first byte to the last that belongs to them. What is in a picture is not unpacked.

use std::io::{BufRead, BufReader, Read};

use super::Error;
use super::slice::Slice;

const NOT_PNG: Error = Error::Content("It is no PNG picture, or something follows it.");
const NOT_JPEG: Error = Error::Content("It is no JPEG picture, or something follows it.");
/// More unpacks to more memory than a viewer has.
const MOST_PIXELS: u64 = 100_000_000;
const TOO_MANY: Error = Error::Content("The picture has too many pixels.");

/// Chunk by chunk: first `IHDR`, last `IEND`, and that at the very end (PNG, third edition, section 5).
pub(super) fn png(file: Slice<'_>) -> Result<(), Error> {
    if file.array(0)? != Some(*b"\x89PNG\r\n\x1a\n") {
        return Err(NOT_PNG);
    }
    let mut at = 8_u64;
    let mut is_first = true;
    loop {
        let head: [u8; 8] = file.array(at)?.ok_or(NOT_PNG)?;
        let [l0, l1, l2, l3, kind @ ..] = head;
        let length = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
        if is_first {
            pixels(file, kind, length)?;
        }
        is_first = false;
        let next = at.saturating_add(12).saturating_add(length);
        if next > file.length || !kind.iter().all(u8::is_ascii_alphabetic) {
            return Err(NOT_PNG);
        }
        if kind == *b"IEND" {
            return if next == file.length && length == 0 {
                Ok(())
            } else {
                Err(NOT_PNG)
            };
        }
        at = next;
    }
}

fn pixels(file: Slice<'_>, kind: [u8; 4], length: u64) -> Result<(), Error> {
    let size: [u8; 8] = file.array(16)?.ok_or(NOT_PNG)?;
    let [w0, w1, w2, w3, h0, h1, h2, h3] = size;
    let width = u64::from(u32::from_be_bytes([w0, w1, w2, w3]));
    let height = u64::from(u32::from_be_bytes([h0, h1, h2, h3]));
    if kind != *b"IHDR" || length != 13 || width == 0 || height == 0 {
        return Err(NOT_PNG);
    }
    if width.saturating_mul(height) > MOST_PIXELS {
        Err(TOO_MANY)
    } else {
        Ok(())
    }
}

/// Segment by segment, through the coded data, to the mark of the end (ITU-T T.81, annex B).
pub(super) fn jpeg(file: Slice<'_>) -> Result<(), Error> {
    let mut left = BufReader::with_capacity(16 * 1024, file.reader());
    if bytes::<3>(&mut left)? != *b"\xff\xd8\xff" {
        return Err(NOT_JPEG);
    }
    let [mut marker] = bytes(&mut left)?;
    loop {
        match marker {
            // A marker may be filled up with more of 0xff.
            0xff => [marker] = bytes(&mut left)?,
            0xd9 => {
                return if left.fill_buf()?.is_empty() {
                    Ok(())
                } else {
                    Err(NOT_JPEG)
                };
            }
            0xda => {
                segment(&mut left)?;
                marker = past_coded(&mut left)?;
            }
            0xc0..=0xfe => {
                let is_frame =
                    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
                let start = segment(&mut left)?;
                if is_frame && start.0 > MOST_PIXELS {
                    return Err(TOO_MANY);
                }
                let [mark, next] = bytes(&mut left)?;
                if mark != 0xff {
                    return Err(NOT_JPEG);
                }
                marker = next;
            }
            0x00..=0xbf => return Err(NOT_JPEG),
        }
    }
}

/// Pixels of a frame, where the segment is one.
struct Pixels(u64);

fn segment(left: &mut impl BufRead) -> Result<Pixels, Error> {
    let length = u64::from(u16::from_be_bytes(bytes(left)?))
        .checked_sub(2)
        .ok_or(NOT_JPEG)?;
    let mut data = Vec::new();
    left.take(length).read_to_end(&mut data)?;
    if u64::try_from(data.len()) != Ok(length) {
        return Err(NOT_JPEG);
    }
    let pixels = match data.as_slice() {
        [_, h1, h2, w1, w2, ..] => {
            let height = u64::from(u16::from_be_bytes([*h1, *h2]));
            let width = u64::from(u16::from_be_bytes([*w1, *w2]));
            height.saturating_mul(width)
        }
        [..] => 0,
    };
    Ok(Pixels(pixels))
}

/// The marker that ends coded data.
fn past_coded(left: &mut impl BufRead) -> Result<u8, Error> {
    loop {
        let skipped = left.skip_until(0xff)?;
        if skipped == 0 {
            return Err(NOT_JPEG);
        }
        let [marker] = bytes(left)?;
        // Zero stands for 0xff itself; the eight restarts stand within.
        if !matches!(marker, 0x00 | 0xd0..=0xd7) {
            return Ok(marker);
        }
    }
}

fn bytes<const N: usize>(left: &mut impl Read) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    left.read_exact(&mut bytes)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => NOT_JPEG,
            _ => error.into(),
        })?;
    Ok(bytes)
}
