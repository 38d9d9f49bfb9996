//! The quarantine: files without a name, in a folder that only the gate's user may enter.
//!
//! The file has no name from its first byte on (`O_TMPFILE`), or loses it before its first byte where the
//! file system cannot do that. No other process can open it, and it is gone with the process.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use tokio::io::AsyncWriteExt as _;

use super::Error;

/// What one upload holds in memory on its way to the disk.
const BUFFER: usize = 64 * 1024;

/// An upload that is being written.
#[derive(Debug)]
pub(super) struct Spool {
    file: tokio::fs::File,
}

impl Spool {
    pub(super) async fn open(folder: &Path) -> Result<Self, Error> {
        let folder = folder.to_owned();
        let file = tokio::task::spawn_blocking(move || open(&folder))
            .await
            .map_err(|_| Error::Lost)??;
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(BUFFER);
        Ok(Spool { file })
    }

    pub(super) async fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        self.file.write_all(data).await?;
        Ok(())
    }

    /// The file, with everything in it.
    pub(super) async fn finish(mut self) -> Result<File, Error> {
        // What the disk did not take is told here at the latest.
        self.file.flush().await?;
        Ok(self.file.into_std().await)
    }
}

fn open(folder: &Path) -> io::Result<File> {
    match DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let about = std::fs::metadata(folder)?;
    // SECURITY: where others may write, a name could lead elsewhere between two calls.
    if !about.is_dir() || about.mode() & 0o077 != 0 {
        let why = format!(
            "`{}` is open to others: `chmod 700` it, or name another folder in uploads.folder",
            folder.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    tempfile::tempfile_in(folder)
}
