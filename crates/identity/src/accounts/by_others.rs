//! What administrators do to accounts and sessions that are not their own, beside creating them.

use portcullis_core::UserId;
use portcullis_store::revocations::Revocation;
use uuid::Uuid;

use super::{Accounts, By, Error};
use crate::record::{Act, Entry};
use crate::sessions::SessionInfo;
use crate::users::{self, Account, search};

impl Accounts {
    /// Accounts, newest first, from the first behind `after`: all, or those with `words` in their
    /// address or name.
    pub async fn search(
        &self,
        words: &str,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<Account>, Error> {
        Ok(search::search(&self.0.db, self.addresses(), words, after, limit).await?)
    }

    /// The live sessions of somebody, newest first.
    pub async fn sessions_of(&self, user: UserId) -> Result<Vec<SessionInfo>, Error> {
        self.find(user).await?;
        self.devices(user).await
    }

    /// Ends one of them.
    pub async fn end_session_of(&self, user: UserId, id: Uuid, by: &By) -> Result<(), Error> {
        let entry = self.entry_by(Act::SessionRevoked, by);
        self.end_device(user, id, entry).await
    }

    /// This node looks at every token and every key anew, at once.
    pub(crate) fn distrust_tokens(&self) {
        self.0.holders.revoked_here(Revocation::Everything);
    }

    /// Ends everything by which somebody is signed in: sessions, tokens, and tokens of other issuers
    /// that were made before now.
    pub async fn end_sessions_of(&self, user: UserId, by: &By) -> Result<(), Error> {
        let parts = &*self.0;
        let mut tx = parts.db.begin().await?;
        if !users::touch(&mut tx, user).await? {
            return Err(Error::NotFound);
        }
        users::end_sessions(&mut tx, user, self.now()).await?;
        let entry = Entry {
            user: Some(user),
            ..self.entry_by(Act::SessionRevoked, by)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget_user(user);
        Ok(())
    }

    /// Closes an account for good, and ends its sessions, whether it was open or not.
    pub(crate) async fn shut(&self, user: UserId, by: &By) -> Result<(), Error> {
        match self.deactivate(user, by).await {
            Err(Error::NotFound) => {
                let mut tx = self.0.db.begin().await?;
                self.check_rule(&mut tx, user, by).await?;
                users::end_sessions(&mut tx, user, self.now()).await?;
                tx.commit().await?;
                self.forget_user(user);
                Ok(())
            }
            closed => closed,
        }
    }

    /// Opens an account again that was switched off. Its sessions stay ended; its API keys work again.
    pub async fn reactivate(&self, user: UserId, by: &By) -> Result<(), Error> {
        let parts = &*self.0;
        let mut tx = parts.db.begin().await?;
        self.check_rule(&mut tx, user, by).await?;
        if !users::reactivate(&mut tx, user, self.now()).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry {
            user: Some(user),
            ..self.entry_by(Act::UserReactivated, by)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget_user(user);
        Ok(())
    }
}
