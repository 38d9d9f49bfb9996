//! Counters that several nodes share through Redis or Valkey.
//!
//! - One script, one round trip for all charges that are known at the same time. That is all of
//!   them, but where the caller has to be looked up: then those by address come first.
//! - All keys bear one hash tag, the configured namespace (`{portcullis}`): the script must see one request's keys together,
//!   and an address, a user and a session have no common part that would spread them better. One
//!   slot answers far more questions than a gate asks.
//! - Keys expire when they say the same as no key.
//! - The breaker: one question that fails or takes longer than the limit (50 ms) opens it. From
//!   then on nobody waits; the [`Keeper`] connects anew and probes with the same script, so that a
//!   Redis that answers but cannot write (read-only, full, without replicas) counts as away.
//!
//! Not for a cluster client: give the address of a primary, or of a proxy.

mod contents;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_core::limit::Rate;
use portcullis_core::{Secret, Span, Timestamp};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script, TlsCertificates};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Charge, Counters, Health, LimitId, MAX_CHARGES, Memory, Subject, Taken, WhenDegraded};
use crate::{Config, Error};

pub use contents::contents;

/// Between attempts to reach Redis again: the first, and the longest pause.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often an idle connection is probed, so that readiness does not speak of the past.
const PROBE_EVERY: Duration = Duration::from_secs(2);

const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// Intervals and capacities beyond this (35 years) are taken for it: the script's numbers must
/// stay below 2^53.
const LONGEST: i64 = 1 << 50;

/// Shared counters, with local ones behind them.
pub struct Redis {
    script: Script,
    link: Mutex<Link>,
    broken: Notify,
    limit: Duration,
    nodes: u32,
    namespace: Box<str>,
    local: Memory,
}

#[derive(Default)]
struct Link {
    /// Counts connections, so that the late failure of an old one does not break a new one.
    generation: u64,
    connection: Option<MultiplexedConnection>,
}

/// Keeps the connection: the task that [`Redis`] depends on.
pub struct Keeper {
    redis: Arc<Redis>,
    client: Client,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("the answer is not what the script gives")]
    Nonsense,
}

impl Counters {
    /// Counters in Redis at `redis://` or, with TLS, `rediss://`. Does not connect yet: until the
    /// keeper has, answers are degraded ones.
    pub fn redis(config: &Config, url: &Secret<String>) -> Result<(Counters, Keeper), Error> {
        let client = client(config, url)?;
        let redis = Arc::new(Redis {
            script: Script::new(include_str!("gcra.lua")),
            link: Mutex::new(Link::default()),
            broken: Notify::new(),
            limit: config.redis_timeout.as_duration(),
            nodes: config.nodes,
            namespace: config.redis_namespace.as_str().into(),
            local: Memory::default(),
        });
        let keeper = Keeper {
            redis: Arc::clone(&redis),
            client,
        };
        Ok((Counters::Redis(redis), keeper))
    }
}

fn client(config: &Config, url: &Secret<String>) -> Result<Client, Error> {
    // The driver's message may repeat a part of the address, and with it the password.
    let malformed = |_| Error::Address("it is not a well-formed redis: or rediss: address");
    match &config.redis_ca {
        None => Client::open(url.expose().as_str()).map_err(malformed),
        Some(_) if !url.expose().starts_with("rediss:") => {
            Err(Error::Address("`redis-ca` needs a rediss: address"))
        }
        Some(file) => {
            let root_cert = std::fs::read(file).map_err(Error::unavailable)?;
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: Some(root_cert),
            };
            Client::build_with_tls(url.expose().as_str(), certificates).map_err(malformed)
        }
    }
}

async fn connection(client: &Client) -> Result<MultiplexedConnection, Failure> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_LIMIT))
        .set_response_timeout(Some(CONNECT_LIMIT));
    let opening = client.get_multiplexed_async_connection_with_config(&config);
    let opened = timeout(CONNECT_LIMIT, opening).await;
    Ok(opened.map_err(|_| Failure::TimedOut(CONNECT_LIMIT))??)
}

impl Redis {
    pub(super) fn take_now(&self, now: Timestamp, charges: &[Charge]) -> Option<Taken> {
        if charges.len() > MAX_CHARGES {
            return Some(Taken::too_many());
        }
        if self.link().connection.is_some() {
            return None;
        }
        Some(self.take_locally(now, charges))
    }

    pub(super) async fn take(&self, now: Timestamp, charges: &[Charge]) -> Taken {
        if charges.len() > MAX_CHARGES {
            return Taken::too_many();
        }
        let (generation, connection) = {
            let link = self.link();
            (link.generation, link.connection.clone())
        };
        let Some(connection) = connection else {
            return self.take_locally(now, charges);
        };
        match self.ask(connection, None, charges).await {
            Ok(taken) => taken,
            Err(failure) => {
                self.break_off(generation, &failure);
                self.take_locally(now, charges)
            }
        }
    }

