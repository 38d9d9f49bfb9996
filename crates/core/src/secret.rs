//! Values that must never be printed, logged or serialised.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroize;

/// A value that cannot be printed: it has no `Display`, no `Serialize`, and a `Debug` that says
/// nothing. It is wiped when dropped. [`Secret::expose`] is the one way to the value, and is
/// easy to search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T: Zeroize = String>(T);

impl<T: Zeroize> Secret<T> {
    pub const fn new(value: T) -> Self {
        Secret(value)
    }

    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
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
    fn debug_says_nothing() {
        assert_eq!(
            format!("{:?}", Secret::new("hunter2".to_owned())),
            "Secret(..)"
        );
    }
}
