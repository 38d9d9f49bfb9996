//! What lies in a gate's stores, byte by byte, and the forms in which a secret could lie there.

use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use portcullis_store::Engine;
use portcullis_store::counters;
use portcullis_store::dump::{self, Cell, Snapshot};

use crate::prove::probe::{ALWAYS, Short};
use crate::prove::world::World;

/// A store that is larger is not read whole by a probe, in bytes.
const MOST: u64 = 256 * 1024 * 1024;
/// What is shorter may be there by chance.
const SHORTEST: usize = 16;

/// Names, and all bytes.
pub(super) struct Stored(Vec<(String, Vec<u8>)>);

impl Stored {
    /// The database's files and the folder of stored uploads of a rehearsal.
    pub(super) fn of(w: &World) -> Result<Self, Short> {
        let copy = w.copy.as_ref();
        let folder = copy
            .ok_or_else(|| Short::not_proven("there is no copy"))?
            .folder
            .path();
        let database = database_files(&folder.join("rehearsal.db"));
        let uploads = below(&folder.join("uploads"));
        Self::read(database.into_iter().chain(uploads))
    }

    /// A text that was answered, read as if it were stored.
    pub(super) fn said(text: String) -> Self {
        Stored(vec![("the answer".to_owned(), text.into_bytes())])
    }

    /// The gate's own database, or why a probe does not read it: its files, or every row of it.
    pub(super) async fn of_gate(w: &World) -> Result<Result<Self, String>, Short> {
        const SIZE: &str = "SELECT pg_database_size(current_database()) AS n";
        let too_large = |size: u64| Err(format!("its {size} bytes are more than a probe reads"));
        let url = w.database().context("the gate names no database")?;
        if w.stores.db.engine() == Engine::Sqlite {
            let path = url.expose().strip_prefix("sqlite://").unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default();
            let files = database_files(Path::new(path));
            let lengths = files.iter().filter_map(|file| file.metadata().ok());
            let size: u64 = lengths.map(|file| file.len()).sum();
            if size > MOST {
                return Ok(too_large(size));
            }
            return Ok(Ok(Self::read(files)?));
        }
        let row = w.stores.db.fetch_optional(SIZE, &[]).await?;
        let size = row.map_or(Ok(0), |row| row.int("n"))?;
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        if size > MOST {
            return Ok(too_large(size));
        }
        let rows = rows(url).await;
        Ok(Ok(
            rows.map_err(|error| Short::not_proven(error.to_string()))?
        ))
    }

    /// What the gate keeps in Redis, where it has one, or why a probe does not read it. That the search finds what
    /// is there has been seen.
    pub(super) async fn of_redis(w: &World) -> Option<Result<Self, String>> {
        let url = w.stores.loaded.secrets.redis.as_ref()?;
        let read = counters::contents(&w.config().state, url).await;
        Some(match read {
            Ok(keys) => Ok(Stored(
                keys.into_iter()
                    .map(|(key, mut value)| {
                        let name = String::from_utf8_lossy(&key).into_owned();
                        value.extend(key);
                        (name, value)
                    })
                    .collect(),
            )),
            Err(error) => Err(format!("Redis is not read: {error}")),
        })
    }

    fn read(files: impl IntoIterator<Item = PathBuf>) -> Result<Self, Short> {
        let mut all = Vec::new();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            all.push((name.into_owned(), std::fs::read(&file)?));
        }
        Ok(Stored(all))
    }

    /// Files, tables or keys.
    pub(super) fn parts(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Which of the secrets, each with what it is, is to be found, where and in which form.
    ///
    /// # Errors
    /// Nothing of `clear`, which is written as it is, is to be found: then the search proves nothing.
    pub(super) fn holds(
        &self,
        secrets: &[(&str, impl AsRef<str>)],
        clear: &[&[u8]],
    ) -> Result<Option<String>, Short> {
        self.shows(clear)?;
        self.find(secrets)
    }

    /// The same of what is known to be searched.
    pub(super) fn find(
        &self,
        secrets: &[(&str, impl AsRef<str>)],
    ) -> Result<Option<String>, Short> {
        let (mut names, mut texts) = (Vec::new(), Vec::new());
        for (what, secret) in secrets {
            for (form, bytes) in forms(secret.as_ref()) {
                names.push(format!("{what} ({form})"));
                texts.push(bytes);
            }
        }
        // One pass, however much is looked for.
        let search = AhoCorasick::new(&texts).map_err(anyhow::Error::from)?;
        let found = self.0.iter().find_map(|(file, bytes)| {
            let found = search.find(bytes)?;
            let name = names.get(found.pattern().as_usize());
            Some(format!(
                "`{file}` holds {}",
                name.map_or("", String::as_str)
            ))
        });
        Ok(found)
    }

    fn shows(&self, clear: &[&[u8]]) -> Result<(), Short> {
        let search = AhoCorasick::new(clear).map_err(anyhow::Error::from)?;
        if self.0.iter().any(|(_, bytes)| search.is_match(bytes)) {
            return Ok(());
        }
        Err(Short::not_proven(
            "what is stored in the clear is not found in what was read: that a secret is not found says nothing",
        ))
    }
}

