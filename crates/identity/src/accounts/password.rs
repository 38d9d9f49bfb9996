//! Changing the password (I3): three attempts in 15 minutes, and every other session ends.

use portcullis_core::principal::User;
use portcullis_core::{Secret, Span, UserId};
use portcullis_store::Value;
use portcullis_vault::passwords::Verdict;
use uuid::Uuid;

use portcullis_events::Actor;

use super::{Accounts, By, Client, Error, SignedIn};
use crate::backoff;
use crate::record::{Act, Entry};
use crate::{Email, sessions, users};

const ATTEMPTS: usize = 3;
const WINDOW: Span = Span::from_minutes(15);

impl Accounts {
    /// Sets a new password for a signed-in user who knows the old one. All sessions end; the
    /// caller gets a new one.
    pub async fn change_password(
        &self,
        user: &User,
        old: &Secret<String>,
        new: &Secret<String>,
        client: &Client,
    ) -> Result<SignedIn, Error> {
        let parts = &*self.0;
        let account = users::find(&parts.db, self.addresses(), user.id)
            .await?
            .ok_or(Error::NotFound)?;
        let email = Email::parse(&account.email)?;
        parts
            .policy
            .check(new, &email)
            .map_err(|weak| Error::Weak("new_password", weak))?;
        self.take_change(user.id, client).await?;
        match parts
            .passwords
            .verify(old, Some(&account.password_hash.0))
            .await?
        {
            Verdict::Match { .. } => {}
            Verdict::Mismatch => return self.refuse_change(user, client).await,
        }
        if old == new {
            return Err(Error::SamePassword);
        }
        let hash = parts.passwords.hash(new).await?;
        let now = parts.clock.now();
        let subject = parts
            .backoff
            .subject(email.canonical(), client.device.as_deref(), now);
        let device = parts.backoff.issue(email.canonical(), &subject, now)?;

        let mut tx = parts.db.begin().await?;
        // Changed meanwhile, or closed: the old password is no longer the right one.
        if !users::hold(&mut tx, user.id, &account.password_hash).await? {
            return Err(Error::OldPassword);
        }
        users::set_password(&mut tx, user.id, &hash, now).await?;
        let here = Client {
            device: Some(device.clone()),
            ..client.clone()
        };
        let (session, _) = parts.sessions.create(&mut tx, user.id, &here).await?;
        // A new password takes nothing from the other factor: its proof goes on as it was.
        sessions::prove(&mut tx, session.id, now, user.second_factor_at).await?;
        tx.execute(
            "DELETE FROM password_attempt WHERE user_id = $1",
            &[user.id.into()],
        )
        .await?;
        backoff::clear(&mut tx, &subject).await?;
        let entry = Entry {
            actor: Some(Actor::User(user.id)),
            user: Some(user.id),
            session: Some(session.id),
            ..self.entry(Act::PasswordChanged, client)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget_user(user.id);
        Ok(SignedIn {
            account: account.into(),
            session,
            device,
        })
    }

    /// Sets a password for somebody else; all sessions end and throttling starts anew.
    pub async fn set_password(
        &self,
        user: UserId,
        new: &Secret<String>,
        by: &By,
    ) -> Result<(), Error> {
        let parts = &*self.0;
        let account = users::find(&parts.db, self.addresses(), user)
            .await?
            .ok_or(Error::NotFound)?;
        let email = Email::parse(&account.email)?;
        parts
            .policy
            .check(new, &email)
            .map_err(|weak| Error::Weak("password", weak))?;
        let hash = parts.passwords.hash(new).await?;
        let now = parts.clock.now();
        let subject = parts.backoff.subject(email.canonical(), None, now);
        let mut tx = parts.db.begin().await?;
        self.check_rule(&mut tx, user, by).await?;
        users::set_password(&mut tx, user, &hash, now).await?;
        backoff::clear(&mut tx, &subject).await?;
        let entry = Entry {
            user: Some(user),
            ..self.entry_by(Act::PasswordChanged, by)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget_user(user);
        Ok(())
    }

    /// Counts an attempt before the old password is compared, so that many at once count as many.
    async fn take_change(&self, user: UserId, client: &Client) -> Result<(), Error> {
        // The account's row is held, so that attempts are counted one after the other.
        const HOLD: &str = "UPDATE users SET updated_at = updated_at WHERE id = $1";
        const FORGET: &str = "DELETE FROM password_attempt WHERE user_id = $1 AND at <= $2";
        const LIST: &str = "SELECT at FROM password_attempt WHERE user_id = $1 ORDER BY at";
        const ADD: &str = "INSERT INTO password_attempt (id, user_id, at) VALUES ($1, $2, $3)";
        let parts = &*self.0;
        let now = parts.clock.now();
        let mut tx = parts.db.begin().await?;
        tx.execute(HOLD, &[user.into()]).await?;
        tx.execute(FORGET, &[user.into(), (now - WINDOW).into()])
            .await?;
        let attempts = tx.fetch_all(LIST, &[user.into()]).await?;
        if attempts.len() >= ATTEMPTS {
            let oldest = match attempts.first() {
                Some(row) => row.timestamp("at")?,
                None => now,
            };
            let entry = Entry {
                actor: Some(Actor::User(user)),
                user: Some(user),
                ..self.entry(Act::PasswordChangeRefused, client)
            };
            parts.record.record_in(&mut tx, entry).await?;
            tx.commit().await?;
            return Err(Error::Throttled {
                retry_after: (oldest + WINDOW).since(now),
            });
        }
        let args: [Value<'_>; 3] = [Uuid::now_v7().into(), user.into(), now.into()];
        tx.execute(ADD, &args).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn refuse_change(&self, user: &User, client: &Client) -> Result<SignedIn, Error> {
        let entry = Entry {
            actor: Some(Actor::User(user.id)),
            user: Some(user.id),
            ..self.entry(Act::PasswordChangeRefused, client)
        };
        self.record_alone(entry).await?;
        Err(Error::OldPassword)
    }
}
