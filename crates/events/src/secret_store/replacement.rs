//! The replacement of a secret in six steps (X5): identify, at the provider, in every store, deployed, old
//! values ended, looked back.
//!
//! - Each step is a row: who did it, when, and what came of it. Left half way, it goes on where it was.
//! - The steps come in this order. What the gate can do it does; what a person does is confirmed.
//! - A new value is brought once, however often the step is tried.

use portcullis_core::{Secret, Span, Timestamp};
use portcullis_store::{Db, Row, Tx};
use portcullis_vault::tokens::sha256;
use serde::Serialize;
use uuid::Uuid;

use super::{Error, Label, Made, Rotation, SecretStore, Stored, rows, target};
use crate::audit::{self, Action, By, Event, Filter};

/// What there is to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Which secret, whose, who reads it.
    Identify,
    /// A new one at the provider; a person does it.
    Provider,
    /// The new value in the store, and the product told.
    Stores,
    /// Everything runs with the new value; a person knows.
    Redeploy,
    /// The old value is served no more.
    Invalidate,
    /// Who read the old value.
    Audit,
}

impl Step {
    pub const ALL: [Step; 6] = [
        Step::Identify,
        Step::Provider,
        Step::Stores,
        Step::Redeploy,
        Step::Invalidate,
        Step::Audit,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Step::Identify => "identify",
            Step::Provider => "provider",
            Step::Stores => "stores",
            Step::Redeploy => "redeploy",
            Step::Invalidate => "invalidate",
            Step::Audit => "audit",
        }
    }

    pub fn parse(word: &str) -> Option<Step> {
        Step::ALL.into_iter().find(|step| step.as_str() == word)
    }

    const fn number(self) -> i64 {
        match self {
            Step::Identify => 1,
            Step::Provider => 2,
            Step::Stores => 3,
            Step::Redeploy => 4,
            Step::Invalidate => 5,
            Step::Audit => 6,
        }
    }
}

/// A step that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepDone {
    pub step: Step,
    pub done_at: String,
    pub done_by: String,
    pub result: String,
}

/// A replacement that is under way, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    id: Uuid,
    pub begun_at: Timestamp,
    pub old_version: i64,
    pub new_version: Option<i64>,
    pub steps: Vec<StepDone>,
}

impl Replacement {
    /// What comes next; nothing where all is done.
    pub fn next(&self) -> Option<Step> {
        let last = self.steps.last().map(|done| done.step);
        Step::ALL
            .into_iter()
            .find(|step| last.is_none_or(|last| *step > last))
    }
}

/// Somebody who was given a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Use {
    pub at: String,
    pub actor: String,
    pub client: Option<String>,
    pub request: Option<String>,
    pub version: i64,
}

impl SecretStore {
    /// The replacement that is under way; one begins where there is none.
    pub async fn replacement(&self, label: &Label) -> Result<(Stored, Replacement), Error> {
        let stored = self.find(label).await?;
        if let Some(open) = open(&self.db, stored.id).await? {
            return Ok((stored, open));
        }
        let mut tx = self.db.begin().await?;
        begin(&mut tx, &stored, self.clock.now()).await?;
        tx.commit().await?;
        // Ours, or that of somebody who was faster.
        let begun = open(&self.db, stored.id).await?.ok_or(Error::Busy)?;
        Ok((stored, begun))
    }

    /// Step 1: what the secret is, and who read its value lately.
    pub async fn identify(
        &self,
        (stored, replacement): &(Stored, Replacement),
        by: &By,
    ) -> Result<(), Error> {
        let uses = self.uses(stored, replacement.old_version).await?;
        let mut readers: Vec<&str> = uses.iter().map(|one| one.actor.as_str()).collect();
        readers.sort_unstable();
        readers.dedup();
        let result = format!(
            "{}, version {}, {} days old, of {}: {}; read by {}",
            stored.label.name,
            stored.version,
            self.age(stored).as_seconds() / 86_400,
            stored.owner,
            stored.purpose,
            if readers.is_empty() {
                "nobody".to_owned()
            } else {
                readers.join(", ")
            }
        );
        self.note(stored, replacement, (Step::Identify, &result), by)
            .await
    }

