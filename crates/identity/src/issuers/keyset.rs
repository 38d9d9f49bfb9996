//! The keys of one issuer, as it published them last.
//!
//! - They are asked for when a token names one that is not there, at most once in 30 seconds
//!   whatever tokens come, by one caller at a time; everybody else waits for that one's answer.
//! - They are asked for every ten minutes besides, so that a key which the issuer has taken out
//!   ceases to count. When they differ, everything that was verified by them is verified anew.
//! - While the issuer is away the last good answer counts, for 24 hours.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::StatusCode;
use portcullis_core::{Span, Timestamp};
use portcullis_edge::Outbound;
use portcullis_edge::outbound::{self, Target};
use portcullis_vault::jws::{self, VerifyingKey};
use serde_json::Value;
use tokio::sync::Mutex;

use super::config::{Keys, Settings};

/// Whatever tokens name, the issuer is asked no more often.
const RETRY_AFTER: Span = Span::from_seconds(30);
/// And no less often.
const REFRESH_AFTER: Span = Span::from_minutes(10);
/// How long the last good answer counts.
const KEPT_FOR: Span = Span::from_hours(24);

/// Callers that wait for one answer; more of them are told to come back.
const MOST_WAITING: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Outbound(#[from] outbound::Error),
    #[error("{0} answered {1}")]
    Status(String, StatusCode),
    #[error("the keys of {0} are of no use")]
    Keys(String, #[source] jws::BadKeySet),
    #[error("the discovery document of {0} is not that of the issuer")]
    Discovery(String),
    #[error("the discovery document of {0} names no place to sign in")]
    NoLogin(String),
    #[error("the issuer has not given its keys yet")]
    Unknown,
    #[error("too many wait for the keys of the issuer")]
    Crowded,
}

/// What the discovery document says, as far as it matters (OpenID Connect Discovery section 3).
#[derive(Debug, Clone)]
pub(crate) struct Discovered {
    pub(crate) jwks: Target,
    /// Where the issuer signs people in, if it does.
    login: Option<Endpoints>,
    read_at: Timestamp,
}

/// Where a provider signs people in.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    pub(crate) authorization: String,
    pub(crate) token: Target,
    pub(crate) userinfo: Option<Target>,
    /// Whether its answers name it (RFC 9207).
    pub(crate) names_itself: bool,
    /// Whether it takes the client's secret by HTTP Basic. Else it stands in the form.
    pub(crate) takes_basic: bool,
}

#[derive(Debug, Default)]
struct Known {
    keys: Vec<VerifyingKey>,
    text: Bytes,
    read_at: Option<Timestamp>,
    discovered: Option<Discovered>,
}

/// The keys, and when they were asked for.
#[derive(Debug)]
pub(crate) struct KeySet {
    /// Keys that are not published: the secret of HS256.
    fixed: Vec<VerifyingKey>,
    known: ArcSwap<Known>,
    /// Counts the times that they came to differ.
    generation: AtomicU64,
    asked_at: AtomicI64,
    asking: Mutex<()>,
    waiting: AtomicUsize,
}

