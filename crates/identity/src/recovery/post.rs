//! Taking letters from the outbox to the mailer, one after the other.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::{Secret, Span, Timestamp, UserId};
use portcullis_edge::mail::{self, Letter, Mailer};
use portcullis_events::redact;
use portcullis_vault::Token;

use super::{Link, letters};
use crate::accounts::{Accounts, Error};
use crate::addresses;
use crate::outbox::{Message, Taken};
use crate::{Email, users};

/// How often is looked for letters that other nodes posted, or that are due again.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What became of the next letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// It is on its way, or nobody is to get it.
    Done,
    /// The server is away: it is tried again.
    Later,
    /// There is none.
    Nothing,
}

/// Sends what is in the outbox.
pub struct Postman {
    pub accounts: Accounts,
    pub mailer: Arc<Mailer>,
    /// Where people reach the gate: `https://shop.example`.
    pub origin: Arc<str>,
    /// Where the pages are, below the origin.
    pub mount: &'static str,
}

impl Postman {
    /// Works until the task is dropped.
    pub async fn run(self) {
        loop {
            match self.deliver_next().await {
                Ok(Delivered::Done) => continue,
                Ok(Delivered::Later | Delivered::Nothing) => {}
                Err(error) => tracing::warn!(%error, "letters cannot be taken from the outbox"),
            }
            let outbox = &self.accounts.parts().recovery.outbox;
            let _ = tokio::time::timeout(LOOK_EVERY, outbox.posted()).await;
        }
    }

    /// Takes the next letter and hands it over.
    pub async fn deliver_next(&self) -> Result<Delivered, Error> {
        let outbox = &self.accounts.parts().recovery.outbox;
        let Some(taken) = outbox.take().await? else {
            return Ok(Delivered::Nothing);
        };
        let letter = match self.write(&taken).await {
            Ok(letter) => letter,
            // It will not become readable: out of the way of the others.
            Err(Error::Address(error @ addresses::Error::Damaged { .. })) => {
                tracing::error!(%error, "a letter has nobody to go to");
                None
            }
            Err(error) => return Err(error),
        };
        let Some(letter) = letter else {
            outbox.done(&taken).await?;
            return Ok(Delivered::Done);
        };
        match self.mailer.send(&letter).await {
            Ok(()) => {
                outbox.done(&taken).await?;
                Ok(Delivered::Done)
            }
            Err(mail::Error::Refused(reason)) => {
                tracing::warn!(reason = %redact::text(&reason), "a letter was refused for good");
                outbox.done(&taken).await?;
                Ok(Delivered::Done)
            }
            Err(mail::Error::Unavailable(reason)) => {
                let again = outbox.put_back(&taken).await?;
                tracing::warn!(reason = %redact::text(&reason), again, "a letter could not be handed over (`mail.server`)");
                Ok(Delivered::Later)
            }
        }
    }

    /// The letter, or nothing where nobody is to get one.
    async fn write(&self, taken: &Taken) -> Result<Option<Letter>, Error> {
        let parts = self.accounts.parts();
        let config = &parts.recovery.config;
        let addresses = self.accounts.addresses();
        match &taken.message {
            Message::ResetAsked { email } => {
                let email = Email::parse(email)?;
                let found = users::find_by_email(&parts.db, addresses, &email).await?;
                let Some(account) = found.filter(|account| account.deactivated_at.is_none()) else {
                    return Ok(None);
                };
                let lifetime = config.reset_lifetime;
                let link = self
                    .link(Link::Reset, account.id, &email, lifetime, "new-password")
                    .await?;
                let letter = letters::reset(&account.email, &self.origin, &link, lifetime);
                Ok(Some(letter))
            }
            Message::RegistrationAsked { email } => {
                let email = Email::parse(email)?;
                let to = email.typed();
                if let Some(account) = users::find_by_email(&parts.db, addresses, &email).await? {
                    let is_open = account.deactivated_at.is_none();
                    let letter = letters::has_account(to, &self.origin, self.mount);
                    return Ok(is_open.then_some(letter));
                }
                let lifetime = config.verify_lifetime;
                let secret = self.accounts.registration_token(&email, lifetime).await?;
                let link = self.url("open-account", &secret);
                Ok(Some(letters::register(to, &self.origin, &link, lifetime)))
            }
            Message::VerifyAsked { user } => {
                let found = users::find(&parts.db, addresses, *user).await?;
                let Some(account) = found.filter(|account| account.deactivated_at.is_none()) else {
                    return Ok(None);
                };
                let email = Email::parse(&account.email)?;
                let lifetime = config.verify_lifetime;
                let link = self
                    .link(Link::Verify, account.id, &email, lifetime, "verify-email")
                    .await?;
                let letter = letters::verify(&account.email, &self.origin, &link, lifetime);
                Ok(Some(letter))
            }
            Message::ToldOwner { user, news } => {
                let found = users::find(&parts.db, addresses, *user).await?;
                Ok(found.map(|account| letters::told(&account.email, &self.origin, *news)))
            }
            Message::Told { to, news } => Ok(Some(letters::told(to, &self.origin, *news))),
        }
    }

    /// A link with a new token, of which the hash is kept.
    async fn link(
        &self,
        link: Link,
        user: UserId,
        email: &Email,
        lifetime: Span,
        page: &str,
    ) -> Result<Secret<String>, Error> {
        const SQL: &str = "INSERT INTO recovery_token (token_hash, user_id, purpose, email_canonical, expires_at) VALUES ($1, $2, $3, $4, $5)";
        let parts = self.accounts.parts();
        let token = Token::generate()?;
        let expires_at: Timestamp = parts.clock.now() + lifetime;
        let hash = token.hash();
        let names = self.accounts.addresses().names(email.canonical()).await?;
        let args = [
            hash.as_bytes().into(),
            user.into(),
            link.word().into(),
            names.kept().into(),
            expires_at.into(),
        ];
        let mut tx = parts.db.begin().await?;
        tx.execute(SQL, &args).await?;
        tx.commit().await?;
        Ok(self.url(page, &token))
    }

    /// Where `page` is, opened with a token.
    fn url(&self, page: &str, token: &Token) -> Secret<String> {
        let (origin, mount) = (&self.origin, self.mount);
        let token = token.text();
        Secret::new(format!("{origin}{mount}/{page}?token={}", token.expose()))
    }
}
