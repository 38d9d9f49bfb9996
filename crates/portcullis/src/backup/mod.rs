//! `portcullis backup` and `portcullis restore`: the whole database in one encrypted file, and back (E7).
//!
//! - One moment: everything is read in one transaction, while gates run and write.
//! - One form for both engines: JSON lines (`format.rs`), so that SQLite goes into PostgreSQL and back.
//! - Encrypted as [age](https://age-encryption.org/v1) files are, by its library. Recipients keep others
//!   from reading; that we made it, and nobody who merely knows a recipient, is shown by a MAC under the
//!   master secret.
//! - A backup has its name only after it was read back, decrypted, restored into an empty database and
//!   compared row by row.
//! - A restore is one transaction on a database that nobody else has open. Whatever is wrong with the
//!   file, the key or the target, the target is as it was.
//!
//! Not in here: files of uploads, the configuration, the master secret (keep it elsewhere: without it
//! what is sealed does not open), what Redis holds. It is the cargo feature `backup`.

#[cfg(feature = "backup")]
mod format;
#[cfg(feature = "backup")]
mod lock;
#[cfg(feature = "backup")]
mod make;
#[cfg(feature = "backup")]
mod pour;
#[cfg(feature = "backup")]
mod progress;
#[cfg(feature = "backup")]
mod restore;
#[cfg(feature = "backup")]
mod target;
#[cfg(test)]
#[cfg(feature = "backup")]
mod tests;

use serde::Deserialize;

#[cfg(feature = "backup")]
pub(crate) use self::lock::{keygen, open_with, seal_for};
#[cfg(feature = "backup")]
pub(crate) use self::make::run as make;
#[cfg(feature = "backup")]
pub(crate) use self::restore::run as restore;

#[cfg(not(feature = "backup"))]
pub(crate) use self::absent::{keygen, make, open_with, restore, seal_for};

use crate::config::Loaded;

/// `[backup]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Config {
    /// Who can open the backups: public keys (`age1...`) as `portcullis backup keygen` prints them. Any
    /// one of their private keys opens any backup. Default: none, so that `backup` has to be told. Keep
    /// the private keys off the machine that the gate runs on.
    pub(crate) recipients: Vec<String>,
}

/// What is wrong with `[backup]`.
pub(crate) fn check(loaded: &mut Loaded) {
    let recipients = std::mem::take(&mut loaded.config.backup.recipients);
    for (position, recipient) in recipients.iter().enumerate() {
        if let Some(fault) = fault_of(recipient) {
            loaded.report(
                portcullis_core::finding::Finding::error(
                    "backup-recipient",
                    format!("backup.recipients.{position}"),
                    fault,
                )
                .remedy("write the public key (`age1...`) that `portcullis backup keygen` printed"),
            );
        }
    }
    loaded.config.backup.recipients = recipients;
}

#[cfg(feature = "backup")]
fn fault_of(recipient: &str) -> Option<String> {
    lock::recipient(recipient).err()
}

#[cfg(not(feature = "backup"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "as where backups are built: there some are right"
)]
fn fault_of(_: &str) -> Option<String> {
    Some(absent::MISSING.to_owned())
}

#[cfg(not(feature = "backup"))]
mod absent {
    use crate::cli::output::Format;
    use crate::cli::{Cli, Usage, backup};

    pub(super) const MISSING: &str =
        "this program was built without backups: build it with `--features backup`, or with `full`";

    pub(crate) fn make(_: &Cli, _: &backup::Make) -> anyhow::Result<bool> {
        Err(Usage::error(MISSING))
    }

    pub(crate) fn restore(_: &Cli, _: &backup::Restore) -> anyhow::Result<bool> {
        Err(Usage::error(MISSING))
    }

    pub(crate) fn seal_for(_: &[String], _: &[u8]) -> anyhow::Result<Vec<u8>> {
        Err(Usage::error(MISSING))
    }

    pub(crate) fn open_with(
        _: &std::path::Path,
        _: std::fs::File,
        _: u64,
    ) -> anyhow::Result<Vec<u8>> {
        Err(Usage::error(MISSING))
    }

    pub(crate) fn keygen(_: Format, _: &backup::Keygen) -> anyhow::Result<bool> {
        Err(Usage::error(MISSING))
    }
}
