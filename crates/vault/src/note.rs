//! Signed notes (c2sp.org/signed-note): a short text with one or more Ed25519 signatures below it.
//!
//! - Only two kinds of signature are known: Ed25519 over the text (`0x01`), and the timestamped one of
//!   a witness (`0x04`, c2sp.org/tlog-cosignature).
//! - A signature of a key that nobody asked about is passed over. One that names a known key and does
//!   not verify spoils the whole note.
//! - What is parsed comes from strangers: its size and its number of signatures are bounded.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest note that is read, in bytes.
pub const LONGEST: usize = 64 * 1024;
/// Most signatures under one note.
const MOST_SIGNATURES: usize = 64;
/// What a signature line begins with.
const DASH: &str = "\u{2014} ";

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it is no signed note")]
    Malformed,
    #[error("it is no verifier key: that is NAME+ID+KEY")]
    Key,
    #[error("the name of a key must have no space and no `+`")]
    Name,
    #[error("no key that was given has signed it")]
    NotSigned,
    #[error("a signature of a key that was given does not verify")]
    Forged,
    #[error("signing failed")]
    Sign,
}

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The text.
    Text,
    /// The text and the time of signing: a witness.
    Cosignature,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Kind::Text => 1,
            Kind::Cosignature => 4,
        }
    }
}

fn key_id(name: &str, kind: Kind, public: &[u8]) -> [u8; 4] {
    let text = [name.as_bytes(), b"\n", &[kind.byte()], public].concat();
    let hash = digest(&SHA256, &text);
    hash.as_ref().first_chunk().copied().unwrap_or_default()
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|letter| letter.is_whitespace() || letter.is_control() || letter == '+')
}

/// Signs notes under a name.
pub struct Signer {
    name: String,
    kind: Kind,
    pair: Ed25519KeyPair,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// # Errors
    /// The name has a space or a `+`, or the seed was not accepted.
    pub fn from_seed(name: &str, kind: Kind, seed: &[u8; 32]) -> Result<Self, Error> {
        if !is_name(name) {
            return Err(Error::Name);
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Error::Sign)?;
        let name = name.to_owned();
        Ok(Signer { name, kind, pair })
    }

    /// What verifies its signatures.
    pub fn verifier(&self) -> Verifier {
        let public = self.pair.public_key().as_ref().to_vec();
        Verifier {
            id: key_id(&self.name, self.kind, &public),
            name: self.name.clone(),
            kind: self.kind,
            public,
        }
    }

    /// The signature line of `text`, its newline included. `seconds` since the epoch go into a
    /// cosignature, and nowhere else.
    pub fn sign(&self, text: &str, seconds: u64) -> Result<String, Error> {
        let message = signed_bytes(self.kind, text, seconds);
        let signature = self.pair.try_sign(&message).map_err(|_| Error::Sign)?;
        let public = self.pair.public_key().as_ref();
        let mut blob = key_id(&self.name, self.kind, public).to_vec();
        if self.kind == Kind::Cosignature {
            blob.extend_from_slice(&seconds.to_be_bytes());
        }
        blob.extend_from_slice(signature.as_ref());
        Ok(format!("{DASH}{} {}\n", self.name, STANDARD.encode(&blob)))
    }
}

fn signed_bytes(kind: Kind, text: &str, seconds: u64) -> Vec<u8> {
    match kind {
        Kind::Text => text.as_bytes().to_vec(),
        Kind::Cosignature => format!("cosignature/v1\ntime {seconds}\n{text}").into_bytes(),
    }
}

/// A public key with its name, printed and parsed as `NAME+ID+KEY` (a vkey).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: [u8; 4],
    kind: Kind,
    public: Vec<u8>,
}

impl Verifier {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether both are the same key, under whatever name. A cosignature does not say in whose name it was made.
    pub fn is_same_key(&self, other: &Verifier) -> bool {
        self.public == other.public
    }

    /// The seconds that a signature of `text` says, 0 where it says none; nothing where it does not verify.
    fn verified(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let (seconds, signature) = match self.kind {
            Kind::Text => (0, signature),
            Kind::Cosignature => {
                let (seconds, rest) = signature.split_first_chunk::<8>()?;
                (u64::from_be_bytes(*seconds), rest)
            }
        };
        let verified = UnparsedPublicKey::new(&ED25519, &self.public)
            .verify(&signed_bytes(self.kind, text, seconds), signature);
        verified.ok().map(|()| seconds)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.kind.byte()], self.public.as_slice()].concat();
        let (id, key) = (hex::encode(self.id), STANDARD.encode(key));
        write!(f, "{}+{id}+{key}", self.name)
    }
}

