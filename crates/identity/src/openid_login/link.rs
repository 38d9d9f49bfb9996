//! An account that exists already gets a person of a provider: by the operator or an administrator,
//! and by nobody else.

use portcullis_core::{Problem, UserId, problem};

use super::OpenidLogin;
use crate::accounts::{self, By};
use crate::record::{Act, Entry};
use crate::{issuers, users};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no `[issuer.{0}.login]` is configured")]
    NoProvider(String),
    #[error("a subject is 1 to 255 characters, as the provider writes it")]
    Subject,
    #[error("there is no such open account")]
    NoAccount,
    #[error("that person of the provider has an account already")]
    Taken,
    #[error(transparent)]
    Accounts(#[from] accounts::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let invalid = |field, message| Problem::new(&problem::INVALID_INPUT).field(field, message);
        match error {
            Error::NoProvider(_) => invalid("provider", "must be a provider that is configured"),
            Error::Subject => invalid(
                "subject",
                "must be 1 to 255 characters, as the provider writes it",
            ),
            Error::NoAccount => Problem::new(&problem::NOT_FOUND),
            Error::Taken => Problem::new(&problem::CONFLICT)
                .detail("That person of the provider has an account already."),
            Error::Accounts(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

impl OpenidLogin {
    /// Whoever the provider calls `subject` is the owner of this account from now on.
    ///
    /// SECURITY: whoever does it vouches for it. No address is compared: one that is equal proves
    /// nothing. Who may come in as somebody is them, so nobody links an account that holds more than
    /// they do, and it is recorded who did it.
    pub async fn link(
        &self,
        user: UserId,
        provider: &str,
        subject: &str,
        by: &By,
    ) -> Result<(), Error> {
        let accounts = &self.0.accounts;
        let parts = accounts.parts();
        let issuer = self
            .provider(provider)
            .map_err(|_| Error::NoProvider(provider.to_owned()))?;
        if !(1..=255).contains(&subject.len()) || subject.chars().any(char::is_control) {
            return Err(Error::Subject);
        }
        let now = parts.clock.now();
        let mut tx = parts.db.begin().await?;
        if !users::hold_open(&mut tx, user).await? {
            return Err(Error::NoAccount);
        }
        accounts.check_rule(&mut tx, user, by).await?;
        if !issuers::link(&mut tx, issuer.url(), subject, user, now).await? {
            return Err(Error::Taken);
        }
        let entry = Entry {
            user: Some(user),
            provider: Some(provider.to_owned()),
            ..accounts.entry_by(Act::UserUpdated, by)
        };
        let recorded = parts.record.record_in(&mut tx, entry).await;
        recorded.map_err(accounts::Error::from)?;
        Ok(tx.commit().await?)
    }
}
