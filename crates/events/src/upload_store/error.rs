//! Why something did not come about.

use std::io;

use portcullis_core::{Problem, problem};
use portcullis_vault::{fields, ring, tokens};

use crate::audit;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nor is it told whether it is somebody else's.
    #[error("there is no such upload, or it is not served")]
    NotFound,
    /// Cut, changed or moved, in the folder or in the database.
    #[error("a stored upload is damaged: {0}")]
    Damaged(&'static str),
    /// Its keys were destroyed, or its row was changed: it is gone, to whoever asks.
    #[error("what is sealed in its row does not open")]
    DoesNotOpen,
    #[error("the store of uploads has no room")]
    Full(#[source] io::Error),
    #[error("the store of uploads (upload-store.folder) cannot be used")]
    Folder(#[source] io::Error),
    #[error("the quarantine holds as much as it may (upload-store.quarantine-files, -size)")]
    QuarantineFull,
    #[error("it is not in quarantine")]
    NotQuarantined,
    #[error("the scanner found `{0}`")]
    Infected(String),
    #[error("the scanner does not read it to its end: {0}")]
    Unscannable(String),
    #[error("nothing is scanned (uploads.scanner)")]
    NoScanner,
    #[error("the scanner gave no verdict")]
    Scanner(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a cipher refused its work")]
    Cipher,
    #[error("a task ended early")]
    Lost,
    #[error(transparent)]
    Fields(#[from] fields::Error),
    #[error(transparent)]
    Ring(#[from] ring::Error),
    #[error(transparent)]
    Randomness(#[from] tokens::Error),
    #[error(transparent)]
    Trail(#[from] audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Error::Full(error),
            _ => Error::Folder(error),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound | Error::DoesNotOpen => Problem::new(&problem::NOT_FOUND),
            Error::Full(_) | Error::QuarantineFull => {
                Problem::new(&problem::QUARANTINE_FULL).caused_by(error)
            }
            Error::NotQuarantined => {
                Problem::new(&problem::CONFLICT).detail("This upload is not in quarantine.")
            }
            Error::NoScanner => Problem::new(&problem::CONFLICT)
                .detail("Nothing is released unscanned, and there is no scanner."),
            Error::Infected(_) => Problem::new(&problem::UPLOAD_INFECTED),
            Error::Unscannable(_) => Problem::new(&problem::UPLOAD_NOT_SCANNABLE),
            Error::Folder(_) | Error::Scanner(_) => Problem::unavailable(error),
            Error::Damaged(_) | Error::Cipher | Error::Lost => Problem::internal(error),
            Error::Fields(error) => error.into(),
            Error::Ring(error) => error.into(),
            Error::Randomness(error) => error.into(),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}