impl FromStr for Verifier {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Error::Key);
        };
        if !is_name(name) {
            return Err(Error::Name);
        }
        let key = STANDARD.decode(key).map_err(|_| Error::Key)?;
        let (kind, public) = match key.split_first() {
            Some((1, public)) => (Kind::Text, public),
            Some((4, public)) => (Kind::Cosignature, public),
            Some(_) | None => return Err(Error::Key),
        };
        let found = key_id(name, kind, public);
        if public.len() != 32 || hex::encode(found) != id {
            return Err(Error::Key);
        }
        Ok(Verifier {
            name: name.to_owned(),
            id: found,
            kind,
            public: public.to_vec(),
        })
    }
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl Signature {
    fn line(&self) -> String {
        let blob = [self.id.as_slice(), &self.bytes].concat();
        format!("{DASH}{} {}\n", self.name, STANDARD.encode(blob))
    }
}

/// A note that was read and not verified: its text means nothing yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl FromStr for Note {
    type Err = Error;

    fn from_str(note: &str) -> Result<Self, Error> {
        let is_odd = |byte: u8| byte < b' ' && byte != b'\n';
        if note.len() > LONGEST || note.bytes().any(is_odd) {
            return Err(Error::Malformed);
        }
        // The last empty line divides, so that the text may have empty lines.
        let (text, below) = note.rsplit_once("\n\n").ok_or(Error::Malformed)?;
        let below = below.strip_suffix('\n').ok_or(Error::Malformed)?;
        let mut signatures = Vec::new();
        for line in below.split('\n') {
            if signatures.len() == MOST_SIGNATURES {
                return Err(Error::Malformed);
            }
            signatures.push(signature(line)?);
        }
        Ok(Note {
            text: format!("{text}\n"),
            signatures,
        })
    }
}

fn signature(line: &str) -> Result<Signature, Error> {
    let line = line.strip_prefix(DASH).ok_or(Error::Malformed)?;
    let (name, blob) = line.split_once(' ').ok_or(Error::Malformed)?;
    let blob = STANDARD.decode(blob).map_err(|_| Error::Malformed)?;
    let (id, bytes) = blob.split_first_chunk().ok_or(Error::Malformed)?;
    if !is_name(name) || bytes.is_empty() {
        return Err(Error::Malformed);
    }
    Ok(Signature {
        name: name.to_owned(),
        id: *id,
        bytes: bytes.to_vec(),
    })
}