    /// A step that a person has done. Where a provider makes nothing, that step is done by itself.
    pub async fn confirm(
        &self,
        (stored, replacement): &(Stored, Replacement),
        (step, result): (Step, &str),
        by: &By,
    ) -> Result<(), Error> {
        match step {
            Step::Provider | Step::Redeploy => {}
            Step::Identify | Step::Stores | Step::Invalidate | Step::Audit => {
                return Err(Error::NotThisStep);
            }
        }
        self.note(stored, replacement, (step, result), by).await
    }

    /// Step 3: the new value. The product is told with it.
    pub async fn bring(
        &self,
        (stored, replacement): &(Stored, Replacement),
        value: Option<Secret<String>>,
        overlap: Option<Span>,
        by: &By,
    ) -> Result<(), Error> {
        if replacement.next() != Some(Step::Stores) {
            return Err(Error::NotThisStep);
        }
        let rotation = Rotation {
            value,
            overlap,
            // Whoever ends the process between the value and the note of it makes no second one.
            request: Some(request_of(replacement)),
            ..Rotation::default()
        };
        let version = match stored.made {
            // Its file was changed by somebody.
            Made::File if stored.version > replacement.old_version => stored.version,
            Made::File | Made::Provider | Made::Hex(_) | Made::Base64Url(_) => {
                self.rotate(&stored.label, &rotation, by).await?
            }
        };
        let result = format!("version {version} is in use");
        let mut tx = self.db.begin().await?;
        set_new_version(&mut tx, replacement.id, version).await?;
        self.note_in(&mut tx, stored, replacement, (Step::Stores, &result), by)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Whether step 3 needs a value: it is not made here, and was not brought before.
    pub async fn needs_value(
        &self,
        (stored, replacement): &(Stored, Replacement),
    ) -> Result<bool, Error> {
        let request = request_of(replacement);
        let brought = rows::made_by_request(&self.db, stored.id, &request).await?;
        Ok(match stored.made {
            Made::Provider => brought.is_none(),
            Made::File => stored.version == replacement.old_version,
            Made::Hex(_) | Made::Base64Url(_) => false,
        })
    }

    /// Step 5: the old values are served no more. `also` says what else was ended.
    pub async fn invalidate(
        &self,
        (stored, replacement): &(Stored, Replacement),
        also: &str,
        by: &By,
    ) -> Result<(), Error> {
        if replacement.next() != Some(Step::Invalidate) {
            return Err(Error::NotThisStep);
        }
        let ended = self.end_previous(&stored.label, by).await?;
        let result = format!("{ended} old values are served no more{also}");
        self.note(stored, replacement, (Step::Invalidate, &result), by)
            .await
    }

    /// Step 6: who was given the old value. With it the replacement is over.
    pub async fn look_back(
        &self,
        (stored, replacement): &(Stored, Replacement),
        by: &By,
    ) -> Result<(Replacement, Vec<Use>), Error> {
        let uses = self.uses(stored, replacement.old_version).await?;
        let result = format!("the old value was read {} times", uses.len());
        let mut tx = self.db.begin().await?;
        self.note_in(&mut tx, stored, replacement, (Step::Audit, &result), by)
            .await?;
        end(&mut tx, replacement.id, self.clock.now()).await?;
        tx.commit().await?;
        let over = read(&self.db, replacement.id).await?;
        Ok((over.ok_or(Error::NotFound)?, uses))
    }

    /// Who was given the value of a version, newest first, of the last events of this kind.
    async fn uses(&self, stored: &Stored, version: i64) -> Result<Vec<Use>, Error> {
        const PAGES: u32 = 50;
        const PAGE: u32 = 1000;
        let filter = Filter {
            since: Some(stored.created_at),
            action: Some(Action::SecretRead),
            ..Filter::default()
        };
        let target = target(&stored.label);
        let (mut uses, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES {
            let page = audit::list(&self.db, &filter, cursor, PAGE).await?;
            let of_it = page.events.iter().filter(|event| {
                event.target.as_ref() == Some(&target) && event.tenant == stored.label.tenant
            });
            uses.extend(of_it.filter_map(|event| use_of(event, version)));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(uses)
    }

    async fn note(
        &self,
        stored: &Stored,
        replacement: &Replacement,
        done: (Step, &str),
        by: &By,
    ) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        self.note_in(&mut tx, stored, replacement, done, by).await?;
        Ok(tx.commit().await?)
    }

    /// Notes a step: the next one and no other.
    async fn note_in(
        &self,
        tx: &mut Tx,
        stored: &Stored,
        replacement: &Replacement,
        (step, result): (Step, &str),
        by: &By,
    ) -> Result<(), Error> {
        if replacement.next() != Some(step) {
            return Err(Error::NotThisStep);
        }
        let now = self.clock.now();
        if !insert_step(tx, replacement.id, step, (now, &by.actor.written()), result).await? {
            return Err(Error::NotThisStep);
        }
        let event = self
            .event(stored, Action::SecretReplacement, by)
            .with("step", step.as_str())
            .with("result", result);
        Ok(self.trail.record_in(tx, event).await?)
    }
}

/// By what the new value of a replacement is known.
fn request_of(replacement: &Replacement) -> [u8; 32] {
    sha256(format!("replacement:{}", replacement.id).as_bytes())
}

fn use_of(event: &Event, version: i64) -> Option<Use> {
    let used = event.metadata.get("version")?.as_i64()?;
    (used == version).then(|| Use {
        at: event.at.to_string(),
        actor: event.actor.written(),
        client: event.client.map(|client| client.to_string()),
        request: event.request.map(|request| request.to_string()),
        version,
    })
}

async fn open(db: &Db, secret: Uuid) -> Result<Option<Replacement>, Error> {
    const SQL: &str = "SELECT id FROM secret_replacement WHERE secret_id = $1 AND ended_at IS NULL";
    match db.fetch_optional(SQL, &[secret.into()]).await? {
        Some(row) => read(db, row.uuid("id")?).await,
        None => Ok(None),
    }
}

async fn read(db: &Db, id: Uuid) -> Result<Option<Replacement>, Error> {
    const SQL: &str =
        "SELECT begun_at, old_version, new_version FROM secret_replacement WHERE id = $1";
    const STEPS: &str = "SELECT step, done_at, done_by, result FROM secret_replacement_step WHERE replacement_id = $1 ORDER BY step";
    let Some(row) = db.fetch_optional(SQL, &[id.into()]).await? else {
        return Ok(None);
    };
    let steps = db.fetch_all(STEPS, &[id.into()]).await?;
    Ok(Some(Replacement {
        id,
        begun_at: row.timestamp("begun_at")?,
        old_version: row.int("old_version")?,
        new_version: row.opt_int("new_version")?,
        steps: steps.iter().map(step_of).collect::<Result<_, Error>>()?,
    }))
}

fn step_of(row: &Row) -> Result<StepDone, Error> {
    let number = row.int("step")?;
    let step = Step::ALL.into_iter().find(|step| step.number() == number);
    Ok(StepDone {
        step: step.ok_or(Error::Unreadable)?,
        done_at: row.timestamp("done_at")?.to_string(),
        done_by: row.text("done_by")?,
        result: row.text("result")?,
    })
}

/// Nothing happens where one is under way.
async fn begin(tx: &mut Tx, stored: &Stored, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO secret_replacement (id, secret_id, begun_at, old_version) VALUES ($1, $2, $3, $4) ON CONFLICT (secret_id) WHERE ended_at IS NULL DO NOTHING";
    let args = [
        Uuid::now_v7().into(),
        stored.id.into(),
        now.into(),
        stored.version.into(),
    ];
    tx.execute(SQL, &args).await?;
    Ok(())
}

async fn set_new_version(tx: &mut Tx, id: Uuid, version: i64) -> Result<(), Error> {
    const SQL: &str = "UPDATE secret_replacement SET new_version = $2 WHERE id = $1";
    tx.execute(SQL, &[id.into(), version.into()]).await?;
    Ok(())
}

async fn end(tx: &mut Tx, id: Uuid, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "UPDATE secret_replacement SET ended_at = $2 WHERE id = $1";
    tx.execute(SQL, &[id.into(), now.into()]).await?;
    Ok(())
}

/// False where somebody else noted it.
async fn insert_step(
    tx: &mut Tx,
    id: Uuid,
    step: Step,
    (now, by): (Timestamp, &str),
    result: &str,
) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO secret_replacement_step (replacement_id, step, done_at, done_by, result) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (replacement_id, step) DO NOTHING";
    let args = [
        id.into(),
        step.number().into(),
        now.into(),
        by.into(),
        result.into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}
