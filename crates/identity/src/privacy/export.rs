//! Everything that is held of a person, in one signed file.

use std::io::Write;

use portcullis_core::UserId;
use portcullis_core::size::ByteSize;
use portcullis_events::audit::Cursor;
use portcullis_events::{Action, By, Event, Outcome, Target};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::archive::{Archive, Limit};
use super::holdings::{Class, ELSEWHERE, HOLDINGS, How};
use super::{Error, Person, Privacy, rows};

/// Rows and events that are read together.
const BATCH: u32 = 500;

/// The largest export that is given over HTTP, where it is held in memory until it is whole. What the command line
/// writes goes to its file line by line, however large it is.
pub const LARGEST: ByteSize = ByteSize::mib(32);

/// A signed export.
#[derive(Debug)]
pub struct Export {
    /// The whole file: JSON lines.
    pub archive: Vec<u8>,
    /// Without the one that signs.
    pub lines: u64,
}

impl Privacy {
    /// Everything that is held of a person, up to [`LARGEST`]. It is written down who got it before anybody gets it.
    pub async fn export(&self, id: UserId, by: &By) -> Result<Export, Error> {
        let mut archive = Vec::new();
        let lines = {
            let archive = Archive::new(&mut archive, Limit::AtMost(LARGEST));
            self.write_export(id, by, archive).await?
        };
        Ok(Export { archive, lines })
    }

    /// The same, written as it is read; how many lines. Without its last line a file is no export.
    pub async fn export_to(
        &self,
        id: UserId,
        by: &By,
        to: &mut (dyn Write + Send),
    ) -> Result<u64, Error> {
        self.write_export(id, by, Archive::new(to, Limit::None))
            .await
    }

    async fn write_export(
        &self,
        id: UserId,
        by: &By,
        mut archive: Archive<'_>,
    ) -> Result<u64, Error> {
        let parts = &*self.0;
        self.account(id).await?.ok_or(Error::NotFound)?;
        let person = self.person(id).await?;
        let now = parts.clock.now();
        // SECURITY: nothing is handed out before it is written down who got it.
        let event = Event::new(now, Action::PersonalDataExported, Outcome::Allowed)
            .done(by)
            .to(Target::user(id));
        parts.trail.record(event).await?;
        archive.push(&head(&person, &now.to_string()))?;
        self.add_rows(&person, &mut archive).await?;
        self.add_slices(&person, &mut archive).await?;
        self.add_texts(&person.names, &mut archive).await?;
        self.add_events(person.id.as_uuid(), &mut archive).await?;
        archive.sign(&parts.keys, &person.subject, now)
    }

    async fn add_rows(&self, person: &Person, archive: &mut Archive<'_>) -> Result<(), Error> {
        let (db, addresses) = (&self.0.db, self.0.accounts.addresses());
        for holding in HOLDINGS {
            for arguments in person.arguments(holding.whose) {
                let mut after = 0_i64;
                loop {
                    let page = person.rows_of(db, holding, &arguments, after).await?;
                    for row in &page {
                        let row = rows::to_json(addresses, holding, row).await?;
                        archive.push(&json!({ "table": holding.table, "row": row }))?;
                    }
                    if i64::try_from(page.len()).is_ok_and(|read| read < rows::PAGE) {
                        break;
                    }
                    after = after.saturating_add(rows::PAGE);
                }
            }
        }
        Ok(())
    }

    /// What only the slices that have it can tell to be of the person.
    async fn add_slices(&self, person: &Person, archive: &mut Archive<'_>) -> Result<(), Error> {
        let parts = self.0.accounts.parts();
        let email = person.address.as_ref().map(|(email, _)| email.canonical());
        for letter in parts.recovery.outbox.of(person.id, email).await? {
            let row = json!({ "id": letter.id, "created_at": letter.created_at.to_string(), "letter": letter.about });
            archive.push(&json!({ "table": "outbox", "row": row }))?;
        }
        if let Some(email) = email {
            for link in self.0.accounts.registration_links_of(email).await? {
                let row = json!({ "email": email, "expires_at": link.expires_at.to_string() });
                archive.push(&json!({ "table": "registration_token", "row": row }))?;
            }
        }
        self.add_files(&format!("user:{}", person.id), archive)
            .await
    }

    /// Files of somebody, by what the store calls whoever sent them.
    pub(super) async fn add_files(
        &self,
        owner: &str,
        archive: &mut Archive<'_>,
    ) -> Result<(), Error> {
        let mut after = Uuid::nil();
        loop {
            let files = self.0.upload_store.of_owner(owner, after, BATCH).await?;
            let Some(last) = files.last() else {
                return Ok(());
            };
            after = last.id;
            for file in files {
                let (stored, name) = self.0.upload_store.show(file.id).await?;
                let row = json!({ "id": stored.id, "name": name, "kind": stored.kind.as_str(), "bytes": stored.size, "sha256": hex::encode(stored.sha256), "state": stored.state.as_str(), "verdict": stored.verdict.as_str(), "tenant": stored.tenant, "created_at": stored.created_at.to_string() });
                archive.push(&json!({ "table": "stored_upload", "row": row }))?;
            }
        }
    }

    /// Events by somebody or about them.
    pub(super) async fn add_events(
        &self,
        person: Uuid,
        archive: &mut Archive<'_>,
    ) -> Result<(), Error> {
        let mut cursor: Option<Cursor> = None;
        loop {
            let log = &self.0.audit_log;
            let page = log.about(person, cursor, BATCH).await?;
            for event in &page.events {
                archive.push(&json!({ "table": "audit_event", "row": event.to_json() }))?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}

/// What the file is, and what is not in it.
fn head(person: &Person, made_at: &str) -> Value {
    let mut withheld = Map::new();
    for holding in HOLDINGS {
        let names: Vec<&str> = holding
            .columns
            .iter()
            .filter(|column| column.class == Class::Credential)
            .map(|column| column.name)
            .collect();
        if !names.is_empty() {
            withheld.insert(holding.table.to_owned(), names.into());
        }
    }
    let not_searched = not_searched();
    json!({
        "personal_data_export": 1,
        "subject": person.subject,
        "made_at": made_at,
        "withheld": withheld,
        "withheld_because": "hashes, tokens, keys and secrets: whoever has this file must not be able to sign in with it",
        "not_searched": not_searched,
        "not_here": "what the product keeps in databases of its own, and the content of stored files",
    })
}

/// The tables in which nobody is looked for, and why.
pub(super) fn not_searched() -> Map<String, Value> {
    ELSEWHERE
        .iter()
        .filter(|table| table.how == How::NotSearched)
        .map(|table| (table.table.to_owned(), table.why.into()))
        .collect()
}