impl Note {
    /// The text, if a key that was given has signed it, and the keys that did.
    ///
    /// # Errors
    /// None of them has, or a signature that names one of them does not verify.
    pub fn verify<'a>(&self, keys: &'a [Verifier]) -> Result<(&str, Vec<&'a Verifier>), Error> {
        let mut signers = Vec::new();
        for signature in &self.signatures {
            let known = keys
                .iter()
                .find(|key| key.id == signature.id && key.name == signature.name);
            let Some(key) = known else { continue };
            if key.verified(&self.text, &signature.bytes).is_none() {
                return Err(Error::Forged);
            }
            if !signers.contains(&key) {
                signers.push(key);
            }
        }
        if signers.is_empty() {
            return Err(Error::NotSigned);
        }
        Ok((&self.text, signers))
    }

    /// The newest signature of `key` as a line, its newline included, and the seconds since the epoch that it
    /// says (0 of a key that says none).
    ///
    /// # Errors
    /// There is none, or one in its name does not verify.
    pub fn signed_by(&self, key: &Verifier) -> Result<(u64, String), Error> {
        let mut newest: Option<(u64, String)> = None;
        for signature in &self.signatures {
            if signature.id != key.id || signature.name != key.name {
                continue;
            }
            let verified = key.verified(&self.text, &signature.bytes);
            let seconds = verified.ok_or(Error::Forged)?;
            if newest.as_ref().is_none_or(|(other, _)| *other < seconds) {
                newest = Some((seconds, signature.line()));
            }
        }
        newest.ok_or(Error::NotSigned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the format's first implementation (golang.org/x/mod/sumdb/note).
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const LINE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const SEED: &str = "gQoUAtUUbI2E8kQzMPVAgOv5juF9nHT2JS/F1ccoMXM=";

    fn known() -> Note {
        format!("{TEXT}\n{LINE}").parse().unwrap()
    }

    #[test]
    fn a_note_of_another_implementation_verifies_and_is_signed_alike() {
        let key: Verifier = KEY.parse().unwrap();
        assert_eq!(key.to_string(), KEY);
        let keys = [key.clone()];
        let (text, signers) = known()
            .verify(&keys)
            .map(|(t, s)| (t.to_owned(), s.len()))
            .unwrap();
        assert_eq!((text.as_str(), signers), (TEXT, 1));
        let seed = STANDARD.decode(SEED).unwrap();
        let seed = seed.try_into().unwrap();
        let signer = Signer::from_seed("PeterNeumann", Kind::Text, &seed).unwrap();
        assert_eq!(signer.verifier(), key);
        assert_eq!(signer.sign(TEXT, 0).unwrap(), LINE);
    }

    #[test]
    fn a_changed_text_a_changed_signature_and_a_strangers_key_do_not_verify() {
        let keys = [KEY.parse().unwrap()];
        let changed = TEXT.replace("answer", "Answer");
        let note: Note = format!("{changed}\n{LINE}").parse().unwrap();
        assert_eq!(note.verify(&keys), Err(Error::Forged));
        let note: Note = format!("{TEXT}\n{}", LINE.replace("ZJku", "ZJkv"))
            .parse()
            .unwrap();
        assert_eq!(note.verify(&keys), Err(Error::Forged));
        let other = Signer::from_seed("PeterNeumann", Kind::Text, &[7; 32]).unwrap();
        assert_eq!(known().verify(&[other.verifier()]), Err(Error::NotSigned));
        // A stranger's signature beside ours changes nothing.
        let both = format!("{TEXT}\n{}{LINE}", other.sign(TEXT, 0).unwrap());
        assert!(both.parse::<Note>().unwrap().verify(&keys).is_ok());
    }

    #[test]
    fn a_cosignature_covers_its_time_and_is_no_plain_signature() {
        let witness = Signer::from_seed("witness.test/w", Kind::Cosignature, &[3; 32]).unwrap();
        let line = witness.sign(TEXT, 1_700_000_000).unwrap();
        let note: Note = format!("{TEXT}\n{line}").parse().unwrap();
        let key: Verifier = witness.verifier().to_string().parse().unwrap();
        assert_eq!(note.signed_by(&key), Ok((1_700_000_000, line.clone())));
        assert!(note.verify(&[key]).is_ok());
        let later = witness.sign(TEXT, 1_800_000_000).unwrap();
        let both: Note = format!("{TEXT}\n{later}{line}").parse().unwrap();
        assert_eq!(
            both.signed_by(&witness.verifier()),
            Ok((1_800_000_000, later))
        );
        let other: Note = format!("{}\n{line}", TEXT.replace("answer", "Answer"))
            .parse()
            .unwrap();
        assert_eq!(other.signed_by(&witness.verifier()), Err(Error::Forged));
        let plain = Signer::from_seed("witness.test/w", Kind::Text, &[3; 32]).unwrap();
        assert_eq!(note.verify(&[plain.verifier()]), Err(Error::NotSigned));
        assert_eq!(note.signed_by(&plain.verifier()), Err(Error::NotSigned));
        assert!(plain.verifier().is_same_key(&witness.verifier()));
    }

    #[test]
    fn what_is_no_note_is_refused() {
        for text in [
            "",
            "\n",
            "text\n",
            "text\n\n",
            "text\n\n— a AAAA\n",
            "text\n\n— a+b AAAAAAA=\n",
            "te\txt\n\n— a AAAAAAA=\n",
            "text\n\n— a AAAAAAA=",
            "text\n\n- a AAAAAAA=\n",
        ] {
            assert!(text.parse::<Note>().is_err(), "{text:?}");
        }
        let many = "— a AAAAAAA=\n".repeat(MOST_SIGNATURES + 1);
        assert!(format!("text\n\n{many}").parse::<Note>().is_err());
        for key in [
            "",
            "a",
            "a+b",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        ] {
            assert!(key.parse::<Verifier>().is_err(), "{key}");
        }
    }
}
