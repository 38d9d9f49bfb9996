//! The erasure of a person: begun, carried out in one transaction, and looked after.
//!
//! INVARIANT: the row in `erasure` comes first and is finished in the transaction that deletes everything else.
//! Killed before that, the account is shut and everything is still there: the same call, or a running gate,
//! begins again. Killed after it, everything is gone.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_core::{Span, Timestamp, UserId};
use portcullis_events::audit::Log;
use portcullis_events::{Action, Event, Outcome, Target};
use portcullis_store::{Db, Row, Tx};
use portcullis_vault::tokens;
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use super::holdings::HOLDINGS;
use super::{Error, Person, Privacy};
use crate::accounts::By;
use crate::revoke;

const BEGIN: &str =
    "INSERT INTO erasure (subject, begun_at) VALUES ($1, $2) ON CONFLICT (subject) DO NOTHING";
const FIND: &str = "SELECT finished_at, certificate FROM erasure WHERE subject = $1";
const FINISH: &str = "UPDATE erasure SET finished_at = $2, certificate = $3 WHERE subject = $1";
const UNFINISHED: &str = "SELECT subject FROM erasure WHERE finished_at IS NULL AND begun_at < $1 ORDER BY begun_at LIMIT 100";
const RECENT: &str = "SELECT subject, certificate FROM erasure WHERE finished_at >= $1 ORDER BY finished_at LIMIT 1000";
const KEY: &str = "SELECT id FROM data_key WHERE subject = $1 LIMIT 1";
const KEYS: &str = "SELECT id FROM api_key WHERE user_id = $1";

/// Whoever begun one has so long before a running gate takes it up.
const TAKEN_UP_AFTER: Span = Span::from_minutes(2);
/// Events of what was under way are recorded within seconds; nodes that were away come back within the hour.
const LOOKED_AFTER_FOR: Span = Span::from_hours(1);
const FILES: u32 = 100;

/// What was destroyed. Names an id that names nobody any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    pub subject: String,
    pub erased_at: String,
    /// Rows that were deleted, by table.
    pub rows: BTreeMap<String, u64>,
    pub files: u64,
    /// Ids of the keys that were destroyed: nothing that they sealed opens again.
    pub keys: Vec<Uuid>,
    /// Ids of the API keys that ended with the account: by these the person acted, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_keys: Vec<Uuid>,
    /// Events of the trail whose personal part was not sealed yet, and was taken out.
    pub events_taken_out: u64,
    /// What stays for a while, by table: messages of webhooks that wait to be delivered. Each is emptied at the end of
    /// its way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, u64>,
}

impl Certificate {
    /// By what the audit log names it: a UUID version 8 of the first 122 bits of its SHA-256.
    pub fn digest(&self) -> Result<Uuid, Error> {
        let text = serde_json::to_string(self).map_err(|_| Error::Certificate)?;
        let hash = tokens::sha256(text.as_bytes());
        let first = hash.first_chunk::<16>().copied().unwrap_or_default();
        Ok(Builder::from_custom_bytes(first).into_uuid())
    }

    /// Everybody by whose ids this person acted.
    fn actors(&self, id: UserId) -> Vec<Uuid> {
        let mut actors = vec![id.as_uuid()];
        actors.extend(&self.api_keys);
        actors
    }

    /// Whether nothing was destroyed, now or for later.
    pub(super) fn is_of_nothing(&self) -> bool {
        let (rows, keys) = (self.rows.is_empty(), self.keys.is_empty());
        rows && keys && self.kept.is_empty() && self.files == 0 && self.events_taken_out == 0
    }

    /// What the audit log has of it.
    pub(super) fn event(&self, now: Timestamp) -> Result<Event, Error> {
        let sum = |counts: &BTreeMap<String, u64>| {
            let counts = counts.values().copied();
            counts.fold(0_u64, u64::saturating_add)
        };
        let keys = self.keys.iter().map(Uuid::to_string);
        Ok(
            Event::new(now, Action::PersonalDataErased, Outcome::Allowed)
                .with("certificate", self.digest()?.to_string())
                .with("rows", sum(&self.rows))
                .with("kept", sum(&self.kept))
                .with("files", self.files)
                .with("events_taken_out", self.events_taken_out)
                .with("keys_destroyed", self.keys.len())
                .with("key_ids", keys.collect::<Vec<_>>()),
        )
    }
}

