//! Letters on their way: written in the transaction of the act that they tell of, sent later.
//!
//! - No act waits for a mail server, and none fails because one is away.
//! - A letter is in the database, sealed, until it was handed over: a restart loses none. It may
//!   be sent twice (when the process dies after sending and before noting it), never half.
//! - It is sealed by the vault, under a key that is in memory. Where there is none (the service that holds
//!   the KEK is away), a key of the master secret seals it for the time being, for no act waits for that
//!   service either; the vault takes it in when it is open ([`Outbox::carry_over`]).
//! - Several nodes share the work: a letter is taken by one of them for two minutes.
//! - A letter with a link is written down without the link. The token is made when the letter is
//!   sent, so it exists in the letter alone, and waiting takes nothing from its lifetime.
//! - What could not be delivered within a day is given up, and the log says so.

use std::sync::Arc;

use portcullis_core::{Clock, Problem, Span, Timestamp, UserId};
use portcullis_store::{Db, Tx};
use portcullis_vault::fields::{self, Fields, Place};
use portcullis_vault::keys::{Keys, Purpose};
use portcullis_vault::seal::{self, Sealer};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::Email;

/// How long a letter belongs to the node that took it.
const LEASE: Span = Span::from_minutes(2);
const FIRST_WAIT: Span = Span::from_seconds(5);
const LONGEST_WAIT: Span = Span::from_minutes(30);
const GIVEN_UP_AFTER: Span = Span::from_days(1);

const TABLE: &str = "outbox";
const FIELD: &str = "letter";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Seal(#[from] seal::Error),
    #[error(transparent)]
    Fields(#[from] fields::Error),
    #[error("a letter in the outbox cannot be read")]
    Unreadable(#[from] serde_json::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Seal(error) => error.into(),
            Error::Fields(error) => error.into(),
            Error::Unreadable(_) => Problem::internal(error),
            Error::Store(error) => error.into(),
        }
    }
}

/// What is to be told, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Somebody asked for a new password for this address, which may have no account.
    ResetAsked { email: String },
    /// Somebody asked to open an account with this address, which may have one.
    RegistrationAsked { email: String },
    /// The account's owner is to prove that the address is theirs.
    VerifyAsked { user: UserId },
    /// Something was done to the account, and its owner should know.
    Told { to: String, news: News },
    /// The same where the account's address is sealed: it is opened when the letter is written.
    ToldOwner { user: UserId, news: News },
}

/// What [`Message::kind`] may say.
pub(crate) const KINDS: [&[u8]; 4] = [b"reset", b"register", b"verify", b"told"];

impl Message {
    /// Letters of one kind are counted together.
    pub(crate) const fn kind(&self) -> &'static [u8] {
        match self {
            Message::ResetAsked { .. } => b"reset",
            Message::RegistrationAsked { .. } => b"register",
            Message::VerifyAsked { .. } => b"verify",
            Message::Told { .. } | Message::ToldOwner { .. } => b"told",
        }
    }

    /// Whether it is for this account, or this address in its canonical form.
    fn is_of(&self, owner: UserId, canonical: Option<&str>) -> bool {
        let is_theirs = |address: &str| {
            Email::parse(address).is_ok_and(|email| Some(email.canonical()) == canonical)
        };
        match self {
            Message::ResetAsked { email } | Message::RegistrationAsked { email } => {
                is_theirs(email)
            }
            Message::VerifyAsked { user } | Message::ToldOwner { user, .. } => *user == owner,
            Message::Told { to, .. } => is_theirs(to),
        }
    }
}

/// A letter of somebody, on its way.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) id: Uuid,
    pub(crate) created_at: Timestamp,
    /// What it is about.
    pub(crate) about: String,
}

/// What an account's owner is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    PasswordReset,
    SecondFactorAdded,
    SecondFactorRemoved,
    PasskeyAdded,
    PasskeyRemoved,
    PasskeyCloned,
    RecoveryCodeUsed,
    RecoveryCodesMade,
    SecondFactorsReset,
    SessionElsewhere,
}

/// A letter that was taken to be sent.
#[derive(Debug)]
pub(crate) struct Taken {
    id: Uuid,
    attempts: i64,
    created_at: Timestamp,
    pub(crate) message: Message,
}

/// The queue. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    db: Db,
    clock: Arc<dyn Clock>,
    fields: Fields,
    /// For the time when the vault is not open.
    sealer: Arc<Sealer>,
    posted: Arc<Notify>,
}

impl Outbox {
    pub fn new(
        db: Db,
        clock: Arc<dyn Clock>,
        fields: &Fields,
        keys: &Keys,
    ) -> Result<Self, seal::Error> {
        Ok(Outbox {
            db,
            clock,
            fields: fields.of_gate(),
            sealer: Arc::new(Sealer::new(keys, Purpose::Mail)?),
            posted: Arc::default(),
        })
    }

