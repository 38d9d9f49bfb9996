//! Taking factors into use and out of it. Each act, its audit event and its letter are one
//! transaction, in which the account's row is held.

use portcullis_core::principal::User;
use portcullis_core::{Secret, Timestamp, UserId};
use portcullis_events::Actor;
use portcullis_store::Tx;

use super::{Enrolment, Status, Typed, Unusable, codes, may_change, status, status_in, totp};
use crate::accounts::{Accounts, By, Client, Error, SignedIn};
use crate::addresses;
use crate::backoff::Subject;
use crate::outbox::{Message, News};
use crate::record::{Act, Entry};
use crate::sessions::end_others;
use crate::{revoke, users};

/// What comes of taking the first factor into use.
#[derive(Debug)]
pub struct Enrolled {
    pub signed_in: SignedIn,
    /// Shown once; empty where the account had codes already.
    pub codes: Vec<Secret<String>>,
}

/// A factor that is being taken into use.
pub(super) struct Added {
    pub(super) news: News,
    /// What is particular about the event.
    pub(super) entry: Entry,
    /// Whether everything else that is signed in was opened by a password alone.
    pub(super) ends_others: bool,
}

impl Accounts {
    pub async fn factors(&self, user: UserId) -> Result<Status, Error> {
        Ok(status(&self.parts().db, user).await?)
    }

    /// See [`super::Factors::carry_over`].
    pub async fn carry_over_factors(&self) -> Result<usize, Error> {
        self.parts().factors.carry_over(&self.parts().db).await
    }

    /// A secret for an authenticator app. It counts from the first right code on.
    pub async fn begin_totp(&self, user: &User) -> Result<Enrolment, Error> {
        let parts = self.parts();
        let now = parts.clock.now();
        // How the app lists it: somebody of another issuer may have no address.
        let email = self.get(user.id).await?.email;
        let email = if email.is_empty() {
            "account".to_owned()
        } else {
            email
        };
        let fresh = totp::make(&parts.factors, user.id).await?;
        let (mut tx, _) = self.hold_to_change(user).await?;
        let begun = totp::begin(&parts.factors, &mut tx, user.id, &email, &fresh, now).await?;
        let enrolment = begun.ok_or(Error::FactorExists)?;
        tx.commit().await?;
        Ok(enrolment)
    }

    /// Takes the app into use. The caller has proved it by that, and gets a new session; all others
    /// end, for they were opened by a password alone.
    pub async fn confirm_totp(
        &self,
        user: &User,
        code: Typed<'_>,
        client: &Client,
    ) -> Result<Enrolled, Error> {
        let parts = self.parts();
        let now = parts.clock.now();
        let subject = self.take_code_attempt(user.id, client).await?;
        let here = self.at_known_device(user.id, client).await?;
        let (mut tx, had) = self.hold_to_change(user).await?;
        if !totp::redeem(&parts.factors, &mut tx, user.id, code.0, false, now).await? {
            return Err(self.refuse_code(tx, user.id, client).await);
        }
        totp::confirm(&mut tx, user.id, now).await?;
        let added = Added {
            news: News::SecondFactorAdded,
            entry: self.entry(Act::FactorAdded, client),
            ends_others: true,
        };
        self.enrolled(tx, user, &had, added, (&subject, here)).await
    }

    /// The end of taking any factor into use: recovery codes where there are none, the letter, the
    /// record, and a new session in place of the caller's.
    pub(super) async fn enrolled(
        &self,
        mut tx: Tx,
        user: &User,
        had: &Status,
        added: Added,
        (subject, here): (&Subject, Client),
    ) -> Result<Enrolled, Error> {
        let parts = self.parts();
        let now = parts.clock.now();
        let codes = if had.recovery_codes_left == 0 {
            codes::replace(&mut tx, user.id).await?
        } else {
            Vec::new()
        };
        self.tell(&mut tx, user.id, added.news).await?;
        let entry = Entry {
            actor: Some(Actor::User(user.id)),
            user: Some(user.id),
            ..added.entry
        };
        parts.record.record_in(&mut tx, entry).await?;
        if added.ends_others {
            end_others(&mut tx, user.id, user.session(), now).await?;
            // Tokens, too, were given for a password alone.
            crate::tokens::end_all(&mut tx, user.id, now).await?;
        }
        revoke::user(&mut tx, user.id, now).await?;
        let session = self
            .rotate(&mut tx, user, subject, user.authenticated_at, &here)
            .await?;
        tx.commit().await?;
        let signed_in = self.welcome(user.id, session, here).await?;
        Ok(Enrolled { signed_in, codes })
    }

