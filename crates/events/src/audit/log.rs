//! The audit trail as one Merkle log across all nodes: who keeps it, signs it, and proves from it.
//!
//! - Recording an event costs nothing here. The keeper ([`Log::keep`]) gives what was recorded its place,
//!   about once a second, in order of time: one transaction takes the lock, hashes the leaves, writes the
//!   tiles and signs the head. Two nodes that try at once wait for each other.
//! - What is in no signed head yet, a second's worth, is protected by the table's triggers alone.
//! - The key is derived from the master secret and the log's id. During a rotation of the master secret every
//!   head is signed with both, so that whoever has only the old key can go on verifying.
//! - The personal part of an event is sealed afterwards, under the key of the person ([`Log::erase`] destroys
//!   it). A vault that is closed holds up neither recording nor the log: it is sealed when it opens.

use std::sync::Arc;

use portcullis_core::id::EventId;
use portcullis_core::{Clock, Span, Timestamp};
use portcullis_store::{Db, Row, Tx};
use portcullis_vault::fields::{self, Fields};
use portcullis_vault::keys::{Keys, Purpose};
use portcullis_vault::note::{Kind, Signer, Verifier};
use serde_json::{Value, json};
use uuid::Uuid;

use super::checkpoint::{Checkpoint, Proof};
use super::leaf::{self, columns};
use super::list::{self, Cursor, Filter, Page};
use super::tree::{self, Hash, Place, Tiles};
use super::{Action, By, Error, Event, Outcome, Personal, Trail, Witnesses, hours, personal};

/// Leaves in one transaction: what the write lock is held for at a time.
const BATCH: usize = 1000;
/// The same as an argument.
const BATCH_ARG: i64 = 1000;
/// What the retention rule removes together.
const TOGETHER: Span = Span::from_days(1);

pub(super) const HEAD: &str =
    "SELECT log_id, size, root, checkpoint, kept_from FROM audit_log WHERE one = 1";
pub(super) const SIGNED_AT: &str = "SELECT signed_at FROM audit_log WHERE one = 1";
const BEGIN: &str = "INSERT INTO audit_log (one, log_id, size, root, checkpoint, signed_at, kept_from) VALUES (1, $1, 0, $2, NULL, $3, $4) ON CONFLICT DO NOTHING";
// Changes nothing: it takes the row's lock, on both engines.
const LOCK: &str = "UPDATE audit_log SET size = size WHERE one = 1";
const ADVANCE: &str =
    "UPDATE audit_log SET size = $1, root = $2, checkpoint = $3, signed_at = $4 WHERE one = 1";
const IS_WAITING: &str = "SELECT 1 AS one FROM audit_event WHERE leaf IS NULL LIMIT 1";
const WAITING: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM audit_event WHERE leaf IS NULL ORDER BY at, id LIMIT $1"
);
pub(super) const FIND: &str = concat!("SELECT ", columns!(), " FROM audit_event WHERE id = $1");
pub(super) const TILE: &str = "SELECT hashes FROM audit_tile WHERE level = $1 AND position = $2";
const PUT_TILE: &str = "INSERT INTO audit_tile (level, position, hashes) VALUES ($1, $2, $3) ON CONFLICT (level, position) DO UPDATE SET hashes = excluded.hashes";

const PLACE_SQLITE: &str = "\
    UPDATE audit_event SET leaf = j.leaf FROM \
    (SELECT unhex(value ->> 'id') AS id, value ->> 'leaf' AS leaf FROM json_each($1)) AS j \
    WHERE audit_event.id = j.id AND audit_event.leaf IS NULL";
const PLACE_POSTGRES: &str = "\
    UPDATE audit_event SET leaf = (e ->> 'leaf')::bigint \
    FROM json_array_elements(CAST($1 AS TEXT)::json) AS e \
    WHERE id = (e ->> 'id')::uuid AND leaf IS NULL";

const UNSEALED: &str = "SELECT id, leaf, actor_id, target, personal FROM audit_event WHERE personal IS NOT NULL AND leaf IS NOT NULL ORDER BY leaf LIMIT $1";
const SEAL_SQLITE: &str = "\
    UPDATE audit_event SET sealed = j.sealed, personal = NULL FROM \
    (SELECT unhex(value ->> 'id') AS id, value ->> 'sealed' AS sealed FROM json_each($1)) AS j \
    WHERE audit_event.id = j.id AND audit_event.personal IS NOT NULL";
