//! Persons whom the product alone knows: a customer of a tenant, a contact, a visitor.
//!
//! - The product gives them a name, within a tenant or in none, and seals their fields under it (`subject` of
//!   `/vault/seal`). They have no account here.
//! - Found by it are their consents, their data keys, and where the name is the id of a visit, that visit with its
//!   files and events. Where it is of no tenant, also what names them in messages of webhooks and files of incidents:
//!   these belong to no tenant.
//! - An erasure is one transaction: whatever breaks off before its end has changed nothing, but for stored files.
//! - What it leaves is a certificate under a keyed hash of the name. Erased once more, the same is shown.
//!
//! SECURITY: whoever asks says the tenant by what they are ([`Named`] is made by the face that knows). A tenant's key
//! reaches what is of its own tenant alone.

pub mod http;

use std::collections::BTreeMap;
use std::io::Write;

use portcullis_core::{TenantId, Timestamp, UserId, VisitorId};
use portcullis_events::mentions::{self, Mentions};
use portcullis_events::{Action, By, Event, Outcome, Target};
use portcullis_store::revocations::{Revocation, publish};
use portcullis_store::{Row, Tx};
use serde_json::{Value, json};
use uuid::Builder;

use super::archive::{Archive, Limit};
use super::export::{LARGEST, not_searched};
use super::texts::{Found, Names};
use super::{Certificate, Erased, Error, Export, Plan, Privacy};
use crate::consents::Subject;

/// What names of erased subjects are hashed for, beside the key.
const TABLE: &str = "portcullis.subject";
/// Most other names in a call.
const MOST: usize = 10;
/// Rows that are read together.
const PAGE: i64 = 500;

const CONSENTS: &str = "SELECT id, purpose, version, state, at, source FROM consent WHERE tenant = $1 AND subject = $2 ORDER BY at, id LIMIT $3 OFFSET $4";
const COUNT_CONSENTS: &str = "SELECT count(*) AS n FROM consent WHERE tenant = $1 AND subject = $2";
const DELETE_CONSENTS: &str = "DELETE FROM consent WHERE tenant = $1 AND subject = $2";
const KEYS: &str = "SELECT id, purpose, version, created_at, retired_at FROM data_key WHERE tenant = $1 AND subject = $2 ORDER BY created_at, id";
const VISIT: &str = "SELECT id, tenant_id, origin, metadata, created_at, expires_at, revoked_at FROM visitor WHERE id = $1";
const DELETE_VISIT: &str = "DELETE FROM visitor WHERE id = $1";
const BEGIN: &str = "INSERT INTO subject_being_erased (tenant, subject) VALUES ($1, $2) ON CONFLICT (tenant, subject) DO NOTHING";
const END: &str = "DELETE FROM subject_being_erased WHERE tenant = $1 AND subject = $2";
const FIND: &str = "SELECT certificate FROM subject_erasure WHERE name = $1";
const FINISH: &str = "INSERT INTO subject_erasure (name, tenant, finished_at, certificate) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE SET finished_at = excluded.finished_at, certificate = excluded.certificate";

/// Somebody, as the product names them.
#[derive(Debug, Clone)]
pub struct Named {
    subject: Subject,
    also: Vec<String>,
}

impl Named {
    /// `also` is what else they are called in texts, such as an e-mail address.
    pub fn new(subject: Subject, also: Vec<String>) -> Result<Self, Error> {
        if also.len() > MOST
            || also
                .iter()
                .any(|name| name.trim().len() < mentions::SHORTEST)
        {
            return Err(Error::Also(
                "has at most 10 names, each of 6 bytes or more: a shorter one is found in texts about others",
            ));
        }
        Ok(Named { subject, also })
    }

    const fn tenant(&self) -> Option<TenantId> {
        self.subject.tenant()
    }

    fn name(&self) -> &str {
        self.subject.name()
    }

    /// As the tables of consents and keys have it.
    fn tenant_text(&self) -> String {
        self.tenant()
            .map_or_else(String::new, |tenant| tenant.to_string())
    }

    /// By what they are looked for in texts. What a tenant calls somebody may be somebody else's name elsewhere.
    fn names(&self) -> Names {
        let own = self.tenant().is_none().then_some(self.name());
        let all = Mentions::of(own.into_iter().chain(self.also.iter().map(String::as_str)));
        Names {
            found_by: all.clone(),
            taken_out: all,
        }
    }
}

