//! Texts of incidents that name a person: found for their export, and without the name after their erasure.
//!
//! What was done stays on record: only the name goes, and [`crate::mentions::MARK`] stands for it.

use portcullis_store::{Row, Tx};
use uuid::Uuid;

use super::{Error, Incidents};
use crate::mentions::{Mentions, Page};

/// Incidents that are read at once.
const PAGE: u32 = 50;

const NEXT: &str = "SELECT id FROM incident WHERE id > $1 ORDER BY id LIMIT $2";
const TEXTS: &str = "SELECT 'title' AS place, CAST(0 AS BIGINT) AS number, '' AS name, title AS text FROM incident WHERE id = $1 \
    UNION ALL SELECT 'cause', CAST(0 AS BIGINT), '', root_cause FROM incident WHERE id = $1 AND root_cause IS NOT NULL \
    UNION ALL SELECT 'note', number, '', text FROM incident_note WHERE incident_id = $1 \
    UNION ALL SELECT 'task', number, '', text FROM incident_task WHERE incident_id = $1 \
    UNION ALL SELECT 'owner', number, '', owner FROM incident_task WHERE incident_id = $1 \
    UNION ALL SELECT 'result', number, '', result FROM incident_task WHERE incident_id = $1 AND result IS NOT NULL \
    UNION ALL SELECT 'scope', number, '', scope FROM incident_scope WHERE incident_id = $1 \
    UNION ALL SELECT 'reason', CAST(0 AS BIGINT), pattern, reason FROM route_freeze WHERE incident_id = $1";

/// Where a text stands in the file of an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Title,
    Cause,
    Note(i64),
    Task(i64),
    TaskOwner(i64),
    TaskResult(i64),
    Scope(i64),
    /// Why the route of this pattern is frozen.
    FreezeReason(String),
}

impl Place {
    fn of(row: &Row) -> Result<Place, Error> {
        let number = row.int("number")?;
        Ok(match row.text("place")?.as_str() {
            "title" => Place::Title,
            "cause" => Place::Cause,
            "note" => Place::Note(number),
            "task" => Place::Task(number),
            "owner" => Place::TaskOwner(number),
            "result" => Place::TaskResult(number),
            "scope" => Place::Scope(number),
            "reason" => Place::FreezeReason(row.text("name")?),
            _ => return Err(Error::Unreadable),
        })
    }

    /// The table that it stands in.
    pub const fn table(&self) -> &'static str {
        match self {
            Place::Title | Place::Cause => "incident",
            Place::Note(_) => "incident_note",
            Place::Task(_) | Place::TaskOwner(_) | Place::TaskResult(_) => "incident_task",
            Place::Scope(_) => "incident_scope",
            Place::FreezeReason(_) => "route_freeze",
        }
    }

    /// Only a text that is still what it was: `$1` is the incident, `$2` the new one, `$3` the old one.
    const fn update(&self) -> &'static str {
        match self {
            Place::Title => "UPDATE incident SET title = $2 WHERE id = $1 AND title = $3",
            Place::Cause => "UPDATE incident SET root_cause = $2 WHERE id = $1 AND root_cause = $3",
            Place::Note(_) => {
                "UPDATE incident_note SET text = $2 WHERE incident_id = $1 AND text = $3 AND number = $4"
            }
            Place::Task(_) => {
                "UPDATE incident_task SET text = $2 WHERE incident_id = $1 AND text = $3 AND number = $4"
            }
            Place::TaskOwner(_) => {
                "UPDATE incident_task SET owner = $2 WHERE incident_id = $1 AND owner = $3 AND number = $4"
            }
            Place::TaskResult(_) => {
                "UPDATE incident_task SET result = $2 WHERE incident_id = $1 AND result = $3 AND number = $4"
            }
            Place::Scope(_) => {
                "UPDATE incident_scope SET scope = $2 WHERE incident_id = $1 AND scope = $3 AND number = $4"
            }
            Place::FreezeReason(_) => {
                "UPDATE route_freeze SET reason = $2 WHERE incident_id = $1 AND reason = $3 AND pattern = $4"
            }
        }
    }
}

/// A text in which somebody is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mentioned {
    pub incident: Uuid,
    pub place: Place,
    pub text: String,
}

impl Incidents {
    /// The texts of the next incidents, oldest first, that name somebody.
    pub async fn mentioning(
        &self,
        names: &Mentions,
        after: Uuid,
    ) -> Result<Page<Mentioned, Uuid>, Error> {
        let rows = self
            .db
            .fetch_all(NEXT, &[after.into(), PAGE.into()])
            .await?;
        let (mut found, mut last) = (Vec::new(), after);
        for row in &rows {
            last = row.uuid("id")?;
            for row in &self.db.fetch_all(TEXTS, &[last.into()]).await? {
                let text = row.text("text")?;
                if names.is_in(&text) {
                    found.push(Mentioned {
                        incident: last,
                        place: Place::of(row)?,
                        text,
                    });
                }
            }
        }
        Ok(Page::of(found, last, rows.len(), PAGE))
    }

    /// Takes the names out of a text that was found. Whether it did: somebody may have written another one.
    pub async fn take_out_in(
        &self,
        tx: &mut Tx,
        found: &Mentioned,
        names: &Mentions,
    ) -> Result<bool, Error> {
        let Some(left) = names.taken_out(&found.text) else {
            return Ok(false);
        };
        let mut args = vec![found.incident.into(), (&left).into(), (&found.text).into()];
        match &found.place {
            Place::Title | Place::Cause => {}
            Place::Note(number)
            | Place::Task(number)
            | Place::TaskOwner(number)
            | Place::TaskResult(number)
            | Place::Scope(number) => args.push((*number).into()),
            Place::FreezeReason(pattern) => args.push(pattern.into()),
        }
        Ok(tx.execute(found.place.update(), &args).await? == 1)
    }
}
