//! Evidence: what somebody writes down about a time, and every event of the log from that time with its proof, in
//! one file of text that is verified without the database.
//!
//! - Lines of JSON: what kind of file it is, the facts, each event (the leaf as it was hashed, its place, its
//!   path), the signed checkpoint that they are proved under, and a seal over every byte above it.
//! - The stretch of the log has no holes: whoever leaves an event out has to leave out all that follow, or all
//!   before. So not even whoever has the log's key picks events that suit them.
//! - The seal is a signed note (c2sp.org/signed-note) under the log's key. Its first line is none that a
//!   checkpoint of the log begins with, so that neither passes for the other.
//! - Personal parts are not in it: a leaf has their hash alone.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::Timestamp;
use portcullis_vault::note::{Kind, Note, Verifier};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Log;
use super::checkpoint::{self, Checkpoint};
use super::leaf;
use super::log::{Head, signed, unsigned};
use super::tree::{self, Hash};
use super::verify::RANGE;

const KIND: &str = "portcullis-evidence@v1";
/// Most events of one file.
pub const MOST: u64 = 100_000;
/// Longest file that is read, in bytes.
pub const LONGEST_FILE: u64 = 512 * 1024 * 1024;

const BOUNDS: &str = "SELECT min(leaf) AS first, max(leaf) AS last FROM audit_event WHERE at >= $1 AND at < $2 AND leaf IS NOT NULL";

/// Why there is no file, or why one is not believed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("there are {0} events in that time, and a file has {MOST} at most: name a shorter one")]
    TooMany(u64),
    #[error("there is no event in that time")]
    Nothing,
    #[error("it is no file of evidence")]
    NotOne,
    #[error("it was changed after it was sealed")]
    Changed,
    #[error("nobody whose key was given has sealed it: {0}")]
    Seal(portcullis_vault::note::Error),
    #[error("its checkpoint does not hold: {0}")]
    Checkpoint(checkpoint::Error),
    #[error("event {0} is not in the log at this place")]
    NotIncluded(u64),
    #[error("event {0} is left out")]
    LeftOut(u64),
    #[error(transparent)]
    Log(#[from] super::Error),
}

impl From<portcullis_store::Error> for Error {
    fn from(error: portcullis_store::Error) -> Self {
        Error::Log(error.into())
    }
}

/// One event of the stretch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub index: u64,
    /// The leaf as it was hashed.
    pub leaf: String,
    path: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Line {
    Evidence { kind: String, log: String },
    Facts(Value),
    Event(Entry),
    Checkpoint(String),
    Seal(String),
}

/// A stretch of the log, with its proofs.
#[derive(Debug)]
pub struct Stretch {
    head: Head,
    checkpoint: String,
    pub entries: Vec<Entry>,
}

/// A file that was verified.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Names the log.
    pub log: String,
    pub facts: Value,
    /// Leaves of the first and the last event.
    pub from: u64,
    pub to: u64,
    pub events: u64,
    /// What the events are proved under, with all signatures below it.
    pub checkpoint: String,
}

impl Log {
    /// Every event from the first to the last of a time, as they stand in the log. Give events their place
    /// first ([`Log::sequence`]).
    ///
    /// # Errors
    /// There is none, there are too many, or the log is damaged.
    pub async fn stretch(&self, since: Timestamp, until: Timestamp) -> Result<Stretch, Error> {
        let head = self.head().await?.ok_or(Error::Nothing)?;
        let args = [since.into(), until.into()];
        let bounds = self.db().fetch_optional(BOUNDS, &args).await?;
        let bounds = bounds.ok_or(Error::Nothing)?;
        let (Some(first), Some(last)) = (bounds.opt_int("first")?, bounds.opt_int("last")?) else {
            return Err(Error::Nothing);
        };
        let (first, last) = (unsigned(first)?, unsigned(last)?);
        // Witnesses' word goes with it, where they have given it for all of this time.
        let head = self.witnessed_head(&head, last).await?.unwrap_or(head);
        // What has its place since the head was read is not proved by it.
        let end = last.saturating_add(1).min(head.size);
        let count = end.saturating_sub(first);
        if count > MOST {
            return Err(Error::TooMany(count));
        }
        let checkpoint = head.checkpoint.clone().ok_or(Error::Nothing)?;
        let mut entries = Vec::new();
        let mut from = first;
        while from < end {
            let to = from.saturating_add(tree::TILE).min(end);
            let range = [signed(from).into(), signed(to).into()];
            let rows = self.db().fetch_all(RANGE, &range).await?;
            let indexes: Vec<u64> = (from..to).collect();
            let tiles = self.tiles(&tree::needed(head.size, &indexes)).await?;
            for row in &rows {
                let index = unsigned(row.int("leaf")?)?;
                let path = tiles.inclusion(index, head.size);
                let path = path.ok_or(super::Error::Damaged("a tile"))?;
                entries.push(Entry {
                    index,
                    leaf: leaf::encode(row)?,
                    path: path.iter().map(|hash| STANDARD.encode(hash)).collect(),
                });
            }
            from = to;
        }
        let stretch = Stretch {
            head,
            checkpoint,
            entries,
        };
        // SECURITY: what does not verify is not handed out as evidence.
        let keys = self.verifiers_of(&stretch.head)?;
        let checkpoint = Checkpoint::verify(&stretch.checkpoint, &keys);
        in_order(&stretch.entries, &checkpoint.map_err(Error::Checkpoint)?)?;
        Ok(stretch)
    }

