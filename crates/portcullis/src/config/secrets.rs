//! Secrets are named in the file, never written there.

use std::path::{Path, PathBuf};

use portcullis_core::Secret;
pub(crate) use portcullis_core::SecretRef;

use super::document::Environment;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("the environment variable `{0}` is not set")]
    NotSet(String),
    #[error("the environment variable `{0}` is empty")]
    EmptyVariable(String),
    #[error("the file `{}` cannot be read: {error}", path.display())]
    Unreadable {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("the file `{}` is empty", .0.display())]
    EmptyFile(PathBuf),
}

/// A secret, and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct WasRead {
    pub(crate) key: String,
    pub(crate) reference: SecretRef,
    pub(crate) secret: Secret,
}

/// Reads what a reference leads to.
pub(crate) trait Read {
    /// Reads the secret. Paths are relative to `folder`, where the configuration file lies. One
    /// trailing line break is not part of the secret.
    fn read(&self, environment: &Environment, folder: &Path) -> Result<Secret, SecretError>;
}

impl Read for SecretRef {
    fn read(&self, environment: &Environment, folder: &Path) -> Result<Secret, SecretError> {
        match self {
            SecretRef::Env { env } => match environment.get(env) {
                None => Err(SecretError::NotSet(env.clone())),
                Some("") => Err(SecretError::EmptyVariable(env.clone())),
                Some(value) => Ok(Secret::new(value.to_owned())),
            },
            SecretRef::File { file } => {
                let path = folder.join(file);
                let text =
                    std::fs::read_to_string(&path).map_err(|error| SecretError::Unreadable {
                        path: path.clone(),
                        error,
                    })?;
                let value = text.trim_end_matches(['\r', '\n']);
                if value.is_empty() {
                    Err(SecretError::EmptyFile(path))
                } else {
                    Ok(Secret::new(value.to_owned()))
                }
            }
        }
    }
}
