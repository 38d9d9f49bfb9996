//! Incidents (N1, N2, N3): what happened, by when somebody has to answer, what was done, and what is left to do.
//!
//! - An incident goes through five phases: triage, contain, eradicate, recover, postmortem. What was done or
//!   found in each is a note; notes are never changed.
//! - The clock runs from the opening: acknowledged within 24 hours, a critical one triaged on the same day.
//! - It is closed with its cause, when every phase has a note and every task is done. Nothing is left behind.
//! - Each act is in the audit trail, in the transaction of the act.
//!
//! What ends sessions and keys is not in here: that belongs to whoever has them.

pub mod alarm;
mod containment;
pub mod erasure;
pub mod manage;
mod store;

use std::sync::Arc;

use portcullis_core::{Clock, Problem, Span, Timestamp, problem};
use portcullis_store::revocations::{Revocation, publish};
use portcullis_store::{Db, Tx};
use serde::Serialize;
use uuid::Uuid;

use crate::audit::{self, Action, By, Event, Outcome, Target, Trail};
use crate::redact;
pub use alarm::Alarm;

/// From the opening to the first answer (N1).
pub const ACKNOWLEDGE_WITHIN: Span = Span::from_hours(24);
/// Who opens a critical incident late in the day has so long at least.
const TRIAGE_AT_LEAST: Span = Span::from_hours(4);
/// Longest title, note, cause or task, in bytes.
const LONGEST: usize = 4000;
/// How far back answers to incidents are looked at.
const LOOKED_BACK: Span = Span::from_days(90);
/// Most incidents in a list.
const MOST: i64 = 1000;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $kind:literal; $($(#[$about:meta])* $variant:ident = $word:literal;)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$about])* $variant),* }

        impl $name {
            /// In order.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The stable word.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                let known = || $name::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
                let found = $name::ALL.iter().copied().find(|one| one.as_str() == word);
                found.ok_or_else(|| format!(concat!("a ", $kind, " is one of {}"), known()))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// How bad it is.
    Severity, "severity";
    /// Data or accounts of others are in somebody's hands, or may be at any moment. Triaged on the same day.
    Critical = "critical";
    High = "high";
    Medium = "medium";
    Low = "low";
}

words! {
    /// What an incident goes through (N2).
    Phase, "phase";
    /// What is concerned; evidence is kept.
    Triage = "triage";
    /// Credentials are disabled and revoked.
    Contain = "contain";
    /// The way in is closed, secrets are new.
    Eradicate = "eradicate";
    /// Everything runs again, and was looked at.
    Recover = "recover";
    /// Why it happened, and what is done so that it does not happen again.
    Postmortem = "postmortem";
}

/// One incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    pub id: Uuid,
    pub title: String,
    pub severity: Severity,
    pub opened_at: Timestamp,
    pub acknowledged_at: Option<Timestamp>,
    pub triaged_at: Option<Timestamp>,
    pub root_cause: Option<String>,
    pub closed_at: Option<Timestamp>,
}

impl Incident {
    /// When it has to be acknowledged.
    pub fn acknowledge_by(&self) -> Timestamp {
        self.opened_at + ACKNOWLEDGE_WITHIN
    }

    /// When a critical one has to be triaged: the end of the day (UTC) on which it was opened, and never
    /// less than four hours.
    pub fn triage_by(&self) -> Option<Timestamp> {
        match self.severity {
            Severity::Critical => {
                const DAY: i64 = 86_400;
                let day = self.opened_at.as_seconds().div_euclid(DAY);
                let end = Timestamp::from_seconds(day.saturating_add(1).saturating_mul(DAY));
                Some(end.max(self.opened_at + TRIAGE_AT_LEAST))
            }
            Severity::High | Severity::Medium | Severity::Low => None,
        }
    }

    /// What should have been done by now, in words.
    pub fn overdue(&self, now: Timestamp) -> Vec<&'static str> {
        let mut late = Vec::new();
        if self.acknowledged_at.is_none() && now > self.acknowledge_by() {
            late.push("not acknowledged");
        }
        if self.triaged_at.is_none() && self.triage_by().is_some_and(|by| now > by) {
            late.push("not triaged");
        }
        late
    }

    pub fn target(&self) -> Target {
        Target::named("incident", &self.id.to_string())
    }
}

