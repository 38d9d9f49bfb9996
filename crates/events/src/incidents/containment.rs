//! What was contained, and routes that are frozen until somebody says otherwise.

use portcullis_core::route::Pattern;
use portcullis_store::revocations::{Revocation, publish};
use uuid::Uuid;

use super::{Contained, Error, Frozen, Incidents, Phase, store, words};
use crate::audit::{Action, By};

impl Incidents {
    /// Notes what was contained, in words and in numbers.
    pub async fn contained(
        &self,
        id: Uuid,
        contained: &Contained,
        text: &str,
        by: &By,
    ) -> Result<(), Error> {
        let incident = self.still_open(id).await?;
        let mut tx = self.db.begin().await?;
        self.note_in(&mut tx, &incident, Phase::Contain, text, by)
            .await?;
        store::insert_scope(&mut tx, id, contained).await?;
        Ok(tx.commit().await?)
    }

    /// From the next request on, once each node has heard of it, nobody is answered on what `pattern` matches.
    /// It stays so until [`Incidents::unfreeze`].
    pub async fn freeze(
        &self,
        id: Uuid,
        pattern: &str,
        reason: &str,
        by: &By,
    ) -> Result<(), Error> {
        let incident = self.still_open(id).await?;
        let reason = words("reason", reason)?;
        let pattern = match Pattern::parse(pattern) {
            Ok(pattern) => pattern.as_str().to_owned(),
            Err(error) => return Err(Error::Pattern(pattern.to_owned(), error)),
        };
        let now = self.clock.now();
        let frozen = Frozen {
            pattern,
            reason,
            at: now,
            by: by.actor.written(),
        };
        let mut tx = self.db.begin().await?;
        if !store::freeze(&mut tx, id, &frozen).await? {
            return Err(Error::Frozen(frozen.pattern));
        }
        let text = format!("frozen: {} ({})", frozen.pattern, frozen.reason);
        self.note_in(&mut tx, &incident, Phase::Contain, &text, by)
            .await?;
        let contained = Contained {
            scope: format!("route:{}", frozen.pattern),
            at: now,
            accounts: 0,
            sessions: 0,
            token_families: 0,
            api_keys: 0,
            visits: 0,
        };
        store::insert_scope(&mut tx, id, &contained).await?;
        let event = self.event(&incident, Action::RouteFrozen, by);
        let event = event.with("pattern", frozen.pattern.as_str());
        self.trail.record_in(&mut tx, event).await?;
        publish(&mut tx, Revocation::Incidents, now).await?;
        Ok(tx.commit().await?)
    }

    /// Lets `pattern` answer again.
    pub async fn unfreeze(&self, pattern: &str, by: &By) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let Some(id) = store::unfreeze(&mut tx, pattern).await? else {
            return Err(Error::NotFound);
        };
        let incident = self.still_open(id).await?;
        let text = format!("no longer frozen: {pattern}");
        self.note_in(&mut tx, &incident, Phase::Recover, &text, by)
            .await?;
        let event = self.event(&incident, Action::RouteUnfrozen, by);
        let event = event.with("pattern", pattern);
        self.trail.record_in(&mut tx, event).await?;
        publish(&mut tx, Revocation::Incidents, now).await?;
        Ok(tx.commit().await?)
    }
}
