//! The file in which a person gets what is held of them: JSON lines, and a last line that signs all the others.
//!
//! The last line has a signed note (c2sp.org/signed-note) with the number of lines and their SHA-256. Whoever
//! has the public key ([`verifiers`]) verifies it without the gate. Every byte counts: what stands in the file
//! beside what was signed is found as well.
//!
//! One that is being written holds no more than the line that it writes: where it goes, and how much of that may be
//! held, is the caller's ([`Limit`]).

use std::io::Write;

use aws_lc_rs::digest::{Context, SHA256};
use portcullis_core::Timestamp;
use portcullis_core::size::ByteSize;
use portcullis_vault::keys::{Keys, Purpose};
use portcullis_vault::note::{Kind, Note, Signer, Verifier};
use portcullis_vault::tokens;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Error;

/// What keys that sign archives are called.
const NAME: &str = "portcullis.personal-data";
/// The first line of what is signed: nothing else that is signed begins so.
const WHAT: &str = "portcullis personal data export v1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    signature: String,
}

/// How long a file may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// It goes where there is room for it.
    None,
    /// It is held in memory until it is whole.
    AtMost(ByteSize),
}

/// One that is being written.
pub(super) struct Archive<'to> {
    to: &'to mut (dyn Write + Send),
    limit: Limit,
    hash: Context,
    bytes: u64,
    lines: u64,
}

impl<'to> Archive<'to> {
    pub(super) fn new(to: &'to mut (dyn Write + Send), limit: Limit) -> Self {
        Archive {
            to,
            limit,
            hash: Context::new(&SHA256),
            bytes: 0,
            lines: 0,
        }
    }

    pub(super) fn push(&mut self, line: &Value) -> Result<(), Error> {
        let line = format!("{line}\n");
        self.put(&line)?;
        self.hash.update(line.as_bytes());
        self.lines = self.lines.saturating_add(1);
        Ok(())
    }

    fn put(&mut self, line: &str) -> Result<(), Error> {
        let more = u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(more);
        match self.limit {
            Limit::AtMost(most) if self.bytes > most.as_u64() => Err(Error::TooLarge(most)),
            Limit::AtMost(_) | Limit::None => Ok(self.to.write_all(line.as_bytes())?),
        }
    }

    /// Signs what was written; how many lines that is.
    pub(super) fn sign(mut self, keys: &Keys, subject: &str, now: Timestamp) -> Result<u64, Error> {
        let signers = signers(keys)?;
        let signer = signers.first().ok_or(Error::Key)?;
        let hash = hex::encode(self.hash.clone().finish());
        let text = said(subject, &now.to_string(), self.lines, &hash);
        let line = signer.sign(&text, 0).map_err(|_| Error::Key)?;
        let last = Last {
            signature: format!("{text}\n{line}"),
        };
        let last = serde_json::to_string(&last).map_err(|_| Error::Key)?;
        self.put(&format!("{last}\n"))?;
        Ok(self.lines)
    }
}

fn said(subject: &str, made_at: &str, lines: u64, hash: &str) -> String {
    format!("{WHAT}\nsubject {subject}\nmade {made_at}\nlines {lines}\nsha256 {hash}\n")
}

/// The key in use first, then those of earlier master secrets.
fn signers(keys: &Keys) -> Result<Vec<Signer>, Error> {
    let seeds = keys.derive(Purpose::PersonalData).map_err(|_| Error::Key)?;
    let signer = |seed: &portcullis_core::Secret<[u8; 32]>| {
        Signer::from_seed(NAME, Kind::Text, seed.expose()).map_err(|_| Error::Key)
    };
    seeds.iter().map(signer).collect()
}

/// What verifies archives, the key in use first.
pub fn verifiers(keys: &Keys) -> Result<Vec<Verifier>, Error> {
    Ok(signers(keys)?.iter().map(Signer::verifier).collect())
}

/// What a sound archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sound {
    pub subject: String,
    pub made_at: String,
    /// Without the last one.
    pub lines: u64,
}

