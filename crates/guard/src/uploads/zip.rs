//! The container of office documents, read strictly: a zip file with one reading.
//!
//! Zip files can be read from their directory at the end or from entry to entry, and attackers make the two
//! differ. Here they must agree to the byte: the directory stands at the very end, its entries lie one
//! behind the other from the first byte on, and nothing is between them. Libraries are kinder than that, and
//! hold the whole directory in memory; this reads the little that office programs write.
//!
//! APPNOTE.TXT 6.3.10 is the format. Refused: encryption, splitting, ZIP64, comments, methods other than
//! stored and deflated, links, names that leave the folder or that come twice.

use std::collections::HashSet;
use std::io::{self, Read};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::Error;
use super::slice::{Slice, SliceReader};

/// A document of 400 pages with a picture on each has about a thousand.
const MOST_ENTRIES: u16 = 2_000;
const LARGEST_DIRECTORY: u64 = 1024 * 1024;
/// All entries together, unpacked.
const MOST_UNPACKED: u64 = 256 * 1024 * 1024;
/// Unpacked to packed. Office documents stay below 30; bombs begin at 1000.
const STEEPEST: u64 = 100;
/// Below this nothing is a bomb.
const HARMLESS: u64 = 4 * 1024 * 1024;

const END_OF_DIRECTORY: [u8; 4] = *b"PK\x05\x06";
const OF_DIRECTORY: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";

const BROKEN: Error =
    Error::Content("It is no sound zip file, or one that can be read in two ways.");
const BOMB: Error = Error::Content("It would unpack to far more than it is.");
const NAME: Error = Error::Content("It has entries whose names lead elsewhere, or come twice.");

/// One file in it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    flags: u16,
    is_deflated: bool,
    crc: u32,
    packed: u64,
    size: u64,
    header_at: u64,
    data_at: u64,
}

/// Whether a file ends as a zip file may end, whatever it begins with.
pub(super) fn has_end(file: Slice<'_>) -> io::Result<bool> {
    // The end has 22 bytes and a comment of up to 65,535.
    let tail = file.tail(22 + 65_535).bytes()?;
    Ok(tail.windows(4).any(|four| four == END_OF_DIRECTORY))
}

/// Everything in it, in the order in which it lies there.
pub(super) fn entries(file: Slice<'_>) -> Result<Vec<Entry>, Error> {
    let (directory_at, directory, count) = directory(file)?;
    let mut fields = Fields(&directory);
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(entry(&mut fields)?);
    }
    if !fields.0.is_empty() {
        return Err(BROKEN);
    }
    entries.sort_by_key(|entry| entry.header_at);
    let mut at = 0;
    for entry in &mut entries {
        at = place(file, entry, at)?;
    }
    if at != directory_at {
        return Err(BROKEN);
    }
    names(&entries)?;
    sizes(&entries)?;
    Ok(entries)
}

fn directory(file: Slice<'_>) -> Result<(u64, Vec<u8>, u16), Error> {
    const LENGTH: u64 = 22;
    let end_at = file.length.checked_sub(LENGTH).ok_or(BROKEN)?;
    let end: [u8; 22] = file.array(end_at)?.ok_or(BROKEN)?;
    let mut fields = Fields(&end);
    let signature = fields.take::<4>()?;
    let (disk, of_disk) = (fields.u16()?, fields.u16()?);
    let (here, count) = (fields.u16()?, fields.u16()?);
    let (size, at) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    let comment = fields.u16()?;
    let is_sound = signature == END_OF_DIRECTORY
        && (disk, of_disk, comment) == (0, 0, 0)
        && here == count
        && at.saturating_add(size) == end_at;
    if !is_sound {
        return Err(BROKEN);
    }
    if count == 0 || count > MOST_ENTRIES || size > LARGEST_DIRECTORY {
        return Err(Error::Content(
            "It has no entries, or more than a document has.",
        ));
    }
    Ok((at, file.part(at, size).bytes()?, count))
}

fn entry(fields: &mut Fields<'_>) -> Result<Entry, Error> {
    if fields.take::<4>()? != OF_DIRECTORY {
        return Err(BROKEN);
    }
    let _made_by = fields.u16()?;
    let _needed = fields.u16()?;
    let flags = fields.u16()?;
    let method = fields.u16()?;
    let _time_and_date = fields.u32()?;
    let crc = fields.u32()?;
    let (packed, size) = (fields.u32()?, fields.u32()?);
    let (name, extra, comment) = (fields.u16()?, fields.u16()?, fields.u16()?);
    let disk = fields.u16()?;
    let _internal = fields.u16()?;
    let external = fields.u32()?;
    let header_at = fields.u32()?;
    let name = fields.some(usize::from(name))?;
    fields.some(usize::from(extra))?;
    if comment != 0 || disk != 0 || [packed, size, header_at].contains(&u32::MAX) {
        return Err(BROKEN);
    }
    // Bits 0, 6 and 13: encrypted, one way or another. Bit 5: a patch.
    if flags & 0b0010_0000_0110_0001 != 0 {
        return Err(Error::Content("It is encrypted."));
    }
    // SECURITY: some unpack a link as one, whatever system the entry says it was made on.
    if external >> 28 == 0o12 {
        return Err(Error::Content("It has a link in it."));
    }
    let is_deflated = match method {
        0 => false,
        8 => true,
        _ => return Err(BROKEN),
    };
    let name = std::str::from_utf8(name).map_err(|_| NAME)?;
    Ok(Entry {
        name: name.to_owned(),
        flags,
        is_deflated,
        crc,
        packed: packed.into(),
        size: size.into(),
        header_at: header_at.into(),
        data_at: 0,
    })
}

