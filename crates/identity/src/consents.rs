//! The consent ledger (P2): who agreed to what, in which version, when, and who wrote it down.
//!
//! - It is only added to: the table refuses changes, and rows go with the erasure of their person alone. What
//!   counts is the newest row of a subject and purpose.
//! - The policy names the purposes and the version of each text that is shown now (`[[purpose]]`). A consent to
//!   another version does not count: people are to be asked again.
//! - A consent is given to the text that is shown now, or not at all. It can be taken back at any time.
//! - Each entry is one transaction with its audit event, which has the client's address under the person's key.
//!
//! - A route that asks for a consent ([`Agreed`]) is decided from memory; what is written down here is heard by every
//!   node as a revocation is. A withdrawal ends what the person has open as well.
//!
//! A subject is an account's id, or whatever the product calls somebody. In a tenant it is another one.

mod agreed;
pub mod http;
mod ledger;

use std::sync::Arc;

use portcullis_core::{Clock, Problem, TenantId, Timestamp, UserId, problem};
use portcullis_events::{Action, By, Event, Outcome, Target, Trail, audit};
use portcullis_store::Db;
use portcullis_store::revocations::{Revocation, publish};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::agreed::Agreed;
use crate::privacy::config::Purpose;

/// Longest name of a subject, in bytes.
const LONGEST: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no purpose `{0}` in the policy ([[purpose]])")]
    UnknownPurpose(String),
    #[error("the text that is shown now has version `{current}`, not `{asked}`")]
    OtherVersion { current: String, asked: String },
    #[error("a subject has 1 to {LONGEST} bytes and no control characters")]
    Subject,
    #[error("an entry of the ledger cannot be read")]
    Unreadable,
    #[error(transparent)]
    Trail(#[from] audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let refused =
            |field, said: &'static str| Problem::new(&problem::INVALID_INPUT).field(field, said);
        match error {
            Error::UnknownPurpose(_) => refused("purpose", "is none of those of the policy"),
            Error::OtherVersion { .. } => refused(
                "version",
                "is not the one that is shown now: show that, and ask again",
            ),
            Error::Subject => refused("subject", "has 1 to 200 bytes and no control characters"),
            Error::Unreadable => Problem::internal(error),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Given,
    Withdrawn,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Given => "given",
            State::Withdrawn => "withdrawn",
        }
    }

    fn parse(word: &str) -> Option<State> {
        [State::Given, State::Withdrawn]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// Whose consents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    tenant: Option<TenantId>,
    name: String,
}

impl Subject {
    pub fn new(tenant: Option<TenantId>, name: &str) -> Result<Self, Error> {
        if !(1..=LONGEST).contains(&name.len()) || name.chars().any(char::is_control) {
            return Err(Error::Subject);
        }
        Ok(Subject {
            tenant,
            name: name.to_owned(),
        })
    }

    pub(crate) const fn tenant(&self) -> Option<TenantId> {
        self.tenant
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub fn user(id: UserId) -> Self {
        Subject {
            tenant: None,
            name: id.to_string(),
        }
    }
}

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub id: Uuid,
    pub purpose: String,
    pub version: String,
    pub state: State,
    #[serde(serialize_with = "as_text")]
    pub at: Timestamp,
    /// Who wrote it down, such as `user:ID` or `api-key:ID`.
    pub source: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn as_text<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

/// How it stands with a purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Agreed to, in the version that is shown now.
    Given,
    /// Agreed to in another version: ask again.
    Outdated,
    Withdrawn,
    /// Never asked, or never answered.
    None,
}

/// One purpose of the policy, for one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Consent {
    pub purpose: String,
    /// What people agree to.
    pub about: String,
    /// The version that is shown now.
    pub version: String,
    pub standing: Standing,
    /// The newest entry, if there is one.
    pub newest: Option<Entry>,
}

/// What is to be written down.
#[derive(Debug, Clone)]
pub struct New<'a> {
    pub purpose: &'a str,
    /// The version that was shown. Nothing: the one of the policy.
    pub version: Option<&'a str>,
    pub state: State,
}

