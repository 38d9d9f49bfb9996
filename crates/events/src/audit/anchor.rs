//! Checkpoints kept outside of the database: in a file that is only ever added to, and in a bucket of S3.
//!
//! - Put them where whoever can change the database cannot: another machine's disk, a share that only takes
//!   additions, a bucket with object lock.
//! - Before one is added, the log must go on from the last one there, with a proof. A log that was cut short,
//!   put back or rewritten adds nothing, and says so: what is there stays evidence.
//! - In a file notes stand one after another, each followed by an empty line. In a bucket each is an object by
//!   its size (`PREFIX/checkpoints/SIZE`), never written over by us, and `PREFIX/latest` is the newest.

mod bucket;

use std::io::Write as _;
use std::path::{Path, PathBuf};

pub use bucket::{Kept, Placed};

use super::checkpoint::Checkpoint;
use super::{Error, Log, tree};

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchored {
    Added,
    /// The newest checkpoint is there already, or there is none yet.
    Nothing,
}

/// A place outside.
#[derive(Debug)]
pub enum Anchor {
    File(PathBuf),
    Bucket(Box<Kept>),
}

/// The last note of a file of them; a file with one note is one.
pub fn last(notes: &str) -> Option<String> {
    // A text without empty lines, an empty line, signatures: two parts for each note.
    let parts: Vec<&str> = notes.trim_end().split("\n\n").collect();
    let at = parts.len().checked_sub(2)?;
    match parts.get(at..) {
        Some([text, signatures]) if parts.len().is_multiple_of(2) => {
            Some(format!("{text}\n\n{signatures}\n"))
        }
        Some(_) | None => None,
    }
}

impl Anchor {
    /// The newest note there, signed by whomever; nothing where there is none yet.
    async fn newest(&self) -> Result<Option<String>, Error> {
        match self {
            Anchor::File(path) => {
                let there = read(path).await?;
                if there.trim().is_empty() {
                    return Ok(None);
                }
                let note = last(&there);
                Ok(Some(
                    note.ok_or(Error::Anchor("does not end with a checkpoint"))?,
                ))
            }
            Anchor::Bucket(bucket) => bucket.newest().await,
        }
    }

    async fn add(&self, checkpoint: &Checkpoint, signed: &str) -> Result<(), Error> {
        match self {
            Anchor::File(path) => append(path, signed).await,
            Anchor::Bucket(bucket) => bucket.add(checkpoint, signed).await,
        }
    }
}

impl Log {
    /// Adds the newest checkpoint to a place outside, where the log goes on from the last one there.
    ///
    /// # Errors
    /// It does not, or the place cannot be read or written.
    pub async fn anchor(&self, anchor: &Anchor) -> Result<Anchored, Error> {
        let anchored = self.try_anchor(anchor).await;
        if anchored.is_err() {
            self.anchor_failed();
        }
        anchored
    }

    async fn try_anchor(&self, anchor: &Anchor) -> Result<Anchored, Error> {
        let Some(signed) = self.checkpoint().await? else {
            return Ok(Anchored::Nothing);
        };
        let keys = self.verifiers().await?;
        let newest = Checkpoint::verify(&signed, &keys)?;
        if let Some(before) = anchor.newest().await? {
            let before = Checkpoint::verify(&before, &keys)?;
            if before == newest {
                return Ok(Anchored::Nothing);
            }
            self.goes_on(&before, &newest).await?;
        }
        anchor.add(&newest, &signed).await?;
        Ok(Anchored::Added)
    }

    async fn goes_on(&self, before: &Checkpoint, newest: &Checkpoint) -> Result<(), Error> {
        let leaves = [before.size.saturating_sub(1), before.size];
        let tiles = self.tiles(&tree::needed(newest.size, &leaves)).await?;
        let path = tiles.consistency(before.size, newest.size);
        let holds = path.is_some_and(|path| {
            let (old, new) = (before.size, newest.size);
            tree::verify_consistency(old, new, &before.root, &newest.root, &path)
        });
        if holds {
            Ok(())
        } else {
            Err(Error::Anchor(
                "has a checkpoint that the log does not go on from",
            ))
        }
    }
}

async fn read(path: &Path) -> Result<String, Error> {
    let path = path.to_owned();
    blocking(move || match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        there => there,
    })
    .await
}

async fn append(path: &Path, signed: &str) -> Result<(), Error> {
    let (path, note) = (path.to_owned(), format!("{signed}\n"));
    blocking(move || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).open(path)?;
        file.write_all(note.as_bytes())?;
        file.sync_all()
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the file of `audit.anchor-file` could not be used");
            Err(Error::Anchor("cannot be read or written"))
        }
        Err(_) => Err(Error::Anchor("cannot be read or written")),
    }
}
