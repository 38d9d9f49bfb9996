//! Where the gate keeps the files: they go into the store, and on to the product go their ids.
//!
//! A file that is not known to be clean goes nowhere, unless `[upload-store]` says that it is kept in
//! quarantine: there nobody gets it.

use std::fs::File;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use portcullis_core::{Problem, problem};
use portcullis_events::UploadStore;
use portcullis_events::audit::By;
use portcullis_events::upload_store::{
    self, New, Otherwise, Owner, Rescan, Rescanned, Scanning, Verdict,
};
use portcullis_guard::uploads::{self, Accepted, Error, Facts, Held, Uploads};
use serde::Serialize;
use std::sync::Arc;
use uuid::Uuid;

use super::{Claim, Stopped};
use crate::lane::Lane;
use crate::story::Story;

/// How often it is tried to write down that the product has a file, and how long between two tries.
const TRIES: u32 = 30;
const BETWEEN: Duration = Duration::from_secs(10);

/// Files that the product is about to hear of.
pub(crate) struct Pending {
    ids: Vec<Uuid>,
    by: By,
}

/// What the product gets in place of a file.
#[derive(Serialize)]
struct Description<'a> {
    #[serde(flatten)]
    file: Claim<'a>,
    verdict: &'static str,
}

/// Keeps the files of an upload that was accepted.
pub(super) async fn keep(
    lane: &Lane,
    accepted: Accepted,
    story: &Story<'_>,
) -> Result<(Accepted, Vec<Uuid>), Stopped> {
    let verdict = match &accepted.verdict {
        uploads::Verdict::Clean { .. } => Verdict::Clean,
        uploads::Verdict::NotScanned => Verdict::NotScanned,
        uploads::Verdict::Quarantined => Verdict::Unscanned,
    };
    let ids = put_all(lane, &accepted, verdict, None, story).await?;
    let told: Result<Vec<Bytes>, _> = accepted
        .files
        .iter()
        .zip(&ids)
        .map(|(facts, id)| describe(facts, *id, accepted.verdict.as_str()))
        .collect();
    let told = told.map_err(|error| Stopped::Gate(Problem::internal(error)))?;
    Ok((accepted.described(told)?, ids))
}

fn describe(facts: &Facts, id: Uuid, verdict: &'static str) -> Result<Bytes, serde_json::Error> {
    let description = Description {
        // It stands in its field.
        file: Claim {
            field: None,
            ..Claim::of(facts, Some(id))
        },
        verdict,
    };
    serde_json::to_vec(&description).map(Bytes::from)
}

/// What becomes of an upload that is not known to be clean. What comes back goes on, to be described: it is in
/// quarantine, or about to be.
pub(super) async fn hold(
    lane: &Lane,
    held: Held,
    stores: bool,
    story: &Story<'_>,
) -> Result<Accepted, Stopped> {
    let config = lane.gate.upload_store.as_ref().map(UploadStore::config);
    let (infected, unscanned) = config.map_or((Otherwise::Refuse, Otherwise::Refuse), |config| {
        (config.infected, config.unscanned)
    });
    match (&held.why, infected, unscanned) {
        (Error::Infected { signature }, Otherwise::Quarantine, _) => {
            let found = Some(signature.clone());
            let kept = put_all(lane, held.upload(), Verdict::Infected, found, story).await;
            if let Err(Stopped::Gate(problem)) = kept {
                // It is refused all the same, and that is on record.
                let cause = problem.cause.as_ref().map(ToString::to_string);
                let cause = cause.unwrap_or_default();
                tracing::warn!(problem = problem.kind.slug, %cause, "an infected upload could not be kept in quarantine");
            }
            Err(held.why.into())
        }
        (Error::Scanner(_), _, Otherwise::Quarantine) if stores => {
            super::tell_failed(lane, &held.why);
            Ok(held.into_upload())
        }
        (
            _,
            Otherwise::Refuse | Otherwise::Quarantine,
            Otherwise::Refuse | Otherwise::Quarantine,
        ) => Err(held.why.into()),
    }
}

