//! The file that a backup becomes: written under another name, and renamed when it is proved.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tempfile::TempPath;

use crate::cli::Usage;

/// A backup that has no name yet. Goes when it gets none.
pub(super) struct Part {
    path: TempPath,
    /// Locked as long as we live, so that nobody else takes what a killed process left for free.
    file: File,
    to: PathBuf,
    force: bool,
}

impl Part {
    /// `FILE.part`, beside `FILE`: empty, ours alone, readable by its owner.
    pub(super) fn beside(to: &Path, force: bool) -> anyhow::Result<Part> {
        if to.exists() && !force {
            return Err(Usage::error(format!(
                "`{}` is there already: choose another name, or say --force",
                to.display()
            )));
        }
        let mut name = to
            .file_name()
            .map(ToOwned::to_owned)
            .ok_or_else(|| Usage::error(format!("`{}` is no name of a file", to.display())))?;
        name.push(".part");
        let part = to.with_file_name(name);
        let cannot = || format!("`{}` cannot be written", part.display());
        if part.exists() && !part.symlink_metadata().with_context(cannot)?.is_file() {
            bail!("`{}` is no plain file", part.display());
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&part)
            .with_context(cannot)?;
        if file.try_lock().is_err() {
            bail!("`{}` is being written by another backup", part.display());
        }
        // Who held the lock may have given the file its name just now: then it is not ours to empty.
        let (ours, there) = (file.metadata()?, part.symlink_metadata());
        if !there.is_ok_and(|there| there.ino() == ours.ino() && there.dev() == ours.dev()) {
            bail!("another backup to `{}` just ended", to.display());
        }
        // What a killed one left may have been made otherwise.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.set_len(0)?;
        Ok(Part {
            path: TempPath::try_from_path(&part).with_context(cannot)?,
            file,
            to: to.to_owned(),
            force,
        })
    }

    /// To write to.
    pub(super) fn writer(&self) -> anyhow::Result<File> {
        Ok(self.file.try_clone()?)
    }

    /// To read what was written from its beginning, from the file and not from memory of ours.
    pub(super) fn reader(&self) -> anyhow::Result<File> {
        self.file.sync_all().context("the disk does not take it")?;
        Ok(File::open(&self.path)?)
    }

    /// Gives it its name, so that it is there after a power cut as well.
    pub(super) fn name(self) -> anyhow::Result<()> {
        let to = &self.to;
        let named = if self.force {
            self.path.persist(to)
        } else {
            self.path.persist_noclobber(to)
        };
        named.with_context(|| format!("`{}` cannot be given its name", to.display()))?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(())
    }
}
