//! What is done beside the requests and on threads that may take their time: writing files, keeping the folder
//! and the quarantine in order, looking again at what is to be released.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use aws_lc_rs::digest::{Context, SHA256};
use portcullis_core::{Secret, Span, TenantId};
use portcullis_vault::ct_eq;
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::chunks::{CHUNK, Chunks, KEY_LEN, TAG};
use super::folder::{Folder, Incoming};
use super::reader::Reader;
use super::rows::{self, State, Stored, Verdict};
use super::sealed::{self, Content};
use super::{Error, Rescanned, UNTAKEN_FOR, UploadStore};
use crate::audit::{Action, By};

/// How long a file may stand in `incoming` before it is looked at: longer than any is written.
const WRITTEN_WITHIN: Span = Span::from_hours(1);
/// Rows in one round.
const ROUND: u32 = 200;

/// Seals a part of `source` into a new file. It is on the disk when this is done.
pub(super) fn write(
    folder: &Folder,
    id: Uuid,
    key: &Secret<[u8; KEY_LEN]>,
    (source, at): &(File, u64),
    size: u64,
    sha256: &[u8; 32],
) -> Result<Incoming, Error> {
    let mut incoming = folder.create(id)?;
    let mut chunks = Chunks::new(key.expose(), id, size)?;
    let mut digest = Context::new(&SHA256);
    let mut at = *at;
    let mut chunk = Vec::with_capacity(CHUNK + TAG);
    while let Some(count) = chunks.next_plain() {
        chunk.clear();
        chunk.resize(count, 0);
        source.read_exact_at(&mut chunk, at)?;
        at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        digest.update(&chunk);
        chunks.seal(&mut chunk)?;
        incoming.file.write_all(&chunk)?;
    }
    if !ct_eq(digest.finish().as_ref(), sha256) {
        let why = "what was screened is not what is to be stored";
        return Err(io::Error::other(why).into());
    }
    incoming.sync()?;
    Ok(incoming)
}

