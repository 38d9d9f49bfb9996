//! The ring of signing keys: which one signs, which ones still verify, and when the next one comes.
//!
//! - The database holds no key. It holds a random salt for each, and the key is derived from the
//!   master secret and that salt (ADR 7): a copy of the table signs nothing.
//! - A new key is published before it signs, so that whoever keeps the key set for a few minutes
//!   knows it by then. The one before it stays published, and verifies, for [`OVERLAP`] more.
//! - A key that leaked is taken out of the ring: what it signed verifies no longer.
//! - Under another master secret the salts give other keys. Those of a previous master verify while
//!   `secrets.previous` lists it, and a new key takes over at once.
//! - Every node reads the table each minute, and when a token names a key that it does not know.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use portcullis_core::{Problem, Span, Timestamp};
use portcullis_store::{Db, Row, Tx};
use serde::Serialize;
use serde_json::{Value, json};

use crate::jws::VerifyingKey;
use crate::keys::{self, Keys, Purpose};
use crate::signing::{self, SigningKey};
use crate::tokens;

/// How long a key verifies after its successor began to sign. Longer than anything that is signed
/// lives, and long enough for a product that reads the key set once a day.
pub const OVERLAP: Span = Span::from_days(7);

/// How long a new key is published before it signs.
pub const LEAD: Span = Span::from_minutes(10);

/// How often tokens may make a node read the table.
pub const RELOAD_AFTER: Span = Span::from_seconds(1);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    Signing(#[from] signing::Error),
    #[error(transparent)]
    Randomness(#[from] tokens::Error),
    #[error("the ring holds no key that may sign now")]
    NoKey,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            Error::Randomness(error) => error.into(),
            Error::Signing(error) => error.into(),
            Error::Keys(_) | Error::NoKey => Problem::internal(error),
        }
    }
}

/// A key of the ring, for whoever looks after it.
#[derive(Debug, Clone, Serialize)]
pub struct KeyInfo {
    pub kid: String,
    pub state: KeyState,
    pub created_at: String,
    pub signs_from: String,
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Published, and does not sign yet.
    Next,
    Signing,
    /// Signs no longer, and verifies what it signed.
    Verifying,
    /// Over: verifies nothing.
    Retired,
    /// Taken out of the ring: verifies nothing.
    Revoked,
}

impl KeyState {
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyState::Next => "next",
            KeyState::Signing => "signing",
            KeyState::Verifying => "verifying",
            KeyState::Retired => "retired",
            KeyState::Revoked => "revoked",
        }
    }
}

/// A row of the table.
struct Stored {
    kid: String,
    salt: Vec<u8>,
    created_at: Timestamp,
    active_at: Timestamp,
    revoked_at: Option<Timestamp>,
}

struct RingKey {
    key: SigningKey,
    verifying: VerifyingKey,
    active_at: Timestamp,
    /// When the next one begins to sign, where there is one.
    succeeded_at: Option<Timestamp>,
    /// Made under the master secret in use, not under a previous one.
    is_current: bool,
}

impl RingKey {
    fn verifies(&self, now: Timestamp) -> bool {
        self.succeeded_at.is_none_or(|at| now < at + OVERLAP)
    }
}

/// The ring as this node knows it.
pub struct KeyRing {
    db: Db,
    keys: Keys,
    /// Newest first.
    ring: ArcSwap<Vec<RingKey>>,
    /// When the table was read last because of a token, in microseconds.
    asked_at: AtomicI64,
    /// How often the table may have come to say something else, and which of these was read.
    distrusted: AtomicU64,
    settled: AtomicU64,
}

const LIST: &str = "SELECT kid, salt, created_at, active_at, revoked_at FROM signing_key ORDER BY generation DESC LIMIT 64";
const LATEST: &str = "SELECT generation FROM signing_key ORDER BY generation DESC LIMIT 1";
/// The generation is the turn: of two nodes that rotate at once, one finds its turn taken.
const ADD: &str = "INSERT INTO signing_key (generation, kid, salt, created_at, active_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (generation) DO NOTHING";
const REVOKE: &str = "UPDATE signing_key SET revoked_at = $2 WHERE kid = $1 AND revoked_at IS NULL";

