//! Why something did not come about.

use portcullis_core::{Problem, problem};
use portcullis_vault::{fields, tokens};

use crate::{audit, webhooks};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no such secret, or no such version of it that is served")]
    NotFound,
    #[error("there is no such tenant")]
    NoTenant,
    #[error("`{0}` {1}")]
    Invalid(&'static str, &'static str),
    /// An idempotency key that stands for another content.
    #[error("the idempotency key was used for something else")]
    KeyReused,
    #[error("others are changing the same secret")]
    Busy,
    /// Steps of a replacement come one after the other.
    #[error("this step cannot be confirmed now")]
    NotThisStep,
    #[error("a row cannot be read")]
    Unreadable,
    #[error(transparent)]
    Fields(#[from] fields::Error),
    #[error(transparent)]
    Randomness(#[from] tokens::Error),
    #[error(transparent)]
    Hook(#[from] webhooks::Error),
    #[error(transparent)]
    Trail(#[from] audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Problem::new(&problem::NOT_FOUND),
            Error::NoTenant => {
                Problem::new(&problem::INVALID_INPUT).field("tenant", "there is no such tenant")
            }
            Error::Invalid(field, message) => {
                Problem::new(&problem::INVALID_INPUT).field(field, message)
            }
            Error::KeyReused => Problem::new(&problem::CONFLICT)
                .detail("This Idempotency-Key was used for another content."),
            Error::NotThisStep => Problem::new(&problem::CONFLICT)
                .detail("Another step of the replacement comes first."),
            Error::Busy => Problem::unavailable(error),
            Error::Unreadable => Problem::internal(error),
            Error::Fields(error) => error.into(),
            Error::Randomness(error) => error.into(),
            Error::Hook(error) => error.into(),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}
