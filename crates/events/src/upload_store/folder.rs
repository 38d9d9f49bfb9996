//! The folder: one file for each upload, named by its id.
//!
//! A file is whole and on the disk before there is a row of it; until the row is there, and again before it is
//! deleted, it stands in `incoming`. So whoever kills the process between two steps leaves nothing but files
//! there, and they are put in order by their rows. The rest of the folder is never swept: a gate that is
//! started with another database by mistake deletes nothing.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_core::Timestamp;
use uuid::Uuid;

const INCOMING: &str = "incoming";

#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: Arc<Path>,
}

/// A file on its way in. Without [`Incoming::keep`] it is gone.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) file: File,
    path: PathBuf,
    is_kept: bool,
}

impl Incoming {
    /// All of it is on the disk, under its name.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()?;
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be deleted now is found in `incoming`.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Folder {
    pub(super) fn at(root: &Path) -> Self {
        Folder { root: root.into() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn incoming(&self, id: Uuid) -> PathBuf {
        self.root.join(INCOMING).join(id.to_string())
    }

    /// Not all in one folder: the last digits are at random.
    fn place(&self, id: Uuid) -> PathBuf {
        let name = id.to_string();
        let part = name.get(name.len().saturating_sub(2)..).unwrap_or("00");
        self.root.join(part).join(&name)
    }

    /// A new file, for the gate's user alone.
    pub(super) fn create(&self, id: Uuid) -> io::Result<Incoming> {
        self.own()?;
        make(&self.root.join(INCOMING))?;
        let path = self.incoming(id);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Incoming {
            file,
            path,
            is_kept: false,
        })
    }

    /// The folder is there, and nobody else's.
    pub(super) fn own(&self) -> io::Result<()> {
        make(&self.root)?;
        self.inspect()
    }

    /// The same, of a folder that has to be there already.
    pub(super) fn inspect(&self) -> io::Result<()> {
        let about = std::fs::metadata(&self.root)?;
        // SECURITY: where others may write, a name could lead elsewhere between two calls.
        if !about.is_dir() || about.mode() & 0o077 != 0 {
            let why = format!(
                "`{}` is open to others: `chmod 700` it, or name another folder in upload-store.folder",
                self.root.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(())
    }

    pub(super) fn open(&self, id: Uuid) -> io::Result<File> {
        match File::open(self.place(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => File::open(self.incoming(id)),
            other => other,
        }
    }

    /// Out of `incoming`: there is a row.
    pub(super) fn settle(&self, id: Uuid) -> io::Result<()> {
        let place = self.place(id);
        if let Some(folder) = place.parent() {
            make(folder)?;
        }
        std::fs::rename(self.incoming(id), place)
    }

    /// Into `incoming`: there will soon be no row.
    pub(super) fn unsettle(&self, id: Uuid) -> io::Result<()> {
        match std::fs::rename(self.place(id), self.incoming(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// For good: there is no row of it. Also out of its place, where somebody else may have put it back.
    pub(super) fn forget(&self, id: Uuid) -> io::Result<()> {
        for path in [self.incoming(id), self.place(id)] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// What stands in `incoming` since before `limit`.
    pub(super) fn left(&self, limit: Timestamp) -> io::Result<Vec<Uuid>> {
        let entries = match std::fs::read_dir(self.root.join(INCOMING)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut left = Vec::new();
        for entry in entries {
            let entry = entry?;
            let id = entry.file_name().to_str().map(str::parse::<Uuid>);
            let Some(Ok(id)) = id else { continue };
            match entry.metadata() {
                Ok(about) if about.mtime() < limit.as_seconds() => left.push(id),
                // Somebody else put it in order meanwhile.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(left)
    }
}

fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