/// Something that was done or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub number: i64,
    pub at: Timestamp,
    pub by: String,
    pub phase: Phase,
    pub text: String,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub number: i64,
    pub text: String,
    pub owner: String,
    pub due_at: Option<Timestamp>,
    pub done_at: Option<Timestamp>,
    pub result: Option<String>,
}

/// What was contained, and how far it reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contained {
    /// `user:ID`, `tenant:ID`, `key:ID`, `all` or `route:PATTERN`.
    pub scope: String,
    #[serde(skip)]
    pub at: Timestamp,
    pub accounts: i64,
    pub sessions: i64,
    /// Sign-ins with tokens.
    pub token_families: i64,
    pub api_keys: i64,
    pub visits: i64,
}

/// A route that answers nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    pub pattern: String,
    pub reason: String,
    pub at: Timestamp,
    pub by: String,
}

/// All of one incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub incident: Incident,
    pub notes: Vec<Note>,
    pub tasks: Vec<Task>,
    pub contained: Vec<Contained>,
    pub frozen: Vec<Frozen>,
}

impl File {
    /// What keeps it from being closed, in words; nothing where it can be.
    pub fn left(&self) -> Vec<String> {
        let has_note = |phase: Phase| self.notes.iter().any(|note| note.phase == phase);
        let phases = Phase::ALL.iter().filter(|phase| !has_note(**phase));
        let phases = phases.map(|phase| format!("`{phase}` has no note"));
        let tasks = self.tasks.iter().filter(|task| task.done_at.is_none());
        let tasks = tasks.map(|task| format!("task {} is not done", task.number));
        let frozen = self.frozen.iter();
        let frozen = frozen.map(|route| format!("`{}` is frozen", route.pattern));
        phases.chain(tasks).chain(frozen).collect()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no such incident, or no such task of it")]
    NotFound,
    #[error("`{0}` must have 1 to {LONGEST} bytes")]
    Invalid(&'static str),
    #[error("`{0}` is no path of a route: {1}")]
    Pattern(String, portcullis_core::route::PatternError),
    #[error("`{0}` is frozen already, for another incident")]
    Frozen(String),
    #[error("the incident is closed")]
    Closed,
    #[error("it cannot be closed: {}", .0.join(", "))]
    Left(Vec<String>),
    #[error("a row cannot be read")]
    Unreadable,
    #[error(transparent)]
    Trail(#[from] audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Problem::new(&problem::NOT_FOUND),
            Error::Invalid(field) => Problem::new(&problem::INVALID_INPUT)
                .field(field, format!("must have 1 to {LONGEST} bytes")),
            Error::Pattern(..) => {
                Problem::new(&problem::INVALID_INPUT).field("pattern", error.to_string())
            }
            Error::Closed | Error::Left(_) | Error::Frozen(_) => {
                Problem::new(&problem::CONFLICT).detail(error.to_string())
            }
            Error::Unreadable => Problem::internal(error),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

/// The incidents of this gate; cheap to clone.
#[derive(Clone)]
pub struct Incidents {
    db: Db,
    trail: Trail,
    clock: Arc<dyn Clock>,
}

impl Incidents {
    pub const fn new(db: Db, trail: Trail, clock: Arc<dyn Clock>) -> Self {
        Incidents { db, trail, clock }
    }

    /// Tells the metrics how fast incidents are answered.
    pub async fn keep_house(&self) -> Result<(), Error> {
        let since = self.clock.now() - LOOKED_BACK;
        let means = store::answered(&self.db, since).await?;
        self.trail.metrics().incidents_answered(means);
        Ok(())
    }

    /// Opens an incident. Its clock runs from now on.
    pub async fn open(&self, title: &str, severity: Severity, by: &By) -> Result<Incident, Error> {
        let title = words("title", title)?;
        let now = self.clock.now();
        let incident = Incident {
            id: Uuid::now_v7(),
            title,
            severity,
            opened_at: now,
            acknowledged_at: None,
            triaged_at: None,
            root_cause: None,
            closed_at: None,
        };
        let mut tx = self.db.begin().await?;
        store::insert(&mut tx, &incident).await?;
        let event = self.event(&incident, Action::IncidentOpened, by);
        let event = event
            .with("severity", severity.as_str())
            .with("title", incident.title.as_str());
        self.trail.record_in(&mut tx, event).await?;
        publish(&mut tx, Revocation::Incidents, now).await?;
        tx.commit().await?;
        Ok(incident)
    }

    /// Says that somebody has taken it up.
    pub async fn acknowledge(&self, id: Uuid, by: &By) -> Result<Incident, Error> {
        let incident = self.still_open(id).await?;
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        if store::acknowledge(&mut tx, id, now).await? {
            let event = self.event(&incident, Action::IncidentNoted, by);
            self.trail
                .record_in(&mut tx, event.with("acknowledged", true))
                .await?;
            tx.commit().await?;
        }
        self.get(id).await
    }

    /// Notes what was done or found. A note of the triage stops its clock, and each acknowledges.
    pub async fn note(&self, id: Uuid, phase: Phase, text: &str, by: &By) -> Result<(), Error> {
        let incident = self.still_open(id).await?;
        let mut tx = self.db.begin().await?;
        self.note_in(&mut tx, &incident, phase, text, by).await?;
        Ok(tx.commit().await?)
    }

    /// The note, its clocks and its event, in the transaction of the act.
    async fn note_in(
        &self,
        tx: &mut Tx,
        incident: &Incident,
        phase: Phase,
        text: &str,
        by: &By,
    ) -> Result<(), Error> {
        let (id, now) = (incident.id, self.clock.now());
        let text = words("text", text)?;
        store::acknowledge(tx, id, now).await?;
        if phase == Phase::Triage {
            store::triage(tx, id, now).await?;
        }
        store::insert_note(tx, id, (now, &by.actor.written()), phase, &text).await?;
        let event = self.event(incident, Action::IncidentNoted, by);
        let event = event.with("phase", phase.as_str()).with("note", text);
        Ok(self.trail.record_in(tx, event).await?)
    }

    /// Adds something that is to be done; its number.
    pub async fn add_task(
        &self,
        id: Uuid,
        (text, owner): (&str, &str),
        due_at: Option<Timestamp>,
        by: &By,
    ) -> Result<i64, Error> {
        let incident = self.still_open(id).await?;
        let (text, owner) = (words("text", text)?, words("owner", owner)?);
        let mut tx = self.db.begin().await?;
        let number = store::insert_task(&mut tx, id, (&text, &owner), due_at).await?;
        let event = self.event(&incident, Action::IncidentNoted, by);
        let event = event.with("task", number).with("text", text);
        self.trail.record_in(&mut tx, event).await?;
        tx.commit().await?;
        Ok(number)
    }

    /// Says that something was done, and how.
    pub async fn finish_task(
        &self,
        id: Uuid,
        number: i64,
        result: &str,
        by: &By,
    ) -> Result<(), Error> {
        let incident = self.still_open(id).await?;
        let result = words("result", result)?;
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        if !store::finish_task(&mut tx, id, number, (now, &result)).await? {
            return Err(Error::NotFound);
        }
        let event = self.event(&incident, Action::IncidentNoted, by);
        let event = event.with("task", number).with("result", result);
        self.trail.record_in(&mut tx, event).await?;
        Ok(tx.commit().await?)
    }

    /// Closes it with its cause, where nothing is left to be done.
    pub async fn close(&self, id: Uuid, root_cause: &str, by: &By) -> Result<(), Error> {
        let incident = self.still_open(id).await?;
        let cause = words("cause", root_cause)?;
        let mut tx = self.db.begin().await?;
        // INVARIANT: the row is written first, so that no task comes between the look and the close.
        if !store::close(&mut tx, id, &cause, self.clock.now()).await? {
            return Err(Error::Closed);
        }
        let left = store::file_in(&mut tx, incident.clone()).await?.left();
        if !left.is_empty() {
            return Err(Error::Left(left));
        }
        let event = self.event(&incident, Action::IncidentClosed, by);
        self.trail
            .record_in(&mut tx, event.with("cause", cause))
            .await?;
        publish(&mut tx, Revocation::Incidents, self.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    pub async fn get(&self, id: Uuid) -> Result<Incident, Error> {
        store::find(&self.db, id).await?.ok_or(Error::NotFound)
    }

    /// The incident with its notes and tasks.
    pub async fn file(&self, id: Uuid) -> Result<File, Error> {
        let incident = self.get(id).await?;
        store::file(&self.db, incident).await
    }

    /// Newest first, at most a thousand.
    pub async fn list(&self) -> Result<Vec<Incident>, Error> {
        store::list(&self.db, MOST).await
    }

    async fn still_open(&self, id: Uuid) -> Result<Incident, Error> {
        let incident = self.get(id).await?;
        match incident.closed_at {
            None => Ok(incident),
            Some(_) => Err(Error::Closed),
        }
    }

    fn event(&self, incident: &Incident, action: Action, by: &By) -> Event {
        Event::new(self.clock.now(), action, Outcome::Allowed)
            .done(by)
            .to(incident.target())
    }
}

impl std::fmt::Debug for Incidents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Incidents(..)")
    }
}

/// What somebody wrote, of a sensible length, without secrets and control characters.
fn words(field: &'static str, text: &str) -> Result<String, Error> {
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST {
        return Err(Error::Invalid(field));
    }
    Ok(redact::bounded(text, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(at: i64, severity: Severity) -> Incident {
        Incident {
            id: Uuid::nil(),
            title: "x".to_owned(),
            severity,
            opened_at: Timestamp::from_seconds(at),
            acknowledged_at: None,
            triaged_at: None,
            root_cause: None,
            closed_at: None,
        }
    }

    #[test]
    fn a_critical_incident_is_triaged_on_the_same_day_and_never_in_less_than_four_hours() {
        const DAY: i64 = 20_000 * 86_400;
        let by = |at, severity| {
            let by = opened(at, severity).triage_by();
            by.map(|by| by.as_seconds() - DAY)
        };
        assert_eq!(by(DAY + 3_600, Severity::Critical), Some(86_400));
        assert_eq!(
            by(DAY + 86_000, Severity::Critical),
            Some(86_000 + 4 * 3_600)
        );
        assert_eq!(by(DAY, Severity::High), None);
    }

    #[test]
    fn what_is_late_is_told_from_the_moment_on_at_which_it_is() {
        let mut incident = opened(0, Severity::Critical);
        let hours = |hours: i64| Timestamp::from_seconds(hours * 3_600);
        assert!(incident.overdue(hours(24)).is_empty());
        let late = Timestamp::from_seconds(24 * 3_600 + 1);
        assert_eq!(incident.overdue(late), ["not acknowledged", "not triaged"]);
        incident.acknowledged_at = Some(hours(1));
        assert_eq!(incident.overdue(late), ["not triaged"]);
        incident.triaged_at = Some(hours(2));
        assert!(incident.overdue(hours(1000)).is_empty());
    }

    #[test]
    fn what_is_left_is_each_phase_without_a_note_and_each_task_that_is_not_done() {
        let note = |phase| Note {
            number: 1,
            at: Timestamp::from_seconds(0),
            by: "operator".to_owned(),
            phase,
            text: "x".to_owned(),
        };
        let mut file = File {
            incident: opened(0, Severity::Low),
            notes: Phase::ALL.iter().copied().map(note).collect(),
            tasks: Vec::new(),
            contained: Vec::new(),
            frozen: Vec::new(),
        };
        assert!(file.left().is_empty());
        file.notes.remove(1);
        file.tasks.push(Task {
            number: 1,
            text: "x".to_owned(),
            owner: "ana".to_owned(),
            due_at: None,
            done_at: None,
            result: None,
        });
        file.frozen.push(Frozen {
            pattern: "/export".to_owned(),
            reason: "x".to_owned(),
            at: Timestamp::from_seconds(0),
            by: "operator".to_owned(),
        });
        let left = [
            "`contain` has no note",
            "task 1 is not done",
            "`/export` is frozen",
        ];
        assert_eq!(file.left(), left);
    }
}