/// What is here of somebody.
struct Held {
    rows: BTreeMap<String, u64>,
    visit: Option<VisitorId>,
    files: usize,
    texts: Found,
}

impl Held {
    fn is_nothing(&self) -> bool {
        self.rows.is_empty() && self.visit.is_none() && self.files == 0 && self.texts.is_empty()
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = self.rows.clone();
        let texts = self.texts.counts().into_iter();
        counts.extend(texts.map(|(table, count)| (table.to_owned(), count)));
        if self.visit.is_some() {
            counts.insert("visitor".to_owned(), 1);
        }
        counts
    }
}

impl Privacy {
    /// Everything that is held of somebody whom the product alone knows, up to [`LARGEST`].
    pub async fn export_subject(&self, who: &Named, by: &By) -> Result<Export, Error> {
        let mut archive = Vec::new();
        let lines = {
            let archive = Archive::new(&mut archive, Limit::AtMost(LARGEST));
            self.write_subject(who, by, archive).await?
        };
        Ok(Export { archive, lines })
    }

    /// The same, written as it is read; how many lines. Without its last line a file is no export.
    pub async fn export_subject_to(
        &self,
        who: &Named,
        by: &By,
        to: &mut (dyn Write + Send),
    ) -> Result<u64, Error> {
        self.write_subject(who, by, Archive::new(to, Limit::None))
            .await
    }

    async fn write_subject(
        &self,
        who: &Named,
        by: &By,
        mut archive: Archive<'_>,
    ) -> Result<u64, Error> {
        self.must_be_no_account(who).await?;
        let held = self.held(who).await?;
        if held.is_nothing() {
            return Err(Error::NotFound);
        }
        let now = self.0.clock.now();
        // SECURITY: nothing is handed out before it is written down who got it.
        let event = Event::new(now, Action::PersonalDataExported, Outcome::Allowed)
            .done(by)
            .to(self.target(who).await?)
            .tenant(who.tenant());
        self.0.trail.record(event).await?;
        archive.push(&head(who, now))?;
        self.add_consents(who, &mut archive).await?;
        let tenant = who.tenant_text();
        let args = [(&tenant).into(), who.name().into()];
        for row in &self.0.db.fetch_all(KEYS, &args).await? {
            archive.push(&json!({ "table": "data_key", "row": key(row)? }))?;
        }
        if let Some(visit) = held.visit {
            self.add_visit(visit, &mut archive).await?;
        }
        self.add_texts(&who.names(), &mut archive).await?;
        archive.sign(&self.0.keys, who.name(), now)
    }

    async fn add_consents(&self, who: &Named, archive: &mut Archive<'_>) -> Result<(), Error> {
        let tenant = who.tenant_text();
        let mut after = 0_i64;
        loop {
            let args = [
                (&tenant).into(),
                who.name().into(),
                PAGE.into(),
                after.into(),
            ];
            let rows = self.0.db.fetch_all(CONSENTS, &args).await?;
            for row in &rows {
                archive.push(&json!({ "table": "consent", "row": consent(row)? }))?;
            }
            if i64::try_from(rows.len()).is_ok_and(|read| read < PAGE) {
                return Ok(());
            }
            after = after.saturating_add(PAGE);
        }
    }

    async fn add_visit(&self, id: VisitorId, archive: &mut Archive<'_>) -> Result<(), Error> {
        if let Some(row) = self.0.db.fetch_optional(VISIT, &[id.into()]).await? {
            archive.push(&json!({ "table": "visitor", "row": visit(&row)? }))?;
        }
        self.add_files(&format!("visitor:{id}"), archive).await?;
        self.add_events(id.as_uuid(), archive).await
    }

    /// What an erasure would destroy. Changes nothing.
    pub async fn plan_subject(&self, who: &Named) -> Result<Plan, Error> {
        self.must_be_no_account(who).await?;
        let held = self.held(who).await?;
        if held.is_nothing() {
            return Err(Error::NotFound);
        }
        let events = match held.visit {
            Some(visit) => self.0.audit_log.readable_of(visit.as_uuid()).await?,
            None => 0,
        };
        Ok(Plan {
            subject: who.name().to_owned(),
            rows: held.counts(),
            files: u64::try_from(held.files).unwrap_or(u64::MAX),
            events,
        })
    }