/// What it works on.
pub struct Parts {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub trail: Trail,
    pub purposes: Vec<Purpose>,
    pub agreed: Arc<Agreed>,
}

/// The ledger; cheap to clone.
#[derive(Clone)]
pub struct Consents(Arc<Parts>);

impl std::fmt::Debug for Consents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consents").finish_non_exhaustive()
    }
}

impl Consents {
    pub fn new(parts: Parts) -> Self {
        Consents(Arc::new(parts))
    }

    /// What a route asks for.
    pub fn agreed(&self) -> &Arc<Agreed> {
        &self.0.agreed
    }

    /// Writes down that somebody agreed, or agrees no more.
    pub async fn record(&self, subject: &Subject, new: &New<'_>, by: &By) -> Result<Entry, Error> {
        let parts = &*self.0;
        let known = parts.purposes.iter().find(|one| one.name == new.purpose);
        let purpose = known.ok_or_else(|| Error::UnknownPurpose(new.purpose.to_owned()))?;
        if let Some(asked) = new.version
            && asked != purpose.version
        {
            return Err(Error::OtherVersion {
                current: purpose.version.clone(),
                asked: asked.to_owned(),
            });
        }
        let entry = Entry {
            id: Uuid::now_v7(),
            purpose: purpose.name.clone(),
            version: purpose.version.clone(),
            state: new.state,
            at: parts.clock.now(),
            source: match by.actor.id() {
                Some(id) => format!("{}:{id}", by.actor.kind()),
                None => by.actor.kind().to_owned(),
            },
        };
        let action = match new.state {
            State::Given => Action::ConsentGiven,
            State::Withdrawn => Action::ConsentWithdrawn,
        };
        // What the product calls somebody may be an address: the entry's id says as much to who may read it.
        let target = match subject.name.parse::<UserId>() {
            Ok(user) => Target::user(user),
            Err(_) => Target::named("consent", &entry.id.to_string()),
        };
        let event = Event::new(entry.at, action, Outcome::Allowed)
            .done(by)
            .to(target)
            .tenant(subject.tenant)
            .with("purpose", entry.purpose.as_str())
            .with("version", entry.version.as_str());
        let mut tx = parts.db.begin().await?;
        ledger::insert(&mut tx, subject, &entry).await?;
        parts.trail.record_in(&mut tx, event).await?;
        // In a tenant a subject is another one: no route asks for those.
        let user = subject.name.parse::<UserId>().ok();
        let heard = user
            .filter(|_| subject.tenant.is_none())
            .map(|user| match entry.state {
                State::Given => Revocation::Consents(user),
                // SECURITY: what the person has open was let in by what they take back.
                State::Withdrawn => Revocation::User(user),
            });
        if let Some(heard) = heard {
            publish(&mut tx, heard, entry.at).await?;
        }
        tx.commit().await?;
        if let Some(heard) = heard {
            parts.agreed.revoked(heard);
        }
        Ok(entry)
    }

    /// How it stands with every purpose of the policy.
    pub async fn standing(&self, subject: &Subject) -> Result<Vec<Consent>, Error> {
        let newest = ledger::newest(&self.0.db, subject).await?;
        let of = |purpose: &Purpose| {
            let newest = newest.iter().find(|entry| entry.purpose == purpose.name);
            let standing = match newest.map(|entry| (entry.state, &entry.version)) {
                None => Standing::None,
                Some((State::Withdrawn, _)) => Standing::Withdrawn,
                Some((State::Given, version)) if *version == purpose.version => Standing::Given,
                Some((State::Given, _)) => Standing::Outdated,
            };
            Consent {
                purpose: purpose.name.clone(),
                about: purpose.about.clone(),
                version: purpose.version.clone(),
                standing,
                newest: newest.cloned(),
            }
        };
        Ok(self.0.purposes.iter().map(of).collect())
    }

    /// The entries of a subject, newest first, up to a thousand.
    pub async fn history(&self, subject: &Subject) -> Result<Vec<Entry>, Error> {
        ledger::history(&self.0.db, subject).await
    }
}
