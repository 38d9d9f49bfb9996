//! Recovery (I9): a new password, and proof of an address, by a link in a letter.
//!
//! - Asking answers alike, in content and in time, whether or not there is an account: the account
//!   is not looked up before the letter is written, and that happens later and elsewhere.
//! - A link's token is 256 random bits, works once and for a short time, and is kept as a hash. It
//!   is in the letter and in no log. The link begins with the configured origin, never with what a
//!   request says of its host (CWE-640).
//! - Two who use one token at once: the row is deleted by one of them.
//! - A new password ends all sessions and is told to the owner. It proves the address, and nothing
//!   else: a second factor is asked for as before, and a closed account stays closed.
//! - A few letters per account and hour; more are asked for in vain, and are answered alike.

mod api;
pub(crate) mod by_letter;
mod letters;
mod pages;
mod post;

use portcullis_core::principal::User;
use portcullis_core::{Secret, Span, Timestamp, UserId};
use portcullis_events::Actor;
use portcullis_store::{Db, Tx};
use portcullis_vault::keys::{self, Keys, Mac, Purpose};
use portcullis_vault::{Token, TokenHash};
use serde::Deserialize;

use crate::accounts::{Accounts, By, Client, Error};
use crate::addresses::Names;
use crate::outbox::{Message, News, Outbox};
use crate::record::{Act, Entry};
use crate::{Email, Finding, backoff, users};

pub(crate) use api::routes;
pub use post::{Delivered, Postman};

/// Letters that one account gets, and the time in which it gets them.
const LETTERS: i64 = 3;
const WINDOW: Span = Span::from_hours(1);

/// The `[recovery]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// How long the link to a new password works. Default `"30m"`, at most `"24h"`. Longer helps
    /// whoever reads the mailbox later.
    pub reset_lifetime: Span,
    /// How long the link that proves an address works. Default `"24h"`, at most `"7d"`.
    pub verify_lifetime: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            reset_lifetime: Span::from_minutes(30),
            verify_lifetime: Span::from_hours(24),
        }
    }
}

impl Config {
    /// Everything that is wrong here.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let least = Span::from_minutes(1);
        if self.reset_lifetime < least || self.reset_lifetime > Span::from_hours(24) {
            findings.push(Finding {
                key: "recovery.reset-lifetime",
                message: "must be from 1m to 24h",
            });
        }
        if self.verify_lifetime < least || self.verify_lifetime > Span::from_days(7) {
            findings.push(Finding {
                key: "recovery.verify-lifetime",
                message: "must be from 1m to 7d",
            });
        }
        findings
    }
}

/// What recovery needs beside the accounts.
pub struct Recovery {
    /// Whether letters can be sent at all: without, nothing here is offered.
    pub is_offered: bool,
    pub outbox: Outbox,
    names: Mac,
    config: Config,
}

impl Recovery {
    pub fn new(
        outbox: Outbox,
        keys: &Keys,
        config: Config,
        is_offered: bool,
    ) -> Result<Self, keys::Error> {
        Ok(Recovery {
            is_offered,
            outbox,
            names: keys.mac(Purpose::Recovery)?,
            config,
        })
    }
}

