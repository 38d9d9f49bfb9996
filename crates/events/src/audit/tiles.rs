//! The log as resources that never change (c2sp.org/tlog-tiles): a reader takes tiles of hashes and computes
//! every root and every proof without asking us for one.
//!
//! - `LEVEL/INDEX` is a whole tile, `LEVEL/INDEX.p/WIDTH` the first hashes of one. None is served that the newest
//!   signed head does not have: a tile never has more than what was signed.
//! - `entries/INDEX` is a bundle of leaves, for whoever reads the whole trail: leaves stand beside each other
//!   whosever tenant's they are. A bundle of which the retention rule took something is pruned: not there.
//! - One spelling per resource: what is no canonical path names nothing.

use std::fmt;

use portcullis_store::Row;

use super::checkpoint::number;
use super::leaf;
use super::log::{Head, signed};
use super::tree::{LEVELS, Place, TILE};
use super::verify::RANGE;
use super::{Error, Log};

/// Bytes of one hash.
const HASH: u64 = 32;

/// What a path below `tile/` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Hashes(Place),
    Entries(u64),
}

/// A resource, and how wide it is: 256, or less where the path says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    pub what: What,
    width: u64,
}

impl Resource {
    /// Reads a path below `tile/`.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.split_once('/')?;
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => {
                let width = number(width).filter(|width| (1..TILE).contains(width))?;
                (index, width)
            }
            None => (rest, TILE),
        };
        let index = self::index(index)?;
        let what = if kind == "entries" {
            What::Entries(index)
        } else {
            let level = number(kind)?;
            let level = u8::try_from(level).ok().filter(|level| *level < LEVELS)?;
            What::Hashes(Place { level, index })
        };
        Some(Resource { what, width })
    }

    /// The widest tile at a place that a log of so many leaves has.
    pub fn of(place: Place, size: u64) -> Option<Self> {
        let width = there(place, size)?.min(TILE);
        let what = What::Hashes(place);
        (width > 0).then_some(Resource { what, width })
    }

    const fn place(&self) -> Place {
        match self.what {
            What::Hashes(place) => place,
            What::Entries(index) => Place { level: 0, index },
        }
    }

    /// Whether the log has so much of it.
    fn is_in(&self, head: &Head) -> bool {
        let there = there(self.place(), head.size);
        head.checkpoint.is_some() && there.is_some_and(|there| there >= self.width)
    }
}