/// All of them, or none.
async fn put_all(
    lane: &Lane,
    accepted: &Accepted,
    verdict: Verdict,
    found: Option<String>,
    story: &Story<'_>,
) -> Result<Vec<Uuid>, Stopped> {
    let uploads = store(lane).map_err(Stopped::Gate)?;
    let by = by(story);
    let mut files = Vec::new();
    for (facts, at, file) in accepted.contents().map_err(Error::from)? {
        files.push(New {
            file,
            at,
            size: facts.size,
            sha256: digest(facts)?,
            name: facts.name.clone(),
            kind: facts.kind,
            verdict,
            found: found.clone(),
            tenant: story.tenant,
            owner: Owner(story.caller),
        });
    }
    let work = async move {
        let mut ids = Vec::new();
        for new in files {
            match uploads.put(new, &by).await {
                Ok(id) => ids.push(id),
                Err(error) => {
                    take_back(&uploads, &ids, &by).await;
                    return Err(error);
                }
            }
        }
        Ok(ids)
    };
    let kept: Result<Vec<Uuid>, upload_store::Error> =
        lane.on_back(work).await.map_err(Stopped::Gate)?;
    kept.map_err(|error| Stopped::Gate(error.into()))
}

fn digest(facts: &Facts) -> Result<[u8; 32], Stopped> {
    let bytes = hex::decode(&facts.sha256).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Error::Lost.into())
}

fn store(lane: &Lane) -> Result<UploadStore, Problem> {
    let store = lane.gate.upload_store.clone();
    store.ok_or_else(|| Problem::new(&problem::INTERNAL_ERROR))
}

fn by(story: &Story<'_>) -> By {
    By {
        actor: story.caller,
        client: Some(story.client),
        request: Some(story.id),
    }
}

async fn take_back(store: &UploadStore, ids: &[Uuid], by: &By) {
    for id in ids {
        if let Err(error) = store.take_back(*id, by).await {
            // It is deleted when its time is over.
            tracing::warn!(%error, upload.id = %id, "an upload that nobody took could not be deleted");
        }
    }
}

impl Pending {
    pub(super) fn new(ids: Vec<Uuid>, story: &Story<'_>) -> Self {
        Pending { ids, by: by(story) }
    }

    /// The product has answered. What it refused is deleted; what it took stays.
    pub(crate) async fn settle(self, lane: &Lane, status: StatusCode) {
        // A form is answered with a page, or with the way to one (RFC 9110 section 15.4.4).
        let is_taken =
            status.is_success() || [StatusCode::SEE_OTHER, StatusCode::FOUND].contains(&status);
        let Ok(store) = store(lane) else { return };
        let Pending { ids, by } = self;
        let work = async move {
            if !is_taken {
                take_back(&store, &ids, &by).await;
            } else if let Err(error) = store.taken(&ids).await {
                tracing::warn!(%error, "it could not be written down that the product has an upload: it is tried again");
                tokio::spawn(note_later(store, ids));
            }
        };
        // Waited for, so that the client hears nothing that a crash could take back.
        let _ = lane.on_back(work).await;
    }

    /// The product was not reached: nothing knows of the files.
    pub(crate) async fn forget(self, lane: &Lane, problem: &Problem) {
        // Where the product may have heard of them, they wait.
        if problem.kind == &problem::UPSTREAM_UNREACHABLE {
            self.settle(lane, StatusCode::BAD_GATEWAY).await;
        }
    }
}

async fn note_later(store: UploadStore, ids: Vec<Uuid>) {
    for _ in 0..TRIES {
        tokio::time::sleep(BETWEEN).await;
        if store.taken(&ids).await.is_ok() {
            return;
        }
    }
}

/// The scanner of the configuration in force, for what is to be released.
pub(crate) struct Again(pub(crate) Arc<Uploads>);

impl Rescan for Again {
    fn scan(&self, file: File, size: u64) -> Scanning<'_> {
        Box::pin(async move {
            match self.0.scan_again(file, size).await {
                Ok(uploads::Verdict::Clean { .. }) => Ok(Rescanned::Clean),
                Ok(uploads::Verdict::NotScanned | uploads::Verdict::Quarantined) => {
                    Ok(Rescanned::None)
                }
                Err(Error::Infected { signature }) => Ok(Rescanned::Found(signature)),
                Err(Error::Unscannable(limit)) => Ok(Rescanned::Limit(limit)),
                Err(error) => Err(error.into()),
            }
        })
    }
}