impl Recovery {
    /// Every name under which letters to an address may be counted.
    pub(crate) fn names_of(&self, canonical: &str) -> Vec<[u8; 32]> {
        let kinds = crate::outbox::KINDS.into_iter();
        kinds
            .flat_map(|kind| {
                self.names
                    .tags(&[kind, canonical.as_bytes()])
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Reset,
    Verify,
}

impl Link {
    const fn word(self) -> &'static str {
        match self {
            Link::Reset => "reset",
            Link::Verify => "verify",
        }
    }
}

impl Accounts {
    /// Asks for a link to a new password. The same work whether or not the address has an account.
    pub async fn ask_reset(&self, address: &str, client: &Client) -> Result<(), Error> {
        let email = Email::parse(address)?;
        let message = Message::ResetAsked {
            email: email.canonical().to_owned(),
        };
        let entry = self.entry(Act::ResetAsked, client);
        self.ask(&email, entry, &message).await.map(drop)
    }

    /// Sends somebody a link to a new password, as if they had asked for it themselves.
    pub async fn send_reset(&self, user: UserId, by: &By) -> Result<(), Error> {
        let account = self.find(user).await?;
        if account.deactivated_at.is_some() {
            return Err(Error::NotFound);
        }
        let email = Email::parse(&account.email)?;
        let message = Message::ResetAsked {
            email: email.canonical().to_owned(),
        };
        let entry = Entry {
            user: Some(user),
            ..self.entry_by(Act::ResetAsked, by)
        };
        if self.ask(&email, entry, &message).await? {
            Ok(())
        } else {
            // Whoever acts for others is told: they cannot see that no letter comes.
            Err(Error::Throttled {
                retry_after: WINDOW,
            })
        }
    }

    /// Asks for a link that proves the signed-in user's address.
    pub async fn ask_verification(&self, user: &User, client: &Client) -> Result<(), Error> {
        let account = self.get(user.id).await?;
        let email = Email::parse(&account.email)?;
        let message = Message::VerifyAsked { user: user.id };
        let entry = Entry {
            actor: Some(Actor::User(user.id)),
            user: Some(user.id),
            ..self.entry(Act::VerifyAsked, client)
        };
        self.ask(&email, entry, &message).await.map(drop)
    }

    /// Whether a letter was posted: not more than a few in a time.
    pub(crate) async fn ask(
        &self,
        email: &Email,
        mut entry: Entry,
        message: &Message,
    ) -> Result<bool, Error> {
        let parts = self.parts();
        let recovery = &parts.recovery;
        if !recovery.is_offered {
            return Err(Error::NotFound);
        }
        let name = recovery
            .names
            .tag(&[message.kind(), email.canonical().as_bytes()]);
        let mut tx = parts.db.begin().await?;
        let count = count(&mut tx, &name, parts.clock.now()).await?;
        let is_posted = count <= LETTERS;
        if is_posted {
            recovery.outbox.post(&mut tx, message).await?;
        } else {
            entry.act = Act::RecoveryThrottled;
        }
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(is_posted)
    }

    /// Sets a new password by the token of a link. All sessions end; nobody is signed in.
    pub async fn reset_password(
        &self,
        token: &Secret<String>,
        new: &Secret<String>,
        client: &Client,
    ) -> Result<(), Error> {
        let parts = self.parts();
        let hash = Token::parse(token.expose()).ok_or(Error::LinkSpent)?.hash();
        let now = parts.clock.now();
        // A password that is too weak must not cost the link: looked at first, used up last.
        let proven = find(&parts.db, &hash, Link::Reset, now)
            .await?
            .ok_or(Error::LinkSpent)?;
        let (email, names) = self.address_of(&proven).await?;
        parts
            .policy
            .check(new, &email)
            .map_err(|weak| Error::Weak("new_password", weak))?;
        let password_hash = parts.passwords.hash(new).await?;

        let mut tx = parts.db.begin().await?;
        let proven = redeem(&mut tx, &hash, Link::Reset, now)
            .await?
            .ok_or(Error::LinkSpent)?;
        if !users::verify_email(&mut tx, proven.user, &names, now).await? {
            return Err(Error::LinkSpent);
        }
        users::set_password(&mut tx, proven.user, &password_hash, now).await?;
        forget_links(&mut tx, proven.user, Link::Reset).await?;
        let subject = parts.backoff.subject(email.canonical(), None, now);
        backoff::clear(&mut tx, &subject).await?;
        let message = Message::Told {
            to: email.canonical().to_owned(),
            news: News::PasswordReset,
        };
        parts.recovery.outbox.post(&mut tx, &message).await?;
        let entry = Entry {
            user: Some(proven.user),
            ..self.entry(Act::PasswordReset, client)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget_user(proven.user);
        Ok(())
    }

    /// Takes note that the owner of an account receives its mail.
    pub async fn verify_email(&self, token: &Secret<String>, client: &Client) -> Result<(), Error> {
        let parts = self.parts();
        let hash = Token::parse(token.expose()).ok_or(Error::LinkSpent)?.hash();
        let now = parts.clock.now();
        let proven = find(&parts.db, &hash, Link::Verify, now)
            .await?
            .ok_or(Error::LinkSpent)?;
        let (_, names) = self.address_of(&proven).await?;
        let mut tx = parts.db.begin().await?;
        let proven = redeem(&mut tx, &hash, Link::Verify, now)
            .await?
            .ok_or(Error::LinkSpent)?;
        if !users::verify_email(&mut tx, proven.user, &names, now).await? {
            return Err(Error::LinkSpent);
        }
        forget_links(&mut tx, proven.user, Link::Verify).await?;
        let entry = Entry {
            user: Some(proven.user),
            ..self.entry(Act::EmailVerified, client)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(())
    }
}

impl Accounts {
    /// The address that a link proves, provided that it still is the account's.
    async fn address_of(&self, proven: &Proven) -> Result<(Email, Names), Error> {
        let canonical = self.addresses().canonical(proven.user).await?;
        let email = Email::parse(&canonical.ok_or(Error::LinkSpent)?)?;
        let names = self.addresses().names(email.canonical()).await?;
        if names.has(&proven.name) {
            Ok((email, names))
        } else {
            Err(Error::LinkSpent)
        }
    }
}

/// What a token proves: that somebody read the mail of this address when it was this account's.
struct Proven {
    user: UserId,
    /// The address's name ([`crate::addresses`]).
    name: String,
}

async fn find(
    db: &Db,
    hash: &TokenHash,
    link: Link,
    now: Timestamp,
) -> Result<Option<Proven>, portcullis_store::Error> {
    const SQL: &str = "SELECT user_id, email_canonical FROM recovery_token WHERE token_hash = $1 AND purpose = $2 AND expires_at > $3";
    let args = [hash.as_bytes().into(), link.word().into(), now.into()];
    db.fetch_optional(SQL, &args)
        .await?
        .map(|row| proven(&row))
        .transpose()
}

/// Uses the token up. Of two at once, one gets `None`.
async fn redeem(
    tx: &mut Tx,
    hash: &TokenHash,
    link: Link,
    now: Timestamp,
) -> Result<Option<Proven>, portcullis_store::Error> {
    const SQL: &str = "DELETE FROM recovery_token WHERE token_hash = $1 AND purpose = $2 AND expires_at > $3 RETURNING user_id, email_canonical";
    let args = [hash.as_bytes().into(), link.word().into(), now.into()];
    tx.fetch_optional(SQL, &args)
        .await?
        .map(|row| proven(&row))
        .transpose()
}

fn proven(row: &portcullis_store::Row) -> Result<Proven, portcullis_store::Error> {
    Ok(Proven {
        user: row.user_id("user_id")?,
        name: row.text("email_canonical")?,
    })
}

async fn forget_links(
    tx: &mut Tx,
    user: UserId,
    link: Link,
) -> Result<(), portcullis_store::Error> {
    const SQL: &str = "DELETE FROM recovery_token WHERE user_id = $1 AND purpose = $2";
    tx.execute(SQL, &[user.into(), link.word().into()])
        .await
        .map(drop)
}

/// Counts one more letter, and says the how-manieth in its window. One statement, so that no two
/// get the same number.
async fn count(
    tx: &mut Tx,
    name: &[u8; 32],
    now: Timestamp,
) -> Result<i64, portcullis_store::Error> {
    const SQL: &str = "INSERT INTO recovery_request (account, since, count) VALUES ($1, $2, 1) ON CONFLICT (account) DO UPDATE SET count = CASE WHEN recovery_request.since <= $3 THEN 1 ELSE recovery_request.count + 1 END, since = CASE WHEN recovery_request.since <= $3 THEN $2 ELSE recovery_request.since END RETURNING count";
    let args = [name.into(), now.into(), (now - WINDOW).into()];
    match tx.fetch_optional(SQL, &args).await? {
        Some(row) => row.int("count"),
        None => Ok(i64::MAX),
    }
}

/// Deletes what no longer counts.
pub(crate) async fn prune(db: &Db, now: Timestamp) -> Result<(), portcullis_store::Error> {
    const TOKENS: &str = "DELETE FROM recovery_token WHERE expires_at <= $1";
    const REQUESTS: &str = "DELETE FROM recovery_request WHERE since <= $1";
    let mut tx = db.begin().await?;
    tx.execute(TOKENS, &[now.into()]).await?;
    tx.execute(REQUESTS, &[(now - WINDOW).into()]).await?;
    tx.commit().await
}

#[cfg(test)]
mod tests;
