//! What the trail holds of one person: their events, and the end of what identifies them in it.

use portcullis_core::id::EventId;
use portcullis_store::{Row, Tx};
use uuid::Uuid;

use super::leaf::columns;
use super::list::Cursor;
use super::log::{Opened, vault};
use super::{Action, By, Error, Event, Log, Outcome, Page, Target, list, personal};

const TAKE_OUT: &str = "UPDATE audit_event SET personal = NULL WHERE personal IS NOT NULL AND (actor_id = $1 OR (actor_id IS NULL AND target = $2))";
const LEFT: &str = "SELECT id, personal, sealed FROM audit_event WHERE (personal IS NOT NULL OR sealed IS NOT NULL) AND (actor_id = $1 OR (actor_id IS NULL AND target = $2)) AND id > $3 ORDER BY id LIMIT $4";
const ABOUT: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM audit_event WHERE (actor_id = $1 OR target = $2) AND (at, id) < ($3, $4) ORDER BY at DESC, id DESC LIMIT $5"
);
/// Rows that are read together.
const BATCH: u32 = 1000;

fn target(person: Uuid) -> String {
    format!("user:{person}")
}

impl Log {
    /// The name of the person's key in the vault.
    pub fn key_of(person: Uuid) -> String {
        personal::key_name(person)
    }

    /// Events by a person or about their account, newest first, with their personal parts opened.
    ///
    /// Reads the whole trail where it has no index: for an export, not for a page that is looked at.
    pub async fn about(
        &self,
        person: Uuid,
        cursor: Option<Cursor>,
        limit: u32,
    ) -> Result<Page, Error> {
        let start = Cursor::or_newest(cursor);
        let target = target(person);
        let (at, id) = start.parts();
        let args = [
            person.into(),
            (&target).into(),
            at.into(),
            id.as_uuid().into(),
            i64::from(limit).saturating_add(1).into(),
        ];
        let mut rows = self.db().fetch_all(ABOUT, &args).await?;
        let asked = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > asked;
        rows.truncate(asked);
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            events.push(self.opened(row).await?);
        }
        Ok(list::page(events, more))
    }

    /// How many events still show what identifies the person: in the clear, or sealed and opening.
    ///
    /// # Errors
    /// The vault is closed: then nobody knows.
    pub async fn readable_of(&self, person: Uuid) -> Result<u64, Error> {
        let target = target(person);
        let (mut readable, mut after) = (0_u64, Uuid::nil());
        loop {
            let args = [person.into(), (&target).into(), after.into(), BATCH.into()];
            let rows = self.db().fetch_all(LEFT, &args).await?;
            for row in &rows {
                after = row.uuid("id")?;
                if self.is_readable(after, row).await? {
                    readable = readable.saturating_add(1);
                }
            }
            if rows.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
                return Ok(readable);
            }
        }
    }

    async fn is_readable(&self, id: Uuid, row: &Row) -> Result<bool, Error> {
        match (row.opt_text("personal")?, row.opt_text("sealed")?) {
            (Some(_), _) => Ok(true),
            (None, Some(sealed)) => match self.open(EventId::from_uuid(id), &sealed).await? {
                Opened::Text(_) => Ok(true),
                Opened::Gone => Ok(false),
                Opened::Closed => Err(Error::Vault),
            },
            (None, None) => Ok(false),
        }
    }

    /// Takes out what is not sealed yet of what identifies a person; of how many events. What is sealed goes
    /// with their key ([`Log::key_of`]).
    pub async fn take_out(&self, tx: &mut Tx, person: Uuid) -> Result<u64, Error> {
        let target = target(person);
        let args = [person.into(), (&target).into()];
        Ok(tx.execute(TAKE_OUT, &args).await?)
    }

    /// Destroys the key under which the personal parts of a person's events are sealed, and records it;
    /// how many keys. The events stay, and so do all proofs.
    pub async fn erase(&self, person: Uuid, by: &By) -> Result<u64, Error> {
        let parts = self.parts();
        let mut tx = parts.db.begin().await?;
        self.take_out(&mut tx, person).await?;
        let name = personal::key_name(person);
        let destroyed = parts.fields.destroy(&mut tx, None, Some(&name)).await;
        let destroyed = u64::try_from(destroyed.map_err(vault)?.len()).unwrap_or(u64::MAX);
        let event = Event::new(parts.clock.now(), Action::AuditErased, Outcome::Allowed)
            .done(by)
            .to(Target::named("person", &person.to_string()))
            .with("destroyed", destroyed);
        parts.trail.record_in(&mut tx, event).await?;
        tx.commit().await?;
        parts.fields.forget();
        Ok(destroyed)
    }
}