    /// Erases somebody whom the product alone knows, or tells of an erasure that is done. Reads back what is left.
    ///
    /// The database's files are not written anew: a program that erases one customer after the other would keep
    /// everybody waiting. [`Privacy::purge`] does that.
    pub async fn erase_subject(&self, who: &Named, by: &By) -> Result<Erased, Error> {
        self.must_be_no_account(who).await?;
        let held = self.held(who).await?;
        let done = if held.is_nothing() {
            None
        } else {
            self.delete_subject(who, &held, by).await?
        };
        let certificate = match done {
            Some(certificate) => certificate,
            None => self.certified(who).await?.ok_or(Error::NotFound)?,
        };
        self.0.fields.forget();
        let left = self.held(who).await?.counts();
        let left = left.iter().map(|(table, n)| format!("{n} in {table}"));
        Ok(Erased {
            digest: certificate.digest()?,
            left: left.collect(),
            certificate,
            purged: false,
        })
    }

    /// Leaves nothing in the database's files of what was deleted, where its engine can.
    pub async fn purge(&self) -> Result<bool, Error> {
        Ok(self.0.db.purge().await?)
    }

    /// Nothing where somebody else has done it meanwhile.
    async fn delete_subject(
        &self,
        who: &Named,
        held: &Held,
        by: &By,
    ) -> Result<Option<Certificate>, Error> {
        let parts = &*self.0;
        let (name, target) = (self.pseudonym(who).await?, self.target(who).await?);
        let mut files = 0;
        if let Some(visit) = held.visit {
            files = self.delete_files(&format!("visitor:{visit}"), by).await?;
        }
        let now = parts.clock.now();
        let (mut rows, mut kept) = (BTreeMap::new(), BTreeMap::new());
        let mut tx = parts.db.begin().await?;
        let found = (&held.texts, &who.names());
        self.erase_texts(&mut tx, found, now, (&mut rows, &mut kept))
            .await?;
        delete_consents(&mut tx, who, &mut rows).await?;
        let tenant = who.tenant();
        let keys = parts.fields.destroy(&mut tx, tenant, Some(who.name()));
        let mut keys = keys.await?;
        count(&mut rows, "data_key", keys.len());
        let mut events_taken_out = 0;
        if let Some(visit) = held.visit {
            let (of_trail, taken_out) = self.end_in_trail(&mut tx, visit.as_uuid()).await?;
            keys.extend(of_trail);
            events_taken_out = taken_out;
            let gone = tx.execute(DELETE_VISIT, &[visit.into()]).await?;
            count(&mut rows, "visitor", usize::try_from(gone).unwrap_or(0));
            publish(&mut tx, Revocation::Visitor(visit), now).await?;
        }
        let certificate = Certificate {
            subject: name,
            erased_at: now.to_string(),
            rows,
            files,
            keys,
            api_keys: Vec::new(),
            events_taken_out,
            kept,
        };
        if certificate.is_of_nothing() {
            return Ok(None);
        }
        let text = serde_json::to_string(&certificate).map_err(|_| Error::Certificate)?;
        let tenant_text = who.tenant_text();
        let args = [
            (&certificate.subject).into(),
            (&tenant_text).into(),
            now.into(),
            (&text).into(),
        ];
        tx.execute(FINISH, &args).await?;
        let event = certificate.event(now)?.done(by).to(target).tenant(tenant);
        parts.trail.record_in(&mut tx, event).await?;
        tx.commit().await?;
        Ok(Some(certificate))
    }

    async fn certified(&self, who: &Named) -> Result<Option<Certificate>, Error> {
        let name = self.pseudonym(who).await?;
        let row = self.0.db.fetch_optional(FIND, &[(&name).into()]).await?;
        let text = row.map(|row| row.text("certificate")).transpose()?;
        let parsed = text.map(|text| serde_json::from_str(&text)).transpose();
        parsed.map_err(|_| Error::Certificate)
    }

    async fn held(&self, who: &Named) -> Result<Held, Error> {
        let db = &self.0.db;
        let tenant = who.tenant_text();
        let args = [(&tenant).into(), who.name().into()];
        let mut rows = BTreeMap::new();
        let found = db.fetch_optional(COUNT_CONSENTS, &args).await?;
        let consents = found.map_or(Ok(0), |row| row.int("n"))?;
        let consents = usize::try_from(consents).unwrap_or(0);
        count(&mut rows, "consent", consents);
        let keys = db.fetch_all(KEYS, &args).await?.len();
        count(&mut rows, "data_key", keys);
        let visit = self.visit(who).await?;
        let files = match visit {
            Some(visit) => self.count_files(&format!("visitor:{visit}")).await?,
            None => 0,
        };
        Ok(Held {
            rows,
            visit,
            files,
            texts: self.find_texts(&who.names()).await?,
        })
    }

