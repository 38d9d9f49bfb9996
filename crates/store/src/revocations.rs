//! What was revoked, told to every process: a table with rising numbers, polled twice a second.
//!
//! - [`publish`] writes in the transaction that revokes: what is revoked is announced, or neither.
//! - Numbers become visible in their order: SQLite has one writer, and on PostgreSQL `publish`
//!   holds a lock until the transaction ends. A reader that has seen a number misses none below it.
//! - A cache may be trusted while [`Feed::is_fresh`]. When the database does not answer for 5 s it
//!   is not, and each look-up must go to the database.
//! - The row that was seen last is read again each time. When it is gone (history was pruned past
//!   us, or a backup restored), or a row speaks of a kind that we do not know, everything is
//!   revoked: caches start empty, which is always right.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use portcullis_core::{
    ApiKeyId, SessionId, Span, TenantId, Timestamp, TokenFamilyId, UserId, VisitorId,
};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{Db, Error, Row, Tx};

/// How often the table is read.
pub const POLL_EVERY: Duration = Duration::from_millis(500);

/// How long after the last answer caches may be trusted.
pub const FRESH_FOR: Span = Span::from_seconds(5);

/// Rows are kept for this long, far longer than any process sleeps unnoticed.
pub const KEPT_FOR: Span = Span::from_days(1);

/// Rows read at once.
const PAGE: i64 = 1000;

/// Any number but the migrations' one.
const LOCK: i64 = 0x706f_7274_7265_766b;

const INSERT: &str = "INSERT INTO revocation (kind, subject, at) VALUES ($1, $2, $3)";
const NEWEST: &str = "SELECT seq FROM revocation ORDER BY seq DESC LIMIT 1";
const SINCE: &str =
    "SELECT seq, kind, subject FROM revocation WHERE seq >= $1 ORDER BY seq LIMIT $2";
/// The newest row stays: readers find their place by it.
const PRUNE: &str =
    "DELETE FROM revocation WHERE at < $1 AND seq < (SELECT max(seq) FROM revocation)";

/// What ceases to be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    Session(SessionId),
    /// All sessions of a user, and what was remembered of the user: roles, whether active.
    User(UserId),
    ApiKey(ApiKeyId),
    /// The access and refresh tokens of one sign-in.
    TokenFamily(TokenFamilyId),
    Visitor(VisitorId),
    /// What was remembered of a tenant: whether it is suspended, what its own roles give.
    Tenant(TenantId),
    /// Keys that sealed fields were destroyed: none is remembered.
    DataKeys,
    /// What was remembered of a person's consents.
    Consents(UserId),
    /// What open incidents ask of every node has changed: which routes are frozen, how many there are.
    Incidents,
    /// Every cached answer.
    Everything,
}

impl Revocation {
    fn columns(self) -> (&'static str, Uuid) {
        match self {
            Revocation::Session(id) => ("session", id.as_uuid()),
            Revocation::User(id) => ("user", id.as_uuid()),
            Revocation::ApiKey(id) => ("api-key", id.as_uuid()),
            Revocation::TokenFamily(id) => ("token-family", id.as_uuid()),
            Revocation::Visitor(id) => ("visitor", id.as_uuid()),
            Revocation::Tenant(id) => ("tenant", id.as_uuid()),
            Revocation::DataKeys => ("data-keys", Uuid::nil()),
            Revocation::Consents(id) => ("consents", id.as_uuid()),
            Revocation::Incidents => ("incidents", Uuid::nil()),
            Revocation::Everything => ("everything", Uuid::nil()),
        }
    }

    fn read(row: &Row) -> Result<Revocation, Error> {
        Ok(match row.text("kind")?.as_str() {
            "session" => Revocation::Session(row.session_id("subject")?),
            "user" => Revocation::User(row.user_id("subject")?),
            "api-key" => Revocation::ApiKey(row.api_key_id("subject")?),
            "token-family" => {
                Revocation::TokenFamily(TokenFamilyId::from_uuid(row.uuid("subject")?))
            }
            "visitor" => Revocation::Visitor(VisitorId::from_uuid(row.uuid("subject")?)),
            "tenant" => Revocation::Tenant(TenantId::from_uuid(row.uuid("subject")?)),
            "data-keys" => Revocation::DataKeys,
            "consents" => Revocation::Consents(row.user_id("subject")?),
            "incidents" => Revocation::Incidents,
            // SECURITY: a newer node revoked something that we have no name for. Whatever it was,
            // it is not in an empty cache.
            _ => Revocation::Everything,
        })
    }
}

