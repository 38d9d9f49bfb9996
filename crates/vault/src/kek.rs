//! What seals the data keys (E5): a key encryption key (KEK) of our own, or one that never leaves a
//! key management service.
//!
//! - A data key is *wrapped* under one KEK and bound to [`Whose`] it is: with another tenant, subject
//!   or row it does not unwrap, wherever the KEK is.
//! - What was wrapped begins with a mark that says under which KEK, so that a data key of another one
//!   is found, and wrapped anew ([`Keks::mark`]).
//! - A service is asked for a bounded time. One that does not answer is not asked again for a moment,
//!   so that nobody queues behind it; then it is, and that is how the vault opens again by itself.
//! - There is no way around it: where a data key does not unwrap there is an error and nothing else.

mod aws_kms;
mod config;
mod local;
mod transit;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_core::{Clock, Problem, Secret, Span};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::keys::Keys;
use crate::seal::{self, MARK_LEN};
use aws_kms::AwsKms;
pub use config::{Config, Fault, Secrets, Settings};
use local::Local;
use transit::Transit;

/// Length of a data key, in bytes.
pub const KEY_LEN: usize = 32;
/// How long a service that did not answer is not asked again.
const PAUSE: Span = Span::from_seconds(1);

/// Where a KEK is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KekKind {
    /// Derived from `secrets.master`.
    #[default]
    Master,
    /// Derived from a secret of its own.
    Secret,
    /// The transit engine of an OpenBao or Vault server.
    Transit,
    /// AWS Key Management Service.
    AwsKms,
}

impl KekKind {
    /// Whether somebody else has to be asked.
    pub const fn is_service(self) -> bool {
        match self {
            KekKind::Master | KekKind::Secret => false,
            KekKind::Transit | KekKind::AwsKms => true,
        }
    }
}

impl fmt::Display for KekKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KekKind::Master => "master",
            KekKind::Secret => "secret",
            KekKind::Transit => "transit",
            KekKind::AwsKms => "aws-kms",
        })
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Nobody answered in time, or with anything that could be understood: the vault is sealed.
    #[error("the key management service (`kek.kind = \"{0}\"`) gives no data key: {1}")]
    Away(KekKind, Arc<str>),
    /// Not what was wrapped for this row, or not under this KEK.
    #[error("a data key does not unwrap under `{0}`: {1}")]
    Refused(KekKind, Arc<str>),
    #[error(
        "a data key was wrapped under a KEK that is not configured: was it taken out of [[previous-kek]], or its secret out of `secrets.previous`, too early?"
    )]
    Unknown,
    /// What `check` would have found.
    #[error("the configuration of `{0}` cannot be used: {1}")]
    Settings(KekKind, Arc<str>),
    #[error("a data key could not be wrapped")]
    Wrap,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Away(..) => Problem::unavailable(error),
            Error::Refused(..) | Error::Unknown | Error::Settings(..) | Error::Wrap => {
                Problem::internal(error)
            }
        }
    }
}

/// Whose data key it is: what it is bound to, wherever it is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whose<'a> {
    id: &'a Uuid,
    tenant: &'a str,
    subject: &'a str,
    purpose: &'a str,
    version: [u8; 8],
}

impl<'a> Whose<'a> {
    pub fn new(
        id: &'a Uuid,
        tenant: &'a str,
        subject: &'a str,
        purpose: &'a str,
        version: i64,
    ) -> Self {
        let version = version.to_be_bytes();
        Whose {
            id,
            tenant,
            subject,
            purpose,
            version,
        }
    }

    fn parts(&self) -> [&[u8]; 5] {
        [
            self.id.as_bytes(),
            self.tenant.as_bytes(),
            self.subject.as_bytes(),
            self.purpose.as_bytes(),
            &self.version,
        ]
    }
}

type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// One KEK. What it wraps begins with its mark.
trait Kek: Send + Sync {
    fn kind(&self) -> KekKind;

    fn mark(&self) -> [u8; MARK_LEN];

    /// Whether it can unwrap what begins with this.
    fn knows(&self, mark: [u8; MARK_LEN]) -> bool {
        mark == self.mark()
    }

    /// Which of its versions wrapped this, where it tells.
    fn version(&self, _wrapped: &[u8]) -> Option<u32> {
        None
    }

