//! Password hashing: argon2id for what we store, bcrypt for what was brought along.
//!
//! - New hashes are argon2id with 19 MiB, two passes and one lane (OWASP's first choice), as PHC
//!   strings, so that the parameters travel with each hash and can be raised later.
//! - An imported `$2a$`, `$2b$` or `$2y$` hash verifies once and asks to be replaced. bcrypt reads
//!   72 bytes: a longer password was cut when it was hashed, so it is cut in the same way here,
//!   and the hash that replaces it covers all of it.
//! - Passwords are put into Unicode form NFKC, so that the same password typed on another system
//!   is the same password; for hashes made elsewhere the text as typed counts too.
//! - A password has at most 1 KiB. Nothing is cut off: what is longer is refused.
//! - Hashing runs on threads of its own, each with one hash at a time, behind a short queue. When
//!   the queue is full the answer is [`Error::Busy`] at once: a login storm slows no request.
//! - For an account that does not exist, [`Passwords::verify`] is called without a hash and does
//!   the same work with the same parameters.
//! - A stored hash that cannot be read refuses everybody, after the same work.
//!
//! What it does not do: until an imported account has signed in once, its comparison takes bcrypt's
//! time. Whoever answers a sign-in hides that ([`Passwords::time_of_bcrypt`]).

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use portcullis_core::{Problem, Secret, Span, problem};
use tokio::sync::oneshot;
use unicode_normalization::{UnicodeNormalization, is_nfkc};

use crate::tokens;

/// Longest accepted password, in bytes.
pub const MAX_LEN: usize = 1024;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Dearest stored parameters that are still computed: a hash in the database must not be able to
/// stop the hashing threads.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 8;
const MAX_BCRYPT_COST: u32 = 15;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the password is longer than {MAX_LEN} bytes")]
    TooLong,
    #[error("the queue of passwords to hash is full")]
    Busy,
    #[error("the hashing threads have ended")]
    Stopped,
    #[error("a hashing thread could not be started")]
    Spawn(#[source] std::io::Error),
    #[error("the password could not be hashed: {0}")]
    Hash(String),
    #[error(transparent)]
    Randomness(#[from] tokens::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::TooLong => Problem::new(&problem::INVALID_INPUT)
                .field("password", "must not be longer than 1024 bytes"),
            Error::Busy => Problem::new(&problem::OVERLOADED)
                .retry_after(Span::from_seconds(2))
                .caused_by(error),
            Error::Stopped | Error::Randomness(_) => Problem::unavailable(error),
            Error::Spawn(_) | Error::Hash(_) => Problem::internal(error),
        }
    }
}

/// What came of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    Match {
        /// The stored hash is weaker than one made today: hash the password anew and store that.
        needs_rehash: bool,
    },
    Mismatch,
}

enum Job {
    Hash(Secret<String>, oneshot::Sender<Result<String, Error>>),
    Verify(Secret<String>, Option<String>, oneshot::Sender<Verdict>),
    /// What a hash of this cost takes.
    Measure(u32, oneshot::Sender<Duration>),
}

/// The hashing threads. Cheap to clone; the threads end when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Passwords {
    queue: SyncSender<Job>,
}