    pub(super) fn health(&self) -> Health {
        match self.link().connection {
            Some(_) => Health::Shared,
            None => Health::Degraded,
        }
    }

    /// `now` is for tests: nothing means the server's time.
    async fn ask(
        &self,
        mut connection: MultiplexedConnection,
        now: Option<Timestamp>,
        charges: &[Charge],
    ) -> Result<Taken, Failure> {
        let mut call = self.script.prepare_invoke();
        call.arg(now.map_or_else(String::new, |now| now.as_micros().to_string()));
        for charge in charges {
            call.key(key(&self.namespace, charge))
                .arg(charge.rate.interval_micros().min(LONGEST))
                .arg(charge.rate.capacity_micros().min(LONGEST));
        }
        let answer: Vec<String> = timeout(self.limit, call.invoke_async(&mut connection))
            .await
            .map_err(|_| Failure::TimedOut(self.limit))??;
        let numbers: Vec<i64> = answer
            .iter()
            .map(|number| number.parse().map_err(|_| Failure::Nonsense))
            .collect::<Result<_, _>>()?;
        match numbers.split_first() {
            Some((now, found)) if found.len() == charges.len() => {
                let now = Timestamp::from_micros(*now);
                Ok(Taken::judged(charges, |position, charge| {
                    found
                        .get(position)
                        .map_or(super::NOTHING, |tat| charge.rate.take(*tat, now))
                }))
            }
            _ => Err(Failure::Nonsense),
        }
    }

    fn take_locally(&self, now: Timestamp, charges: &[Charge]) -> Taken {
        let Some(first) = charges.first() else {
            return self.local.take(now, charges).degraded();
        };
        let mut shares = [*first; MAX_CHARGES];
        for (share, charge) in shares.iter_mut().zip(charges) {
            let parts = charge.when_degraded.parts(self.nodes);
            *share = Charge {
                rate: charge.rate.divided_by(parts),
                ..*charge
            };
        }
        let shares = shares.get(..charges.len()).unwrap_or(&shares);
        self.local.take(now, shares).degraded()
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn break_off(&self, generation: u64, failure: &Failure) {
        let mut link = self.link();
        if link.generation == generation && link.connection.take().is_some() {
            drop(link);
            tracing::warn!(
                cause = %failure,
                "Redis does not answer: limits are counted by this node alone, at a share of their rates"
            );
            self.broken.notify_one();
        }
    }
}

impl Keeper {
    /// Connects once, so that the first request need not be answered locally. Whether it worked.
    pub async fn connect(&self) -> bool {
        match self.try_connect().await {
            Ok(()) => true,
            Err(failure) => {
                tracing::debug!(cause = %failure, "Redis cannot be reached");
                false
            }
        }
    }

    /// Runs until it is dropped. Cancel safe.
    pub async fn run(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.redis.health() == Health::Shared {
                pause = FIRST_PAUSE;
                // Either way the answer is in the link: a probe that fails breaks it.
                if timeout(PROBE_EVERY, self.redis.broken.notified())
                    .await
                    .is_err()
                {
                    self.probe().await;
                }
            } else if self.connect().await {
                tracing::info!("Redis answers: limits are counted for all nodes");
            } else {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
        }
    }

    async fn try_connect(&self) -> Result<(), Failure> {
        let connection = connection(&self.client).await?;
        self.redis.ask(connection.clone(), None, &probe()).await?;
        let mut link = self.redis.link();
        link.generation = link.generation.wrapping_add(1);
        link.connection = Some(connection);
        Ok(())
    }

    async fn probe(&self) {
        let (generation, connection) = {
            let link = self.redis.link();
            (link.generation, link.connection.clone())
        };
        if let Some(connection) = connection
            && let Err(failure) = self.redis.ask(connection, None, &probe()).await
        {
            self.redis.break_off(generation, &failure);
        }
    }
}

impl WhenDegraded {
    fn parts(self, nodes: u32) -> u32 {
        match self {
            WhenDegraded::Share => nodes,
            WhenDegraded::Tenth => nodes.max(10),
        }
    }
}

impl Taken {
    const fn degraded(mut self) -> Taken {
        self.degraded = true;
        self
    }
}

/// A charge that nobody pays: it writes, and expires at once.
fn probe() -> Vec<Charge> {
    Rate::new(1000, Span::from_seconds(1), 1000)
        .map(|rate| Charge {
            limit: LimitId::named("probe"),
            subject: Subject::everybody(),
            rate,
            when_degraded: WhenDegraded::Share,
        })
        .into_iter()
        .collect()
}

fn key(namespace: &str, charge: &Charge) -> String {
    let mut key = String::with_capacity(64);
    let _ = write!(key, "{{{namespace}}}:{:016x}:", charge.limit.as_u64());
    for byte in charge.subject.as_bytes() {
        let _ = write!(key, "{byte:02x}");
    }
    key
}

#[cfg(test)]
mod redis_tests;
