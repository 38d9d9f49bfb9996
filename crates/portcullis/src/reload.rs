//! Reload on SIGHUP and on a changed file: a whole new snapshot, or nothing and a report.
//!
//! - Tables that something was started with ([`config::AT_START`]) keep their running values, all
//!   of them together, so that no half of the gate follows the new file while the other half
//!   follows the old one. The log names the keys that wait for a restart.
//! - A new certificate is for new handshakes. No connection is dropped for it.

use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::finding::Finding;
use portcullis_edge::config::TlsConfig;
use portcullis_edge::tls::ServerTls;
use portcullis_events::audit::{Action, Actor, Event, Outcome};
use portcullis_store::revocations::Revocation;
use portcullis_vault::keys::Keys;
use tokio::signal::unix::Signal;
use tokio::task::JoinHandle;

use crate::check;
use crate::config::document::Environment;
use crate::config::{self, Loaded};
use crate::gate::Gate;
use crate::serve::Standing;
use crate::snapshot::Snapshot;
use crate::uploads::stored::Again;

/// How often the files are looked at. Their content is compared, so that a mounted file that is
/// replaced as a whole (as orchestrators do) is noticed like one that is written in place.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the gate was started with.
pub(crate) struct Running {
    pub(crate) loaded: Loaded,
    pub(crate) keys: Keys,
}

/// Watches until it is aborted.
pub(crate) fn watch(standing: &mut Standing, file: PathBuf, running: Running) -> JoinHandle<()> {
    let tls = standing.tls.clone().zip(running.loaded.listen().tls);
    let watcher = Watcher {
        gate: Arc::clone(&standing.gate),
        file,
        running,
        tls,
        hasher: RandomState::new(),
    };
    let hangup = standing.signals.hangup.take();
    watcher.gate.back.clone().spawn(watcher.run(hangup))
}

struct Watcher {
    gate: Arc<Gate>,
    file: PathBuf,
    running: Running,
    tls: Option<(Arc<ServerTls>, TlsConfig)>,
    hasher: RandomState,
}

impl Watcher {
    async fn run(self, mut hangup: Option<Signal>) {
        let mut known = self.look(&self.file);
        let mut known_certificate = self.look_at_certificate();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            let asked = tokio::select! {
                () = heard(&mut hangup) => true,
                _ = ticks.tick() => false,
            };
            let certificate = self.look_at_certificate();
            if asked || certificate != known_certificate {
                known_certificate = certificate;
                self.reload_certificate().await;
            }
            let content = self.look(&self.file);
            if content.is_some() && (asked || content != known) {
                known = content;
                self.reload().await;
            }
        }
    }

    /// What stands in a file, as a number that tells nothing of it. None when it cannot be read.
    ///
    /// Read on this thread, as a reload itself does: another thread may not be had, and asking for it then would end
    /// the watcher.
    fn look(&self, file: &Path) -> Option<u64> {
        let content = std::fs::read(file).ok()?;
        Some(self.hasher.hash_one(content))
    }

    fn look_at_certificate(&self) -> Option<(u64, u64)> {
        let (_, files) = self.tls.as_ref()?;
        self.look(&files.cert).zip(self.look(&files.key))
    }

    async fn reload_certificate(&self) {
        let Some((tls, files)) = &self.tls else {
            return;
        };
        match tls.reload(files) {
            Ok(()) => tracing::info!("certificate reloaded"),
            Err(findings) => {
                let problems = joined(&findings);
                tracing::error!(%problems, "the changed certificate was not taken: the old one stays");
                self.record(Action::PolicyRejected, Outcome::Failed, problems)
                    .await;
            }
        }
    }

    async fn reload(&self) {
        match self.compile() {
            Ok((snapshot, waiting, findings)) => {
                self.gate.posture.store(Arc::new(findings));
                let roles = Arc::clone(snapshot.product.policy.roles());
                // Before there is a route that leads to them.
                self.gate.webhooks.set(Arc::clone(&snapshot.webhooks));
                if let Some(store) = &self.gate.upload_store {
                    store.scan_with(Box::new(Again(Arc::clone(&snapshot.uploads))));
                }
                self.gate.snapshot.store(Arc::new(snapshot));
                // What was lent counts while the lender holds it, and the new policy may say otherwise.
                self.gate.sessions.policy().set(roles);
                self.gate.sessions.revoked(Revocation::Everything);
                self.gate.bearers.policy_changed();
                tracing::info!("policy reloaded");
                let waiting = waiting.join(", ");
                if !waiting.is_empty() {
                    tracing::warn!(keys = %waiting, "restart needed: these keys changed and are read at the start alone");
                }
                self.record(Action::PolicyReloaded, Outcome::Allowed, waiting)
                    .await;
            }
            Err(problems) => {
                tracing::error!(%problems, "the changed configuration was not taken: the old one stays");
                self.record(Action::PolicyRejected, Outcome::Failed, problems)
                    .await;
            }
        }
    }

    /// The new snapshot, the keys that wait for a restart, and what there is to look at.
    fn compile(&self) -> Result<(Snapshot, Vec<String>, Vec<Finding>), String> {
        let mut loaded = config::load(&self.file, Environment::of_process())
            .map_err(|error| error.to_string())?;
        // The file is judged whole, as a restart would judge it.
        let (snapshot, _) = check::judge(&mut loaded).ok_or_else(|| joined(&loaded.findings))?;
        let waiting = self.running.loaded.waiting_in(&loaded);
        let findings = loaded.findings.clone();
        if waiting.is_empty() {
            return Ok((snapshot, waiting, findings));
        }
        loaded
            .config
            .keep_what_was_started_with(&self.running.loaded.config);
        let snapshot = Snapshot::compile(&mut loaded, &self.running.keys)
            .ok_or_else(|| joined(&loaded.findings))?;
        Ok((snapshot, waiting, findings))
    }

    async fn record(&self, action: Action, outcome: Outcome, findings: String) {
        let event = Event::new(self.gate.clock.now(), action, outcome)
            .by(Actor::System)
            .with("findings", findings);
        if let Err(error) = self.gate.trail.record(event).await {
            tracing::warn!(%error, "a reload could not be recorded");
        }
    }
}

/// Ready when the signal came; never without one to listen to.
pub(crate) async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

fn joined(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