impl Passwords {
    /// Starts `threads` threads, which take 19 MiB each while they hash. At most `waiting`
    /// passwords wait for one.
    pub fn start(threads: NonZero<usize>, waiting: usize) -> Result<Self, Error> {
        let (queue, jobs) = sync_channel(waiting);
        let jobs = Arc::new(Mutex::new(jobs));
        let dummy = Arc::new(dummy()?);
        for number in 0..threads.get() {
            let (jobs, dummy) = (Arc::clone(&jobs), Arc::clone(&dummy));
            std::thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || work(&jobs, &dummy))
                .map_err(Error::Spawn)?;
        }
        Ok(Passwords { queue })
    }

    /// A PHC string for `password`.
    pub async fn hash(&self, password: &Secret<String>) -> Result<String, Error> {
        let (answer, wait) = oneshot::channel();
        self.submit(Job::Hash(normal(password)?, answer))?;
        wait.await.map_err(|_| Error::Stopped)?
    }

    /// Compares `password` with a stored hash; with `None`, for an account that does not exist,
    /// does the same work and says [`Verdict::Mismatch`]. A password that is too long is a
    /// mismatch.
    pub async fn verify(
        &self,
        password: &Secret<String>,
        stored: Option<&str>,
    ) -> Result<Verdict, Error> {
        if password.expose().len() > MAX_LEN {
            return Ok(Verdict::Mismatch);
        }
        let (answer, wait) = oneshot::channel();
        self.submit(Job::Verify(
            password.clone(),
            stored.map(str::to_owned),
            answer,
        ))?;
        wait.await.map_err(|_| Error::Stopped)
    }

    /// What the comparison with a bcrypt hash of this cost takes on this machine now, or with one of our
    /// own where that takes longer. Costs that are refused are not tried.
    pub async fn time_of_bcrypt(&self, cost: u32) -> Result<Duration, Error> {
        let (answer, wait) = oneshot::channel();
        self.submit(Job::Measure(cost.min(MAX_BCRYPT_COST), answer))?;
        wait.await.map_err(|_| Error::Stopped)
    }

    fn submit(&self, job: Job) -> Result<(), Error> {
        self.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => Error::Stopped,
        })
    }
}

/// One thread's life. A panic in a hash is one refused answer, not a thread lost.
fn work(jobs: &Mutex<Receiver<Job>>, dummy: &str) {
    loop {
        let job = match jobs.lock() {
            Ok(jobs) => jobs.recv(),
            Err(poisoned) => poisoned.into_inner().recv(),
        };
        match job {
            Ok(Job::Hash(password, answer)) => {
                if !answer.is_closed() {
                    let hashed = catch_unwind(AssertUnwindSafe(|| hash(password.expose())))
                        .unwrap_or_else(|_| Err(Error::Hash("panicked".to_owned())));
                    // The caller may have gone away: then nobody wants the answer.
                    let _ = answer.send(hashed);
                }
            }
            Ok(Job::Verify(password, stored, answer)) => {
                if !answer.is_closed() {
                    let verdict = catch_unwind(AssertUnwindSafe(|| {
                        verify(password.expose(), stored.as_deref(), dummy)
                    }))
                    .unwrap_or(Verdict::Mismatch);
                    let _ = answer.send(verdict);
                }
            }
            Ok(Job::Measure(cost, answer)) => {
                let _ = answer.send(measure(cost, dummy));
            }
            Err(_) => return,
        }
    }
}

fn measure(cost: u32, dummy: &str) -> Duration {
    let began = Instant::now();
    std::hint::black_box(bcrypt::bcrypt(cost, [0; 16], b"a password"));
    let bcrypt = began.elapsed();
    let _ = pretend("a password", dummy);
    bcrypt.max(began.elapsed().saturating_sub(bcrypt))
}

fn verify(password: &str, stored: Option<&str>, dummy: &str) -> Verdict {
    match stored.map(Stored::parse) {
        Some(Stored::Argon2(hash)) => {
            let normal = Secret::new(password.nfkc().collect::<String>());
            if matches_argon2(normal.expose(), &hash) {
                Verdict::Match {
                    needs_rehash: !is_current(&hash),
                }
            } else if normal.expose() != password && matches_argon2(password, &hash) {
                // Made elsewhere, from the text as typed.
                Verdict::Match { needs_rehash: true }
            } else {
                Verdict::Mismatch
            }
        }
        Some(Stored::Bcrypt(hash)) => match bcrypt::verify(password, hash) {
            Ok(true) => Verdict::Match { needs_rehash: true },
            Ok(false) | Err(_) => Verdict::Mismatch,
        },
        Some(Stored::Unreadable) => {
            tracing::error!("a stored password hash cannot be read: its account is refused");
            pretend(password, dummy)
        }
        None | Some(Stored::Nothing) => pretend(password, dummy),
    }
}

