//! The whole log against the table, the tiles and the signed head: what was changed, and where.
//!
//! - Every leaf is computed from its row and compared with the hash that was kept of it; the root of what
//!   the rows say must be that of the signed head. So a row can only be changed unseen together with the
//!   tiles and the head, which takes the key.
//! - A checkpoint that somebody else kept finds what this database cannot know of itself: that it was cut
//!   short, went back to an older copy, or that there are two of it.
//! - What was taken out by the retention rule is known by an event of the log itself. Its hashes are taken
//!   as they were kept, and must lead to the same signed root.
//!
//! Not found: what was never recorded; a change before the head was signed; a change by somebody who has
//! the master secret, unless a checkpoint is kept where they cannot reach it.

use std::collections::BTreeMap;

use portcullis_core::id::EventId;
use portcullis_store::Row;
use portcullis_vault::note::Verifier;
use serde::Serialize;

use super::checkpoint::Checkpoint;
use super::leaf::{self, columns};
use super::log::{Head, Log, Opened, signed};
use super::tree::{self, Edge, Hash, Place, TILE};
use super::witness::{Odd, Standing};
use super::{Action, Error, personal};

/// Faults that are told one by one.
const MOST: usize = 1000;

pub(super) const RANGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM audit_event WHERE leaf >= $1 AND leaf < $2 ORDER BY leaf"
);
// In the log of a head that is being verified there are no more leaves than it says.
const BEYOND: &str = "SELECT id, leaf FROM audit_event WHERE leaf >= $1 ORDER BY leaf LIMIT 100";
const WAITING: &str = "SELECT count(*) AS n FROM audit_event WHERE leaf IS NULL";

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The row is not what was signed.
    Changed,
    /// The row is gone, and no retention rule took it.
    Missing,
    /// The row stands where another one stood.
    Reordered,
    /// The row is in no signed head, and does not wait for one.
    Inserted,
    /// The personal part is not what was recorded.
    Personal,
    /// Hashes that were kept of the log are gone or changed.
    Tile,
    /// The head is not signed by this gate's key, or is not of these rows.
    Head,
    /// The log is shorter than it was when the checkpoint was kept.
    RolledBack,
    /// The log's beginning is not the one of the checkpoint that was kept.
    Forked,
    /// A witness has seen another history of this log, or more of it.
    Contradicted,
    /// Fewer witnesses signed than are wanted, or one's word is not its own.
    Unwitnessed,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub fault: Fault,
    /// The place in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf: Option<u64>,
    /// The event that stands there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// In words.
    pub what: String,
}

/// What a look at the whole log found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Leaves of the signed head.
    pub size: u64,
    /// Its root, in hexadecimal.
    pub root: String,
    /// Rows that are what was signed.
    pub held: u64,
    /// Events whose content the retention rule removed.
    pub past_retention: u64,
    /// Events whose personal part is gone.
    pub erased: u64,
    /// Events that are in no signed head yet.
    pub waiting: u64,
    /// Who signed beside the gate; nothing where nobody is asked to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    pub findings: Vec<Finding>,
    /// Findings beyond those that are told.
    pub more: u64,
}

impl Report {
    pub const fn holds(&self) -> bool {
        self.findings.is_empty() && self.more == 0
    }

    fn add_standing(&mut self, standing: Standing, odd: Vec<Odd>) {
        for odd in odd {
            let (fault, what) = match odd {
                Odd::Contradicts(what) => (Fault::Contradicted, what),
                Odd::Unsigned(what) => (Fault::Unwitnessed, what),
            };
            self.add(fault, (None, None), what);
        }
        let (signed, wanted) = (standing.signed.len(), standing.wanted);
        if signed < wanted {
            let what = format!(
                "{signed} witnesses signed this log, and `audit.witnesses-wanted` is {wanted}"
            );
            self.add(Fault::Unwitnessed, (None, None), what);
        }
        self.standing = Some(standing);
    }