    /// Puts a letter into the queue, in the transaction of what it tells of.
    pub(crate) async fn post(&self, tx: &mut Tx, message: &Message) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO outbox (id, sealed, created_at, due_at, attempts) VALUES ($1, $2, $3, $3, 0)";
        let id = Uuid::now_v7();
        let plain = serde_json::to_vec(message)?;
        let row = id.to_string();
        let sealed = match self.fields.seal_if_ready(&place(&row), &plain)? {
            Some(sealed) => sealed.into_bytes(),
            None => self.sealer.seal(&[id.as_bytes()], &plain)?,
        };
        let now = self.clock.now();
        tx.execute(SQL, &[id.into(), (&sealed).into(), now.into()])
            .await?;
        // Before the commit: whoever wakes too early finds nothing and looks again soon.
        self.posted.notify_one();
        Ok(())
    }

    /// The letters that wait for a person. Each is opened: what it is sealed with says nothing of whose it is.
    pub(crate) async fn of(
        &self,
        owner: UserId,
        canonical: Option<&str>,
    ) -> Result<Vec<Waiting>, Error> {
        const SQL: &str =
            "SELECT id, sealed, created_at FROM outbox WHERE id > $1 ORDER BY id LIMIT 500";
        let (mut found, mut after) = (Vec::new(), Uuid::nil());
        loop {
            let rows = self.db.fetch_all(SQL, &[after.into()]).await?;
            for row in &rows {
                after = row.uuid("id")?;
                match self.open(after, &row.bytes("sealed")?).await {
                    Ok(message) if message.is_of(owner, canonical) => found.push(Waiting {
                        id: after,
                        created_at: row.timestamp("created_at")?,
                        about: String::from_utf8_lossy(message.kind()).into_owned(),
                    }),
                    // What does not open is nobody's any more; its turn to be thrown away comes.
                    Ok(_)
                    | Err(
                        Error::Seal(_)
                        | Error::Unreadable(_)
                        | Error::Fields(fields::Error::DoesNotOpen),
                    ) => {}
                    Err(error) => return Err(error),
                }
            }
            if rows.len() < 500 {
                return Ok(found);
            }
        }
    }

    pub(crate) async fn delete_in(&self, tx: &mut Tx, id: Uuid) -> Result<(), Error> {
        const SQL: &str = "DELETE FROM outbox WHERE id = $1";
        tx.execute(SQL, &[id.into()]).await?;
        Ok(())
    }

    /// Waits until a letter was posted here.
    pub(crate) async fn posted(&self) {
        self.posted.notified().await;
    }

    /// Takes the letter that has been due for longest.
    pub(crate) async fn take(&self) -> Result<Option<Taken>, Error> {
        // On PostgreSQL two nodes may choose the same row; the second waits for the first, and then
        // finds it no longer due.
        const SQL: &str = "UPDATE outbox SET due_at = $2, attempts = attempts + 1 WHERE due_at <= $1 AND id = (SELECT id FROM outbox WHERE due_at <= $1 ORDER BY due_at, id LIMIT 1) RETURNING id, sealed, created_at, attempts";
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let row = tx
            .fetch_optional(SQL, &[now.into(), (now + LEASE).into()])
            .await?;
        tx.commit().await?;
        let Some(row) = row else { return Ok(None) };
        let id = row.uuid("id")?;
        match self.open(id, &row.bytes("sealed")?).await {
            Ok(message) => Ok(Some(Taken {
                id,
                attempts: row.int("attempts")?,
                created_at: row.timestamp("created_at")?,
                message,
            })),
            // It will not become readable: out of the way of the others.
            Err(
                error @ (Error::Seal(_)
                | Error::Unreadable(_)
                | Error::Fields(fields::Error::DoesNotOpen)),
            ) => {
                self.delete(id).await?;
                Err(error)
            }
            // The vault is not open.
            Err(error) => {
                self.later(id, now + FIRST_WAIT).await?;
                Err(error)
            }
        }
    }

    async fn open(&self, id: Uuid, sealed: &[u8]) -> Result<Message, Error> {
        let opened = if sealed.starts_with(fields::MARK.as_bytes()) {
            let text = std::str::from_utf8(sealed).map_err(|_| fields::Error::DoesNotOpen)?;
            self.fields.open(&place(&id.to_string()), text).await?
        } else {
            self.sealer.open(&[id.as_bytes()], sealed)?
        };
        Ok(serde_json::from_slice(opened.expose())?)
    }

    /// Has a key of the vault in memory for the letters to come, and takes in those that it has not sealed:
    /// how many. What does not open stays, until its turn comes.
    pub async fn carry_over(&self) -> Result<usize, Error> {
        const OLD: &str =
            "SELECT id, sealed FROM outbox WHERE substr(sealed, 1, 5) <> $1 ORDER BY id LIMIT 500";
        const NEW: &str = "UPDATE outbox SET sealed = $3 WHERE id = $1 AND sealed = $2";
        self.fields.seal(&place("key"), None, b"").await?;
        let mut count = 0_usize;
        for row in self
            .db
            .fetch_all(OLD, &[fields::MARK.as_bytes().into()])
            .await?
        {
            let (id, old) = (row.uuid("id")?, row.bytes("sealed")?);
            let Ok(plain) = self.sealer.open(&[id.as_bytes()], &old) else {
                continue;
            };
            let row = id.to_string();
            let place = place(&row);
            let new = self.fields.seal(&place, None, plain.expose()).await?;
            let mut tx = self.db.begin().await?;
            let args = [id.into(), (&old).into(), new.as_bytes().into()];
            tx.execute(NEW, &args).await?;
            tx.commit().await?;
            count = count.saturating_add(1);
        }
        Ok(count)
    }

    /// The letter was handed over, or nobody is to get it.
    pub(crate) async fn done(&self, taken: &Taken) -> Result<(), Error> {
        self.delete(taken.id).await
    }

    /// The letter could not be handed over: it is tried again later. Whether it will be.
    pub(crate) async fn put_back(&self, taken: &Taken) -> Result<bool, Error> {
        let now = self.clock.now();
        if now.since(taken.created_at) >= GIVEN_UP_AFTER {
            self.delete(taken.id).await?;
            return Ok(false);
        }
        self.later(taken.id, now + wait(taken.attempts)).await?;
        Ok(true)
    }

    async fn later(&self, id: Uuid, due_at: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE outbox SET due_at = $2 WHERE id = $1";
        let mut tx = self.db.begin().await?;
        tx.execute(SQL, &[id.into(), due_at.into()]).await?;
        Ok(tx.commit().await?)
    }

    async fn delete(&self, id: Uuid) -> Result<(), Error> {
        const SQL: &str = "DELETE FROM outbox WHERE id = $1";
        let mut tx = self.db.begin().await?;
        tx.execute(SQL, &[id.into()]).await?;
        Ok(tx.commit().await?)
    }
}