const SEAL_POSTGRES: &str = "\
    UPDATE audit_event SET sealed = e ->> 'sealed', personal = NULL \
    FROM json_array_elements(CAST($1 AS TEXT)::json) AS e \
    WHERE id = (e ->> 'id')::uuid AND personal IS NOT NULL";
const FIRST: &str = "SELECT leaf, at FROM audit_event WHERE leaf >= $1 ORDER BY leaf LIMIT $2";
const KEEP_FROM: &str = "UPDATE audit_log SET kept_from = $1 WHERE one = 1 AND kept_from < $1";
const DROP: &str = "DELETE FROM audit_event WHERE leaf >= $1 AND leaf < $2";

/// What a log works on.
#[derive(Clone)]
pub struct Parts {
    pub db: Db,
    pub keys: Keys,
    pub fields: Fields,
    pub clock: Arc<dyn Clock>,
    pub trail: Trail,
    pub witnesses: Arc<Witnesses>,
}

/// The log; cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Parts>);

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// The log as its newest head says.
#[derive(Debug, Clone)]
pub(super) struct Head {
    log_id: Uuid,
    pub(super) size: u64,
    pub(super) root: Hash,
    pub(super) checkpoint: Option<String>,
}

impl Head {
    pub(super) fn read(row: &Row) -> Result<Self, Error> {
        let root = row.bytes("root")?;
        Ok(Head {
            log_id: row.uuid("log_id")?,
            size: unsigned(row.int("size")?)?,
            root: root.try_into().map_err(|_| Error::Damaged("its head"))?,
            checkpoint: row.opt_text("checkpoint")?,
        })
    }

    /// The same log as it was.
    pub(super) fn at(&self, then: &Checkpoint, checkpoint: String) -> Self {
        Head {
            log_id: self.log_id,
            size: then.size,
            root: then.root,
            checkpoint: Some(checkpoint),
        }
    }

    pub(super) fn signers(&self, keys: &Keys) -> Result<Vec<Signer>, Error> {
        let salt = self.log_id.as_bytes();
        let seeds = keys.derive_salted(Purpose::AuditHead, salt);
        let origin = self.origin();
        seeds
            .map_err(|_| Error::Key)?
            .iter()
            .map(|seed| Signer::from_seed(&origin, Kind::Text, seed.expose()))
            .collect::<Result<_, _>>()
            .map_err(|_| Error::Key)
    }

    pub(super) fn origin(&self) -> String {
        format!("portcullis.audit/{}", self.log_id.simple())
    }
}