impl UploadStore {
    /// Those there are, newest first.
    pub async fn list(
        &self,
        state: Option<State>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Stored>, Error> {
        rows::list(&self.db, state, after, limit).await
    }

    /// Those of one tenant, newest first, those behind `after`; at most `limit`.
    pub async fn of_tenant(
        &self,
        tenant: TenantId,
        state: Option<State>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Stored>, Error> {
        rows::of_tenant(&self.db, tenant, state, after, limit).await
    }

    /// Those that somebody sent (`user:ID`, `visitor:ID`), oldest first, those behind `after`; at most `limit`.
    pub async fn of_owner(
        &self,
        owner: &str,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<Stored>, Error> {
        rows::of_owner(&self.db, owner, after, limit).await
    }

    /// How many files are in quarantine, and how many bytes.
    pub async fn quarantined(&self) -> Result<(u64, u64), Error> {
        let row = self.db.fetch_optional(rows::QUARANTINED, &[]).await?;
        rows::quarantined(row.as_ref())
    }

    /// One, with its name where the vault gives that.
    pub async fn show(&self, id: Uuid) -> Result<(Stored, Option<String>), Error> {
        let found = rows::find(&self.db, id).await?;
        self.with_name(found.ok_or(Error::NotFound)?).await
    }

    /// The same, of one tenant alone.
    ///
    /// # Errors
    /// [`Error::NotFound`] as well where it is another one's.
    pub async fn show_of(
        &self,
        tenant: TenantId,
        id: Uuid,
    ) -> Result<(Stored, Option<String>), Error> {
        let found = rows::find(&self.db, id).await?;
        // SECURITY: without it the administrator of any tenant reads what others sent, by its id.
        let own = found.filter(|(stored, _)| stored.tenant == Some(tenant));
        self.with_name(own.ok_or(Error::NotFound)?).await
    }

    async fn with_name(
        &self,
        (stored, sealed): (Stored, String),
    ) -> Result<(Stored, Option<String>), Error> {
        let content = sealed::open(&self.fields, &stored, &sealed).await;
        Ok((stored, content.ok().and_then(|content| content.name)))
    }

    /// Deletes one, whatever state it is in.
    pub async fn discard(&self, id: Uuid, by: &By) -> Result<(), Error> {
        let found = rows::find(&self.db, id).await?;
        let (stored, _) = found.ok_or(Error::NotFound)?;
        self.remove(&stored, by).await
    }

    /// Out of quarantine, if the scanner finds nothing now.
    pub async fn release(&self, id: Uuid, by: &By) -> Result<(), Error> {
        let found = rows::find(&self.db, id).await?;
        let (stored, sealed) = found.ok_or(Error::NotFound)?;
        if stored.state != State::Quarantined {
            return Err(Error::NotQuarantined);
        }
        let (content, scanned) = match self.look_again(&stored, &sealed).await {
            Ok(seen) => seen,
            Err(error) => {
                self.tell_damaged(&stored, &error, by).await;
                return Err(error);
            }
        };
        match scanned {
            Rescanned::Clean => {
                let released = Stored {
                    state: State::Kept,
                    verdict: Verdict::Clean,
                    found: None,
                    ..stored
                };
                self.judge(&released, &content, &sealed, by).await
            }
            Rescanned::Found(signature) => {
                let judged = Stored {
                    verdict: Verdict::Infected,
                    found: Some(signature.clone()),
                    ..stored
                };
                self.judge(&judged, &content, &sealed, by).await?;
                Err(Error::Infected(signature))
            }
            Rescanned::Limit(limit) => Err(Error::Unscannable(limit)),
            Rescanned::None => Err(Error::NoScanner),
        }
    }

    /// What is known of its content, and what the scanner says of that now.
    async fn look_again(
        &self,
        stored: &Stored,
        sealed: &str,
    ) -> Result<(Content, Rescanned), Error> {
        let content = sealed::open(&self.fields, stored, sealed).await?;
        let scanned = self.scan(stored, &content).await?;
        Ok((content, scanned))
    }

    /// Writes down what the scanner says now.
    async fn judge(
        &self,
        judged: &Stored,
        content: &Content,
        old: &str,
        by: &By,
    ) -> Result<(), Error> {
        let new = sealed::seal(&self.fields, judged, content).await?;
        let mut tx = self.db.begin().await?;
        let texts = (old, &*new);
        let (is_done, action) = match judged.state {
            State::Kept => (
                rows::release(&mut tx, judged, texts, self.clock.now()).await?,
                Action::UploadReleased,
            ),
            State::Quarantined => (
                rows::judge(&mut tx, judged, texts).await?,
                Action::UploadQuarantined,
            ),
        };
        // Somebody else was faster: released, or deleted.
        if !is_done {
            return Err(Error::NotQuarantined);
        }
        let event = self.event(judged, action, by);
        let event = event.with("verdict", judged.verdict.as_str());
        self.trail.record_in(&mut tx, event).await?;
        Ok(tx.commit().await?)
    }

    /// Has it scanned, from a file without a name.
    async fn scan(&self, stored: &Stored, content: &Content) -> Result<Rescanned, Error> {
        let Some(scanner) = self.scanner.0.load_full() else {
            return Ok(Rescanned::None);
        };
        let (folder, id) = (self.folder.clone(), stored.id);
        let files = tokio::task::spawn_blocking(move || {
            folder.own()?;
            Ok::<_, io::Error>((folder.open(id)?, tempfile::tempfile_in(folder.root())?))
        });
        let (file, plain) = files.await.map_err(|_| Error::Lost)??;
        let mut plain = tokio::fs::File::from_std(plain);
        let mut reader = Reader::of(file, stored, content).await?;
        while let Some(chunk) = reader.next().await? {
            plain.write_all(&chunk).await?;
        }
        plain.flush().await?;
        let plain = plain.into_std().await;
        let verdict = scanner.scan(plain, stored.size).await;
        verdict.map_err(Error::Scanner)
    }

    /// Deletes what the product never took and what was in quarantine for long enough, and puts in order what a
    /// crash left behind.
    pub async fn keep_house(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let limits = (now - UNTAKEN_FOR, now - self.config.quarantine_for);
        for stored in rows::over(&self.db, limits, ROUND).await? {
            match self.remove(&stored, &By::SYSTEM).await {
                // Another node was faster.
                Ok(()) | Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let folder = self.folder.clone();
        let limit = now - WRITTEN_WITHIN;
        let left = tokio::task::spawn_blocking(move || folder.left(limit));
        for id in left.await.map_err(|_| Error::Lost)?? {
            let folder = self.folder.clone();
            let has_row = rows::find(&self.db, id).await?.is_some();
            let done = tokio::task::spawn_blocking(move || {
                if has_row {
                    folder.settle(id)
                } else {
                    folder.forget(id)
                }
            });
            match done.await.map_err(|_| Error::Lost)? {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
