//! Small secrets at rest: AES-256-GCM (NIST SP 800-38D) under a key of their purpose.
//!
//! - What is sealed is bound to its place by additional data (whose it is, what it is for): copied
//!   into another row it does not open.
//! - Layout: version (1 byte), name of the key (4), nonce (12), ciphertext and tag. The key's name
//!   says which master secret it came from, so that what an older one sealed is found and sealed
//!   anew ([`Sealer::mark`]).
//! - Nonces are random: a key is good for some billions of values (section 8.3), far more than
//!   there are accounts.

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, NONCE_LEN, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use portcullis_core::{Problem, Secret};

use crate::keys::{self, Keys, Purpose};
use crate::{gcm, tokens};

const VERSION: u8 = 1;
const NAME_LEN: usize = 4;
/// Version and key name.
pub const MARK_LEN: usize = 1 + NAME_LEN;
const HEAD: usize = MARK_LEN + NONCE_LEN;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    Randomness(#[from] tokens::Error),
    #[error("a value could not be sealed")]
    Seal,
    /// Damaged, moved from elsewhere, or sealed under a master secret that is no longer listed.
    #[error(
        "a sealed value does not open: was its master secret taken out of `secrets.previous` too early?"
    )]
    Open,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Randomness(error) => error.into(),
            Error::Keys(_) | Error::Seal | Error::Open => Problem::internal(error),
        }
    }
}

/// Seals and opens values of one purpose.
pub struct Sealer {
    current: Named,
    previous: Vec<Named>,
}

struct Named {
    name: [u8; NAME_LEN],
    key: LessSafeKey,
}

impl Sealer {
    pub fn new(keys: &Keys, purpose: Purpose) -> Result<Self, Error> {
        let mut named = keys.derive(purpose)?.into_iter().map(|bytes| {
            let hash = digest(&SHA256, bytes.expose());
            let name = hash.as_ref().first_chunk().copied().ok_or(Error::Seal)?;
            let key = UnboundKey::new(&AES_256_GCM, bytes.expose()).map_err(|_| Error::Seal)?;
            Ok::<_, Error>(Named {
                name,
                key: LessSafeKey::new(key),
            })
        });
        Ok(Sealer {
            current: named.next().ok_or(Error::Seal)??,
            previous: named.collect::<Result<_, _>>()?,
        })
    }

    /// What everything begins with that the current key sealed.
    pub fn mark(&self) -> [u8; MARK_LEN] {
        let [a, b, c, d] = self.current.name;
        [VERSION, a, b, c, d]
    }

    /// Whether one of its keys sealed what begins with this.
    pub fn knows(&self, mark: [u8; MARK_LEN]) -> bool {
        let [version, name @ ..] = mark;
        version == VERSION
            && std::iter::once(&self.current)
                .chain(&self.previous)
                .any(|named| named.name == name)
    }

    /// Seals `plain` for the place that `aad` names.
    pub fn seal(&self, aad: &[&[u8]], plain: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce: [u8; NONCE_LEN] = tokens::random()?;
        let mut text = [&self.mark()[..], &nonce, plain].concat();
        gcm::seal(&self.current.key, nonce, &joined(aad), &mut text, HEAD)
            .map_err(|gcm::Refused| Error::Seal)?;
        Ok(text)
    }

    /// Opens what was sealed for the very same place.
    pub fn open(&self, aad: &[&[u8]], sealed: &[u8]) -> Result<Secret<Vec<u8>>, Error> {
        let (mark, rest) = sealed.split_first_chunk::<MARK_LEN>().ok_or(Error::Open)?;
        let (nonce, _) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Error::Open)?;
        let [VERSION, name @ ..] = mark else {
            return Err(Error::Open);
        };
        let named = std::iter::once(&self.current)
            .chain(&self.previous)
            .find(|named| named.name == *name)
            .ok_or(Error::Open)?;
        let plain = gcm::open(&named.key, *nonce, &joined(aad), sealed.to_vec(), HEAD)
            .map_err(|gcm::Refused| Error::Open)?;
        Ok(Secret::new(plain))
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(..)")
    }
}

/// The parts with their lengths, so that `ab` + `c` is not `a` + `bc`.
pub(crate) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        all.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        all.extend_from_slice(part);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(current: &str, previous: &[&str]) -> Sealer {
        let secret = |text: &&str| Secret::new((*text).to_owned());
        let keys = Keys::new(secret(&current), previous.iter().map(secret).collect());
        Sealer::new(&keys, Purpose::Factor).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_in_its_own_place_only() {
        let one = sealer("one", &[]);
        let sealed = one.seal(&[b"user 1", b"totp"], b"secret").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        let opened = one.open(&[b"user 1", b"totp"], &sealed).unwrap();
        assert_eq!(opened.expose(), b"secret");
        for place in [
            &[&b"user 2"[..], b"totp"][..],
            &[b"user 1", b"mail"],
            &[b"user 1t", b"otp"],
            &[b"user 1totp"],
            &[],
        ] {
            assert!(matches!(one.open(place, &sealed), Err(Error::Open)));
        }
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let one = sealer("one", &[]);
        let sealed = one.seal(&[b"a"], b"secret").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(one.open(&[b"a"], &changed).is_err(), "{at}");
            assert!(one.open(&[b"a"], &sealed[..at]).is_err(), "{at}");
        }
        assert!(one.open(&[b"a"], &[sealed, vec![0]].concat()).is_err());
    }

    #[test]
    fn after_a_rotation_the_old_opens_until_the_overlap_is_over_and_is_known_by_its_mark() {
        let old = sealer("old", &[]);
        let sealed = old.seal(&[b"a"], b"secret").unwrap();
        assert!(sealed.starts_with(&old.mark()));
        let overlap = sealer("new", &["old"]);
        assert_eq!(overlap.open(&[b"a"], &sealed).unwrap().expose(), b"secret");
        assert!(!sealed.starts_with(&overlap.mark()));
        assert!(sealer("new", &[]).open(&[b"a"], &sealed).is_err());
    }

    #[test]
    fn the_same_value_is_never_sealed_to_the_same_text() {
        let one = sealer("one", &[]);
        let seal = || one.seal(&[b"a"], b"secret").unwrap();
        assert_ne!(seal(), seal());
    }
}