/// What came of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Erased {
    #[serde(flatten)]
    pub certificate: Certificate,
    /// What the audit event names the certificate by.
    pub digest: Uuid,
    /// What was still found afterwards: nothing, or the erasure does not hold.
    pub left: Vec<String>,
    /// Whether the database's files were written anew, so that not even deleted rows are in them. PostgreSQL
    /// does that in its own time.
    pub purged: bool,
}

impl fmt::Display for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Certificate {
            subject,
            erased_at,
            rows,
            files,
            keys,
            api_keys: _,
            events_taken_out,
            kept,
        } = &self.certificate;
        writeln!(f, "{subject} was erased at {erased_at}")?;
        for (table, count) in rows {
            writeln!(f, "  {table:<20} {count}")?;
        }
        writeln!(f, "  {:<20} {files}", "files")?;
        writeln!(f, "  {:<20} {events_taken_out}", "events taken out")?;
        for key in keys {
            writeln!(f, "  key destroyed        {key}")?;
        }
        for (table, count) in kept {
            writeln!(f, "  {table:<20} {count} until they are delivered")?;
        }
        writeln!(f, "certificate {}", self.digest)?;
        if self.left.is_empty() {
            write!(f, "read back: nothing is left")?;
        } else {
            write!(f, "READ BACK: STILL THERE: {}", self.left.join(", "))?;
        }
        if self.purged {
            Ok(())
        } else {
            write!(
                f,
                "\ndeleted rows may stay in the database's files until they are written over; backups keep what they have"
            )
        }
    }
}

/// What an erasure would destroy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub subject: String,
    /// Rows that would go, by table.
    pub rows: BTreeMap<String, u64>,
    pub files: u64,
    /// Events that would not show any more who it was.
    pub events: u64,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "of {} would go:", self.subject)?;
        for (table, count) in &self.rows {
            writeln!(f, "  {table:<20} {count}")?;
        }
        writeln!(f, "  {:<20} {}", "files", self.files)?;
        write!(
            f,
            "  {:<20} {} (they stay, and name nobody)",
            "audit events", self.events
        )
    }
}

impl Privacy {
    /// What an erasure would destroy. Changes nothing.
    pub async fn plan(&self, id: UserId) -> Result<Plan, Error> {
        self.account(id).await?.ok_or(Error::NotFound)?;
        let person = self.person(id).await?;
        let mut rows: BTreeMap<String, u64> = self.count(&person).await?.into_iter().collect();
        let files = rows.remove("stored_upload").unwrap_or_default();
        let mut events = 0_u64;
        for actor in self.actors(&person).await? {
            let readable = self.0.audit_log.readable_of(actor).await?;
            events = events.saturating_add(readable);
        }
        Ok(Plan {
            subject: person.subject,
            rows,
            files,
            events,
        })
    }

    /// Erases a person, or takes up an erasure that was begun, or tells of one that is done. Reads back what
    /// is left.
    ///
    /// Dropped half way, it has shut the account and deleted some files, or it has done everything.
    pub async fn erase(&self, id: UserId, by: &By) -> Result<Erased, Error> {
        let subject = id.to_string();
        let is_there = self.account(id).await?.is_some();
        let begun = self.0.db.fetch_optional(FIND, &[(&subject).into()]).await?;
        let finished = begun.as_ref().map(certificate_of).transpose()?.flatten();
        let person = self.person(id).await?;
        let certificate = match (is_there, finished) {
            (false, Some(certificate)) => certificate,
            (false, None) => return Err(Error::NotFound),
            (true, _) => {
                let actors = self.actors(&person).await?;
                self.begin(&person, by).await?;
                let owner = format!("user:{id}");
                let files = self.delete_files(&owner, &by.recorded()).await?;
                self.delete_rows(&person, &actors, files, by).await?
            }
        };
        let actors = certificate.actors(id);
        self.0.fields.forget();
        let mut left = self.left(&person, &actors).await?;
        if !left.is_empty() {
            // Somewhere an event of a moment ago was on its way into the trail, or being sealed.
            self.take_out_late(&actors).await?;
            left = self.left(&person, &actors).await?;
        }
        Ok(Erased {
            digest: certificate.digest()?,
            left,
            certificate,
            purged: self.0.db.purge().await?,
        })
    }

    /// Takes out of the trail what was recorded or sealed of people after their erasure, and the keys that this made.
    async fn take_out_late(&self, actors: &[Uuid]) -> Result<(), Error> {
        for actor in actors {
            let name = Log::key_of(*actor);
            // Asked first: there is hardly ever anything, and nobody is to wait for a transaction that does nothing.
            let key = self.0.db.fetch_optional(KEY, &[(&name).into()]).await?;
            if key.is_none() && self.0.audit_log.readable_of(*actor).await? == 0 {
                continue;
            }
            let mut tx = self.0.db.begin().await?;
            self.end_in_trail(&mut tx, *actor).await?;
            tx.commit().await?;
            self.0.fields.forget();
        }
        Ok(())
    }

