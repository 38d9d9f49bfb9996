//! Making, naming and removing passkeys. Each act, its audit event and its letter are one
//! transaction, in which the account's row is held.

use portcullis_core::UserId;
use portcullis_core::principal::User;
use portcullis_events::Actor;
use portcullis_vault::{Token, TokenHash};
use uuid::Uuid;

use super::ceremony::{self, Begun, Purpose};
use super::library::RegisterPublicKeyCredential;
use super::{MOST, PasskeyView, Relying, store};
use crate::accounts::{Accounts, Client, Error, is_display_name};
use crate::factors::acts::{Added, Enrolled};
use crate::outbox::News;
use crate::record::{Act, Entry};
use crate::users;

impl Accounts {
    /// Whether people can use passkeys here.
    pub fn offers_passkeys(&self) -> bool {
        self.parts().factors.passkeys.is_some()
    }

    pub(super) fn relying(&self) -> Result<&Relying, Error> {
        let relying = self.parts().factors.passkeys.as_ref();
        relying.ok_or(Error::NoPasskeys)
    }

    /// An account's passkeys.
    pub async fn passkeys(&self, user: UserId) -> Result<Vec<PasskeyView>, Error> {
        Ok(store::list(&self.parts().db, user).await?)
    }

    /// Asks the browser for a new passkey.
    pub async fn begin_passkey(&self, user: &User) -> Result<Begun, Error> {
        let parts = self.parts();
        let relying = self.relying()?;
        let account = self.get(user.id).await?;
        let (mut tx, _) = self.hold_to_change(user).await?;
        let had = store::ids(&mut tx, user.id).await?;
        if had.len() >= MOST {
            return Err(Error::TooManyPasskeys(MOST));
        }
        let name = account.display_name.as_deref().unwrap_or(&account.email);
        let (options, state) = relying.ask_for_new(user.id, &account.email, name, had)?;
        let token = Token::generate()?;
        let purpose = Purpose::Register(user.id);
        ceremony::keep(&mut tx, &token, purpose, &state, parts.clock.now()).await?;
        tx.commit().await?;
        Ok(Begun { token, options })
    }

    /// Takes a new passkey into use. The caller has proved it by that, and gets a new session; if it
    /// is the account's first factor, all others end, for they were opened by a password alone.
    pub(crate) async fn finish_passkey(
        &self,
        user: &User,
        question: Option<&TokenHash>,
        answer: &RegisterPublicKeyCredential,
        name: &str,
        client: &Client,
    ) -> Result<Enrolled, Error> {
        let parts = self.parts();
        let relying = self.relying()?;
        let now = parts.clock.now();
        let name = name.trim();
        if !is_display_name(name) {
            return Err(Error::PasskeyName);
        }
        // Before the question is used up: somebody who has to sign in again has lost nothing.
        let (tx, _) = self.hold_to_change(user).await?;
        drop(tx);
        let purpose = Purpose::Register(user.id);
        let state = ceremony::take(&parts.db, question, purpose, now).await?;
        let passkey = state.and_then(|state| relying.take_new(answer, &state));
        let passkey = passkey.ok_or(Error::PasskeyRefused)?;
        let here = self.at_known_device(user.id, client).await?;
        let (mut tx, had) = self.hold_to_change(user).await?;
        if usize::try_from(had.passkeys).is_ok_and(|count| count >= MOST) {
            return Err(Error::TooManyPasskeys(MOST));
        }
        // SECURITY: an id belongs to one account. Whoever brings somebody else's gets nothing.
        if !store::insert(&mut tx, user.id, &passkey, name, now).await? {
            return Err(Error::PasskeyRefused);
        }
        let added = Added {
            news: News::PasskeyAdded,
            entry: Entry {
                seen: Some("passkey".to_owned()),
                ..self.entry(Act::FactorAdded, client)
            },
            ends_others: !had.has_any(),
        };
        let subject = parts.backoff.second_factor(user.id);
        self.enrolled(tx, user, &had, added, (&subject, here)).await
    }

    /// Gives a passkey another name.
    pub async fn rename_passkey(&self, user: &User, id: Uuid, name: &str) -> Result<(), Error> {
        let name = name.trim();
        if !is_display_name(name) {
            return Err(Error::PasskeyName);
        }
        let (mut tx, _) = self.hold_to_change(user).await?;
        if !store::rename(&mut tx, user.id, id, name).await? {
            return Err(Error::NotFound);
        }
        Ok(tx.commit().await?)
    }

    /// Takes a passkey out of use. Without any other factor the recovery codes go too.
    pub async fn remove_passkey(
        &self,
        user: &User,
        id: Uuid,
        client: &Client,
    ) -> Result<(), Error> {
        let now = self.parts().clock.now();
        let (mut tx, _) = self.hold_to_change(user).await?;
        if !store::remove(&mut tx, user.id, id).await? {
            return Err(Error::NotFound);
        }
        self.after_removal(&mut tx, user, now).await?;
        self.tell(&mut tx, user.id, News::PasskeyRemoved).await?;
        let entry = Entry {
            actor: Some(Actor::User(user.id)),
            user: Some(user.id),
            seen: Some("passkey".to_owned()),
            ..self.entry(Act::FactorRemoved, client)
        };
        self.parts().record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget_user(user.id);
        Ok(())
    }

    /// Why this user may not change factors now, if so.
    pub(super) async fn why_not(&self, user: &User) -> Option<Error> {
        self.hold_to_change(user).await.err()
    }

    /// Asks any browser for any passkey of this site. Nothing is said of any account.
    pub async fn begin_sign_in_with_passkey(&self) -> Result<Begun, Error> {
        let parts = self.parts();
        let (options, state) = self.relying()?.ask(&[])?;
        let token = Token::generate()?;
        let mut tx = parts.db.begin().await?;
        let now = parts.clock.now();
        ceremony::keep(&mut tx, &token, Purpose::SignIn, &state, now).await?;
        tx.commit().await?;
        Ok(Begun { token, options })
    }

    /// Asks for a passkey of this account: of whoever has shown its password, or is signed in.
    pub(super) async fn begin_proof_with_passkey(&self, user: UserId) -> Result<Begun, Error> {
        let parts = self.parts();
        let relying = self.relying()?;
        let mut tx = parts.db.begin().await?;
        if !users::hold_open(&mut tx, user).await? {
            return Err(Error::ChallengeOver);
        }
        let allowed = store::ids(&mut tx, user).await?;
        if allowed.is_empty() {
            return Err(Error::NoPasskeys);
        }
        let (options, state) = relying.ask(&allowed)?;
        let token = Token::generate()?;
        let purpose = Purpose::Prove(user);
        ceremony::keep(&mut tx, &token, purpose, &state, parts.clock.now()).await?;
        tx.commit().await?;
        Ok(Begun { token, options })
    }
}