/// The work of a verification, for nothing.
fn pretend(password: &str, dummy: &str) -> Verdict {
    if let Ok(hash) = PasswordHash::new(dummy) {
        let normal = Secret::new(password.nfkc().collect::<String>());
        std::hint::black_box(matches_argon2(normal.expose(), &hash));
        if normal.expose() != password {
            std::hint::black_box(matches_argon2(password, &hash));
        }
    }
    Verdict::Mismatch
}

/// A stored hash by its kind.
enum Stored<'a> {
    Argon2(Box<PasswordHash>),
    Bcrypt(&'a str),
    Nothing,
    Unreadable,
}

/// Stands where an account has no password: no text hashes to it.
pub const NOTHING: &str = "!";

/// Whether a hash made elsewhere can be taken over: its form is known and its cost bearable.
pub fn is_importable(hash: &str) -> bool {
    match Stored::parse(hash) {
        Stored::Argon2(_) | Stored::Bcrypt(_) => true,
        Stored::Nothing | Stored::Unreadable => false,
    }
}

impl<'a> Stored<'a> {
    fn parse(text: &'a str) -> Self {
        let read = if text == NOTHING {
            Some(Stored::Nothing)
        } else if text.starts_with("$argon2") {
            PasswordHash::new(text)
                .ok()
                .filter(|hash| hash.salt.is_some() && hash.hash.is_some() && is_bearable(hash))
                .map(|hash| Stored::Argon2(Box::new(hash)))
        } else if ["$2a$", "$2b$", "$2y$"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            text.parse::<bcrypt::HashParts>()
                .ok()
                .filter(|parts| parts.get_cost() <= MAX_BCRYPT_COST)
                .map(|_| Stored::Bcrypt(text))
        } else {
            None
        };
        read.unwrap_or(Stored::Unreadable)
    }
}

fn is_bearable(hash: &PasswordHash) -> bool {
    Params::try_from(hash).is_ok_and(|params| {
        params.m_cost() <= MAX_MEMORY_KIB
            && params.t_cost() <= MAX_PASSES
            && params.p_cost() <= MAX_LANES
    })
}

fn is_current(hash: &PasswordHash) -> bool {
    hash.algorithm.as_str() == "argon2id"
        && Params::try_from(hash).is_ok_and(|params| {
            params.m_cost() >= MEMORY_KIB && params.t_cost() >= PASSES && params.p_cost() == LANES
        })
}

fn matches_argon2(password: &str, hash: &PasswordHash) -> bool {
    Argon2::default()
        .verify_password(password.as_bytes(), hash)
        .is_ok()
}

fn hash(password: &str) -> Result<String, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| Error::Hash(error.to_string()))?;
    let salt = tokens::random::<16>()?;
    let hash: PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|error| Error::Hash(error.to_string()))?;
    Ok(hash.to_string())
}

/// A hash that no password is known for, to compare with where there is no account. It is made up,
/// not worked out: that would cost every start the time and the memory of a password.
fn dummy() -> Result<String, Error> {
    let salt = STANDARD_NO_PAD.encode(tokens::random::<16>()?);
    let output = STANDARD_NO_PAD.encode(tokens::random::<32>()?);
    Ok(format!(
        "$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${output}"
    ))
}

fn normal(password: &Secret<String>) -> Result<Secret<String>, Error> {
    let text = password.expose();
    if text.len() > MAX_LEN {
        return Err(Error::TooLong);
    }
    if is_nfkc(text) {
        return Ok(password.clone());
    }
    Ok(Secret::new(text.nfkc().collect()))
}

#[cfg(test)]
mod tests;
