//! The rights of persons (P1, P2, P4): what is held of them, an export of it, and its erasure.
//!
//! - What the gate keeps of a person is one list ([`holdings`]), held against the schema by a test. Export,
//!   erasure and the data map are made from it.
//! - An export ([`Privacy::export`]) is signed; sealed fields are opened, hashes and secrets are left out, and
//!   it says so.
//! - An erasure ([`Privacy::erase`]) destroys the keys of the person, deletes their rows and files, writes down
//!   what it did without naming anybody, and reads back whether anything is left. It can be killed at any point
//!   and taken up again: by the same call, or by a running gate.
//! - What was agreed to is a ledger that is only added to ([`consents`]).
//!
//! What the product keeps for itself is not in here: it seals fields under the person's key (`subject` of
//! `/vault/seal`), which an erasure destroys, and asks for the rest over the API.

pub mod archive;
pub mod config;
mod erase;
mod export;
pub mod holdings;
pub(crate) mod manage;
mod retention;
mod rows;

use std::sync::Arc;

use portcullis_core::{Clock, Problem, UserId, problem};
use portcullis_events::{Trail, UploadStore, audit, upload_store};
use portcullis_store::Db;
use portcullis_vault::fields::{self, Fields};
use portcullis_vault::keys::Keys;

pub use erase::{Certificate, Erased, Plan};
pub use export::Export;

use crate::accounts::Accounts;
use crate::addresses::{self, Names};
use crate::users::{self, Account};
use crate::{Email, accounts, outbox};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
    #[error(transparent)]
    Trail(#[from] audit::Error),
    #[error(transparent)]
    Addresses(#[from] addresses::Error),
    #[error(transparent)]
    Accounts(#[from] accounts::Error),
    #[error(transparent)]
    Vault(#[from] fields::Error),
    #[error(transparent)]
    Outbox(#[from] outbox::Error),
    #[error(transparent)]
    Uploads(#[from] upload_store::Error),
    #[error("the export could not be signed")]
    Key,
    #[error("what is written down of an erasure cannot be read")]
    Certificate,
    #[error("nothing of such a person is here")]
    NotFound,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            Error::Trail(error) => error.into(),
            Error::Addresses(error) => error.into(),
            Error::Accounts(error) => error.into(),
            Error::Vault(error) => error.into(),
            Error::Outbox(error) => error.into(),
            Error::Uploads(error) => error.into(),
            Error::Key | Error::Certificate => Problem::internal(error),
            Error::NotFound => Problem::new(&problem::NOT_FOUND),
        }
    }
}

/// What it works on.
pub struct Parts {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub trail: Trail,
    pub accounts: Accounts,
    pub audit_log: audit::Log,
    pub upload_store: UploadStore,
    pub fields: Fields,
    pub keys: Keys,
    pub retention: config::Retention,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Privacy(Arc<Parts>);

impl std::fmt::Debug for Privacy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Privacy").finish_non_exhaustive()
    }
}

/// By what the rows of a person are found.
struct Person {
    id: UserId,
    /// The id as text: the name of the person's keys.
    subject: String,
    /// Nothing once the account is gone.
    address: Option<(Email, Names)>,
    /// Keyed hashes under which attempts are counted.
    throttles: Vec<[u8; 32]>,
}

impl Privacy {
    pub fn new(parts: Parts) -> Self {
        Privacy(Arc::new(parts))
    }

    /// What verifies exports, the key in use first.
    pub fn verifiers(&self) -> Result<Vec<portcullis_vault::note::Verifier>, Error> {
        archive::verifiers(&self.0.keys)
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>, Error> {
        let addresses = self.0.accounts.addresses();
        Ok(users::find(&self.0.db, addresses, id).await?)
    }

    async fn person(&self, id: UserId) -> Result<Person, Error> {
        let parts = self.0.accounts.parts();
        let account = self.account(id).await?;
        let email = account.and_then(|account| Email::parse(&account.email).ok());
        let mut throttles = parts.backoff.names_of(None, id);
        let address = match email {
            None => None,
            Some(email) => {
                throttles.extend(parts.backoff.names_of(Some(email.canonical()), id));
                throttles.extend(parts.recovery.names_of(email.canonical()));
                let names = self.0.accounts.addresses().names(email.canonical()).await?;
                Some((email, names))
            }
        };
        Ok(Person {
            id,
            subject: id.to_string(),
            address,
            throttles,
        })
    }
}
