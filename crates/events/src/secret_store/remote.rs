//! The store of somebody else that secrets are carried to: AWS Secrets Manager, or the KV engine of OpenBao or
//! Vault (X2, X3).
//!
//! - The vault here is the truth, there is a copy. Programs that read here never wait for that store and never
//!   get anything from it: what it says, or that it says nothing, changes no value.
//! - What is to be carried is no row of its own: a secret whose version is above the one that was carried last.
//!   Whoever is killed between the two finds it so again.
//! - Of one secret one node writes at a time, the newest version and never an older one after it. To write a
//!   version twice makes no second one there.
//! - What somebody else changed there is told and left alone, also by later versions, until a person says that
//!   it may be written over ([`SecretStore::push`](super::SecretStore::push)).
//! - Nothing is ever deleted there.

mod aws;
mod carry;
pub mod config;
mod kv;
pub(super) mod rows;

#[cfg(test)]
mod tests;

use portcullis_core::{Secret, Span, Timestamp};
use portcullis_vault::tokens::sha256;
use uuid::Uuid;

use super::Label;
use aws::SecretsManager;
pub use carry::Waiting;
pub use config::{Config, RemoteKind, Secrets};
use kv::Kv;
pub use rows::Carried;

/// How many versions back our own name for one is known again, and how many pushes.
const VERSIONS: i64 = 50;
const PUSHES: i64 = 10;

/// One store.
pub struct Remote {
    kind: RemoteKind,
    /// By what it is told from another one that was configured before.
    name: String,
    store: Store,
    prefix: String,
    timeout: Span,
    check_every: Span,
}

enum Store {
    Aws(SecretsManager),
    Kv(Kv),
}

/// What became of a version.
#[derive(Debug, PartialEq, Eq)]
enum Put {
    /// It is there, under this name.
    Written(String),
    /// Something stands there that we did not write.
    Drifted,
}

/// Why nothing is known of what became of it. Never with a value in it.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// Nobody answers, or nothing that can be understood: true of every secret.
    Away(String),
    /// It answers, and does not want this.
    Refused(String),
}

/// What is known of a secret there, before it is written.
struct Known<'a> {
    secret: Uuid,
    version_here: i64,
    pushes: i64,
    /// What we call the version that is to be written.
    token: &'a str,
    /// What the store called the one that we wrote last.
    version: Option<&'a str>,
    /// A person said so.
    overwrite: bool,
}

/// What we call a version there. Whoever does not know the secret's id, which is nowhere there, guesses none.
fn token(secret: Uuid, version: i64, pushes: i64) -> String {
    let digest = sha256(format!("portcullis carries {secret} {version} {pushes}").as_bytes());
    let half = digest.first_chunk().copied().unwrap_or_default();
    Uuid::from_bytes(half).to_string()
}

impl Known<'_> {
    /// Whether we wrote what is called so: this version, or one before it.
    fn is_ours(&self, name: &str) -> bool {
        let oldest = self.version_here.saturating_sub(VERSIONS).max(1);
        let mut all = (oldest..=self.version_here).flat_map(|version| {
            let first = self.pushes.saturating_sub(PUSHES).max(0);
            (first..=self.pushes).map(move |pushes| (version, pushes))
        });
        all.any(|(version, pushes)| token(self.secret, version, pushes) == name)
    }

    /// Whether what is called so may be replaced.
    fn may_replace(&self, name: &str) -> bool {
        self.overwrite || self.version == Some(name) || self.is_ours(name)
    }
}

impl Remote {
    /// Where a secret is there.
    fn path(&self, label: &Label) -> String {
        let Remote { prefix, .. } = self;
        let name = &label.name;
        match label.tenant {
            None => format!("{prefix}/product/{name}"),
            Some(tenant) => format!("{prefix}/tenants/{tenant}/{name}"),
        }
    }

    /// Asks, and waits a bounded time for all of it.
    async fn ask<T>(&self, asked: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let answer = tokio::time::timeout(self.timeout.as_duration(), asked).await;
        answer.unwrap_or_else(|_| Err(Fault::Away("it did not answer in time".to_owned())))
    }

    async fn put(
        &self,
        label: &Label,
        known: &Known<'_>,
        value: &Secret<String>,
    ) -> Result<Put, Fault> {
        let path = self.path(label);
        match &self.store {
            Store::Aws(store) => self.ask(store.put(&path, known, value)).await,
            Store::Kv(store) => self.ask(store.put(&path, known, value)).await,
        }
    }

    /// Whether what we wrote last is in use there still.
    async fn has(&self, label: &Label, version: &str, now: Timestamp) -> Result<bool, Fault> {
        let path = self.path(label);
        match &self.store {
            Store::Aws(store) => self.ask(store.has(&path, version)).await,
            Store::Kv(store) => self.ask(store.has(&path, version, now)).await,
        }
    }

    /// Whether it answers, and whether the gate may do what it has to: for `doctor`. Writes nothing.
    pub async fn try_out(&self) -> Result<(), String> {
        let path = format!("{}/product/doctor-{}", self.prefix, Uuid::new_v4());
        let tried = match &self.store {
            Store::Aws(store) => self.ask(store.try_out(&path)).await,
            Store::Kv(store) => self.ask(store.try_out(&path)).await,
        };
        tried.map_err(|fault| fault.to_string())
    }

    pub fn kind(&self) -> RemoteKind {
        self.kind
    }
}

impl Fault {
    fn away(error: impl std::fmt::Display) -> Self {
        Fault::Away(error.to_string())
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Away(said) => write!(f, "not available: {said}"),
            Fault::Refused(said) => write!(f, "refused: {said}"),
        }
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.kind.as_str())
    }
}