/// The path below `tile/`.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { level, index } = self.place();
        match self.what {
            What::Hashes(_) => write!(f, "{level}/")?,
            What::Entries(_) => f.write_str("entries/")?,
        }
        let mut digits = index.to_string();
        while digits.len() % 3 != 0 {
            digits.insert(0, '0');
        }
        let groups = digits.len() / 3;
        for (at, digit) in digits.chars().enumerate() {
            if at % 3 == 0 {
                let is_last = at / 3 == groups.saturating_sub(1);
                f.write_str(match (at, is_last) {
                    (0, true) => "",
                    (0, false) => "x",
                    (_, true) => "/",
                    (_, false) => "/x",
                })?;
            }
            write!(f, "{digit}")?;
        }
        if self.width < TILE {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// How many hashes a log of so many leaves has from a place on, at its level.
fn there(place: Place, size: u64) -> Option<u64> {
    let complete = size.checked_shr(8 * u32::from(place.level))?;
    complete.checked_sub(place.index.checked_mul(TILE)?)
}

/// `x001/x234/067` for 1234067: three digits each, all but the last with an `x` before them.
fn index(text: &str) -> Option<u64> {
    let (above, last) = match text.rsplit_once('/') {
        Some((above, last)) => (Some(above), last),
        None => (None, text),
    };
    let mut index = 0_u64;
    let groups = above.into_iter().flat_map(|above| above.split('/'));
    for (at, group) in groups.enumerate() {
        let digits = three(group.strip_prefix('x')?)?;
        if at == 0 && digits == 0 {
            return None;
        }
        index = index.checked_mul(1000)?.checked_add(digits)?;
    }
    index.checked_mul(1000)?.checked_add(three(last)?)
}

fn three(text: &str) -> Option<u64> {
    let is_three = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_three.then(|| text.parse().ok()).flatten()
}

impl Log {
    /// A resource, where the newest signed head has it.
    ///
    /// # Errors
    /// The database does not answer, or lacks what was signed.
    pub async fn resource(&self, resource: Resource) -> Result<Option<Vec<u8>>, Error> {
        let Some(head) = self.head().await?.filter(|head| resource.is_in(head)) else {
            return Ok(None);
        };
        match resource.what {
            What::Hashes(place) => {
                let tile = self.tile(place).await?.unwrap_or_default();
                let length = usize::try_from(resource.width.saturating_mul(HASH)).ok();
                let hashes = length.and_then(|length| tile.get(..length));
                let hashes = hashes.ok_or(Error::Damaged("a tile"))?;
                Ok(Some(hashes.to_vec()))
            }
            What::Entries(index) => self.entries(&head, index, resource.width).await,
        }
    }

    async fn entries(&self, head: &Head, index: u64, width: u64) -> Result<Option<Vec<u8>>, Error> {
        let from = index.saturating_mul(TILE);
        let to = from.saturating_add(width).min(head.size);
        let rows = self
            .db()
            .fetch_all(RANGE, &[signed(from).into(), signed(to).into()])
            .await?;
        if rows.len() as u64 != width {
            return Ok(None);
        }
        let mut bundle = Vec::new();
        for row in &rows {
            add(&mut bundle, row)?;
        }
        Ok(Some(bundle))
    }
}

fn add(bundle: &mut Vec<u8>, row: &Row) -> Result<(), Error> {
    let entry = leaf::encode(row)?;
    let length = u16::try_from(entry.len()).map_err(|_| Error::Unreadable("leaf"))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn hashes(level: u8, index: u64, width: u64) -> Resource {
        let what = What::Hashes(Place { level, index });
        Resource { what, width }
    }

    #[test]
    fn a_path_names_a_tile_as_the_specification_writes_it() {
        for (path, expected) in [
            ("0/000", hashes(0, 0, 256)),
            ("0/273.p/112", hashes(0, 273, 112)),
            ("1/x001/x234/067", hashes(1, 1_234_067, 256)),
            ("7/x001/000.p/1", hashes(7, 1000, 1)),
        ] {
            assert_eq!(Resource::parse(path), Some(expected), "{path}");
            assert_eq!(expected.to_string(), path);
        }
        let entries = Resource::parse("entries/x001/067").unwrap();
        assert_eq!(entries.what, What::Entries(1067));
        assert_eq!(entries.to_string(), "entries/x001/067");
        // The example of the specification: a tree of 70,000.
        for (level, index, width) in [
            (0, 272, 256),
            (0, 273, 112),
            (1, 0, 256),
            (1, 1, 17),
            (2, 0, 1),
        ] {
            let place = Place { level, index };
            let expected = Some(hashes(level, index, width));
            assert_eq!(Resource::of(place, 70_000), expected);
        }
        assert_eq!(
            Resource::of(
                Place {
                    level: 0,
                    index: 274
                },
                70_000
            ),
            None
        );
        assert_eq!(Resource::of(Place { level: 3, index: 0 }, 70_000), None);
    }

    #[test]
    fn another_spelling_names_nothing() {
        for path in [
            "",
            "0",
            "0/",
            "0/0",
            "0/00",
            "0/0000",
            "00/000",
            "8/000",
            "64/000",
            "x/000",
            "0/x000/001",
            "0/x001",
            "0/001/002",
            "0/x001/x002",
            "0/000.p",
            "0/000.p/",
            "0/000.p/0",
            "0/000.p/01",
            "0/000.p/256",
            "0/000.p/1/2",
            "0//000",
            "0/+01",
            "-1/000",
            "0/x001//002",
            "entries",
            "0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(Resource::parse(path), None, "{path}");
        }
    }
}