impl KeySet {
    pub(crate) fn new(settings: &Settings) -> Self {
        let secret = settings.secrets.secret.as_ref();
        KeySet {
            fixed: secret
                .map(|secret| VerifyingKey::hs256(secret.expose().as_bytes(), None))
                .into_iter()
                .collect(),
            known: ArcSwap::default(),
            generation: AtomicU64::new(0),
            asked_at: AtomicI64::new(i64::MIN),
            asking: Mutex::new(()),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The keys that a token of this algorithm and key id may be verified with.
    ///
    /// Asks the issuer where it has no such key yet. An error says that nobody knows, because the
    /// issuer has never answered; an empty list, that there is no such key.
    pub(crate) async fn keys_for(
        &self,
        settings: &Settings,
        outbound: &Outbound,
        alg: &str,
        kid: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<VerifyingKey>, Error> {
        let fits = |key: &&VerifyingKey| {
            key.algorithm().name() == alg
                && (kid.is_none() || key.kid().is_none() || key.kid() == kid)
        };
        // SECURITY: an algorithm that is not pinned has no key, whatever the set holds, and is no
        // reason to ask.
        if !settings
            .algorithms
            .iter()
            .any(|pinned| pinned.name() == alg)
        {
            return Ok(Vec::new());
        }
        let fixed: Vec<VerifyingKey> = self.fixed.iter().filter(fits).cloned().collect();
        if !fixed.is_empty() || matches!(settings.jwks, Keys::None) {
            return Ok(fixed);
        }
        let found = |known: &Known| -> Vec<VerifyingKey> {
            known.keys.iter().filter(fits).cloned().collect()
        };
        if let Some(known) = self.fresh(now) {
            let keys = found(&known);
            if !keys.is_empty() {
                return Ok(keys);
            }
        }
        let asked = self.ask(settings, outbound, now).await;
        match self.fresh(now) {
            // The issuer's answer of yesterday is better than none: what it does not hold is unknown.
            Some(known) => Ok(found(&known)),
            None => Err(asked.err().unwrap_or(Error::Unknown)),
        }
    }

    /// Asks again when the last answer is ten minutes old. For the housekeeping.
    pub(crate) async fn keep(
        &self,
        settings: &Settings,
        outbound: &Outbound,
        now: Timestamp,
    ) -> Result<(), Error> {
        let is_due = |at: Timestamp| now.since(at) >= REFRESH_AFTER;
        if matches!(settings.jwks, Keys::None) || !self.known.load().read_at.is_none_or(is_due) {
            return Ok(());
        }
        self.ask(settings, outbound, now).await
    }

    /// Where the issuer signs people in, by its discovery document.
    pub(crate) async fn endpoints(
        &self,
        settings: &Settings,
        outbound: &Outbound,
        now: Timestamp,
    ) -> Result<Endpoints, Error> {
        let mut asked = Ok(());
        if self.fresh(now).is_none() {
            asked = self.ask(settings, outbound, now).await;
        }
        match self.fresh(now) {
            Some(known) => known
                .discovered
                .as_ref()
                .and_then(|discovered| discovered.login.clone())
                .ok_or_else(|| Error::NoLogin(settings.name.clone())),
            None => Err(asked.err().unwrap_or(Error::Unknown)),
        }
    }

    fn fresh(&self, now: Timestamp) -> Option<Arc<Known>> {
        let known = self.known.load_full();
        known
            .read_at
            .is_some_and(|at| now.since(at) < KEPT_FOR)
            .then_some(known)
    }

    /// Asks the issuer, unless it was asked a moment ago or is being asked: then that answer counts.
    async fn ask(
        &self,
        settings: &Settings,
        outbound: &Outbound,
        now: Timestamp,
    ) -> Result<(), Error> {
        let is_recent = || {
            let asked = self.asked_at.load(Ordering::Acquire);
            now.as_micros().saturating_sub(asked) < RETRY_AFTER.as_micros()
        };
        if is_recent() && self.asking.try_lock().is_ok() {
            return Ok(());
        }
        let _place = Place::take(&self.waiting)?;
        let _turn = self.asking.lock().await;
        if is_recent() {
            return Ok(());
        }
        self.asked_at.store(now.as_micros(), Ordering::Release);
        let read = self.read(settings, outbound, now).await;
        if let Err(error) = &read {
            tracing::warn!(issuer = settings.name, cause = %error, "the issuer's keys cannot be read");
        }
        read
    }

    async fn read(
        &self,
        settings: &Settings,
        outbound: &Outbound,
        now: Timestamp,
    ) -> Result<(), Error> {
        let before = self.known.load_full();
        let (target, discovered) = match &settings.jwks {
            Keys::None => return Ok(()),
            Keys::At(target) => (target.clone(), None),
            Keys::Discovered(document) => {
                let is_current = |known: &&Discovered| now.since(known.read_at) < KEPT_FOR;
                let discovered = match before.discovered.as_ref().filter(is_current) {
                    Some(known) => known.clone(),
                    None => discover(settings, outbound, document, now).await?,
                };
                (discovered.jwks.clone(), Some(discovered))
            }
        };
        let text = fetch(outbound, &target).await?;
        let keys = jws::key_set(&text, &settings.algorithms)
            .map_err(|error| Error::Keys(settings.name.clone(), error))?;
        let differs = text != before.text;
        self.known.store(Arc::new(Known {
            keys,
            text,
            read_at: Some(now),
            discovered,
        }));
        // INVARIANT: after the keys. Whoever verified by the old ones bears the old number.
        if differs {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }
}

/// A place among those who wait; given back when dropped.
struct Place<'p>(&'p AtomicUsize);

impl<'p> Place<'p> {
    fn take(waiting: &'p AtomicUsize) -> Result<Self, Error> {
        let place = Place(waiting);
        if waiting.fetch_add(1, Ordering::AcqRel) >= MOST_WAITING {
            return Err(Error::Crowded);
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn fetch(outbound: &Outbound, target: &Target) -> Result<Bytes, Error> {
    let answer = outbound.get(target).await?;
    if answer.status != StatusCode::OK {
        return Err(Error::Status(target.host().to_owned(), answer.status));
    }
    Ok(answer.body)
}

async fn discover(
    settings: &Settings,
    outbound: &Outbound,
    document: &Target,
    now: Timestamp,
) -> Result<Discovered, Error> {
    let refuse = || Error::Discovery(settings.name.clone());
    let text = fetch(outbound, document).await?;
    let said: Value = serde_json::from_slice(&text).map_err(|_| refuse())?;
    let url = |name: &str| said.get(name).and_then(Value::as_str);
    // SECURITY: a document that speaks for another issuer is refused (section 4.3): its keys are
    // not this one's.
    if url("issuer") != Some(&settings.config.issuer) {
        return Err(refuse());
    }
    let target = |name: &str| Target::parse(url(name)?, settings.reach).ok();
    Ok(Discovered {
        jwks: target("jwks_uri").ok_or_else(refuse)?,
        login: endpoints(&said, &target),
        read_at: now,
    })
}

fn endpoints(said: &Value, target: &dyn Fn(&str) -> Option<Target>) -> Option<Endpoints> {
    // Browsers are sent there: by https, like the gate itself.
    let place = |name: &str| {
        target(name)?;
        said.get(name).and_then(Value::as_str).map(str::to_owned)
    };
    let methods = said.get("token_endpoint_auth_methods_supported");
    Some(Endpoints {
        authorization: place("authorization_endpoint")?,
        token: target("token_endpoint")?,
        userinfo: target("userinfo_endpoint"),
        names_itself: said.get("authorization_response_iss_parameter_supported")
            == Some(&Value::Bool(true)),
        // Where it does not say, that is what it takes (Discovery section 3).
        takes_basic: methods.and_then(Value::as_array).is_none_or(|methods| {
            methods
                .iter()
                .any(|method| method.as_str() == Some("client_secret_basic"))
        }),
    })
}