pub(super) fn unsigned(number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(|_| Error::Damaged("its head"))
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Log {
    pub fn new(parts: Parts) -> Self {
        let fields = parts.fields.of_gate();
        Log(Arc::new(Parts { fields, ..parts }))
    }

    pub(super) fn db(&self) -> &Db {
        &self.0.db
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.0
    }

    /// Who is asked to sign checkpoints beside the gate.
    pub fn witnesses(&self) -> &Witnesses {
        &self.0.witnesses
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(super) fn anchor_failed(&self) {
        self.0.trail.metrics().anchor_failed();
    }

    pub(super) fn signers(&self, head: &Head) -> Result<Vec<Signer>, Error> {
        head.signers(&self.0.keys)
    }

    /// The keys that verify this log's heads, the one in use first. Nothing before the first event.
    pub async fn verifiers(&self) -> Result<Vec<Verifier>, Error> {
        match self.head().await? {
            Some(head) => self.verifiers_of(&head),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn verifiers_of(&self, head: &Head) -> Result<Vec<Verifier>, Error> {
        Ok(self.signers(head)?.iter().map(Signer::verifier).collect())
    }

    pub(super) async fn head(&self) -> Result<Option<Head>, Error> {
        let row = self.0.db.fetch_optional(HEAD, &[]).await?;
        row.as_ref().map(Head::read).transpose()
    }

    /// The newest signed checkpoint, as text.
    pub async fn checkpoint(&self) -> Result<Option<String>, Error> {
        Ok(self.head().await?.and_then(|head| head.checkpoint))
    }

    /// Everything that has to be done now and then: places for new events, seals for their personal parts.
    ///
    /// Another node may do the same at the same time. Dropped half way, it has done some of it.
    pub async fn keep(&self) -> Result<(), Error> {
        self.sequence().await?;
        self.seal().await
    }

    /// Gives every event that waits its place in the log, and signs a head that has them all; how many.
    pub async fn sequence(&self) -> Result<usize, Error> {
        let mut placed = 0_usize;
        // Asked without a lock: most of the time there is nothing to do.
        while self.0.db.fetch_optional(IS_WAITING, &[]).await?.is_some() {
            let batch = self.sequence_batch().await?;
            placed = placed.saturating_add(batch);
            if batch < BATCH {
                break;
            }
        }
        Ok(placed)
    }

    async fn sequence_batch(&self) -> Result<usize, Error> {
        let now = self.0.clock.now();
        let mut tx = self.0.db.begin().await?;
        let head = lock(&mut tx, now).await?;
        let rows = tx.fetch_all(WAITING, &[BATCH_ARG.into()]).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let mut tiles = Tiles::default();
        for place in tree::needed(head.size, &[]) {
            let args = [i64::from(place.level).into(), signed(place.index).into()];
            let tile = tx.fetch_optional(TILE, &args).await?;
            tiles.put(
                place,
                &tile.ok_or(Error::Damaged("a tile"))?.bytes("hashes")?,
            );
        }
        // SECURITY: nothing is signed on top of tiles that are not those of the last head: it would make
        // whatever somebody wrote there part of the log.
        if tiles.root(head.size) != Some(head.root) {
            return Err(Error::Damaged("its right edge"));
        }
        let (mut size, mut places) = (head.size, Vec::with_capacity(rows.len()));
        for row in &rows {
            let entry = leaf::encode(row)?;
            tiles.push(size, tree::leaf_hash(entry.as_bytes()));
            let id = row.uuid("id")?.simple().to_string();
            places.push(json!({ "id": id, "leaf": signed(size) }));
            size = size.saturating_add(1);
        }
        let sql = tx.engine().pick(PLACE_SQLITE, PLACE_POSTGRES);
        let places = Value::Array(places).to_string();
        let taken = tx.execute(sql, &[(&places).into()]).await?;
        if taken != rows.len() as u64 {
            return Err(Error::Damaged("an event that waits"));
        }
        hours::add(&mut tx, &rows).await?;
        for (place, hashes) in tiles.take_changed() {
            let args = [
                i64::from(place.level).into(),
                signed(place.index).into(),
                (&hashes).into(),
            ];
            tx.execute(PUT_TILE, &args).await?;
        }
        let root = tiles.root(size).ok_or(Error::Damaged("a tile"))?;
        let checkpoint = self.sign(&head, size, root)?;
        let args = [
            signed(size).into(),
            (&root).into(),
            (&checkpoint).into(),
            now.into(),
        ];
        tx.execute(ADVANCE, &args).await?;
        tx.commit().await?;
        Ok(rows.len())
    }

    fn sign(&self, head: &Head, size: u64, root: Hash) -> Result<String, Error> {
        let text = Checkpoint {
            origin: head.origin(),
            size,
            root,
        }
        .text();
        let mut note = format!("{text}\n");
        for signer in self.signers(head)? {
            note.push_str(&signer.sign(&text, 0).map_err(|_| Error::Key)?);
        }
        Ok(note)
    }

    /// Seals the personal parts of events that have their place.
    pub async fn seal(&self) -> Result<(), Error> {
        loop {
            let rows = self.0.db.fetch_all(UNSEALED, &[BATCH_ARG.into()]).await?;
            if rows.is_empty() {
                return Ok(());
            }
            // Sealed before the transaction begins: a key may have to be made, which is one of its own.
            let mut sealed = Vec::with_capacity(rows.len());
            for row in &rows {
                let name = row.uuid("id")?.simple().to_string();
                let target = row.opt_text("target")?;
                let subject = personal::subject(row.opt_uuid("actor_id")?, target.as_deref());
                let key = subject.map(personal::key_name);
                let plain = row.text("personal")?;
                let place = personal::place(&name);
                let text = self
                    .0
                    .fields
                    .seal(&place, key.as_deref(), plain.as_bytes())
                    .await;
                let text = text.map_err(vault)?;
                sealed.push(json!({ "id": name, "sealed": text }));
            }
            let mut tx = self.0.db.begin().await?;
            let sql = tx.engine().pick(SEAL_SQLITE, SEAL_POSTGRES);
            let text = Value::Array(sealed).to_string();
            // What was taken out meanwhile stays out: only what is still there is replaced.
            tx.execute(sql, &[(&text).into()]).await?;
            tx.commit().await?;
            if rows.len() < BATCH {
                return Ok(());
            }
        }
    }

    /// Removes the content of events that are older than `keep`, and records up to which leaf. Their hashes
    /// stay, so that every proof of the others holds; how many. A day's worth at a time: what is due waits up
    /// to a day for the rest of it, so that the trail is not full of removals.
    pub async fn retain(&self, keep: Span) -> Result<u64, Error> {
        let now = self.0.clock.now();
        let cut = now - keep;
        let first = self
            .0
            .db
            .fetch_optional(FIRST, &[0_i64.into(), 1_i64.into()])
            .await?;
        let Some(first) = first else { return Ok(0) };
        if first.timestamp("at")? + TOGETHER > cut {
            return Ok(0);
        }
        let from = unsigned(first.int("leaf")?)?;
        let mut through = from;
        'walk: loop {
            let args = [signed(through).into(), BATCH_ARG.into()];
            let rows = self.0.db.fetch_all(FIRST, &args).await?;
            for row in &rows {
                if row.timestamp("at")? >= cut {
                    break 'walk;
                }
                through = unsigned(row.int("leaf")?)?.saturating_add(1);
            }
            if rows.len() < BATCH {
                break;
            }
        }
        if through == from {
            return Ok(0);
        }
        let mut tx = self.0.db.begin().await?;
        tx.execute(KEEP_FROM, &[cut.into()]).await?;
        let event = Event::new(now, Action::AuditRetained, Outcome::Allowed)
            .done(&By::SYSTEM)
            .with("through", through)
            .with("before", cut.to_string());
        self.0.trail.record_in(&mut tx, event).await?;
        tx.commit().await?;
        // Signed before anything goes: until then whoever verifies would find events missing.
        self.sequence().await?;
        let (mut at, mut removed) = (from, 0_u64);
        while at < through {
            let end = at.saturating_add(BATCH as u64).min(through);
            let mut tx = self.0.db.begin().await?;
            let gone = tx
                .execute(DROP, &[signed(at).into(), signed(end).into()])
                .await?;
            tx.commit().await?;
            removed = removed.saturating_add(gone);
            at = end;
        }
        Ok(removed)
    }

    /// Events as [`list::list`] finds them, with their personal parts opened where their key is there.
    pub async fn list(
        &self,
        filter: &Filter,
        cursor: Option<Cursor>,
        limit: u32,
    ) -> Result<Page, Error> {
        let (rows, more) = list::rows(&self.0.db, filter, cursor, limit).await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            events.push(self.opened(row).await?);
        }
        Ok(list::page(events, more))
    }

    pub(super) async fn opened(&self, row: &Row) -> Result<Event, Error> {
        let mut event = list::event(row)?;
        if event.personal == Personal::Sealed
            && let Some(sealed) = row.opt_text("sealed")?
        {
            match self.open(event.id, &sealed).await? {
                Opened::Text(text) => list::add(&mut event, &text)?,
                Opened::Gone => event.personal = Personal::Erased,
                Opened::Closed => {}
            }
        }
        Ok(event)
    }

    pub(super) async fn open(&self, id: EventId, sealed: &str) -> Result<Opened, Error> {
        let name = personal::row_name(id);
        match self.0.fields.open(&personal::place(&name), sealed).await {
            Ok(plain) => {
                Ok(String::from_utf8(plain.expose().clone()).map_or(Opened::Gone, Opened::Text))
            }
            Err(fields::Error::DoesNotOpen) => Ok(Opened::Gone),
            Err(fields::Error::Kek(_)) => Ok(Opened::Closed),
            Err(error) => Err(vault(error)),
        }
    }

    /// Tiles that are kept, of those that were asked for.
    pub(super) async fn tiles(&self, places: &[Place]) -> Result<Tiles, Error> {
        let mut tiles = Tiles::default();
        for place in places {
            if let Some(hashes) = self.tile(*place).await? {
                tiles.put(*place, &hashes);
            }
        }
        Ok(tiles)
    }

    /// A tile as it is kept: up to 256 hashes, one after another.
    pub async fn tile(&self, place: Place) -> Result<Option<Vec<u8>>, Error> {
        let args = [i64::from(place.level).into(), signed(place.index).into()];
        let row = self.0.db.fetch_optional(TILE, &args).await?;
        Ok(row.map(|row| row.bytes("hashes")).transpose()?)
    }

    /// That an event is in the log, under the newest head, and the event itself. Nothing where there is no
    /// such event, or it is not `tenant`'s where one is given.
    pub async fn prove(&self, id: EventId, tenant: Option<Uuid>) -> Result<Option<Proof>, Error> {
        let row = self.0.db.fetch_optional(FIND, &[id.into()]).await?;
        let Some(row) = row else { return Ok(None) };
        if tenant.is_some() && row.opt_uuid("tenant_id")? != tenant {
            return Ok(None);
        }
        let Some(head) = self.head().await? else {
            return Ok(None);
        };
        // Witnesses' word goes with it, where they have given it for this event.
        let witnessed = match row.opt_int("leaf")? {
            Some(leaf) => self.witnessed_head(&head, unsigned(leaf)?).await?,
            None => None,
        };
        self.prove_row(&row, &witnessed.unwrap_or(head)).await
    }

    /// The same of a row that was read.
    pub(super) async fn prove_row(&self, row: &Row, head: &Head) -> Result<Option<Proof>, Error> {
        let (Some(index), Some(checkpoint)) = (row.opt_int("leaf")?, &head.checkpoint) else {
            return Ok(None);
        };
        let index = unsigned(index)?;
        if index >= head.size {
            return Ok(None);
        }
        let tiles = self.tiles(&tree::needed(head.size, &[index])).await?;
        let path = tiles.inclusion(index, head.size);
        let proof = Proof {
            entry: leaf::encode(row)?.into_bytes(),
            index,
            path: path.ok_or(Error::Damaged("a tile"))?,
            checkpoint: checkpoint.clone(),
        };
        // SECURITY: a proof that does not verify is not handed out as one.
        proof.verify(&self.verifiers_of(head)?)?;
        Ok(Some(proof))
    }

    /// A page of events with their proofs, newest first. An event that has no place yet has no proof.
    pub async fn export(
        &self,
        filter: &Filter,
        cursor: Option<Cursor>,
        limit: u32,
    ) -> Result<(Vec<(Event, Option<Proof>)>, Option<Cursor>), Error> {
        let (rows, more) = list::rows(&self.0.db, filter, cursor, limit).await?;
        let head = self.head().await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let proof = match &head {
                Some(head) => self.prove_row(row, head).await?,
                None => None,
            };
            found.push((self.opened(row).await?, proof));
        }
        let events = found.iter().map(|(event, _)| event.clone()).collect();
        let next = list::page(events, more).next;
        Ok((found, next))
    }

    /// That the log's newest head goes on from the one with `old` leaves.
    pub async fn consistency(&self, old: u64) -> Result<Option<(Vec<Hash>, String)>, Error> {
        let Some(head) = self.head().await? else {
            return Ok(None);
        };
        let leaves = [old.saturating_sub(1), old];
        let tiles = self.tiles(&tree::needed(head.size, &leaves)).await?;
        Ok(tiles.consistency(old, head.size).zip(head.checkpoint))
    }
}

/// A personal part that was sealed.
pub(super) enum Opened {
    Text(String),
    /// Its key is destroyed, or it is damaged: nobody can tell which.
    Gone,
    /// The vault is closed.
    Closed,
}

pub(super) fn vault(error: fields::Error) -> Error {
    match error {
        fields::Error::Store(error) => error.into(),
        fields::Error::Key(_) | fields::Error::Name(_) | fields::Error::DoesNotOpen => Error::Key,
        fields::Error::Kek(_) => Error::Vault,
        fields::Error::Randomness(_) => Error::Randomness,
    }
}

/// Takes the log's lock, which the transaction holds to its end. Begins the log where there is none.
async fn lock(tx: &mut Tx, now: Timestamp) -> Result<Head, Error> {
    if tx.execute(LOCK, &[]).await? == 0 {
        let root = tree::empty_root();
        let args = [
            Uuid::new_v4().into(),
            (&root).into(),
            now.into(),
            i64::MIN.into(),
        ];
        tx.execute(BEGIN, &args).await?;
        tx.execute(LOCK, &[]).await?;
    }
    let row = tx.fetch_optional(HEAD, &[]).await?;
    Head::read(&row.ok_or(Error::Damaged("its head"))?)
}
