//! The file in which a person gets what is held of them: JSON lines, and a last line that signs all the others.
//!
//! The last line has a signed note (c2sp.org/signed-note) with the number of lines and their SHA-256. Whoever
//! has the public key ([`verifiers`]) verifies it without the gate. Every byte counts: what stands in the file
//! beside what was signed is found as well.

use portcullis_core::Timestamp;
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

/// One that is being written.
#[derive(Debug, Default)]
pub(super) struct Archive {
    text: Vec<u8>,
    lines: u64,
}

impl Archive {
    pub(super) fn push(&mut self, line: &Value) {
        self.text.extend_from_slice(line.to_string().as_bytes());
        self.text.push(b'\n');
        self.lines = self.lines.saturating_add(1);
    }

    pub(super) const fn lines(&self) -> u64 {
        self.lines
    }

    pub(super) fn sign(
        mut self,
        keys: &Keys,
        subject: &str,
        now: Timestamp,
    ) -> Result<Vec<u8>, Error> {
        let signers = signers(keys)?;
        let signer = signers.first().ok_or(Error::Key)?;
        let text = said(subject, &now.to_string(), self.lines, &self.text);
        let line = signer.sign(&text, 0).map_err(|_| Error::Key)?;
        let last = Last {
            signature: format!("{text}\n{line}"),
        };
        let last = serde_json::to_string(&last).map_err(|_| Error::Key)?;
        self.text.extend_from_slice(last.as_bytes());
        self.text.push(b'\n');
        Ok(self.text)
    }
}

fn said(subject: &str, made_at: &str, lines: u64, text: &[u8]) -> String {
    let hash = hex::encode(tokens::sha256(text));
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
    if there != Ok(count) || said(&subject, &made_at, count, text) != signed {
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
        let mut archive = Archive::default();
        archive.push(&json!({ "subject": "s" }));
        archive.push(&json!({ "table": "users", "row": { "email": "ana@corp.test" } }));
        let now = Timestamp::from_seconds(1_800_000_000);
        archive.sign(&keys('a'), "s", now).unwrap()
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
