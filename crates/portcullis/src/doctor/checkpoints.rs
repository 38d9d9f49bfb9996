//! The audit log as it is kept here, and who keeps or signs its checkpoints elsewhere.

use std::sync::Arc;

use portcullis_core::time::SystemClock;
use portcullis_core::{Clock, Secret, Span, Timestamp};
use portcullis_events::audit::{Witnesses, beside};
use portcullis_store::Condition;
use portcullis_vault::keys::Keys;

use super::{Trial, in_time, trial};
use crate::check;
use crate::config::Loaded;

/// All of it. Nothing is written.
pub(super) async fn trials(loaded: &mut Loaded) -> Vec<Trial> {
    let mut trials: Vec<Trial> = anchor_bucket(loaded).await.into_iter().collect();
    let keys = check::keys(loaded);
    let Some(url) = loaded.secrets.database.as_ref() else {
        return trials;
    };
    let there = portcullis_store::inspect(&loaded.config.state, url).await;
    if let (Some(keys), Ok((_, Condition::UpToDate))) = (keys, there) {
        trials.extend(head(loaded, url, &keys).await);
        trials.extend(anchor_file(loaded, url, &keys).await);
        trials.extend(witnesses(loaded, url).await);
    }
    trials
}

/// The newest head is this gate's, and the kept hashes lead to it.
async fn head(loaded: &Loaded, url: &Secret<String>, keys: &Keys) -> Option<Trial> {
    let looked = in_time(async {
        let newest = beside::head(&loaded.config.state, url, keys).await;
        newest.map_err(|error| error.to_string())
    });
    let said = match looked.await {
        // Before the first event.
        Ok(None) => return None,
        Ok(Some(newest)) => Ok(format!(
            "{} leaves, signed at {}, and the kept hashes lead to that head; `portcullis audit verify` reads every event",
            newest.size, newest.signed_at
        )),
        Err(error) => Err(error),
    };
    Some(trial("audit log".to_owned(), said))
}

/// The last checkpoint of `audit.anchor-file` is of this log, and not too old.
async fn anchor_file(loaded: &Loaded, url: &Secret<String>, keys: &Keys) -> Option<Trial> {
    let config = &loaded.config.audit;
    let path = loaded.path(config.anchor_file.as_deref()?);
    let what = "file of checkpoints".to_owned();
    let shown = path.display();
    let notes = match std::fs::read_to_string(&path) {
        Ok(notes) => notes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let said = format!("`{shown}` is not there yet: the gate makes it");
            return Some(trial(what, Ok(said)));
        }
        Err(error) => return Some(trial(what, Err(format!("{error}; see audit.anchor-file")))),
    };
    let changed = std::fs::metadata(&path).and_then(|about| about.modified());
    let asked = in_time(async {
        let state = &loaded.config.state;
        let newest = beside::head(state, url, keys).await;
        let newest = newest.map_err(|error| error.to_string())?;
        let anchored = beside::anchored(state, url, keys, &notes).await;
        let anchored = anchored.map_err(|error| error.to_string())?;
        Ok((anchored, newest.map_or(0, |newest| newest.size)))
    });
    let (anchored, size) = match asked.await {
        Ok(found) => found,
        Err(error) => return Some(trial(what, Err(format!("{error}; see audit.anchor-file")))),
    };
    if anchored > size {
        let said = format!(
            "has a checkpoint of {anchored} leaves, and the log has {size}: it was put back or cut short"
        );
        return Some(trial(what, Err(said)));
    }
    let at = changed.ok().and_then(since_epoch);
    let age = at.map(|at| SystemClock.now().since(at));
    let detail = match age {
        Some(age) => format!("has {anchored} of {size} leaves, since {age}"),
        None => format!("has {anchored} of {size} leaves"),
    };
    let is_old = age.is_some_and(|age| age > config.anchor_every.doubled(1, Span::from_days(365)));
    Some(Trial {
        what,
        ok: true,
        warning: is_old && anchored < size,
        detail,
    })
}

fn since_epoch(time: std::time::SystemTime) -> Option<Timestamp> {
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_seconds(
        i64::try_from(since.as_secs()).ok()?,
    ))
}

/// The bucket that checkpoints of the audit log are put into. Nothing is written.
async fn anchor_bucket(loaded: &Loaded) -> Option<Trial> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // What is wrong with the table is told above.
    let bucket = crate::config::anchors::bucket(&loaded.config, &loaded.secrets, &clock);
    let bucket = bucket.ok().flatten()?;
    let told = |is_there| {
        let found = if is_there {
            "answers, and has a checkpoint"
        } else {
            "answers, and has no checkpoint yet (or there is no such bucket)"
        };
        found.to_owned()
    };
    let tried = bucket.try_out().await;
    let tried = tried
        .map(told)
        .map_err(|error| format!("{error}; see [audit.anchor-bucket]"));
    Some(trial("bucket of checkpoints".to_owned(), tried))
}

/// Those who sign checkpoints of the audit log beside the gate: each is asked to, and what it signs is not kept.
async fn witnesses(loaded: &Loaded, url: &Secret<String>) -> Vec<Trial> {
    // What is wrong with the table is told above.
    let Ok(witnesses) = Witnesses::compile(&loaded.config.audit) else {
        return Vec::new();
    };
    let state = &loaded.config.state;
    let told = witnesses.try_out(state, url, SystemClock.now()).await;
    let told = told.unwrap_or_default().into_iter();
    told.map(|(name, said)| {
        let said = said.map_err(|fault| format!("{fault}; see [[audit.witness]]"));
        trial(format!("witness `{name}`"), said)
    })
    .collect()
}
