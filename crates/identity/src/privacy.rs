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
//! - A person whom the product alone knows ([`subjects`]) has the same rights, by the name that the product gives
//!   them within a tenant.
//! - What others wrote is looked through for the person's names ([`texts`]).
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
pub mod subjects;
mod texts;

use std::sync::Arc;

use portcullis_core::size::ByteSize;
use portcullis_core::{Clock, Problem, UserId, problem};
use portcullis_events::mentions::Mentions;
use portcullis_events::{
    Incidents, Trail, UploadStore, Webhooks, audit, incidents, upload_store, webhooks,
};
use portcullis_store::Db;
use portcullis_vault::fields::{self, Fields};
use portcullis_vault::keys::Keys;

pub use erase::{Certificate, Erased, Plan};
pub use export::{Export, LARGEST};

use crate::accounts::Accounts;
use crate::addresses;
use crate::users::{self, Account};
use crate::{Email, accounts, outbox};
use texts::Names;

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
    #[error(transparent)]
    Webhooks(#[from] webhooks::Error),
    #[error(transparent)]
    Incidents(#[from] incidents::Error),
    #[error("the export could not be written")]
    Written(#[from] std::io::Error),
    #[error(
        "the export is larger than {0}, which is the most that is given over HTTP: `portcullis privacy export` writes it into a file"
    )]
    TooLarge(ByteSize),
    #[error("the export could not be signed")]
    Key,
    #[error("what is written down of an erasure cannot be read")]
    Certificate,
    #[error("nothing of such a person is here")]
    NotFound,
    #[error("that is an account: it is exported and erased as one")]
    Account,
    #[error("{0}")]
    Also(&'static str),
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
            Error::Webhooks(error) => error.into(),
            Error::Incidents(error) => error.into(),
            Error::Written(_) | Error::Key | Error::Certificate => Problem::internal(error),
            Error::NotFound => Problem::new(&problem::NOT_FOUND),
            Error::TooLarge(_) => Problem::new(&problem::CONFLICT).detail(format!(
                "The export is larger than {LARGEST}, the most that is given here. The operator writes it into a file: `portcullis privacy export`."
            )),
            Error::Account => Problem::new(&problem::CONFLICT).detail(
                "This is an account: it is exported and erased as one, by the admin API or the command line.",
            ),
            Error::Also(said) => Problem::new(&problem::INVALID_INPUT).field("also", said),
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
    pub webhooks: Webhooks,
    pub incidents: Incidents,
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
    address: Option<(Email, addresses::Names)>,
    /// Keyed hashes under which attempts are counted.
    throttles: Vec<[u8; 32]>,
    /// By what others may call them.
    names: Names,
}

/// What other services, and the product before, call somebody.
const CALLED: &str = "SELECT subject AS name FROM foreign_identity WHERE user_id = $1 UNION SELECT external_id FROM user_reference WHERE user_id = $1";

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
        let subject = id.to_string();
        let called = self.0.db.fetch_all(CALLED, &[id.into()]).await?;
        let called: Result<Vec<String>, _> = called.iter().map(|row| row.text("name")).collect();
        let mut called = called?;
        called.extend(
            address
                .iter()
                .map(|(email, _)| email.canonical().to_owned()),
        );
        let taken_out = Mentions::of(&called);
        called.push(subject.clone());
        let names = Names {
            found_by: Mentions::of(&called),
            taken_out,
        };
        Ok(Person {
            id,
            subject,
            address,
            throttles,
            names,
        })
    }
}