/// Whether an archive is as it was signed by one of these keys. The error says what is wrong.
pub fn verify(archive: &[u8], keys: &[Verifier]) -> Result<Sound, String> {
    const TORN: &str = "it is no whole export: its last line has no signature";
    let body = archive.strip_suffix(b"\n").ok_or(TORN)?;
    let end = body.iter().rposition(|byte| *byte == b'\n').ok_or(TORN)?;
    let (text, last) = archive
        .split_at_checked(end.saturating_add(1))
        .ok_or(TORN)?;
    let last = last.strip_suffix(b"\n").ok_or(TORN)?;
    let parsed: Last = serde_json::from_slice(last).map_err(|_| TORN)?;
    // Nothing may stand beside the signature that nobody signed.
    if serde_json::to_vec(&parsed).ok().as_deref() != Some(last) {
        return Err(TORN.to_owned());
    }
    let note: Note = parsed.signature.parse().map_err(|_| TORN)?;
    let (signed, _) = note.verify(keys).map_err(|error| error.to_string())?;
    let mut lines = signed.lines();
    let mut next = |name: &str| {
        let line = lines.next()?;
        Some(line.strip_prefix(name)?.to_owned())
    };
    if next(WHAT).as_deref() != Some("") {
        return Err("it was signed as something else".to_owned());
    }
    let (Some(subject), Some(made_at), Some(count)) =
        (next("subject "), next("made "), next("lines "))
    else {
        return Err(TORN.to_owned());
    };
    let count: u64 = count.parse().map_err(|_| TORN)?;
    let there = u64::try_from(text.split_inclusive(|byte| *byte == b'\n').count());
    let hash = hex::encode(tokens::sha256(text));
    if there != Ok(count) || said(&subject, &made_at, count, &hash) != signed {
        return Err("it was changed after it was signed".to_owned());
    }
    // The note as it stands here, to the last letter: a second signature below it is no part of the file.
    let Some(line) = parsed.signature.strip_prefix(&format!("{signed}\n")) else {
        return Err(TORN.to_owned());
    };
    if line.matches('\n').count() != 1 {
        return Err("it bears more than one signature".to_owned());
    }
    Ok(Sound {
        subject,
        made_at,
        lines: count,
    })
}

#[cfg(test)]
mod tests {
    use portcullis_core::Secret;
    use serde_json::json;

    use super::*;

    fn keys(letter: char) -> Keys {
        Keys::new(Secret::new(letter.to_string().repeat(64)), Vec::new())
    }

    fn archive() -> Vec<u8> {
        let mut to = Vec::new();
        let mut archive = Archive::new(&mut to, Limit::None);
        archive.push(&json!({ "subject": "s" })).unwrap();
        let row = json!({ "table": "users", "row": { "email": "ana@corp.test" } });
        archive.push(&row).unwrap();
        let now = Timestamp::from_seconds(1_800_000_000);
        assert_eq!(archive.sign(&keys('a'), "s", now).unwrap(), 2);
        to
    }

    #[test]
    fn what_is_held_in_memory_stops_at_its_limit() {
        let mut to = Vec::new();
        let most = ByteSize::bytes(64);
        let mut archive = Archive::new(&mut to, Limit::AtMost(most));
        archive.push(&json!("x".repeat(40))).unwrap();
        assert!(matches!(
            archive.push(&json!("x".repeat(40))),
            Err(Error::TooLarge(_))
        ));
        drop(archive);
        assert!(to.len() <= 64);
    }

    #[test]
    fn a_signed_archive_verifies_with_its_own_key_alone() {
        let archive = archive();
        let ours = verifiers(&keys('a')).unwrap();
        let sound = verify(&archive, &ours).unwrap();
        assert_eq!((sound.subject.as_str(), sound.lines), ("s", 2));
        assert!(verify(&archive, &verifiers(&keys('b')).unwrap()).is_err());
        // A master that was replaced still vouches while it is kept.
        let moved = Keys::new(
            Secret::new("b".repeat(64)),
            vec![Secret::new("a".repeat(64))],
        );
        assert!(verify(&archive, &verifiers(&moved).unwrap()).is_ok());
    }

    #[test]
    fn one_changed_added_or_missing_byte_is_found() {
        let archive = archive();
        let ours = verifiers(&keys('a')).unwrap();
        for at in 0..archive.len() {
            for flip in [1, 0x20] {
                let mut other = archive.clone();
                other[at] ^= flip;
                assert!(verify(&other, &ours).is_err(), "{at}");
            }
            let mut shorter = archive.clone();
            shorter.remove(at);
            assert!(verify(&shorter, &ours).is_err(), "without {at}");
            let mut longer = archive.clone();
            longer.insert(at, b' ');
            assert!(verify(&longer, &ours).is_err(), "one more at {at}");
        }
        assert!(verify(&[&archive[..], b"{}\n"].concat(), &ours).is_err());
        assert!(verify(b"", &ours).is_err());
    }
}
