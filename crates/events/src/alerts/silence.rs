//! Silences: a source is told to nobody for a while, because somebody said why.

use portcullis_core::{Span, Timestamp};
use portcullis_store::{Db, Row, Tx};
use uuid::Uuid;

use super::{Alerts, Error, Notice, SOURCES};
use crate::audit::{Action, By, Event, Outcome, Target};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silencing {
    /// One of [`SOURCES`].
    pub source: String,
    /// Of this subject only; of nothing, the whole source.
    pub subject: Option<String>,
    pub span: Span,
    pub because: String,
}

/// One that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    pub id: Uuid,
    pub source: String,
    pub subject: Option<String>,
    pub because: String,
    /// The kind of who asked, and which one.
    pub made_by: String,
    pub made_at: Timestamp,
    pub until: Timestamp,
}

/// A silence without an end is a switch, and that is in the configuration.
const LONGEST: Span = Span::from_days(30);
const LONGEST_TEXT: usize = 256;

pub(super) async fn create(alerts: &Alerts, silencing: &Silencing, by: &By) -> Result<Uuid, Error> {
    const SQL: &str = "INSERT INTO alert_silence (id, source, subject, because, made_by, made_at, until_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    if !SOURCES.contains(&silencing.source.as_str()) {
        return Err(Error::Invalid(
            "source",
            "is no detector or source: docs/monitoring.md lists them",
        ));
    }
    if silencing.span.is_zero() || silencing.span > LONGEST {
        return Err(Error::Invalid(
            "for",
            "must be longer than nothing and 30 days at most",
        ));
    }
    let because = silencing.because.trim();
    if because.is_empty() || because.len() > LONGEST_TEXT {
        return Err(Error::Invalid(
            "because",
            "must say why, in 256 bytes at most",
        ));
    }
    let subject = silencing.subject.as_deref();
    if subject.is_some_and(|text| text.is_empty() || text.len() > LONGEST_TEXT) {
        return Err(Error::Invalid(
            "subject",
            "must be as `anomalies list` shows it",
        ));
    }
    let (id, now) = (Uuid::now_v7(), alerts.clock.now());
    let until = now + silencing.span;
    let because = crate::redact::text(because);
    let made_by = by.actor.to_string();
    let mut tx = alerts.db.begin().await?;
    let args = [
        id.into(),
        (&silencing.source).into(),
        subject.into(),
        (&because).into(),
        (&made_by).into(),
        now.into(),
        until.into(),
    ];
    tx.execute(SQL, &args).await?;
    let event = Event::new(now, Action::AlertSilenced, Outcome::Allowed)
        .done(by)
        .to(Target::named("alert-source", &silencing.source))
        .with("silence", id.to_string())
        .about(subject.unwrap_or("all"))
        .with("until", until.to_string())
        .with("because", because);
    alerts.trail.record_in(&mut tx, event).await?;
    tx.commit().await?;
    Ok(id)
}

pub(super) async fn lift(alerts: &Alerts, id: Uuid, by: &By) -> Result<(), Error> {
    const SQL: &str = "UPDATE alert_silence SET lifted_at = $2 WHERE id = $1 AND lifted_at IS NULL AND until_at > $2 RETURNING source";
    let now = alerts.clock.now();
    let mut tx = alerts.db.begin().await?;
    let row = tx.fetch_optional(SQL, &[id.into(), now.into()]).await?;
    let source = row.ok_or(Error::NotFound)?.text("source")?;
    let event = Event::new(now, Action::AlertSilenceLifted, Outcome::Allowed)
        .done(by)
        .to(Target::named("alert-source", &source))
        .with("silence", id.to_string());
    alerts.trail.record_in(&mut tx, event).await?;
    Ok(tx.commit().await?)
}

pub(super) async fn is_silenced(
    tx: &mut Tx,
    notice: &Notice,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "SELECT id FROM alert_silence WHERE source = $1 AND (subject IS NULL OR subject = $2) AND until_at > $3 AND lifted_at IS NULL LIMIT 1";
    let args = [
        (&notice.source).into(),
        (&notice.subject).into(),
        now.into(),
    ];
    Ok(tx.fetch_optional(SQL, &args).await?.is_some())
}

pub(super) async fn list(db: &Db, now: Timestamp) -> Result<Vec<Silence>, Error> {
    const SQL: &str = "SELECT id, source, subject, because, made_by, made_at, until_at FROM alert_silence WHERE until_at > $1 AND lifted_at IS NULL ORDER BY made_at DESC, id DESC LIMIT 1000";
    let rows = db.fetch_all(SQL, &[now.into()]).await?;
    rows.iter().map(silence).collect()
}

fn silence(row: &Row) -> Result<Silence, Error> {
    Ok(Silence {
        id: row.uuid("id")?,
        source: row.text("source")?,
        subject: row.opt_text("subject")?,
        because: row.text("because")?,
        made_by: row.text("made_by")?,
        made_at: row.timestamp("made_at")?,
        until: row.timestamp("until_at")?,
    })
}
