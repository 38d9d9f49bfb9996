//! Values from a folder of files, one for each secret, as Docker and Kubernetes mount them: read only.
//!
//! - At the start every file has to be readable, text, and not empty, or the gate does not start.
//! - Later a file that is changed is a new version, with its overlap and its message to the product. One that
//!   is gone, empty or unreadable changes nothing: the last good value is served, and its age is told.
//! - Nobody but its file changes such a secret.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::Secret;
use portcullis_vault::tokens::sha256;

use super::change::LARGEST_VALUE;
use super::{Change, Error, Label, Made, Name, SecretStore, rows};
use crate::audit::By;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// More files than that are no folder of secrets.
const MOST: usize = 500;

/// Why a folder cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the folder `{0}` cannot be read: {1}")]
    Folder(PathBuf, std::io::Error),
    #[error("the file `{0}` cannot be read: {1}")]
    File(Name, std::io::Error),
    #[error("the file `{0}` is empty")]
    Empty(Name),
    #[error("the file `{0}` has more than {LARGEST_VALUE} bytes")]
    Large(Name),
    #[error("the folder `{0}` has more than {MOST} files")]
    Many(PathBuf),
    #[error("there is a secret `{0}` that is not of a file")]
    Other(Name),
    #[error("the store: {0}")]
    Store(#[from] Error),
}

/// What a file says, or why not.
type Found = (Name, Result<Secret<String>, Fault>);

/// Every file whose name can be a secret's. One newline at the end is not part of the value.
fn look(folder: &Path) -> Result<Vec<Found>, Fault> {
    let unreadable = |error| Fault::Folder(folder.to_owned(), error);
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let text = entry.file_name();
        // Kubernetes keeps its versions in folders that begin with two dots.
        let Some(name) = text.to_str().and_then(|text| text.parse::<Name>().ok()) else {
            continue;
        };
        if entry.path().is_dir() {
            continue;
        }
        if all.len() >= MOST {
            return Err(Fault::Many(folder.to_owned()));
        }
        let value = read(&entry.path(), &name);
        all.push((name, value));
    }
    Ok(all)
}

fn read(path: &Path, name: &Name) -> Result<Secret<String>, Fault> {
    let unreadable = |error| Fault::File(name.clone(), error);
    let most = u64::try_from(LARGEST_VALUE).unwrap_or(u64::MAX);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(most.saturating_add(2))
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let trimmed = text
        .strip_suffix("\r\n")
        .or_else(|| text.strip_suffix('\n'))
        .unwrap_or(&text)
        .len();
    text.truncate(trimmed);
    match trimmed {
        0 => Err(Fault::Empty(name.clone())),
        1..=LARGEST_VALUE => Ok(Secret::new(text)),
        _ => Err(Fault::Large(name.clone())),
    }
}

/// The first thing that is wrong with a folder, for `check`.
pub fn fault_of(folder: &Path) -> Option<Fault> {
    match look(folder) {
        Err(fault) => Some(fault),
        Ok(all) => all.into_iter().find_map(|(_, value)| value.err()),
    }
}

impl SecretStore {
    /// Takes the whole folder: at the start everything has to be right.
    pub async fn take_files(&self, folder: &Path) -> Result<Followed, Fault> {
        let mut followed = Followed {
            folder: folder.to_owned(),
            known: HashMap::new(),
        };
        for (name, value) in followed.look().await? {
            self.take(&mut followed, &name, &value?).await?;
        }
        Ok(followed)
    }

    /// Follows the folder for as long as the process lives.
    pub async fn follow_files(self, mut followed: Followed) {
        let mut good_at = self.clock.now();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        let mut said = String::new();
        loop {
            ticks.tick().await;
            let faults = self.take_changes(&mut followed).await;
            let now = self.clock.now();
            if faults.is_empty() {
                good_at = now;
            }
            self.trail.metrics().secret_files(now.since(good_at));
            let faults = faults.join("; ");
            // Once, and not every two seconds.
            if faults != said && !faults.is_empty() {
                tracing::warn!(%faults, "files of secrets cannot be taken: the last good values are served");
            }
            said = faults;
        }
    }

    /// One look: what changed is taken. What was wrong, in words.
    async fn take_changes(&self, followed: &mut Followed) -> Vec<String> {
        let found = match followed.look().await {
            Ok(found) => found,
            Err(fault) => return vec![fault.to_string()],
        };
        let mut faults: Vec<String> = followed
            .known
            .keys()
            .filter(|known| !found.iter().any(|(name, _)| name == *known))
            .map(|gone| format!("the file `{gone}` is gone"))
            .collect();
        for (name, value) in found {
            let taken = match value {
                Ok(value) => self.take(followed, &name, &value).await,
                Err(fault) => Err(fault),
            };
            faults.extend(taken.err().map(|fault| fault.to_string()));
        }
        faults.sort_unstable();
        faults
    }

    async fn take(
        &self,
        followed: &mut Followed,
        name: &Name,
        value: &Secret<String>,
    ) -> Result<(), Fault> {
        let digest = sha256(value.expose().as_bytes());
        if followed.known.get(name) == Some(&digest) {
            return Ok(());
        }
        let label = Label {
            tenant: None,
            name: name.clone(),
        };
        let found = rows::find(&self.db, &label).await?;
        // SECURITY: who writes a file takes no secret over that somebody else put there.
        if found.as_ref().is_some_and(|one| one.made != Made::File) {
            return Err(Fault::Other(name.clone()));
        }
        let of_new = |words: &str| found.is_none().then(|| words.to_owned());
        let change = Change {
            value: Some(value.clone()),
            made: Some(Made::File),
            owner: of_new("operator"),
            purpose: of_new("a file of `secret-store.files`"),
            ..Change::default()
        };
        self.put_any(&label, &change, &By::SYSTEM, None).await?;
        followed.known.insert(name.clone(), digest);
        Ok(())
    }
}

/// A folder, and what was taken from it.
#[derive(Debug)]
pub struct Followed {
    folder: PathBuf,
    /// Digests: what did not change is not asked of the database.
    known: HashMap<Name, [u8; 32]>,
}

impl Followed {
    async fn look(&self) -> Result<Vec<Found>, Fault> {
        let folder = self.folder.clone();
        let looked = tokio::task::spawn_blocking(move || look(&folder)).await;
        looked.unwrap_or_else(|error| {
            Err(Fault::Folder(
                self.folder.clone(),
                std::io::Error::other(error),
            ))
        })
    }
}
