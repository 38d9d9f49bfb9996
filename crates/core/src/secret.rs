//! Values that must never be printed, logged or serialised.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroize;

/// A value that cannot be printed: it has no `Display`, no `Serialize`, and a `Debug` that says
/// nothing. It is wiped when dropped. [`Secret::expose`] is the one way to the value, and is
/// easy to search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T: Wipe = String>(T);

/// What can be overwritten, all of it, before its memory is given back.
pub trait Wipe {
    fn wipe(&mut self);
}

impl Wipe for Vec<u8> {
    fn wipe(&mut self) {
        // What is behind the end may have been in use. It fits, so nothing moves.
        self.resize(self.capacity(), 0);
        // Faster for large values than `zeroize`, which writes byte by byte: a mebibyte took longer to wipe
        // than to decrypt. The barrier keeps the compiler from leaving out writes that nobody reads.
        self.fill(0);
        zeroize::optimization_barrier(self.as_slice());
    }
}

impl Wipe for String {
    fn wipe(&mut self) {
        std::mem::take(self).into_bytes().wipe();
    }
}

impl<const N: usize> Wipe for [u8; N] {
    fn wipe(&mut self) {
        self.zeroize();
    }
}

impl<T: Wipe> Secret<T> {
    pub const fn new(value: T) -> Self {
        Secret(value)
    }

    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Wipe> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl<T: Wipe> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<'de> serde::Deserialize<'de> for Secret<String> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}

/// Where a secret is to be read: `{ env = "SECRET_KEY" }` or `{ file = "secrets/key" }`. The
/// binary reads it; everything else only says where it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    untagged,
    expecting = "expected a reference, { env = \"NAME\" } or { file = \"path\" }: a secret is never written into this file"
)]
pub enum SecretRef {
    Env { env: String },
    File { file: PathBuf },
}

impl SecretRef {
    /// The variable that this names, if it names one.
    pub fn variable(&self) -> Option<&str> {
        match self {
            SecretRef::Env { env } => Some(env),
            SecretRef::File { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiped_is_what_was_behind_the_end_as_well() {
        let mut bytes = b"hunter2 hunter2".to_vec();
        let room = bytes.capacity();
        bytes.truncate(3);
        bytes.wipe();
        assert_eq!((bytes.len(), bytes.capacity()), (room, room));
        assert!(bytes.iter().all(|byte| *byte == 0));
        let mut array = *b"hunter2";
        array.wipe();
        assert_eq!(array, [0; 7]);
        let mut text = "hunter2".to_owned();
        text.wipe();
        assert!(text.is_empty());
    }

    #[test]
    fn debug_says_nothing() {
        assert_eq!(
            format!("{:?}", Secret::new("hunter2".to_owned())),
            "Secret(..)"
        );
    }
}