    /// Ends what the trail shows of whoever acted: the ids of their keys, and how many events were not sealed yet.
    pub(super) async fn end_in_trail(
        &self,
        tx: &mut Tx,
        actor: Uuid,
    ) -> Result<(Vec<Uuid>, u64), Error> {
        let name = Log::key_of(actor);
        let keys = self.0.fields.destroy_subject(tx, &name).await?;
        Ok((keys, self.0.audit_log.take_out(tx, actor).await?))
    }

    /// Everybody by whose ids the person acted: themselves and their API keys.
    async fn actors(&self, person: &Person) -> Result<Vec<Uuid>, Error> {
        let keys = self.0.db.fetch_all(KEYS, &[person.id.into()]).await?;
        let mut actors = vec![person.id.as_uuid()];
        for key in &keys {
            actors.push(key.uuid("id")?);
        }
        Ok(actors)
    }

    /// Shuts the account, and writes down that it is to be erased.
    async fn begin(&self, person: &Person, by: &By) -> Result<(), Error> {
        // Whoever may not change the account may not erase it: asked first.
        self.0.accounts.shut(person.id, by).await?;
        let mut tx = self.0.db.begin().await?;
        let now = self.0.clock.now();
        tx.execute(BEGIN, &[(&person.subject).into(), now.into()])
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Files of somebody, by what the store calls whoever sent them.
    pub(super) async fn delete_files(
        &self,
        owner: &str,
        by: &portcullis_events::By,
    ) -> Result<u64, Error> {
        let store = &self.0.upload_store;
        let mut gone = 0_u64;
        loop {
            let files = store.of_owner(owner, Uuid::nil(), FILES).await?;
            if files.is_empty() {
                return Ok(gone);
            }
            for file in files {
                match store.discard(file.id, by).await {
                    Ok(()) => gone = gone.saturating_add(1),
                    // Somebody else did it meanwhile.
                    Err(portcullis_events::upload_store::Error::NotFound) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    /// All the rest, in one transaction with the record of it.
    async fn delete_rows(
        &self,
        person: &Person,
        actors: &[Uuid],
        files: u64,
        by: &By,
    ) -> Result<Certificate, Error> {
        let parts = &*self.0;
        let outbox = &parts.accounts.parts().recovery.outbox;
        // Opened before the transaction begins: the vault may have to ask others.
        let email = person.address.as_ref().map(|(email, _)| email.canonical());
        let letters = outbox.of(person.id, email).await?;
        let links = match email {
            Some(email) => parts.accounts.registration_links_of(email).await?,
            None => Vec::new(),
        };
        let texts = self.find_texts(&person.names).await?;
        let now = parts.clock.now();
        let (mut rows, mut kept) = (BTreeMap::new(), BTreeMap::new());
        let mut tx = parts.db.begin().await?;
        let found = (&texts, &person.names);
        self.erase_texts(&mut tx, found, now, (&mut rows, &mut kept))
            .await?;
        let mut add = |table: &str, count: u64| {
            if count > 0 {
                rows.insert(table.to_owned(), count);
            }
        };
        let mut keys = parts
            .fields
            .destroy_subject(&mut tx, &person.subject)
            .await?;
        let (own, mut events_taken_out) = (person.id.as_uuid(), 0_u64);
        for actor in actors {
            let (of_trail, taken_out) = self.end_in_trail(&mut tx, *actor).await?;
            keys.extend(of_trail);
            events_taken_out = events_taken_out.saturating_add(taken_out);
        }
        for letter in &letters {
            outbox.delete_in(&mut tx, letter.id).await?;
        }
        add("outbox", u64::try_from(letters.len()).unwrap_or_default());
        for link in &links {
            crate::registration::delete_in(&mut tx, &link.hash).await?;
        }
        let count = u64::try_from(links.len()).unwrap_or_default();
        add("registration_token", count);
        for holding in HOLDINGS {
            add(holding.table, person.delete(&mut tx, holding).await?);
        }
        let certificate = Certificate {
            subject: person.subject.clone(),
            erased_at: now.to_string(),
            rows,
            files,
            keys,
            api_keys: actors.iter().copied().filter(|id| *id != own).collect(),
            events_taken_out,
            kept,
        };
        self.finish(&mut tx, &certificate, person.id, (by, now))
            .await?;
        tx.commit().await?;
        parts.accounts.forget_user(person.id);
        Ok(certificate)
    }

    async fn finish(
        &self,
        tx: &mut Tx,
        certificate: &Certificate,
        id: UserId,
        (by, now): (&By, Timestamp),
    ) -> Result<(), Error> {
        let text = serde_json::to_string(certificate).map_err(|_| Error::Certificate)?;
        let args = [(&certificate.subject).into(), now.into(), (&text).into()];
        tx.execute(FINISH, &args).await?;
        let event = certificate
            .event(now)?
            .done(&by.recorded())
            .to(Target::user(id));
        self.0.trail.record_in(tx, event).await?;
        revoke::user(tx, id, now).await?;
        Ok(())
    }

    async fn count(&self, person: &Person) -> Result<Vec<(String, u64)>, Error> {
        let parts = &*self.0;
        let counts = person.count(&parts.db).await?;
        let mut counts: Vec<(String, u64)> = counts
            .into_iter()
            .map(|(table, count)| (table.to_owned(), count))
            .collect();
        let email = person.address.as_ref().map(|(email, _)| email.canonical());
        let outbox = &parts.accounts.parts().recovery.outbox;
        let letters = outbox.of(person.id, email).await?.len();
        let links = match email {
            Some(email) => parts.accounts.registration_links_of(email).await?.len(),
            None => 0,
        };
        let files = self.count_files(&format!("user:{}", person.id)).await?;
        for (table, count) in [
            ("outbox", letters),
            ("registration_token", links),
            ("stored_upload", files),
        ] {
            if count > 0 {
                counts.push((table.to_owned(), u64::try_from(count).unwrap_or(u64::MAX)));
            }
        }
        let texts = self.find_texts(&person.names).await?.counts();
        counts.extend(texts.into_iter().map(|(table, n)| (table.to_owned(), n)));
        Ok(counts)
    }

    pub(super) async fn count_files(&self, owner: &str) -> Result<usize, Error> {
        let (mut files, mut after) = (0_usize, Uuid::nil());
        loop {
            let page = self.0.upload_store.of_owner(owner, after, FILES).await?;
            let Some(last) = page.last() else {
                return Ok(files);
            };
            after = last.id;
            files = files.saturating_add(page.len());
        }
    }

    /// What is still found of a person: rows, files, letters, and events that show who it was.
    async fn left(&self, person: &Person, actors: &[Uuid]) -> Result<Vec<String>, Error> {
        let counts = self.count(person).await?;
        let mut left: Vec<String> = counts
            .into_iter()
            .map(|(table, count)| format!("{count} in {table}"))
            .collect();
        for actor in actors {
            let readable = self.0.audit_log.readable_of(*actor).await?;
            if readable > 0 {
                left.push(format!("{readable} readable events of {actor}"));
            }
        }
        Ok(left)
    }

    /// Takes up erasures that were begun and left, and takes out of the trail what was recorded of a person
    /// while they were erased.
    pub(super) async fn look_after_erasures(&self) -> Result<(), Error> {
        let now = self.0.clock.now();
        for id in subjects(&self.0.db, UNFINISHED, now - TAKEN_UP_AFTER).await? {
            if self.account(id).await?.is_some() {
                self.erase(id, &By::system()).await?;
            }
        }
        let since = now - LOOKED_AFTER_FOR;
        let mut actors = Vec::new();
        for row in self.0.db.fetch_all(RECENT, &[since.into()]).await? {
            let id = subject_of(&row)?;
            actors.extend(
                certificate_of(&row)?.map_or_else(|| vec![id.as_uuid()], |one| one.actors(id)),
            );
        }
        self.take_out_late(&actors).await
    }
}

fn certificate_of(row: &Row) -> Result<Option<Certificate>, Error> {
    let text = row.opt_text("certificate")?;
    let parsed = text.map(|text| serde_json::from_str(&text)).transpose();
    parsed.map_err(|_| Error::Certificate)
}

async fn subjects(db: &Db, sql: &'static str, at: Timestamp) -> Result<Vec<UserId>, Error> {
    let rows = db.fetch_all(sql, &[at.into()]).await?;
    let mut ids = Vec::with_capacity(rows.len());
    for row in &rows {
        ids.push(subject_of(row)?);
    }
    Ok(ids)
}

fn subject_of(row: &Row) -> Result<UserId, Error> {
    let text = row.text("subject")?;
    text.parse().map_err(|_| Error::Certificate)
}
