//! The text files of the repository, read once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::quietly;

/// Text files by their path from the root, with `/` between its parts.
pub(super) struct Tree(BTreeMap<String, String>);

impl Tree {
    /// What git tracks, and what it would track: new files are checked before their commit. Files that are not UTF-8
    /// are left out.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut git = Command::new("git");
        git.args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root);
        let listing = quietly("git ls-files", &mut git)?;
        let files = listing.split_terminator('\0').filter_map(|path| {
            // A file deleted but not yet committed is gone.
            fs::read_to_string(root.join(path))
                .ok()
                .map(|text| (path.to_owned(), text))
        });
        Ok(Self(files.collect()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All files as (path, text), by path.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The files under a folder, as (path from there, text).
    pub(super) fn under<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files().filter_map(move |(path, text)| {
            Some((path.strip_prefix(folder)?.strip_prefix('/')?, text))
        })
    }

    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| {
            Path::new(path)
                .extension()
                .is_some_and(|extension| extension == "rs")
        })
    }

    pub(super) fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self(
            files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
                .collect(),
        )
    }
}
