//! The way there: what waits is carried, and what was carried is looked after, for as long as the process lives.

use std::time::Duration;

use portcullis_core::Span;
use uuid::Uuid;

use super::{Fault, Known, Put, Remote, rows, token};
use crate::audit::{Action, By, Event, Outcome};
use crate::metrics::Dependency;
use crate::secret_store::{self as store, Error, Label, SecretStore, Stored, Which};

/// How often a node looks for what another process left, or for what is due again.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// So much longer than it may take does a secret belong to the node that took it.
const GRACE: Span = Span::from_seconds(10);
/// Secrets of one pass.
const AT_ONCE: u32 = 50;
/// Between two tries.
const FIRST_WAIT: Span = Span::from_seconds(1);
const LONGEST_WAIT: Span = Span::from_minutes(1);

/// Of all secrets, how many wait to be carried, and how many somebody else changed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub waiting: i64,
    pub drifted: i64,
}

/// Whether the next one has a chance.
enum Next {
    Goes,
    IsAway,
}

impl SecretStore {
    /// Carries what waits.
    pub async fn carry(self) {
        let Some(remote) = self.remote.clone() else {
            return;
        };
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.carry_once(&remote).await {
                tracing::warn!(%error, "secrets could not be carried: it is tried again");
            }
        }
    }

    /// One pass.
    pub(super) async fn carry_once(&self, remote: &Remote) -> Result<(), Error> {
        let now = self.clock.now();
        let due = store::rows::to_carry(&self.db, &remote.name, now, AT_ONCE).await?;
        for stored in due {
            // What is away for one is away for all: they wait.
            if let Next::IsAway = self.carry_one(remote, &stored).await? {
                break;
            }
        }
        let before = now - remote.check_every;
        let known = store::rows::to_look_at(&self.db, &remote.name, (before, now), AT_ONCE).await?;
        for stored in known {
            if let Next::IsAway = self.look_after(remote, &stored).await? {
                break;
            }
        }
        let waiting = self.waiting(remote).await?;
        let metrics = self.trail.metrics();
        metrics.secrets_carried(waiting.waiting, waiting.drifted);
        Ok(())
    }

    pub(super) async fn waiting(&self, remote: &Remote) -> Result<Waiting, Error> {
        let (waiting, drifted) = rows::count(&self.db, &remote.name).await?;
        Ok(Waiting { waiting, drifted })
    }

    /// What stands there may be written over, by the version in use here: a person says so.
    pub async fn push(&self, label: &Label, by: &By) -> Result<(), Error> {
        if self.remote.is_none() {
            let said = "is carried nowhere: there is no [secret-store.remote]";
            return Err(Error::Invalid("name", said));
        }
        let stored = self.find(label).await?;
        let mut tx = self.db.begin().await?;
        if rows::push(&mut tx, stored.id).await? {
            let event = self
                .event(&stored, Action::SecretPushed, by)
                .with("version", stored.version);
            self.trail.record_in(&mut tx, event).await?;
        }
        tx.commit().await?;
        self.changed.notify_one();
        Ok(())
    }

    async fn carry_one(&self, remote: &Remote, stored: &Stored) -> Result<Next, Error> {
        let now = self.clock.now();
        let until = now + remote.timeout + GRACE;
        let taken = rows::take(&self.db, stored.id, &remote.name, (now, until)).await?;
        let Some(taken) = taken else {
            return Ok(Next::Goes);
        };
        let (version, outcome) = match self.to_write(&stored.label, taken.secret).await {
            // Another node was faster.
            Ok((version, _)) if taken.is_drifted || taken.carried >= version => {
                rows::let_go(&self.db, taken.secret, taken.until).await?;
                return Ok(Next::Goes);
            }
            Ok((version, value)) => {
                let name = token(taken.secret, version, taken.pushes);
                let known = Known {
                    secret: taken.secret,
                    version_here: version,
                    pushes: taken.pushes,
                    token: &name,
                    version: taken
                        .remote_version
                        .as_deref()
                        .filter(|_| taken.carried > 0),
                    overwrite: taken.overwrite,
                };
                let put = remote.put(&stored.label, &known, &value).await;
                self.heard(put.as_ref().err());
                (version, put)
            }
            Err(error) => {
                let said = format!("its value is not to be had here: {error}");
                (stored.version, Err(Fault::Refused(said)))
            }
        };
        self.write_down(remote, stored, &taken, (version, outcome))
            .await
    }

    /// The version in use, and its value.
    async fn to_write(
        &self,
        label: &Label,
        secret: Uuid,
    ) -> Result<(i64, portcullis_core::Secret<String>), Error> {
        let now = self.clock.now();
        let found = store::rows::served(&self.db, label, Which::Current, now).await?;
        // Another one of that name by now is another secret.
        let found = found.filter(|found| found.secret == secret);
        let found = found.ok_or(Error::NotFound)?;
        let value = self.open(label, secret, found.version, &found.text).await?;
        Ok((found.version, value))
    }

    /// Writes down what became of it.
    async fn write_down(
        &self,
        remote: &Remote,
        stored: &Stored,
        taken: &rows::Taken,
        (version, outcome): (i64, Result<Put, Fault>),
    ) -> Result<Next, Error> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let mut next = Next::Goes;
        let event = match outcome {
            Ok(Put::Written(name)) => {
                let is_ours = rows::written(&mut tx, taken, (version, &name), now).await?;
                is_ours.then(|| self.told(stored, Action::SecretCarried, version))
            }
            Ok(Put::Drifted) => {
                let is_ours = rows::drifted(&mut tx, taken.secret, taken.until, now).await?;
                is_ours.then(|| self.tell_drifted(stored))
            }
            Err(fault) => {
                if let Fault::Away(_) = fault {
                    next = Next::IsAway;
                }
                let said = fault.to_string();
                let since = taken.failing_since.unwrap_or(now);
                let due_at = now + wait(taken.attempts);
                let is_ours = rows::failed(&mut tx, taken, &said, (since, due_at)).await?;
                let is_first = is_ours && taken.failing_since.is_none();
                is_first.then(|| {
                    tracing::warn!(name = %stored.label.name, tenant = ?stored.label.tenant, fault = said, "a secret cannot be carried: it is tried again");
                    self.told(stored, Action::SecretCarryFailed, version)
                        .with("fault", said)
                })
            }
        };
        if let Some(event) = event {
            let event = event.with("store", remote.kind.as_str());
            self.trail.record_in(&mut tx, event).await?;
        }
        tx.commit().await?;
        Ok(next)
    }

    /// Sees that nobody else changed there what was carried.
    async fn look_after(&self, remote: &Remote, stored: &Stored) -> Result<Next, Error> {
        let now = self.clock.now();
        let until = now + remote.timeout + GRACE;
        if !rows::take_to_look(&self.db, stored.id, (now, until)).await? {
            return Ok(Next::Goes);
        }
        let version = rows::remote_version(&self.db, stored.id).await?;
        let version = version.unwrap_or_default();
        let looked = remote.has(&stored.label, &version, now).await;
        self.heard(looked.as_ref().err());
        match looked {
            Ok(true) => rows::let_go(&self.db, stored.id, until).await?,
            Ok(false) => {
                let mut tx = self.db.begin().await?;
                if rows::drifted(&mut tx, stored.id, until, now).await? {
                    let event = self
                        .tell_drifted(stored)
                        .with("store", remote.kind.as_str());
                    self.trail.record_in(&mut tx, event).await?;
                }
                tx.commit().await?;
            }
            Err(fault) => {
                rows::let_go(&self.db, stored.id, until).await?;
                tracing::warn!(name = %stored.label.name, tenant = ?stored.label.tenant, %fault, "nobody knows whether a secret was changed where it was carried to: it is looked at again");
                if let Fault::Away(_) = fault {
                    return Ok(Next::IsAway);
                }
            }
        }
        Ok(Next::Goes)
    }

    fn heard(&self, fault: Option<&Fault>) {
        let is_away = matches!(fault, Some(Fault::Away(_)));
        let metrics = self.trail.metrics();
        metrics.dependency(Dependency::SecretManager, !is_away);
    }

    fn tell_drifted(&self, stored: &Stored) -> Event {
        tracing::error!(name = %stored.label.name, tenant = ?stored.label.tenant, "somebody else changed a secret where it was carried to, or it was there before: it is left alone until `portcullis secrets push`");
        self.told(stored, Action::SecretDrifted, stored.version)
    }

    fn told(&self, stored: &Stored, action: Action, version: i64) -> Event {
        let outcome = match action {
            Action::SecretCarried => Outcome::Allowed,
            _ => Outcome::Failed,
        };
        Event::new(self.clock.now(), action, outcome)
            .done(&By::SYSTEM)
            .to(store::target(&stored.label))
            .tenant(stored.label.tenant)
            .with("version", version)
    }
}

/// Doubles from a second to the longest.
fn wait(attempts: i64) -> Span {
    FIRST_WAIT.doubled(attempts.saturating_sub(1), LONGEST_WAIT)
}
