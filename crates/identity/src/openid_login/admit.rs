//! From what a provider says to a session.

use portcullis_core::{Timestamp, UserId};

use super::config::Admit;
use super::id_token::Said;
use super::store::{self, Vouched};
use super::{Error, OpenidLogin};
use crate::accounts::{self, SignedIn};
use crate::factors::Challenge;
use crate::issuers::Provider;
use crate::record::{Act, Entry};
use crate::{Client, Email, users};

/// Somebody whom a provider vouches for.
pub(super) struct Person {
    pub(super) said: Said,
    /// The address that the provider says it verified. Another one is not even kept: letters would
    /// go to whomever it belongs to.
    pub(super) verified: Option<Email>,
}

/// What they get.
pub(super) enum Outcome {
    SignedIn(SignedIn),
    /// The account asks for a second factor of our own first.
    SecondFactor(Challenge),
}

impl OpenidLogin {
    /// Signs somebody in.
    pub(super) async fn admit(
        &self,
        provider: &Provider<'_>,
        person: &Person,
        client: &Client,
    ) -> Result<Outcome, Error> {
        let accounts = &self.0.accounts;
        let parts = accounts.parts();
        let user = self.account(provider, person, client).await?;
        let here = accounts.at_known_device(user, client).await?;
        let name = match &person.verified {
            None => None,
            Some(email) => {
                let names = parts.sessions.addresses().names(email.canonical()).await;
                let names = names.map_err(accounts::Error::from)?;
                Some(names.kept().to_owned())
            }
        };
        let vouched = Vouched {
            issuer: provider.url().to_owned(),
            email: name,
            // SECURITY: who does not say when is taken to say long ago.
            authenticated_at: person.said.authenticated_at.unwrap_or(Timestamp::EPOCH),
        };
        let mut tx = parts.db.begin().await?;
        // SECURITY: a closed account stays closed, whatever its provider says.
        if !users::hold_open(&mut tx, user).await? {
            return Err(Error::NoAccount);
        }
        if !person.said.has_second_factor
            && let Some(challenge) = accounts.challenge(&mut tx, user, client).await?
        {
            vouched
                .note_challenge(&mut tx, &challenge.token.hash())
                .await?;
            tx.commit().await?;
            return Ok(Outcome::SecondFactor(challenge));
        }
        let made = parts.sessions.create(&mut tx, user, &here).await;
        let (session, ended) = made.map_err(accounts::Error::from)?;
        vouched.note(&mut tx, session.id).await?;
        if person.said.has_second_factor {
            // Not at nought, which memory keeps for nobody: long ago, and yet proved.
            let at = vouched.authenticated_at.max(Timestamp::from_seconds(1));
            store::mark_second_factor(&mut tx, session.id, at).await?;
        }
        let done = Entry {
            provider: Some(provider.name().to_owned()),
            ..accounts.entry(Act::LoginSucceeded, client)
        };
        let made = (session, ended);
        let signed_in = accounts.conclude(tx, user, made, here, done).await?;
        Ok(Outcome::SignedIn(signed_in))
    }

    /// The account of (issuer, subject), made where that is allowed.
    async fn account(
        &self,
        provider: &Provider<'_>,
        person: &Person,
        client: &Client,
    ) -> Result<UserId, Error> {
        let login = provider.login;
        let address = person.verified.as_ref().map(Email::canonical);
        let is_administrator = address.is_some_and(|address| provider.names_administrator(address));
        // SECURITY: the whole domain of an address that has exactly one `@`.
        let domain = address.and_then(|address| Some(address.split_once('@')?.1));
        let is_of_us = login.email_domains.is_empty()
            || domain.is_some_and(|domain| login.email_domains.iter().any(|ours| ours == domain));
        if !is_of_us && !is_administrator {
            return Err(Error::NoAccount);
        }
        let subject = &person.said.subject;
        let found = match (login.config.accounts, is_administrator) {
            (Admit::Known, false) => provider.find(subject).await?,
            (Admit::Anyone, _) | (Admit::Known, true) => {
                let email = person.verified.as_ref().map(Email::typed);
                provider.find_or_create(subject, email, client).await?
            }
        };
        found.ok_or(Error::NoAccount)
    }
}