    /// The visit whose id the name is.
    async fn visit(&self, who: &Named) -> Result<Option<VisitorId>, Error> {
        let Ok(id) = who.name().parse::<VisitorId>() else {
            return Ok(None);
        };
        let Some(row) = self.0.db.fetch_optional(VISIT, &[id.into()]).await? else {
            return Ok(None);
        };
        // SECURITY: a visit belongs to its tenant; whoever asks for none reaches every one.
        let of = TenantId::from_uuid(row.uuid("tenant_id")?);
        Ok(who.tenant().is_none_or(|tenant| tenant == of).then_some(id))
    }

    /// An account has rows that are not looked at here.
    async fn must_be_no_account(&self, who: &Named) -> Result<(), Error> {
        if who.tenant().is_some() {
            return Ok(());
        }
        match who.name().parse::<UserId>() {
            Ok(id) if self.account(id).await?.is_some() => Err(Error::Account),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// What stands for a name that must not stay: a UUID version 8 of a keyed hash of it, by a key of its tenant.
    async fn pseudonym(&self, who: &Named) -> Result<String, Error> {
        let fields = self.0.fields.of_gate();
        let hash = fields
            .blind_index(who.tenant(), TABLE, "name", who.name().as_bytes())
            .await?;
        let first = hash.first_chunk::<16>().copied().unwrap_or_default();
        Ok(Builder::from_custom_bytes(first).into_uuid().to_string())
    }

    async fn target(&self, who: &Named) -> Result<Target, Error> {
        Ok(Target::named("subject", &self.pseudonym(who).await?))
    }
}

async fn delete_consents(
    tx: &mut Tx,
    who: &Named,
    rows: &mut BTreeMap<String, u64>,
) -> Result<(), Error> {
    let tenant = who.tenant_text();
    let args = [(&tenant).into(), who.name().into()];
    // The ledger lets go of rows of whoever stands here, and the name does not stay.
    tx.execute(BEGIN, &args).await?;
    let gone = tx.execute(DELETE_CONSENTS, &args).await?;
    tx.execute(END, &args).await?;
    count(rows, "consent", usize::try_from(gone).unwrap_or(0));
    Ok(())
}

fn count(rows: &mut BTreeMap<String, u64>, table: &str, count: usize) {
    if count > 0 {
        rows.insert(table.to_owned(), u64::try_from(count).unwrap_or(u64::MAX));
    }
}

/// What the file is, and what is not in it.
fn head(who: &Named, made_at: Timestamp) -> Value {
    json!({
        "personal_data_export": 1,
        "subject": who.name(),
        "tenant": who.tenant().map(|tenant| tenant.to_string()),
        "made_at": made_at.to_string(),
        "withheld": { "data_key": ["wrapped"], "visitor": ["token_hash"] },
        "withheld_because": "hashes, tokens, keys and secrets: whoever has this file must not be able to sign in with it",
        "not_searched": not_searched(),
        "not_here": "what the product keeps in databases of its own, sealed by the gate or not, and the content of stored files",
    })
}

fn consent(row: &Row) -> Result<Value, Error> {
    Ok(json!({
        "id": row.uuid("id")?, "purpose": row.text("purpose")?, "version": row.text("version")?,
        "state": row.text("state")?, "at": row.timestamp("at")?.to_string(), "source": row.text("source")?,
    }))
}

fn key(row: &Row) -> Result<Value, Error> {
    let retired_at = row.opt_timestamp("retired_at")?;
    Ok(json!({
        "id": row.uuid("id")?, "purpose": row.text("purpose")?, "version": row.int("version")?,
        "created_at": row.timestamp("created_at")?.to_string(),
        "retired_at": retired_at.map(|at| at.to_string()),
    }))
}

fn visit(row: &Row) -> Result<Value, Error> {
    let text = row.text("metadata")?;
    let metadata: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    let revoked_at = row.opt_timestamp("revoked_at")?;
    Ok(json!({
        "id": row.uuid("id")?, "tenant": row.uuid("tenant_id")?, "origin": row.text("origin")?,
        "metadata": metadata, "created_at": row.timestamp("created_at")?.to_string(),
        "expires_at": row.timestamp("expires_at")?.to_string(),
        "revoked_at": revoked_at.map(|at| at.to_string()),
    }))
}