impl KeyRing {
    /// Reads the ring, and makes the first key where none can sign: on a new database, and when
    /// the master secret is another one.
    pub async fn open(db: Db, keys: Keys, now: Timestamp) -> Result<KeyRing, Error> {
        let ring = KeyRing {
            db,
            keys,
            ring: ArcSwap::default(),
            asked_at: AtomicI64::new(i64::MIN),
            distrusted: AtomicU64::new(0),
            settled: AtomicU64::new(0),
        };
        ring.reload().await?;
        if !ring.has_own_key(now) {
            let mut tx = ring.db.begin().await?;
            ring.add(&mut tx, now, now).await?;
            tx.commit().await?;
            ring.reload().await?;
        }
        Ok(ring)
    }

    /// Reads the table again.
    pub async fn reload(&self) -> Result<(), Error> {
        let rows = list(&self.db).await?;
        let mut ring: Vec<RingKey> = Vec::new();
        for stored in rows.into_iter().filter(|row| row.revoked_at.is_none()) {
            let Some((key, is_current)) = self.derive(&stored)? else {
                continue;
            };
            let Some(verifying) = key.verifying() else {
                continue;
            };
            ring.push(RingKey {
                key,
                verifying,
                active_at: stored.active_at,
                succeeded_at: ring.last().map(|newer| newer.active_at),
                is_current,
            });
        }
        self.ring.store(Arc::new(ring));
        Ok(())
    }

    /// Something was revoked that has no name of its own: it may be a key.
    pub fn distrust(&self) {
        self.distrusted.fetch_add(1, Ordering::AcqRel);
    }