    /// The file: these facts, and the stretch, sealed.
    pub fn seal_evidence(&self, facts: &Value, stretch: &Stretch) -> Result<String, Error> {
        let log = stretch.head.origin();
        let mut text = String::new();
        let mut put = |line: &Line| -> Result<(), Error> {
            let line = serde_json::to_string(line).map_err(|_| Error::NotOne)?;
            text.push_str(&line);
            text.push('\n');
            Ok(())
        };
        put(&Line::Evidence {
            kind: KIND.to_owned(),
            log: log.clone(),
        })?;
        put(&Line::Facts(facts.clone()))?;
        for entry in &stretch.entries {
            put(&Line::Event(entry.clone()))?;
        }
        put(&Line::Checkpoint(stretch.checkpoint.clone()))?;
        let sealed = sealed_text(&log, &text);
        let mut note = format!("{sealed}\n");
        for signer in self.signers(&stretch.head)? {
            let line = signer.sign(&sealed, 0);
            note.push_str(&line.map_err(|_| super::Error::Key)?);
        }
        let seal = serde_json::to_string(&Line::Seal(note)).map_err(|_| Error::NotOne)?;
        Ok(format!("{text}{seal}\n"))
    }
}

/// What is signed.
fn sealed_text(log: &str, above: &str) -> String {
    let hash = digest(&SHA256, above.as_bytes());
    format!("{KIND}\n{log}\n{}\n", hex::encode(hash))
}

impl Evidence {
    /// Whether a file's first line says that it is one.
    pub fn looks_like_one(text: &str) -> bool {
        let first = text.lines().next().map(serde_json::from_str::<Line>);
        matches!(first, Some(Ok(Line::Evidence { kind, .. })) if kind == KIND)
    }

    /// Reads a file and verifies all of it.
    ///
    /// # Errors
    /// The first thing that does not hold. Nothing of the file means anything then.
    pub fn verify(text: &str, keys: &[Verifier]) -> Result<Self, Error> {
        let above = text.strip_suffix('\n').ok_or(Error::NotOne)?;
        let at = above.rfind('\n').ok_or(Error::NotOne)?.saturating_add(1);
        let (Some(above), Some(last)) = (text.get(..at), above.get(at..)) else {
            return Err(Error::NotOne);
        };
        let mut lines = above.lines().map(serde_json::from_str::<Line>);
        let Some(Ok(Line::Evidence { kind, log })) = lines.next() else {
            return Err(Error::NotOne);
        };
        let Ok(Line::Seal(seal)) = serde_json::from_str(last) else {
            return Err(Error::NotOne);
        };
        if kind != KIND {
            return Err(Error::NotOne);
        }
        let note: Note = seal.parse().map_err(Error::Seal)?;
        let (sealed, signers) = note.verify(keys).map_err(Error::Seal)?;
        // SECURITY: under the name of this log, as for its checkpoints.
        let is_the_logs = |key: &&Verifier| key.kind() == Kind::Text && key.name() == log;
        if !signers.iter().any(is_the_logs) {
            return Err(Error::Seal(portcullis_vault::note::Error::NotSigned));
        }
        if sealed != sealed_text(&log, above) {
            return Err(Error::Changed);
        }
        let Some(Ok(Line::Facts(facts))) = lines.next() else {
            return Err(Error::NotOne);
        };
        let mut entries = Vec::new();
        let mut checkpoint = None;
        for line in lines {
            match line {
                Ok(Line::Event(entry)) if checkpoint.is_none() => entries.push(entry),
                Ok(Line::Checkpoint(text)) if checkpoint.is_none() => checkpoint = Some(text),
                Ok(
                    Line::Event(_)
                    | Line::Checkpoint(_)
                    | Line::Evidence { .. }
                    | Line::Facts(_)
                    | Line::Seal(_),
                )
                | Err(_) => return Err(Error::NotOne),
            }
        }
        let signed = checkpoint.ok_or(Error::NotOne)?;
        let checkpoint = Checkpoint::verify(&signed, keys).map_err(Error::Checkpoint)?;
        if checkpoint.origin != log {
            return Err(Error::Checkpoint(checkpoint::Error::Origin));
        }
        let (from, to) = in_order(&entries, &checkpoint)?;
        Ok(Evidence {
            log,
            facts,
            from,
            to,
            events: u64::try_from(entries.len()).unwrap_or(u64::MAX),
            checkpoint: signed,
        })
    }
}