/// Finds the entry's data, where it must begin at `at`, and says where it ends.
fn place(file: Slice<'_>, entry: &mut Entry, at: u64) -> Result<u64, Error> {
    const LENGTH: u64 = 30;
    if entry.header_at != at {
        return Err(BROKEN);
    }
    let head: [u8; 30] = file.array(at)?.ok_or(BROKEN)?;
    let mut fields = Fields(&head);
    let signature = fields.take::<4>()?;
    let _needed = fields.u16()?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    let _time_and_date = fields.u32()?;
    let told = (
        fields.u32()?,
        u64::from(fields.u32()?),
        u64::from(fields.u32()?),
    );
    let (name_length, extra) = (u64::from(fields.u16()?), u64::from(fields.u16()?));
    let name = file.part(at.saturating_add(LENGTH), name_length).bytes()?;
    let known = (entry.crc, entry.packed, entry.size);
    let follows = entry.flags & 0b1000 != 0;
    let agrees = signature == LOCAL
        && flags == entry.flags
        && (method == 8) == entry.is_deflated
        && (method == 0) != entry.is_deflated
        && name == entry.name.as_bytes()
        && (told == known || (follows && told == (0, 0, 0)));
    if !agrees {
        return Err(BROKEN);
    }
    let head = LENGTH.saturating_add(name_length).saturating_add(extra);
    entry.data_at = at.saturating_add(head);
    let end = entry.data_at.saturating_add(entry.packed);
    if follows {
        descriptor(file, entry, end)
    } else {
        Ok(end)
    }
}

/// What follows the data where the sizes were not known before: with a signature or without.
fn descriptor(file: Slice<'_>, entry: &Entry, at: u64) -> Result<u64, Error> {
    let bytes = file.part(at, 16).bytes()?;
    let mut fields = Fields(&bytes);
    let is_signed = bytes.starts_with(&DESCRIPTOR);
    if is_signed {
        fields.take::<4>()?;
    }
    let told = (
        fields.u32()?,
        u64::from(fields.u32()?),
        u64::from(fields.u32()?),
    );
    if told != (entry.crc, entry.packed, entry.size) {
        return Err(BROKEN);
    }
    Ok(at.saturating_add(if is_signed { 16 } else { 12 }))
}

fn names(entries: &[Entry]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for entry in entries {
        let name = entry.name.strip_suffix('/');
        let is_folder = name.is_some();
        let name = name.unwrap_or(&entry.name);
        let leads_elsewhere = name.len() > 255
            || name.split('/').any(|part| matches!(part, "" | "." | ".."))
            || name
                .chars()
                .any(|letter| matches!(letter, '\\' | ':' | '\0'..='\x1f' | '\x7f'));
        if leads_elsewhere || (is_folder && entry.size != 0) {
            return Err(NAME);
        }
        // Office programs compare part names without case (ECMA-376 part 2, 6.2.2.3).
        if !seen.insert(name.to_lowercase()) {
            return Err(NAME);
        }
    }
    Ok(())
}

/// By what the directory says; [`Entry::reader`] holds each entry to it.
fn sizes(entries: &[Entry]) -> Result<(), Error> {
    let sum = |of: fn(&Entry) -> u64| entries.iter().map(of).fold(0, u64::saturating_add);
    let (packed, size) = (sum(|entry| entry.packed), sum(|entry| entry.size));
    let is_bomb = size > HARMLESS && size > packed.saturating_mul(STEEPEST);
    if is_bomb || size > MOST_UNPACKED {
        return Err(BOMB);
    }
    Ok(())
}

impl Entry {
    /// Unpacks it, held to its size and checksum. Read it to its end: only there is it known to be sound.
    pub(super) fn reader<'f>(&self, file: Slice<'f>) -> EntryReader<'f> {
        let data = file.part(self.data_at, self.packed).reader();
        EntryReader {
            from: if self.is_deflated {
                Unpacking::Deflated(Box::new(DeflateDecoder::new(data)))
            } else {
                Unpacking::Stored(data)
            },
            left: self.size,
            packed: self.packed,
            told: self.crc,
            crc: Crc::new(),
        }
    }
}

/// An entry as it is unpacked. What is wrong with it is an error of kind `InvalidData`.
pub(super) struct EntryReader<'f> {
    from: Unpacking<'f>,
    left: u64,
    packed: u64,
    told: u32,
    crc: Crc,
}

enum Unpacking<'f> {
    Stored(SliceReader<'f>),
    Deflated(Box<DeflateDecoder<SliceReader<'f>>>),
}

impl Read for EntryReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.from {
            Unpacking::Stored(data) => data.read(buffer)?,
            Unpacking::Deflated(data) => data.read(buffer)?,
        };
        let data = buffer.get(..count).unwrap_or_default();
        self.crc.update(data);
        let read = u64::try_from(count).unwrap_or(u64::MAX);
        // SECURITY: the directory's word on sizes is the file's own: here it is held to it.
        self.left = self
            .left
            .checked_sub(read)
            .ok_or(io::ErrorKind::InvalidData)?;
        let is_whole = self.left == 0 && self.crc.sum() == self.told && self.is_used_up();
        if count == 0 && !buffer.is_empty() && !is_whole {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(count)
    }
}

impl EntryReader<'_> {
    /// Whether all of its packed bytes meant something.
    fn is_used_up(&self) -> bool {
        match &self.from {
            Unpacking::Stored(_) => true,
            Unpacking::Deflated(data) => data.total_in() == self.packed,
        }
    }
}

/// Little-endian fields, one after the other.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn some(&mut self, count: usize) -> Result<&'b [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(BROKEN)?;
        self.0 = rest;
        Ok(taken)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.some(N)?.try_into().map_err(|_| BROKEN)
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.take().map(u32::from_le_bytes)
    }
}
