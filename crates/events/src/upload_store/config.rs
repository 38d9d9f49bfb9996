//! `[upload-store]`.

use std::path::{Path, PathBuf};

use portcullis_core::Span;
use portcullis_core::size::ByteSize;
use serde::Deserialize;

use super::folder::Folder;

/// What becomes of an upload that is not found clean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    #[default]
    Refuse,
    Quarantine,
}

/// The `[upload-store]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// The folder in which files are kept, sealed. It is made for the gate's user alone. Default `"uploads"`,
    /// beside this file. Several gates with one database need one folder.
    pub folder: PathBuf,
    /// What becomes of a file in which the scanner finds something: `"refuse"`, or `"quarantine"`, which refuses
    /// it as well and keeps it for an administrator. Default `"refuse"`.
    pub infected: Otherwise,
    /// What becomes of a file while the scanner is away, on routes that store: `"refuse"` (503), or
    /// `"quarantine"`: the product gets its id, and nobody its content before an administrator releases it.
    /// Default `"refuse"`. Risk: a product that does not look at the receipt's `verdict` shows its users files
    /// that do not open.
    pub unscanned: Otherwise,
    /// How many files the quarantine holds at most. Default `1000`, up to 100000.
    pub quarantine_files: u32,
    /// How many bytes these may have together. Default `"1GiB"`.
    pub quarantine_size: ByteSize,
    /// How long a file stays in quarantine. Default `"30d"`, from `"1h"` to `"366d"`. Then it is deleted.
    pub quarantine_for: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            folder: PathBuf::from("uploads"),
            infected: Otherwise::Refuse,
            unscanned: Otherwise::Refuse,
            quarantine_files: 1000,
            quarantine_size: ByteSize::mib(1024),
            quarantine_for: Span::from_days(30),
        }
    }
}

impl Config {
    /// Whether the folder is there; what is wrong with it, if it is nobody's or open to others. Changes nothing.
    /// `beside` is the folder of the configuration.
    pub fn inspect(&self, beside: &Path) -> std::io::Result<bool> {
        match Folder::at(&beside.join(&self.folder)).inspect() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// What is wrong with the table: the key, and what to do.
    pub fn findings(&self) -> Vec<(&'static str, &'static str)> {
        let mut findings = Vec::new();
        if !(1..=100_000).contains(&self.quarantine_files) {
            findings.push(("upload-store.quarantine-files", "must be from 1 to 100000"));
        }
        if self.quarantine_size.as_u64() == 0 {
            findings.push(("upload-store.quarantine-size", "must be more than nothing"));
        }
        if !(Span::from_hours(1)..=Span::from_days(366)).contains(&self.quarantine_for) {
            findings.push(("upload-store.quarantine-for", "must be from 1h to 366d"));
        }
        findings
    }
}