/// Each entry is in the log at its place, and the places follow one another. The first and the last.
fn in_order(entries: &[Entry], checkpoint: &Checkpoint) -> Result<(u64, u64), Error> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return Err(Error::Nothing);
    };
    let mut expected = first.index;
    for entry in entries {
        if entry.index != expected {
            return Err(Error::LeftOut(expected));
        }
        expected = expected.saturating_add(1);
        let path: Option<Vec<Hash>> = entry
            .path
            .iter()
            .take(tree::LONGEST_PROOF.saturating_add(1))
            .map(|hash| STANDARD.decode(hash).ok()?.try_into().ok())
            .collect();
        let leaf = tree::leaf_hash(entry.leaf.as_bytes());
        let is_there = path.is_some_and(|path| {
            let (size, root) = (checkpoint.size, &checkpoint.root);
            tree::verify_inclusion(entry.index, size, leaf, &path, root)
        });
        if !is_there {
            return Err(Error::NotIncluded(entry.index));
        }
    }
    Ok((first.index, last.index))
}

#[cfg(test)]
mod tests {
    use portcullis_core::Span;
    use serde_json::json;

    use super::*;
    use crate::audit::log_tests::{NOW, database, log, record};

    /// A log of its own, with so many events.
    async fn log_with(events: u32) -> (Log, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let db = database(&folder).await;
        let clock = std::sync::Arc::new(portcullis_core::time::ManualClock::at(NOW));
        let (log, trail) = log(&db, &clock, &["one"]);
        record(&trail, NOW, events).await;
        log.sequence().await.unwrap();
        (log, folder)
    }

    #[tokio::test]
    async fn evidence_verifies_without_the_database_and_with_nothing_changed_or_left_out() {
        let (log, _folder) = log_with(20).await;
        let stretch = log
            .stretch(NOW - Span::from_days(1), NOW + Span::from_days(1))
            .await
            .unwrap();
        let text = log
            .seal_evidence(&json!({ "title": "x" }), &stretch)
            .unwrap();
        let own = log.verifiers().await.unwrap();
        let evidence = Evidence::verify(&text, &own).unwrap();
        assert_eq!((evidence.events, evidence.from, evidence.to), (20, 0, 19));
        assert!(Evidence::looks_like_one(&text));

        // Any one byte that is another one.
        for at in (0..text.len()).step_by(97) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8_lossy(&bytes).into_owned();
            assert!(Evidence::verify(&changed, &own).is_err(), "{at}");
        }
        // An event that is left out, by somebody without the key, and by somebody who has it.
        let without: Vec<&str> = text
            .lines()
            .enumerate()
            .filter(|(n, _)| *n != 5)
            .map(|(_, line)| line)
            .collect();
        let without = without.join("\n") + "\n";
        assert!(matches!(
            Evidence::verify(&without, &own),
            Err(Error::Changed)
        ));
        let mut holed = stretch;
        holed.entries.remove(3);
        let sealed = log.seal_evidence(&json!({}), &holed).unwrap();
        assert!(matches!(
            Evidence::verify(&sealed, &own),
            Err(Error::LeftOut(3))
        ));
        holed.entries[0].leaf.push(' ');
        let sealed = log.seal_evidence(&json!({}), &holed).unwrap();
        assert!(matches!(
            Evidence::verify(&sealed, &own),
            Err(Error::NotIncluded(0))
        ));
        // Somebody else's key.
        let (other, _other_folder) = log_with(1).await;
        let foreign = other.verifiers().await.unwrap();
        assert!(matches!(
            Evidence::verify(&text, &foreign),
            Err(Error::Seal(_))
        ));
        assert!(Evidence::verify(&text, &[]).is_err());
    }

    #[tokio::test]
    async fn a_time_without_events_is_no_evidence() {
        let (log, _folder) = log_with(1).await;
        let early = log
            .stretch(NOW - Span::from_days(9), NOW - Span::from_days(8))
            .await;
        assert!(matches!(early, Err(Error::Nothing)));
    }
}
