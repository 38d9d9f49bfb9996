//! Checkpoints kept outside of the database: in a file that is only ever added to.
//!
//! - Put it where whoever can change the database cannot: another machine's disk, a share that only takes
//!   additions.
//! - Before one is added, the log must go on from the last one there, with a proof. A log that was cut short,
//!   put back or rewritten adds nothing, and says so: the file stays evidence.
//! - Notes stand one after another, each followed by an empty line.

use std::io::Write as _;
use std::path::Path;

use super::checkpoint::Checkpoint;
use super::{Error, Log, tree};

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchored {
    Added,
    /// The newest checkpoint is there already, or there is none yet.
    Nothing,
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

impl Log {
    /// Adds the newest checkpoint to a file, where the log goes on from the last one there.
    ///
    /// # Errors
    /// It does not, or the file cannot be read or written.
    pub async fn anchor(&self, file: &Path) -> Result<Anchored, Error> {
        let anchored = self.try_anchor(file).await;
        if anchored.is_err() {
            self.anchor_failed();
        }
        anchored
    }

    async fn try_anchor(&self, file: &Path) -> Result<Anchored, Error> {
        let Some(signed) = self.checkpoint().await? else {
            return Ok(Anchored::Nothing);
        };
        let keys = self.verifiers().await?;
        let newest = Checkpoint::verify(&signed, &keys)?;
        let path = file.to_owned();
        let there = blocking(move || match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            there => there,
        })
        .await?;
        if !there.trim().is_empty() {
            let before = last(&there).ok_or(Error::Anchor("does not end with a checkpoint"))?;
            let before = Checkpoint::verify(&before, &keys)?;
            if before == newest {
                return Ok(Anchored::Nothing);
            }
            self.goes_on(&before, &newest).await?;
        }
        let path = file.to_owned();
        blocking(move || {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.append(true).create(true).open(path)?;
            file.write_all(format!("{signed}\n").as_bytes())?;
            file.sync_all()
        })
        .await?;
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
