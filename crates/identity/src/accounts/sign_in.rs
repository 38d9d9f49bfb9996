//! Signing in with a password, and the end of every sign-in, whatever it took.

use portcullis_core::{Secret, UserId};
use portcullis_events::Actor;
use portcullis_store::Tx;
use portcullis_vault::TokenHash;
use portcullis_vault::passwords::Verdict;
use tokio::time::Instant;

use super::{Accounts, Client, Error, SignedIn};
use crate::Email;
use crate::backoff::{self, Attempt};
use crate::record::{Act, Entry};
use crate::sessions::{self, NewSession};
use crate::users::{self, PasswordHash};

impl Accounts {
    /// Signs in.
    pub async fn login(
        &self,
        address: &str,
        password: &Secret<String>,
        client: &Client,
    ) -> Result<SignedIn, Error> {
        let arrived = Instant::now();
        let outcome = self.compare(address, password, client).await;
        // SECURITY: without this the time of a refusal tells whose account was brought along. What was
        // refused is recorded by now, and a client that leaves loses nothing but its answer.
        if matches!(outcome, Err(Error::Refused)) {
            self.0.evenly.wait(arrived).await;
        }
        outcome
    }

    async fn compare(
        &self,
        address: &str,
        password: &Secret<String>,
        client: &Client,
    ) -> Result<SignedIn, Error> {
        let parts = &*self.0;
        let email = Email::parse(address).ok();
        let canonical = email.as_ref().map_or(address, Email::canonical);
        // Before the attempt is counted: while the vault is not open, none is made.
        let names = match &email {
            Some(email) => Some(self.addresses().names(email.canonical()).await?),
            None => None,
        };
        let subject = parts
            .backoff
            .subject(canonical, client.device.as_deref(), parts.clock.now());
        self.take_attempt(&subject, client).await?;

        let found = match &names {
            Some(names) => users::find_credentials(&parts.db, self.addresses(), names).await?,
            None => None,
        };
        let stored = found.as_ref().map(|(_, hash)| hash.0.as_str());
        let verdict = match parts.passwords.verify(password, stored).await {
            Ok(verdict) => verdict,
            Err(error) => {
                // The password was not compared: the attempt does not count.
                let mut tx = parts.db.begin().await?;
                backoff::refund(&mut tx, &subject).await?;
                tx.commit().await?;
                return Err(error.into());
            }
        };
        match (verdict, found) {
            (Verdict::Match { needs_rehash }, Some((user, hash))) => {
                let stronger = if needs_rehash {
                    // A full queue must not fail a sign-in that is otherwise done.
                    parts.passwords.hash(password).await.ok()
                } else {
                    None
                };
                let device = parts
                    .backoff
                    .issue(canonical, &subject, parts.clock.now())?;
                self.admit(user, &hash, stronger, &subject, client, device)
                    .await
            }
            (Verdict::Mismatch | Verdict::Match { .. }, found) => {
                let user = found.map(|(user, _)| user);
                self.refuse(user, client).await
            }
        }
    }

    async fn take_attempt(&self, subject: &backoff::Subject, client: &Client) -> Result<(), Error> {
        let parts = &*self.0;
        let now = parts.clock.now();
        // Only read: an attempt that comes too early must not cost a write, or whoever is throttled
        // chooses how busy the database is.
        let attempt = match backoff::look(&parts.db, subject, now).await? {
            Attempt::Granted => {
                let mut tx = parts.db.begin().await?;
                let attempt = backoff::take(&mut tx, subject, now).await?;
                tx.commit().await?;
                attempt
            }
            throttled @ Attempt::Throttled { .. } => throttled,
        };
        match attempt {
            Attempt::Granted => Ok(()),
            Attempt::Throttled { retry_after } => {
                parts.record.note(self.entry(Act::LoginThrottled, client));
                Err(Error::Throttled { retry_after })
            }
        }
    }

    pub(super) async fn admit(
        &self,
        user: UserId,
        hash: &PasswordHash,
        stronger: Option<String>,
        subject: &backoff::Subject,
        client: &Client,
        device: String,
    ) -> Result<SignedIn, Error> {
        let parts = &*self.0;
        let mut tx = parts.db.begin().await?;
        if !users::hold(&mut tx, user, hash).await? {
            drop(tx);
            return self.refuse(Some(user), client).await;
        }
        if let Some(stronger) = stronger {
            users::replace_hash(&mut tx, user, &hash.0, &stronger).await?;
        }
        // SECURITY: nothing but a challenge for a password, where there is a second factor.
        if let Some(challenge) = self.challenge(&mut tx, user, client).await? {
            backoff::forgive(&mut tx, subject).await?;
            tx.commit().await?;
            return Err(Error::SecondFactor(challenge));
        }
        let here = Client {
            device: Some(device),
            is_known: subject.is_known_device(),
            ..client.clone()
        };
        let (session, ended) = match parts.sessions.create(&mut tx, user, &here).await {
            Ok(made) => made,
            Err(error @ sessions::Error::Full) => {
                drop(tx);
                self.refuse_full(user, subject, client).await?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        backoff::forgive(&mut tx, subject).await?;
        let done = self.entry(Act::LoginSucceeded, client);
        self.conclude(tx, user, (session, ended), here, done).await
    }

    /// The end of every sign-in: it is recorded with what `done` says of it, the oldest sessions that
    /// made room are forgotten, and whoever came gets the new one. `here` bears the device's name.
    pub(crate) async fn conclude(
        &self,
        mut tx: Tx,
        user: UserId,
        (session, ended): (NewSession, Vec<TokenHash>),
        here: Client,
        done: Entry,
    ) -> Result<SignedIn, Error> {
        let entry = Entry {
            actor: Some(Actor::User(user)),
            user: Some(user),
            session: Some(session.id),
            is_new_device: !here.is_known,
            ..done
        };
        self.0.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget(&ended);
        Ok(SignedIn {
            account: self.get(user).await?,
            session,
            device: here.device.unwrap_or_default(),
        })
    }

    /// Writes down what came to nothing, in a transaction of its own.
    pub(crate) async fn record_alone(&self, entry: Entry) -> Result<(), Error> {
        let mut tx = self.0.db.begin().await?;
        self.0.record.record_in(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }

    /// The password was right, so the attempt is forgiven, and yet there is no session.
    async fn refuse_full(
        &self,
        user: UserId,
        subject: &backoff::Subject,
        client: &Client,
    ) -> Result<(), Error> {
        let parts = &*self.0;
        let mut tx = parts.db.begin().await?;
        backoff::forgive(&mut tx, subject).await?;
        let entry = Entry {
            user: Some(user),
            ..self.entry(Act::LoginFailed, client)
        };
        parts.record.record_in(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }

    async fn refuse(&self, user: Option<UserId>, client: &Client) -> Result<SignedIn, Error> {
        let entry = Entry {
            user,
            ..self.entry(Act::LoginFailed, client)
        };
        self.record_alone(entry).await?;
        Err(Error::Refused)
    }
}