    /// Takes the app out of use. Without any other factor the recovery codes go too.
    pub async fn remove_totp(&self, user: &User, client: &Client) -> Result<(), Error> {
        let parts = self.parts();
        let now = parts.clock.now();
        let (mut tx, _) = self.hold_to_change(user).await?;
        if !totp::remove(&mut tx, user.id).await? {
            return Err(Error::NotFound);
        }
        self.after_removal(&mut tx, user, now).await?;
        self.tell(&mut tx, user.id, News::SecondFactorRemoved)
            .await?;
        let entry = Entry {
            actor: Some(Actor::User(user.id)),
            user: Some(user.id),
            ..self.entry(Act::FactorRemoved, client)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget_user(user.id);
        Ok(())
    }

    /// New recovery codes in the place of the old ones.
    pub async fn make_codes(
        &self,
        user: &User,
        client: &Client,
    ) -> Result<Vec<Secret<String>>, Error> {
        let parts = self.parts();
        let (mut tx, has) = self.hold_to_change(user).await?;
        if !has.has_any() {
            return Err(Error::NotFound);
        }
        let codes = codes::replace(&mut tx, user.id).await?;
        self.tell(&mut tx, user.id, News::RecoveryCodesMade).await?;
        let entry = Entry {
            actor: Some(Actor::User(user.id)),
            user: Some(user.id),
            ..self.entry(Act::RecoveryCodesMade, client)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(codes)
    }

    /// Takes every factor of an account away for whoever lost them all.
    /// Sessions end, so that nobody keeps what the factors opened.
    pub async fn reset_factors(&self, user: UserId, by: &By) -> Result<(), Error> {
        const TABLES: [&str; 3] = [
            "DELETE FROM totp WHERE user_id = $1",
            "DELETE FROM passkey WHERE user_id = $1",
            "DELETE FROM recovery_code WHERE user_id = $1",
        ];
        let parts = self.parts();
        let now = parts.clock.now();
        let mut tx = parts.db.begin().await?;
        if !users::touch(&mut tx, user).await? {
            return Err(Error::NotFound);
        }
        self.check_rule(&mut tx, user, by).await?;
        for sql in TABLES {
            tx.execute(sql, &[user.into()]).await?;
        }
        users::end_sessions(&mut tx, user, now).await?;
        crate::backoff::clear(&mut tx, &parts.backoff.second_factor(user)).await?;
        self.tell(&mut tx, user, News::SecondFactorsReset).await?;
        let entry = Entry {
            user: Some(user),
            ..self.entry_by(Act::FactorsReset, by)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget_user(user);
        Ok(())
    }

    /// A transaction that holds the account, for somebody who may change its factors now.
    pub(super) async fn hold_to_change(&self, user: &User) -> Result<(Tx, Status), Error> {
        let parts = self.parts();
        let mut tx = parts.db.begin().await?;
        if !users::hold_open(&mut tx, user.id).await? {
            return Err(Error::NotFound);
        }
        // Under the lock: what was there a moment ago decides nothing.
        let has = status_in(&mut tx, user.id).await?;
        may_change(user, &has, parts.clock.now())?;
        Ok((tx, has))
    }

    /// With the last factor its traces go: no session and no token counts as proved by what is no more.
    /// Whose role asks for a factor keeps the last.
    pub(super) async fn after_removal(
        &self,
        tx: &mut Tx,
        user: &User,
        now: Timestamp,
    ) -> Result<(), Error> {
        const CODES: &str = "DELETE FROM recovery_code WHERE user_id = $1";
        const SESSIONS: &str = "UPDATE session SET second_factor_at = NULL WHERE user_id = $1";
        const TOKENS: &str = "UPDATE token_family SET second_factor_at = NULL WHERE user_id = $1";
        if !status_in(tx, user.id).await?.has_any() {
            // SECURITY: else whoever sits at an administrator's open session could take the factor
            // away and put their own in its place.
            if self.must_keep_a_factor(user)? {
                return Err(Error::LastFactor);
            }
            tx.execute(CODES, &[user.id.into()]).await?;
            tx.execute(SESSIONS, &[user.id.into()]).await?;
            tx.execute(TOKENS, &[user.id.into()]).await?;
        }
        revoke::user(tx, user.id, now).await?;
        Ok(())
    }

    /// Whether one of the user's roles, everywhere or in their tenant, asks for a second factor.
    fn must_keep_a_factor(&self, user: &User) -> Result<bool, Error> {
        let parts = self.parts();
        let required = &parts.factors.required_of;
        if required.is_empty() {
            return Ok(false);
        }
        let roles = parts.sessions.policy().get();
        let held = roles.resolve(&user.roles);
        let held = match &user.standing {
            Some(standing) => held.and(roles.resolve(&standing.roles)),
            None => held,
        };
        let mask = roles
            .role_mask(required)
            .map_err(|error| Unusable(error.to_string()))?;
        Ok(held.has_role(mask))
    }

    /// See [`crate::outbox::Outbox::carry_over`]. Nothing where no letters are sent.
    pub async fn carry_over_letters(&self) -> Result<usize, crate::outbox::Error> {
        let recovery = &self.parts().recovery;
        if recovery.is_offered {
            recovery.outbox.carry_over().await
        } else {
            Ok(0)
        }
    }

    /// Posts a letter to the account's owner, where letters are sent.
    pub(crate) async fn tell(&self, tx: &mut Tx, user: UserId, news: News) -> Result<(), Error> {
        let recovery = &self.parts().recovery;
        if !recovery.is_offered {
            return Ok(());
        }
        if let Some(to) = users::address_in(tx, user).await? {
            // Not opened here: no transaction waits for the vault.
            let message = if addresses::is_sealed(&to) {
                Message::ToldOwner { user, news }
            } else {
                Message::Told { to, news }
            };
            recovery.outbox.post(tx, &message).await?;
        }
        Ok(())
    }
}