    fn wrap<'a>(&'a self, whose: &'a Whose<'_>, key: &'a [u8]) -> Asked<'a, Vec<u8>>;

    fn unwrap<'a>(&'a self, whose: &'a Whose<'_>, wrapped: &'a [u8]) -> Asked<'a, Secret<Vec<u8>>>;
}

/// The mark of a KEK elsewhere: which kind, and the beginning of the hash of its name.
fn mark_of(kind: u8, name: &str) -> [u8; MARK_LEN] {
    let hash = digest(&SHA256, name.as_bytes());
    match hash.as_ref() {
        [a, b, c, d, ..] => [kind, *a, *b, *c, *d],
        // SHA-256 has thirty-two.
        _ => [kind, 0, 0, 0, 0],
    }
}

/// Under which KEK a data key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Under {
    /// Nothing where it is none that is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kek: Option<KekKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kek_version: Option<u32>,
    /// Whether it is the one that wraps now.
    pub is_under_current_kek: bool,
}

/// Whether a service answered when it was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// There is no service to ask.
    Here,
    NotAskedYet,
    Answers,
    Away,
}

/// The KEK in use, and those that wrapped before it.
pub struct Keks {
    current: Guarded,
    previous: Vec<Guarded>,
}

impl Keks {
    /// The master secret's KEK always unwraps: nothing has to be configured to move away from it.
    pub fn new(
        settings: &Settings,
        previous: &[Settings],
        keys: &Keys,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let master = Settings::of(KekKind::Master);
        let guarded = |settings: &Settings| Guarded::new(settings, keys, clock);
        let mut others = previous
            .iter()
            .map(guarded)
            .collect::<Result<Vec<_>, _>>()?;
        let mut all = std::iter::once(settings).chain(previous);
        if all.all(|settings| settings.kind != KekKind::Master) {
            others.push(guarded(&master)?);
        }
        let all = Keks {
            current: guarded(settings)?,
            previous: others,
        };
        all.told_apart()?;
        Ok(all)
    }

    /// What everything begins with that the KEK in use wrapped.
    pub fn mark(&self) -> [u8; MARK_LEN] {
        self.current.kek.mark()
    }

    pub fn kind(&self) -> KekKind {
        self.current.kek.kind()
    }

    pub async fn wrap(&self, whose: &Whose<'_>, key: &[u8]) -> Result<Vec<u8>, Error> {
        self.current.ask(self.current.kek.wrap(whose, key)).await
    }

    pub async fn unwrap(
        &self,
        whose: &Whose<'_>,
        wrapped: &[u8],
    ) -> Result<Secret<Vec<u8>>, Error> {
        let guarded = self.of(wrapped).ok_or(Error::Unknown)?;
        let unwrapped = async {
            let key = guarded.kek.unwrap(whose, wrapped).await?;
            if key.expose().len() == KEY_LEN {
                return Ok(key);
            }
            let said = "its answer is no data key";
            Err(Error::Away(guarded.kek.kind(), said.into()))
        };
        guarded.ask(unwrapped).await
    }

    pub fn under(&self, wrapped: &[u8]) -> Under {
        let guarded = self.of(wrapped);
        Under {
            kek: guarded.map(|guarded| guarded.kek.kind()),
            kek_version: guarded.and_then(|guarded| guarded.kek.version(wrapped)),
            is_under_current_kek: wrapped.starts_with(&self.mark()),
        }
    }

    pub fn health(&self) -> Health {
        self.current.health()
    }