fn place(row: &str) -> Place<'_> {
    Place {
        tenant: None,
        table: TABLE,
        field: FIELD,
        row,
    }
}

/// Doubles from five seconds to half an hour.
fn wait(attempts: i64) -> Span {
    FIRST_WAIT.doubled(attempts.saturating_sub(1), LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::House;

    fn news(to: &str) -> Message {
        Message::Told {
            to: to.to_owned(),
            news: News::PasswordReset,
        }
    }

    async fn post(house: &House, message: &Message) {
        let mut tx = house.db.begin().await.unwrap();
        house.outbox().post(&mut tx, message).await.unwrap();
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_letter_is_sealed_taken_by_one_and_gone_when_done() {
        let house = House::build().await;
        let outbox = house.outbox();
        post(&house, &news("ada@example.org")).await;
        let row = house
            .db
            .fetch_optional("SELECT sealed FROM outbox", &[])
            .await
            .unwrap()
            .unwrap();
        let sealed = row.bytes("sealed").unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("ada"));
        let taken = outbox.take().await.unwrap().unwrap();
        assert_eq!(taken.message, news("ada@example.org"));
        assert!(outbox.take().await.unwrap().is_none(), "one node has it");
        outbox.done(&taken).await.unwrap();
        assert_eq!(house.count("SELECT count(*) AS n FROM outbox").await, 0);
    }

    #[tokio::test]
    async fn the_vault_takes_in_what_was_sealed_before_it_was_open_and_seals_the_rest_itself() {
        const BEGINS: &str =
            "SELECT count(*) AS n FROM outbox WHERE substr(sealed, 1, 5) = x'706376312e'";
        let house = House::build().await;
        let outbox = house.outbox();
        post(&house, &news("ada@example.org")).await;
        assert_eq!(house.count(BEGINS).await, 0, "no key is in memory yet");
        assert_eq!(outbox.carry_over().await.unwrap(), 1);
        assert_eq!(outbox.carry_over().await.unwrap(), 0);
        post(&house, &news("bob@example.org")).await;
        assert_eq!(house.count(BEGINS).await, 2);
        let mut seen = Vec::new();
        while let Some(taken) = outbox.take().await.unwrap() {
            seen.push(taken.message);
        }
        seen.sort_by_key(|message| format!("{message:?}"));
        assert_eq!(seen, [news("ada@example.org"), news("bob@example.org")]);
    }

    #[tokio::test]
    async fn a_letter_of_a_node_that_died_is_taken_again() {
        let house = House::build().await;
        post(&house, &news("ada@example.org")).await;
        let _died = house.outbox().take().await.unwrap().unwrap();
        house.clock.advance(LEASE);
        assert!(house.outbox().take().await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_cannot_be_delivered_waits_longer_and_longer_and_is_given_up_after_a_day() {
        let house = House::build().await;
        let outbox = house.outbox();
        post(&house, &news("ada@example.org")).await;
        let mut kept = 0;
        loop {
            let taken = outbox.take().await.unwrap().unwrap();
            if !outbox.put_back(&taken).await.unwrap() {
                break;
            }
            kept += 1;
            assert!(outbox.take().await.unwrap().is_none(), "not at once");
            house.clock.advance(wait(taken.attempts));
        }
        assert!((20..100).contains(&kept), "{kept}");
        assert_eq!(house.count("SELECT count(*) AS n FROM outbox").await, 0);
    }

    #[test]
    fn waits_double() {
        let seconds: Vec<u64> = (1..=10)
            .map(|attempts| wait(attempts).as_seconds())
            .collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1800]);
    }
}
