//! Showing a passkey: to sign in with it alone, or as a second factor.

use portcullis_core::UserId;
use portcullis_store::Tx;

use super::ceremony::{self, Purpose};
use super::{Shown, store};
use crate::accounts::{Accounts, Client, Error, SignedIn};
use crate::outbox::News;
use crate::record::{Act, Entry};
use crate::{sessions, users};

/// What an answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::factors) enum Verdict {
    Accepted,
    Refused,
    /// Right, and given by a second device that holds the same key.
    Cloned,
}

impl Accounts {
    /// Signs in with a passkey alone. It is both factors: somebody has it, and was recognised by it.
    pub async fn sign_in_with_passkey(
        &self,
        shown: &Shown,
        client: &Client,
    ) -> Result<SignedIn, Error> {
        let parts = self.parts();
        self.relying()?;
        let now = parts.clock.now();
        let question = shown.ceremony.as_ref();
        let state = ceremony::take(&parts.db, question, Purpose::SignIn, now).await?;
        let owner = store::owner(&parts.db, shown.credential.get_credential_id()).await?;
        // SECURITY: the handle inside is what the key was made for. It is not signed, so it decides
        // nothing by itself, and it must not name somebody else either.
        let handle = shown.credential.get_user_unique_id();
        let owner = owner.filter(|user| handle == Some(user.as_uuid().as_bytes().as_slice()));
        let (Some(state), Some(user)) = (state, owner) else {
            return self.refuse_passkey(owner, client).await;
        };
        let here = self.at_known_device(user, client).await?;
        let mut tx = parts.db.begin().await?;
        if !users::hold_open(&mut tx, user).await? {
            drop(tx);
            return self.refuse_passkey(Some(user), client).await;
        }
        match self.judge_passkey(&mut tx, user, &state, shown).await? {
            Verdict::Accepted => {}
            Verdict::Refused => {
                drop(tx);
                return self.refuse_passkey(Some(user), client).await;
            }
            Verdict::Cloned => {
                self.note_clone(&mut tx, user, client).await?;
                tx.commit().await?;
                return self.refuse_passkey(Some(user), client).await;
            }
        }
        let made = parts.sessions.create(&mut tx, user, &here).await?;
        sessions::prove(&mut tx, made.0.id, now, Some(now)).await?;
        let done = Entry {
            seen: Some("passkey".to_owned()),
            ..self.entry(Act::LoginSucceeded, client)
        };
        self.conclude(tx, user, made, here, done).await
    }

    /// One answer for an unknown key, a used or foreign answer, and a closed account.
    async fn refuse_passkey(
        &self,
        user: Option<UserId>,
        client: &Client,
    ) -> Result<SignedIn, Error> {
        let entry = Entry {
            user,
            seen: Some("passkey".to_owned()),
            ..self.entry(Act::LoginFailed, client)
        };
        self.record_alone(entry).await?;
        Err(Error::PasskeyUnknown)
    }

    /// Uses up the question that this account was asked.
    pub(in crate::factors) async fn take_passkey_question(
        &self,
        user: UserId,
        shown: &Shown,
    ) -> Result<Option<String>, Error> {
        let parts = self.parts();
        let now = parts.clock.now();
        let question = shown.ceremony.as_ref();
        Ok(ceremony::take(&parts.db, question, Purpose::Prove(user), now).await?)
    }

    /// Judges an answer for an account that the caller holds in `tx`, by its key as it is now: of two
    /// answers at once, the second sees the counter of the first.
    pub(in crate::factors) async fn judge_passkey(
        &self,
        tx: &mut Tx,
        user: UserId,
        state: &str,
        shown: &Shown,
    ) -> Result<Verdict, Error> {
        let relying = self.relying()?;
        let found = store::find(tx, shown.credential.get_credential_id()).await?;
        // SECURITY: somebody else's key proves nothing of this account, however right its answer.
        let Some(mut stored) = found.filter(|stored| stored.user == user) else {
            return Ok(Verdict::Refused);
        };
        let verdict = relying.judge(&shown.credential, state, &mut stored.passkey);
        if verdict == Verdict::Accepted {
            store::used(tx, &stored, self.parts().clock.now()).await?;
        }
        Ok(verdict)
    }

    /// Records that a key exists twice, and tells the owner.
    pub(in crate::factors) async fn note_clone(
        &self,
        tx: &mut Tx,
        user: UserId,
        client: &Client,
    ) -> Result<(), Error> {
        self.tell(tx, user, News::PasskeyCloned).await?;
        let entry = Entry {
            user: Some(user),
            ..self.entry(Act::PasskeyCloned, client)
        };
        Ok(self.parts().record.record_in(tx, entry).await?)
    }
}