/// Announces a revocation with the transaction that makes it true.
///
/// Publish late in the transaction: on PostgreSQL others that publish wait from here to its end.
pub async fn publish(tx: &mut Tx, revocation: Revocation, now: Timestamp) -> Result<(), Error> {
    let lock = tx.engine().pick("", "SELECT pg_advisory_xact_lock($1)");
    if !lock.is_empty() {
        tx.execute(lock, &[LOCK.into()]).await?;
    }
    let (kind, subject) = revocation.columns();
    tx.execute(INSERT, &[kind.into(), subject.into(), now.into()])
        .await
        .map(drop)
}

/// Deletes what every process has long read; how many rows.
pub async fn prune(db: &Db, now: Timestamp) -> Result<u64, Error> {
    let mut tx = db.begin().await?;
    let rows = tx.execute(PRUNE, &[(now - KEPT_FOR).into()]).await?;
    tx.commit().await?;
    Ok(rows)
}

/// This process's place in the table.
pub struct Feed {
    db: Db,
    seen: AtomicI64,
    /// When the question was asked that was answered last, in microseconds.
    fresh_at: AtomicI64,
    nudged: Notify,
}

impl Feed {
    /// Begins at the newest row: caches are empty, so nothing older matters.
    pub async fn open(db: Db, now: Timestamp) -> Result<Feed, Error> {
        let newest = db.fetch_optional(NEWEST, &[]).await?;
        let seen = newest.map_or(Ok(0), |row| row.int("seq"))?;
        Ok(Feed {
            db,
            seen: AtomicI64::new(seen),
            fresh_at: AtomicI64::new(now.as_micros()),
            nudged: Notify::new(),
        })
    }

    /// Whether caches may be trusted at `now`. Not when the clock was set back since the last
    /// answer: how old that is cannot be told then.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        let age = now
            .as_micros()
            .saturating_sub(self.fresh_at.load(Ordering::Acquire));
        (-POLL_SLACK..=FRESH_FOR.as_micros()).contains(&age)
    }

    /// Reads what is new, and hands each to `apply`; how many. `now` is taken before the question,
    /// so that freshness is never promised for longer than it holds.
    pub async fn poll(&self, now: Timestamp, apply: &impl Fn(Revocation)) -> Result<u64, Error> {
        let mut applied = 0_u64;
        loop {
            let seen = self.seen.load(Ordering::Acquire);
            let rows = self
                .db
                .fetch_all(SINCE, &[seen.into(), PAGE.into()])
                .await?;
            let mut last = seen;
            // INVARIANT: `seen` moves only after everything up to it was applied.
            for (position, row) in rows.iter().enumerate() {
                last = row.int("seq")?;
                if position > 0 || (seen == 0 && last > 0) {
                    apply(Revocation::read(row)?);
                    applied = applied.saturating_add(1);
                } else if last != seen {
                    apply(Revocation::Everything);
                    applied = applied.saturating_add(1);
                }
            }
            if rows.is_empty() && seen != 0 {
                apply(Revocation::Everything);
                applied = applied.saturating_add(1);
                last = 0;
            }
            self.seen.store(last, Ordering::Release);
            if rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                break;
            }
        }
        self.fresh_at.store(now.as_micros(), Ordering::Release);
        Ok(applied)
    }

    /// Asks for a reading at once: after a commit that revoked something here.
    pub fn nudge(&self) {
        self.nudged.notify_one();
    }

    /// Polls until it is dropped.
    pub async fn run(&self, clock: &dyn portcullis_core::Clock, apply: impl Fn(Revocation)) {
        let mut failing = false;
        loop {
            match self.poll(clock.now(), &apply).await {
                Ok(_) if failing => {
                    failing = false;
                    tracing::info!("revocations are read again");
                }
                Ok(_) => {}
                Err(error) if failing => {
                    tracing::debug!(cause = %error, "revocations are not read");
                }
                Err(error) => {
                    failing = true;
                    tracing::warn!(
                        cause = %error,
                        "revocations cannot be read: sessions will be looked up in the database each time"
                    );
                }
            }
            // Either is a reason to read.
            let _ = tokio::time::timeout(POLL_EVERY, self.nudged.notified()).await;
        }
    }
}

/// Requests that took their time a moment before the poll took its own.
const POLL_SLACK: i64 = 1_000_000;

#[cfg(test)]
mod tests;
