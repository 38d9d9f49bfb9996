//! What time does to secrets: values that are served no more are forgotten, what is due is replaced, and
//! what is too old is told, once for each secret and day (X4, X6).

use portcullis_core::{Secret, Span, Timestamp};
use portcullis_store::{Row, Value};

use super::{Config, Error, Rotation, SecretStore, Stored, rows};
use crate::audit::{Action, By, Event, Outcome};

/// Somebody is told again after so long.
const AGAIN_AFTER: Span = Span::from_days(1);
/// Secrets of each kind that one pass looks after.
const AT_ONCE: u32 = 200;

/// How old the secrets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aged {
    pub overdue: i64,
    /// When the oldest value in use came.
    pub oldest: Option<Timestamp>,
}

impl Aged {
    fn of(row: Option<Row>) -> Result<Self, Error> {
        Ok(match row {
            None => Aged {
                overdue: 0,
                oldest: None,
            },
            Some(row) => Aged {
                overdue: row.int("overdue")?,
                oldest: row.opt_timestamp("oldest")?,
            },
        })
    }
}

impl Config {
    fn ages_of(&self, now: Timestamp) -> [Value<'static>; 2] {
        [(now - self.alert_after).into(), now.into()]
    }

    /// The ages in a database that is only looked at: for `doctor`.
    pub async fn look_at_ages(
        &self,
        state: &portcullis_store::Config,
        url: &Secret<String>,
        now: Timestamp,
    ) -> Result<Aged, Error> {
        let args = self.ages_of(now);
        Aged::of(portcullis_store::look_up(state, url, rows::AGES, &args).await?)
    }
}

impl SecretStore {
    pub fn age(&self, stored: &Stored) -> Span {
        self.clock.now().since(stored.rotated_at)
    }

    /// Whether its value should have been replaced by now.
    pub fn is_overdue(&self, stored: &Stored) -> bool {
        let age = self.age(stored);
        age >= self.config.alert_after || stored.rotate_every.is_some_and(|every| age >= every)
    }

    pub async fn ages(&self) -> Result<Aged, Error> {
        let args = self.config.ages_of(self.clock.now());
        Aged::of(self.db.fetch_optional(rows::AGES, &args).await?)
    }

    /// Secrets without their values, the oldest value in use first, behind so many.
    pub async fn oldest(&self, skipped: u32, limit: u32) -> Result<Vec<Stored>, Error> {
        rows::oldest(&self.db, skipped, limit).await
    }

    /// How many values in use are younger than 30 days, from there on younger than 90, and older.
    pub async fn by_age(&self) -> Result<[i64; 3], Error> {
        let now = self.clock.now();
        let args = [
            (now - Span::from_days(30)).into(),
            (now - Span::from_days(90)).into(),
        ];
        let row = self.db.fetch_optional(rows::BY_AGE, &args).await?;
        row.map_or(Ok([0; 3]), |row| {
            Ok([row.int("young")?, row.int("grown")?, row.int("old")?])
        })
    }

    /// One pass. What fails of it is tried again in the next.
    pub async fn keep_house(&self) -> Result<(), Error> {
        let now = self.clock.now();
        rows::forget_values(&self.db, now).await?;
        for due in rows::due(&self.db, now, AT_ONCE).await? {
            // One that fails holds up none of the others.
            if let Err(error) = self.rotate_due(&due).await {
                tracing::error!(name = %due.label.name, tenant = ?due.label.tenant, %error, "a secret that is due could not be rotated");
            }
        }
        self.tell_overdue(now).await?;
        let aged = self.ages().await?;
        let oldest = aged.oldest.map_or(Span::ZERO, |oldest| now.since(oldest));
        self.trail.metrics().secrets(aged.overdue, oldest);
        Ok(())
    }

    async fn rotate_due(&self, due: &Stored) -> Result<(), Error> {
        let rotation = Rotation {
            // Of two nodes that see it at once, one makes the next version.
            request: Some(portcullis_vault::tokens::sha256(
                format!("due:{}:{}", due.id, due.version).as_bytes(),
            )),
            ..Rotation::default()
        };
        let version = self.rotate(&due.label, &rotation, &By::SYSTEM).await?;
        tracing::info!(name = %due.label.name, tenant = ?due.label.tenant, version, "a secret that was due has a new value");
        Ok(())
    }

    async fn tell_overdue(&self, now: Timestamp) -> Result<(), Error> {
        let limit = now - self.config.alert_after;
        let before = now - AGAIN_AFTER;
        for stored in rows::overdue(&self.db, (limit, now), before, AT_ONCE).await? {
            let days = self.age(&stored).as_seconds() / 86_400;
            let mut tx = self.db.begin().await?;
            if !rows::told(&mut tx, stored.id, now, before).await? {
                continue;
            }
            let event = Event::new(now, Action::SecretOverdue, Outcome::Failed)
                .done(&By::SYSTEM)
                .to(super::target(&stored.label))
                .tenant(stored.label.tenant)
                .with("version", stored.version)
                .with("days", days)
                .with("owner", stored.owner.as_str());
            self.trail.record_in(&mut tx, event).await?;
            tx.commit().await?;
            tracing::warn!(name = %stored.label.name, tenant = ?stored.label.tenant, days, "a secret is too old: `portcullis secrets replace` walks through its replacement");
        }
        Ok(())
    }
}