    /// Wraps and unwraps something, and sees that it does not unwrap as somebody else's: for
    /// `doctor`, and to learn whether a service is back.
    pub async fn try_out(&self) -> Result<(), Error> {
        let id = Uuid::now_v7();
        let (mine, other) = (
            Whose::new(&id, "", "", "trial", 1),
            Whose::new(&id, "", "somebody else", "trial", 1),
        );
        let key = crate::tokens::random::<KEY_LEN>().map_err(|_| Error::Wrap)?;
        let wrapped = self.wrap(&mine, &key).await?;
        let refused = |said: &str| Error::Refused(self.kind(), said.into());
        let back = self.unwrap(&mine, &wrapped).await?;
        if !crate::ct_eq(back.expose(), &key) {
            return Err(refused("what came back is not what was wrapped"));
        }
        match self.unwrap(&other, &wrapped).await {
            // SECURITY: a service that binds to nothing would open one tenant's key as another's.
            Ok(_) => Err(refused("it unwraps what was wrapped for somebody else")),
            Err(Error::Refused(..)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Two with one mark would be taken for each other.
    fn told_apart(&self) -> Result<(), Error> {
        let mut seen = std::collections::HashSet::new();
        for guarded in std::iter::once(&self.current).chain(&self.previous) {
            if !seen.insert(guarded.kek.mark()) {
                let said = "another KEK has the same name: give the key another one";
                return Err(Error::Settings(guarded.kek.kind(), said.into()));
            }
        }
        Ok(())
    }

    fn of(&self, wrapped: &[u8]) -> Option<&Guarded> {
        let mark = wrapped.first_chunk::<MARK_LEN>()?;
        std::iter::once(&self.current)
            .chain(&self.previous)
            .find(|guarded| guarded.kek.knows(*mark))
    }
}

impl fmt::Debug for Keks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keks({})", self.kind())
    }
}

/// A KEK, and what is known of its service.
struct Guarded {
    kek: Box<dyn Kek>,
    clock: Arc<dyn Clock>,
    /// How long one act may take. Nothing where nobody is asked.
    timeout: Option<Duration>,
    /// Not asked again before, in microseconds.
    rests_until: AtomicI64,
    health: AtomicU8,
}

const NOT_ASKED_YET: u8 = 0;
const ANSWERS: u8 = 1;
const AWAY: u8 = 2;

impl Guarded {
    fn new(settings: &Settings, keys: &Keys, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        let timeout = Some(settings.timeout);
        let (kek, timeout): (Box<dyn Kek>, _) = match settings.kind {
            KekKind::Master => (Box::new(Local::of_master(keys)?), None),
            KekKind::Secret => (Box::new(Local::of_secret(settings)?), None),
            KekKind::Transit => (Box::new(Transit::new(settings, clock)?), timeout),
            KekKind::AwsKms => (Box::new(AwsKms::new(settings, clock)?), timeout),
        };
        Ok(Guarded {
            kek,
            clock: Arc::clone(clock),
            timeout,
            rests_until: AtomicI64::new(i64::MIN),
            health: AtomicU8::new(NOT_ASKED_YET),
        })
    }

    async fn ask<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let Some(limit) = self.timeout else {
            return asked.await;
        };
        let away = |said: &str| Error::Away(self.kek.kind(), said.into());
        if self.clock.now().as_micros() < self.rests_until.load(Ordering::Relaxed) {
            return Err(away("it did not answer a moment ago"));
        }
        // SECURITY: one deadline for all that it takes (a sign-in, the question, a second one), so
        // that a service that accepts and never answers holds nobody.
        let answer = tokio::time::timeout(limit, asked).await;
        let answer = answer.unwrap_or_else(|_| Err(away("it did not answer in time")));
        let is_away = matches!(answer, Err(Error::Away(..)));
        let health = if is_away { AWAY } else { ANSWERS };
        if self.health.swap(health, Ordering::Relaxed) != health {
            self.tell(answer.as_ref().err().filter(|_| is_away));
        }
        if is_away {
            let until = self.clock.now() + PAUSE;
            self.rests_until.store(until.as_micros(), Ordering::Relaxed);
        }
        answer
    }

    fn tell(&self, error: Option<&Error>) {
        let kind = self.kek.kind();
        if let Some(error) = error {
            tracing::error!(
                kek.kind = %kind, %error,
                "the vault is sealed: data keys in memory work until their time is over, others do not"
            );
        } else {
            tracing::info!(kek.kind = %kind, "the key management service answers");
        }
    }

    fn health(&self) -> Health {
        if self.timeout.is_none() {
            return Health::Here;
        }
        match self.health.load(Ordering::Relaxed) {
            ANSWERS => Health::Answers,
            AWAY => Health::Away,
            _ => Health::NotAskedYet,
        }
    }
}

impl From<seal::Error> for Error {
    fn from(_: seal::Error) -> Self {
        Error::Wrap
    }
}

#[cfg(test)]
pub(crate) mod tests;
