//! Reload on SIGHUP and on a changed file: a whole new snapshot, or nothing and a report.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_events::audit::{Action, Actor, Event, Outcome};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::check;
use crate::config;
use crate::config::document::Environment;
use crate::gate::Gate;
use crate::serve::Standing;
use crate::snapshot::Snapshot;

/// How often the file is looked at. Its content is compared, so that a mounted file that is
/// replaced as a whole (as orchestrators do) is noticed like one that is written in place.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches until it is aborted.
pub(crate) fn watch(standing: &Standing, file: PathBuf) -> JoinHandle<()> {
    let gate = Arc::clone(&standing.gate);
    gate.back.clone().spawn(async move {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!("SIGHUP cannot be received");
            return;
        };
        let mut known = tokio::fs::read(&file).await.unwrap_or_default();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                _ = ticks.tick() => false,
            };
            let Ok(content) = tokio::fs::read(&file).await else {
                continue;
            };
            if asked || content != known {
                known = content;
                reload(&gate, &file).await;
            }
        }
    })
}

async fn reload(gate: &Gate, file: &Path) {
    let (action, detail) = match compile(file) {
        Ok(snapshot) => {
            gate.snapshot.store(Arc::new(snapshot));
            tracing::info!("policy reloaded");
            (Action::PolicyReloaded, String::new())
        }
        Err(problems) => {
            tracing::error!(%problems, "the changed configuration was not taken: the old one stays");
            (Action::PolicyRejected, problems)
        }
    };
    let outcome = if action == Action::PolicyReloaded {
        Outcome::Allowed
    } else {
        Outcome::Failed
    };
    let event = Event::new(gate.clock.now(), action, outcome)
        .by(Actor::System)
        .with("findings", detail);
    if let Err(error) = gate.trail.record(event).await {
        tracing::warn!(%error, "a reload could not be recorded");
    }
}

fn compile(file: &Path) -> Result<Snapshot, String> {
    let mut loaded =
        config::load(file, Environment::of_process()).map_err(|error| error.to_string())?;
    match check::judge(&mut loaded) {
        Some((snapshot, _)) => Ok(snapshot),
        None => Err(loaded
            .findings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")),
    }
}
