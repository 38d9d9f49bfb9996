//! Secrets in git (X1): a file that holds one, or an `.env`, and that git keeps.
//!
//! Reads the index of the work tree around the configuration; runs no program. What was committed once and
//! taken out again is still in the history: that is not found here.

use std::path::{Path, PathBuf};

use portcullis_core::SecretRef;
use portcullis_core::finding::Finding;

use crate::config::Loaded;

/// Largest index that is read.
const MOST: u64 = 64 * 1024 * 1024;

pub(super) fn check(loaded: &Loaded, found: &mut Vec<Finding>) {
    let Some((root, index)) = index_around(&loaded.folder) else {
        return;
    };
    let names = names(&index);
    let is_kept = |file: &Path| {
        let inside = file.canonicalize().ok()?;
        let inside = inside.strip_prefix(&root).ok()?.to_str()?.to_owned();
        names.contains(&inside.as_bytes()).then_some(inside)
    };
    for read in &loaded.read {
        let SecretRef::File { file } = &read.reference else {
            continue;
        };
        if let Some(name) = is_kept(&loaded.path(file)) {
            found.push(
                Finding::error("secret-in-git", read.key.clone(), format!("`{name}` holds a secret, and git keeps it"))
                    .remedy("replace the secret, take the file out (`git rm --cached`), name it in .gitignore, and purge the history"),
            );
        }
    }
    for name in names.iter().filter(|name| is_env(name)) {
        let name = String::from_utf8_lossy(name);
        found.push(
            Finding::warning("env-file-in-git", "secrets", format!("git keeps `{name}`"))
                .remedy("keep `.env.example` without values there, name the other in .gitignore, and replace what it held"),
        );
    }
}

/// `.env`, `prod.env`, `.env.local`; not those that show what is to be filled in.
fn is_env(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let shows = [&b".example"[..], b".sample", b".template", b".dist"];
    let is_sample = shows.iter().any(|end| name.ends_with(end));
    (name.ends_with(b".env") || name.starts_with(b".env.")) && !is_sample
}

/// The work tree that a folder lies in, and its index.
fn index_around(folder: &Path) -> Option<(PathBuf, Vec<u8>)> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let folder = folder.canonicalize().ok()?;
    let root = folder.ancestors().find(|root| root.join(".git").exists())?;
    let file = git_folder(&root.join(".git"))?.join("index");
    let is_small = std::fs::metadata(&file).is_ok_and(|file| file.len() <= MOST);
    let index = is_small.then(|| std::fs::read(file).ok())??;
    Some((root.to_owned(), index))
}

/// In a second work tree `.git` is a file that says where.
fn git_folder(dot_git: &Path) -> Option<PathBuf> {
    if dot_git.is_dir() {
        return Some(dot_git.to_owned());
    }
    let text = std::fs::read_to_string(dot_git).ok()?;
    let path = Path::new(text.strip_prefix("gitdir:")?.trim());
    Some(dot_git.parent()?.join(path))
}

/// The paths of an index of version 2 or 3 (gitformat-index). None of version 4, which cuts them short.
fn names(index: &[u8]) -> Vec<&[u8]> {
    const FIXED: usize = 62;
    const EXTENDED: u8 = 0x40;
    let mut all = Vec::new();
    let Some((&[b'D', b'I', b'R', b'C', 0, 0, 0, 2 | 3, _, _, _, _], mut rest)) =
        index.split_first_chunk::<12>()
    else {
        return all;
    };
    loop {
        let Some(flags) = rest.get(60) else {
            return all;
        };
        let begins = if flags & EXTENDED == 0 {
            FIXED
        } else {
            FIXED.saturating_add(2)
        };
        let Some(name) = rest.get(begins..).and_then(|name| {
            let end = name.iter().position(|byte| *byte == 0)?;
            name.get(..end).filter(|name| !name.is_empty())
        }) else {
            return all;
        };
        all.push(name);
        // Filled up with 1 to 8 zeros.
        let length = begins.saturating_add(name.len());
        let whole = length.saturating_add(8) / 8 * 8;
        let Some(next) = rest.get(whole..) else {
            return all;
        };
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_files_are_known_and_examples_are_none() {
        for (path, expected) in [
            (".env", true),
            ("web/.env.local", true),
            ("deploy/prod.env", true),
            (".env.example", false),
            ("prod.env.example", false),
            ("environment.rs", false),
        ] {
            assert_eq!(is_env(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn an_index_that_is_cut_or_of_another_form_ends_the_list() {
        assert!(names(b"").is_empty());
        assert!(names(b"DIRC\0\0\0\x04\0\0\0\x01").is_empty());
        let mut index = b"DIRC\0\0\0\x02\0\0\0\x02".to_vec();
        for name in ["a", "secrets/master"] {
            let mut entry = vec![0_u8; 62];
            entry.extend(name.as_bytes());
            let whole = entry.len() / 8 * 8 + 8;
            entry.resize(whole, 0);
            index.extend(entry);
        }
        assert_eq!(names(&index), [&b"a"[..], b"secrets/master"]);
        for cut in 0..index.len() {
            assert!(names(&index[..cut]).len() <= 2);
        }
    }
}