/// Fails by whatever was found.
pub(super) fn nothing(found: Option<String>) -> Result<(), Short> {
    match found {
        None => Ok(()),
        Some(found) => Err(Short::failed(found, ALWAYS)),
    }
}

/// A database's file and what SQLite writes beside it.
fn database_files(file: &Path) -> Vec<PathBuf> {
    let beside = |suffix: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    ["", "-wal", "-journal"]
        .map(beside)
        .into_iter()
        .filter(|file| file.is_file())
        .collect()
}

/// Every file below a folder.
pub(super) fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Every row of every table.
async fn rows(url: &portcullis_core::Secret) -> Result<Stored, dump::Error> {
    let mut snapshot = Snapshot::open(url).await?;
    let schema = snapshot.schema().clone();
    let mut all = Vec::new();
    for table in &schema.tables {
        let mut bytes = Vec::new();
        let each = |cells: Vec<Cell>| {
            for cell in cells {
                match cell {
                    Cell::Null | Cell::Int(_) => {}
                    Cell::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                    Cell::Bytes(raw) => bytes.extend_from_slice(&raw),
                }
                bytes.push(b'\n');
            }
            Ok::<(), dump::Error>(())
        };
        snapshot.read(table, each).await?;
        all.push((table.name.clone(), bytes));
    }
    Ok(Stored(all))
}

/// The text, what it says of bytes, and both as somebody could write them who thinks that this hides them.
fn forms(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = vec![("as it is", secret.as_bytes().to_vec())];
    encoded(&mut all, secret.as_bytes());
    // A prefix such as `pck_` says what it is, and is no part of the secret.
    for text in [secret, secret.rsplit('_').next().unwrap_or_default()] {
        let raw = hex::decode(text)
            .ok()
            .or_else(|| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok())
            .or_else(|| STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok());
        if let Some(raw) = raw.filter(|raw| raw.len() >= SHORTEST) {
            encoded(&mut all, &raw);
            all.push(("its bytes", raw));
        }
        if text.len() >= SHORTEST {
            all.push(("without its prefix", text.as_bytes().to_vec()));
        }
    }
    all
}

fn encoded(all: &mut Vec<(&'static str, Vec<u8>)>, bytes: &[u8]) {
    all.push(("in hexadecimal", hex::encode(bytes).into_bytes()));
    all.push(("in hexadecimal", hex::encode_upper(bytes).into_bytes()));
    // What comes before it moves it by one or two bytes: the letters that others share are cut off.
    for before in 0..3_usize {
        let moved = [&vec![0; before], bytes].concat();
        for text in [
            STANDARD_NO_PAD.encode(&moved),
            URL_SAFE_NO_PAD.encode(&moved),
        ] {
            let own = text.as_bytes();
            let own = own.get(before.saturating_mul(2)..own.len().saturating_sub(2));
            all.extend(own.map(|own| ("in base64", own.to_vec())));
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const SECRET: &str = "pck_7nZ0fXnUO4iE2bQwq3m0b7dRkT9xYvLhJcPa5sGe8Wu1Fz6";

    fn found(stored: &[u8], secret: &str) -> Option<String> {
        let all = Stored(vec![("file".to_owned(), [b"id-7 ", stored].concat())]);
        all.holds(&[("it", secret)], &[b"id-7"]).unwrap()
    }

    #[test]
    fn a_secret_is_found_in_every_form() {
        let raw: Vec<u8> = (7..39).collect();
        let token = URL_SAFE_NO_PAD.encode(&raw);
        for stored in [
            SECRET.as_bytes().to_vec(),
            SECRET.trim_start_matches("pck_").as_bytes().to_vec(),
            hex::encode(SECRET).into_bytes(),
            hex::encode_upper(SECRET).into_bytes(),
            STANDARD.encode(SECRET).into_bytes(),
            STANDARD.encode(format!("a{SECRET}b")).into_bytes(),
            URL_SAFE_NO_PAD.encode(format!("ab{SECRET}")).into_bytes(),
        ] {
            assert!(found(&stored, SECRET).is_some(), "{stored:?}");
        }
        for stored in [
            token.clone().into_bytes(),
            raw.clone(),
            hex::encode(&raw).into_bytes(),
        ] {
            assert!(found(&stored, &token).is_some(), "{stored:?}");
        }
        let hash = portcullis_vault::tokens::sha256(SECRET.as_bytes());
        assert_eq!(found(&hash, SECRET), None);
    }

    #[test]
    fn a_search_that_does_not_find_what_is_there_proves_nothing() {
        let all = Stored(vec![("file".to_owned(), b"nothing".to_vec())]);
        assert!(all.holds(&[("it", SECRET)], &[b"id-7"]).is_err());
    }
}