    /// Reads the table again if it is distrusted. Call it before a token is verified.
    pub async fn settle(&self) -> Result<(), Error> {
        // Counted, so that distrust which comes while the table is read is not forgotten by it.
        let distrusted = self.distrusted.load(Ordering::Acquire);
        if self.settled.load(Ordering::Acquire) < distrusted {
            self.reload().await?;
            self.settled.fetch_max(distrusted, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Reads the table again, unless that was asked for a moment ago: however many tokens name keys
    /// that nobody knows, they cost one query in that time.
    pub async fn reload_if_older_than(&self, age: Span, now: Timestamp) -> Result<(), Error> {
        let asked = self.asked_at.load(Ordering::Acquire);
        if now.as_micros().saturating_sub(asked) < age.as_micros() {
            return Ok(());
        }
        let taken = self.asked_at.compare_exchange(
            asked,
            now.as_micros(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if taken.is_err() {
            return Ok(());
        }
        self.reload().await
    }

    /// The claims as a JWT of this type, signed by the key that is in use.
    pub fn sign(
        &self,
        typ: &str,
        claims: &impl Serialize,
        now: Timestamp,
    ) -> Result<String, Error> {
        let ring = self.ring.load();
        let key = signing(&ring, now).ok_or(Error::NoKey)?;
        Ok(key.key.sign(typ, claims)?)
    }

    /// The key of this name, if what it signed still counts.
    pub fn verifying(&self, kid: &str, now: Timestamp) -> Option<VerifyingKey> {
        self.ring
            .load()
            .iter()
            .find(|key| key.key.kid() == kid && key.verifies(now))
            .map(|key| key.verifying.clone())
    }

    /// The public keys (RFC 7517): those that sign or soon will, and those that still verify.
    pub fn jwks(&self, now: Timestamp) -> Value {
        let ring = self.ring.load();
        let keys: Vec<Value> = ring
            .iter()
            .filter(|key| key.verifies(now))
            .map(|key| key.key.jwk())
            .collect();
        json!({ "keys": keys })
    }

    /// Adds a key that signs from `active_at` on; its name, or nothing where another node just
    /// did. Call [`KeyRing::reload`] after the commit.
    pub async fn add(
        &self,
        tx: &mut Tx,
        now: Timestamp,
        active_at: Timestamp,
    ) -> Result<Option<String>, Error> {
        let latest = tx.fetch_optional(LATEST, &[]).await?;
        let generation = latest.map_or(Ok(0), |row| row.int("generation"))?;
        let salt: [u8; 16] = tokens::random()?;
        let seeds = self.keys.derive_salted(Purpose::SigningKey, &salt)?;
        let seed = seeds.first().ok_or(keys::Error::Derive)?;
        let key = SigningKey::from_seed(seed.expose())?;
        let args = [
            generation.saturating_add(1).into(),
            key.kid().into(),
            (&salt).into(),
            now.into(),
            active_at.into(),
        ];
        let added = tx.execute(ADD, &args).await? == 1;
        Ok(added.then(|| key.kid().to_owned()))
    }

    /// Whether the newest key is older than `every`, so that it is time for the next one.
    pub async fn is_due(&self, every: Span, now: Timestamp) -> Result<bool, Error> {
        let rows = list(&self.db).await?;
        Ok(rows
            .first()
            .is_none_or(|newest| now.since(newest.created_at) >= every))
    }

    /// Takes a key out of the ring. Whether it was in it.
    pub async fn revoke(&self, tx: &mut Tx, kid: &str, now: Timestamp) -> Result<bool, Error> {
        Ok(tx.execute(REVOKE, &[kid.into(), now.into()]).await? == 1)
    }

    /// All keys that there ever were, newest first.
    pub async fn list(&self, now: Timestamp) -> Result<Vec<KeyInfo>, Error> {
        let rows = list(&self.db).await?;
        let ring = self.ring.load();
        let signs = signing(&ring, now).map(|key| key.key.kid());
        let state = |row: &Stored| {
            if row.revoked_at.is_some() {
                return KeyState::Revoked;
            }
            match ring.iter().find(|key| key.key.kid() == row.kid) {
                Some(key) if Some(key.key.kid()) == signs => KeyState::Signing,
                Some(key) if key.active_at > now => KeyState::Next,
                Some(key) if key.verifies(now) => KeyState::Verifying,
                Some(_) | None => KeyState::Retired,
            }
        };
        Ok(rows
            .iter()
            .map(|row| KeyInfo {
                kid: row.kid.clone(),
                state: state(row),
                created_at: row.created_at.to_string(),
                signs_from: row.active_at.to_string(),
            })
            .collect())
    }

    /// Whether a key of the current master secret may sign now.
    fn has_own_key(&self, now: Timestamp) -> bool {
        signing(&self.ring.load(), now).is_some_and(|key| key.is_current)
    }

    /// The key of a row, and whether the current master secret made it.
    fn derive(&self, stored: &Stored) -> Result<Option<(SigningKey, bool)>, Error> {
        let seeds = self.keys.derive_salted(Purpose::SigningKey, &stored.salt)?;
        for (position, seed) in seeds.iter().enumerate() {
            let key = SigningKey::from_seed(seed.expose())?;
            if key.kid() == stored.kid {
                return Ok(Some((key, position == 0)));
            }
        }
        Ok(None)
    }
}

/// The newest key whose time has come.
fn signing(ring: &[RingKey], now: Timestamp) -> Option<&RingKey> {
    ring.iter().find(|key| key.active_at <= now)
}

async fn list(db: &Db) -> Result<Vec<Stored>, portcullis_store::Error> {
    let read = |row: &Row| {
        Ok(Stored {
            kid: row.text("kid")?,
            salt: row.bytes("salt")?,
            created_at: row.timestamp("created_at")?,
            active_at: row.timestamp("active_at")?,
            revoked_at: row.opt_timestamp("revoked_at")?,
        })
    };
    db.fetch_all(LIST, &[]).await?.iter().map(read).collect()
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing")
            .field("keys", &self.ring.load().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