    fn add(&mut self, fault: Fault, at: (Option<u64>, Option<EventId>), what: impl Into<String>) {
        if self.findings.len() < MOST {
            let ((leaf, event), what) = (at, what.into());
            self.findings.push(Finding {
                fault,
                leaf,
                event,
                what,
            });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} leaves, root {}: {} rows hold, {} past retention, {} without their personal part, {} wait for a signed head",
            self.size, self.root, self.held, self.past_retention, self.erased, self.waiting
        )?;
        if let Some(standing) = &self.standing {
            write!(f, "\n{standing}")?;
        }
        for finding in &self.findings {
            write!(f, "\n{}", finding.what)?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

/// What is gathered on the way through the leaves.
struct Walk {
    report: Report,
    /// What the rows say, or the kept hash where the content is gone.
    edge: Edge,
    /// The size and root of the checkpoint that somebody else kept.
    kept: Option<Checkpoint>,
    root_then: Option<Hash>,
    /// Rows that are not what was kept of them: place, event, their hash, the kept one.
    odd: Vec<(u64, EventId, Hash, Hash)>,
    /// Places without a row, as ranges.
    gone: Vec<(u64, u64)>,
    /// Up to here the log itself says that content was removed.
    retained: u64,
}

impl Log {
    /// Verifies everything, and against `kept`, a signed checkpoint of this log, where one is given.
    ///
    /// Reads the whole table, a page at a time, beside whatever is being recorded.
    ///
    /// # Errors
    /// The database does not answer, or `kept` is no checkpoint that this gate signed.
    pub async fn verify(&self, kept: Option<&str>) -> Result<Report, Error> {
        let report = self.verify_once(kept).await?;
        let is_missing = |finding: &Finding| finding.fault == Fault::Missing;
        if !report.findings.iter().any(is_missing) {
            return Ok(report);
        }
        // The retention rule may have come by: what it took is explained by a head that is newer than the one
        // that was verified.
        let newest = self.head().await?.map_or(0, |head| head.size);
        if newest > report.size {
            return self.verify_once(kept).await;
        }
        Ok(report)
    }

    async fn verify_once(&self, kept: Option<&str>) -> Result<Report, Error> {
        let Some(head) = self.head().await? else {
            return self.without_a_log(kept).await;
        };
        let keys = self.verifiers_of(&head)?;
        let kept = match kept {
            Some(text) => Some(Checkpoint::verify(text, &keys)?),
            None => None,
        };
        let mut walk = Walk {
            report: Report {
                size: head.size,
                root: hex::encode(head.root),
                ..Report::default()
            },
            edge: Edge::default(),
            root_then: kept
                .as_ref()
                .filter(|kept| kept.size == 0)
                .map(|_| tree::empty_root()),
            kept,
            odd: Vec::new(),
            gone: Vec::new(),
            retained: 0,
        };
        let mut from = 0;
        while from < head.size {
            let to = from.saturating_add(TILE).min(head.size);
            self.verify_tile(&mut walk, from, to).await?;
            from = to;
        }
        walk.verify_head(&head, &keys);
        self.verify_upper_tiles(&mut walk, &head).await?;
        self.verify_beyond(&mut walk, &head).await?;
        let mut report = walk.finish();
        if let Some((standing, odd)) = self.standing(&head, &keys).await? {
            report.add_standing(standing, odd);
        }
        Ok(report)
    }

    async fn without_a_log(&self, kept: Option<&str>) -> Result<Report, Error> {
        let mut report = Report {
            waiting: self.waiting().await?,
            ..Report::default()
        };
        if kept.is_some() {
            report.add(
                Fault::RolledBack,
                (None, None),
                "there is no log, and there was one when the checkpoint was kept",
            );
        }
        Ok(report)
    }

    async fn waiting(&self) -> Result<u64, Error> {
        let row = self.db().fetch_optional(WAITING, &[]).await?;
        let count = row.map_or(Ok(0), |row| row.int("n"))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// The leaves of one tile.
    async fn verify_tile(&self, walk: &mut Walk, from: u64, to: u64) -> Result<(), Error> {
        let place = Place {
            level: 0,
            index: from / TILE,
        };
        let tiles = self.tiles(&[place]).await?;
        let args = [signed(from).into(), signed(to).into()];
        let rows = self.db().fetch_all(RANGE, &args).await?;
        let mut rows = rows.iter().peekable();
        for index in from..to {
            let is_here = |row: &&Row| row.int("leaf").is_ok_and(|leaf| leaf == signed(index));
            let kept = tiles.leaf(index);
            let hash = if let Some(row) = rows.next_if(is_here) {
                self.verify_row(walk, row, index, kept).await?
            } else {
                walk.is_gone(index);
                kept.unwrap_or_default()
            };
            walk.edge.push(hash);
            if walk
                .kept
                .as_ref()
                .is_some_and(|then| then.size == walk.edge.size())
            {
                walk.root_then = Some(walk.edge.root());
            }
        }
        Ok(())
    }

    async fn verify_row(
        &self,
        walk: &mut Walk,
        row: &Row,
        index: u64,
        kept: Option<Hash>,
    ) -> Result<Hash, Error> {
        let id = EventId::from_uuid(row.uuid("id")?);
        let hash = tree::leaf_hash(leaf::encode(row)?.as_bytes());
        match kept {
            Some(kept) if kept == hash => walk.report.held = walk.report.held.saturating_add(1),
            Some(kept) => walk.odd.push((index, id, hash, kept)),
            None => walk.report.add(
                Fault::Tile,
                (Some(index), Some(id)),
                format!("the hash that was kept of leaf {index} is gone"),
            ),
        }
        if kept == Some(hash) && row.text("action")? == Action::AuditRetained.as_str() {
            walk.retained = walk.retained.max(through(&row.text("metadata")?));
        }
        self.verify_personal(walk, row, (index, id)).await?;
        Ok(hash)
    }

    async fn verify_personal(
        &self,
        walk: &mut Walk,
        row: &Row,
        (index, id): (u64, EventId),
    ) -> Result<(), Error> {
        let Some(hash) = row.opt_bytes("personal_hash")? else {
            return Ok(());
        };
        let text = match (row.opt_text("personal")?, row.opt_text("sealed")?) {
            (Some(text), _) => Opened::Text(text),
            (None, Some(sealed)) => self.open(id, &sealed).await?,
            (None, None) => Opened::Gone,
        };
        match text {
            Opened::Text(text) if personal::hash(&text)[..] == hash[..] => {}
            Opened::Text(_) => walk.report.add(
                Fault::Personal,
                (Some(index), Some(id)),
                format!("the personal part of event {id} (leaf {index}) is not what was recorded"),
            ),
            Opened::Gone => walk.report.erased = walk.report.erased.saturating_add(1),
            // Nothing is known of it while the vault is closed; its hash is in the leaf all the same.
            Opened::Closed => {}
        }
        Ok(())
    }

    /// What proofs are made of, above the leaves: each tile against those below it.
    async fn verify_upper_tiles(&self, walk: &mut Walk, head: &Head) -> Result<(), Error> {
        let (mut level, mut entries) = (1_u8, head.size / TILE);
        while entries > 0 {
            let mut below = 0;
            while below < entries {
                let under = Place {
                    level: level.saturating_sub(1),
                    index: below,
                };
                let above = Place {
                    level,
                    index: below / TILE,
                };
                let (under, above) = (self.tile(under).await?, self.tile(above).await?);
                let offset = usize::try_from(below % TILE)
                    .unwrap_or(0)
                    .saturating_mul(32);
                let kept = above
                    .as_deref()
                    .and_then(|bytes| bytes.get(offset..)?.get(..32));
                let is_right = under.is_some_and(|bytes| kept == Some(&whole(&bytes)[..]));
                if !is_right {
                    walk.report.add(
                        Fault::Tile,
                        (None, None),
                        format!(
                            "tile {below} of level {} does not agree with the one above it",
                            level.saturating_sub(1)
                        ),
                    );
                }
                below = below.saturating_add(1);
            }
            level = level.saturating_add(1);
            entries /= TILE;
        }
        Ok(())
    }

    /// Rows that claim a place behind the head that was verified, where it is still the newest.
    async fn verify_beyond(&self, walk: &mut Walk, head: &Head) -> Result<(), Error> {
        let rows = self
            .db()
            .fetch_all(BEYOND, &[signed(head.size).into()])
            .await?;
        let newest = self.head().await?.map_or(0, |newest| newest.size);
        for row in &rows {
            let leaf = u64::try_from(row.int("leaf")?).unwrap_or(u64::MAX);
            let id = EventId::from_uuid(row.uuid("id")?);
            if leaf >= newest {
                walk.report.add(
                    Fault::Inserted,
                    (Some(leaf), Some(id)),
                    format!("event {id} claims leaf {leaf}, which no head has"),
                );
            }
        }
        walk.report.waiting = self.waiting().await?;
        Ok(())
    }
}

impl Walk {
    fn verify_head(&mut self, head: &Head, keys: &[Verifier]) {
        let said = head
            .checkpoint
            .as_deref()
            .map(|text| Checkpoint::verify(text, keys));
        let is_ours = match said {
            Some(Ok(said)) => said.size == head.size && said.root == head.root,
            Some(Err(_)) => false,
            None => head.size == 0,
        };
        if !is_ours {
            self.report.add(
                Fault::Head,
                (None, None),
                "the head of the log is not signed by this gate's key",
            );
        }
    }

    fn is_gone(&mut self, index: u64) {
        match self.gone.last_mut() {
            Some((_, to)) if *to == index => *to = index.saturating_add(1),
            Some(_) | None => self.gone.push((index, index.saturating_add(1))),
        }
    }

    fn finish(mut self) -> Report {
        self.tell_odd_rows();
        for (from, to) in std::mem::take(&mut self.gone) {
            let past = to.min(self.retained).saturating_sub(from);
            self.report.past_retention = self.report.past_retention.saturating_add(past);
            for index in from.max(self.retained)..to {
                let what = format!("the event at leaf {index} is missing");
                self.report.add(Fault::Missing, (Some(index), None), what);
            }
        }
        let agrees = hex::encode(self.edge.root()) == self.report.root;
        if !agrees && self.report.holds() {
            self.report.add(
                Fault::Head,
                (None, None),
                "rows and hashes agree with each other and not with the signed head: both were changed",
            );
        }
        self.compare_kept();
        self.report
    }

    /// Rows that stand where another stood are told from rows that were changed.
    fn tell_odd_rows(&mut self) {
        let odd = std::mem::take(&mut self.odd);
        let kept: BTreeMap<Hash, u64> = odd.iter().map(|row| (row.3, row.0)).collect();
        for (index, id, hash, _) in odd {
            let (fault, what) = match kept.get(&hash) {
                Some(before) => (
                    Fault::Reordered,
                    format!("event {id} stands at leaf {index}, and was signed at leaf {before}"),
                ),
                None => (
                    Fault::Changed,
                    format!("event {id} (leaf {index}) is not the one that was signed"),
                ),
            };
            self.report.add(fault, (Some(index), Some(id)), what);
        }
    }

    fn compare_kept(&mut self) {
        let Some(then) = self.kept.take() else { return };
        let size = then.size;
        if size > self.report.size {
            let what = format!(
                "the log has {} leaves, and had {size} when the checkpoint was kept: it was cut short or went back to an older copy",
                self.report.size
            );
            self.report.add(Fault::RolledBack, (None, None), what);
        } else if self.root_then != Some(then.root) {
            let what = format!(
                "the first {size} leaves are not those of the checkpoint that was kept: the log was rewritten or there are two of it"
            );
            self.report.add(Fault::Forked, (None, None), what);
        }
    }
}

/// Up to which leaf an event of the retention rule says that content was removed.
fn through(metadata: &str) -> u64 {
    let metadata: Option<serde_json::Value> = serde_json::from_str(metadata).ok();
    let through = metadata
        .as_ref()
        .and_then(|metadata| metadata.get("through")?.as_u64());
    through.unwrap_or(0)
}

/// The root of a whole tile.
fn whole(bytes: &[u8]) -> Hash {
    let mut edge = Edge::default();
    let (hashes, _) = bytes.as_chunks();
    for hash in hashes {
        edge.push(*hash);
    }
    edge.root()
}
