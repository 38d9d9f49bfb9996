//! Checkpoints (c2sp.org/tlog-checkpoint) and proofs as files (c2sp.org/tlog-proof).
//!
//! - A checkpoint says how many leaves a log has and what its root is, signed by the log, and by witnesses
//!   where there are some.
//! - A proof has everything that it takes to verify one entry without the database: the entry itself, its
//!   place, the path, the checkpoint. The entry travels in the file's `extra` line, which nothing vouches
//!   for until its hash leads to the signed root.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_vault::note::{self, Kind, Note, Verifier};

use super::tree::{self, Hash};

/// The first line of a proof.
const PROOF: &str = "c2sp.org/tlog-proof@v1";
/// Longest proof that is read, in bytes.
pub const LONGEST_FILE: usize = 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it is no checkpoint")]
    Checkpoint,
    #[error("it is a checkpoint of another log")]
    Origin,
    #[error("it is no proof")]
    Proof,
    #[error("the entry is not in the log at this place")]
    NotIncluded,
    #[error(transparent)]
    Note(#[from] note::Error),
}

/// What a log commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names the log.
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        let root = STANDARD.encode(self.root);
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(Error::Checkpoint);
        };
        if origin.is_empty() {
            return Err(Error::Checkpoint);
        }
        Ok(Checkpoint {
            origin: origin.to_owned(),
            size: number(size).ok_or(Error::Checkpoint)?,
            root: hash(root).ok_or(Error::Checkpoint)?,
        })
    }

    /// Reads a signed checkpoint. Extension lines are allowed, and mean nothing here.
    ///
    /// # Errors
    /// None of `keys` whose name is the log's signed it, or it is malformed.
    pub fn verify(signed: &str, keys: &[Verifier]) -> Result<Self, Error> {
        let note: Note = signed.parse()?;
        let (text, signers) = note.verify(keys)?;
        let checkpoint = Checkpoint::parse(text)?;
        // SECURITY: a log signs under its own name. A witness's word alone, or another log's, makes no
        // checkpoint of this one.
        let by_the_log =
            |key: &&Verifier| key.kind() == Kind::Text && key.name() == checkpoint.origin;
        if signers.iter().any(by_the_log) {
            Ok(checkpoint)
        } else {
            Err(Error::Origin)
        }
    }
}

/// A decimal number without leading zeros.
pub(super) fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_plain || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok()
}

fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// That an entry is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub entry: Vec<u8>,
    pub index: u64,
    pub path: Vec<Hash>,
    /// The signed checkpoint, word for word.
    pub checkpoint: String,
}

impl Proof {
    /// As a file.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{PROOF}\nextra {}\nindex {}\n",
            STANDARD.encode(&self.entry),
            self.index
        );
        for hash in &self.path {
            // Writing to a string does not fail.
            let _infallible = writeln!(text, "{}", STANDARD.encode(hash));
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads a file. Nothing of it is verified.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > LONGEST_FILE {
            return Err(Error::Proof);
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(Error::Proof)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(PROOF) {
            return Err(Error::Proof);
        }
        let mut said = |word: &str| lines.next()?.strip_prefix(word)?.strip_prefix(' ');
        let entry = said("extra").and_then(|text| STANDARD.decode(text).ok());
        let index = said("index").and_then(number);
        let mut path = Vec::new();
        for line in lines {
            if path.len() == tree::LONGEST_PROOF {
                return Err(Error::Proof);
            }
            path.push(hash(line).ok_or(Error::Proof)?);
        }
        Ok(Proof {
            entry: entry.ok_or(Error::Proof)?,
            index: index.ok_or(Error::Proof)?,
            path,
            checkpoint: checkpoint.to_owned(),
        })
    }

    /// The checkpoint that the entry is proved to be under.
    ///
    /// # Errors
    /// The checkpoint is not signed by one of `keys`, or the path does not lead from the entry to its root.
    pub fn verify(&self, keys: &[Verifier]) -> Result<Checkpoint, Error> {
        let checkpoint = Checkpoint::verify(&self.checkpoint, keys)?;
        let leaf = tree::leaf_hash(&self.entry);
        let (size, root) = (checkpoint.size, &checkpoint.root);
        if tree::verify_inclusion(self.index, size, leaf, &self.path, root) {
            Ok(checkpoint)
        } else {
            Err(Error::NotIncluded)
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_vault::note::Signer;

    use super::*;

    fn signer(seed: u8) -> Signer {
        Signer::from_seed("log.test/audit", Kind::Text, &[seed; 32]).unwrap()
    }

    fn signed(checkpoint: &Checkpoint, signer: &Signer) -> String {
        let text = checkpoint.text();
        let line = signer.sign(&text, 0).unwrap();
        format!("{text}\n{line}")
    }

    fn proof() -> Proof {
        let leaves: Vec<Hash> = (0..5_u8).map(|n| tree::leaf_hash(&[n])).collect();
        let mut tiles = tree::Tiles::default();
        for (size, leaf) in (0..).zip(&leaves) {
            tiles.push(size, *leaf);
        }
        let checkpoint = Checkpoint {
            origin: "log.test/audit".to_owned(),
            size: 5,
            root: tiles.root(5).unwrap(),
        };
        Proof {
            entry: vec![3],
            index: 3,
            path: tiles.inclusion(3, 5).unwrap(),
            checkpoint: signed(&checkpoint, &signer(1)),
        }
    }

    #[test]
    fn a_proof_is_read_back_and_verifies_without_a_database() {
        let keys = [signer(1).verifier()];
        let read = Proof::parse(&proof().text()).unwrap();
        assert_eq!(read, proof());
        assert_eq!(read.verify(&keys).unwrap().size, 5);
    }

    #[test]
    fn another_entry_place_path_or_key_does_not_verify() {
        let keys = [signer(1).verifier()];
        let with = |change: &dyn Fn(&mut Proof)| {
            let mut proof = proof();
            change(&mut proof);
            proof.verify(&keys)
        };
        assert_eq!(
            with(&|proof| proof.entry = vec![4]),
            Err(Error::NotIncluded)
        );
        assert_eq!(with(&|proof| proof.index = 2), Err(Error::NotIncluded));
        assert_eq!(
            with(&|proof| proof.path[0] = [0; 32]),
            Err(Error::NotIncluded)
        );
        assert_eq!(
            with(&|proof| proof.path.truncate(1)),
            Err(Error::NotIncluded)
        );
        let other = proof().verify(&[signer(2).verifier()]);
        assert_eq!(other, Err(Error::Note(note::Error::NotSigned)));
        // Signed by a key that is trusted, under the name of another log.
        let elsewhere = Signer::from_seed("other.test", Kind::Text, &[1; 32]).unwrap();
        let checkpoint = Checkpoint::verify(&proof().checkpoint, &keys).unwrap();
        let foreign = signed(&checkpoint, &elsewhere);
        let answer = Checkpoint::verify(&foreign, &[elsewhere.verifier()]);
        assert_eq!(answer, Err(Error::Origin));
    }

    #[test]
    fn what_is_no_proof_is_refused() {
        let text = proof().text();
        for end in 0..text.len() - 1 {
            let cut = text.get(..end).map(Proof::parse);
            let keys = [signer(1).verifier()];
            let verifies = matches!(cut, Some(Ok(proof)) if proof.verify(&keys).is_ok());
            assert!(!verifies, "{end}");
        }
        for (from, to) in [
            ("@v1", "@v2"),
            ("index 3", "index 03"),
            ("index 3", "index +3"),
            ("extra ", ""),
        ] {
            assert!(Proof::parse(&text.replace(from, to)).is_err(), "{to}");
        }
    }
}
