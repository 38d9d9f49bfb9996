//! Messages that name a person: found for their export, and emptied for their erasure.
//!
//! The row stays, with the sender's id of the event: a second message of the same event is still refused. What
//! waits to be delivered is emptied at the end of its way: the product has not had it yet.

use portcullis_core::Timestamp;
use portcullis_store::{Db, Tx};
use uuid::Uuid;

use super::{Delivery, Error, Message, State, Webhooks, store};
use crate::mentions::{Mentions, Page};

/// Messages that are opened at once.
const PAGE: u32 = 100;

const NEXT: &str = "SELECT seq, id, endpoint, sealed, erase_asked_at FROM webhook_delivery WHERE seq > $1 AND erased_at IS NULL ORDER BY seq LIMIT $2";
const EMPTY: &str = "UPDATE webhook_delivery SET sealed = $3, order_key = NULL, erase_asked_at = $2, erased_at = $2 WHERE id = $1 AND state <> 'waiting'";
const EMPTY_LATER: &str =
    "UPDATE webhook_delivery SET erase_asked_at = $2 WHERE id = $1 AND state = 'waiting'";
const EMPTY_NOW: &str = "UPDATE webhook_delivery SET sealed = $2, order_key = NULL, erased_at = $1 WHERE erase_asked_at IS NOT NULL AND erased_at IS NULL AND state <> 'waiting'";

/// A message in which somebody is named.
#[derive(Debug, Clone)]
pub struct Mentioned {
    pub delivery: Delivery,
    pub message: Message,
    /// It is to be emptied at the end of its way.
    is_asked: bool,
}

impl Mentioned {
    /// Whether it waits to be delivered, and will be emptied behind that. At the end of its way it is looked at anew.
    pub fn is_seen_to(&self) -> bool {
        self.is_asked
            && match self.delivery.state {
                State::Waiting => true,
                State::Delivered | State::Dead => false,
            }
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emptied {
    Now,
    /// It waits to be delivered, and is emptied behind that.
    AtItsEnd,
    /// It is gone by itself meanwhile.
    Gone,
}

impl Webhooks {
    /// Opens the next messages, oldest first, and gives back those that name somebody. One that nobody can open
    /// any more is passed by: its master secret is gone.
    pub async fn mentioning(
        &self,
        names: &Mentions,
        after: i64,
    ) -> Result<Page<Mentioned, i64>, Error> {
        let rows = self
            .db
            .fetch_all(NEXT, &[after.into(), PAGE.into()])
            .await?;
        let (mut found, mut last) = (Vec::new(), after);
        for row in &rows {
            last = row.int("seq")?;
            let (id, endpoint) = (row.uuid("id")?, row.text("endpoint")?);
            let message = match self.open(&endpoint, id, &row.bytes("sealed")?).await {
                Ok(message) => message,
                // What nobody can read tells nobody anything.
                Err(Error::Seal(_) | Error::Unreadable) => continue,
                Err(error) => return Err(error),
            };
            if !message.names(names) {
                continue;
            }
            // It may be gone since.
            if let Some(delivery) = store::find(&self.db, id).await? {
                found.push(Mentioned {
                    delivery,
                    message,
                    is_asked: row.opt_timestamp("erase_asked_at")?.is_some(),
                });
            }
        }
        Ok(Page::of(found, last, rows.len(), PAGE))
    }

    /// Takes out what a message says. Its row stays.
    pub async fn empty_in(&self, tx: &mut Tx, id: Uuid, now: Timestamp) -> Result<Emptied, Error> {
        let nothing: &[u8] = &[];
        let args = [id.into(), now.into(), nothing.into()];
        if tx.execute(EMPTY, &args).await? == 1 {
            return Ok(Emptied::Now);
        }
        let args = [id.into(), now.into()];
        Ok(match tx.execute(EMPTY_LATER, &args).await? {
            0 => Emptied::Gone,
            _ => Emptied::AtItsEnd,
        })
    }
}

/// Empties what was to be emptied at the end of its way.
pub(super) async fn empty_ended(db: &Db, now: Timestamp) -> Result<u64, Error> {
    let nothing: &[u8] = &[];
    let mut tx = db.begin().await?;
    let emptied = tx.execute(EMPTY_NOW, &[now.into(), nothing.into()]).await?;
    tx.commit().await?;
    Ok(emptied)
}

impl Message {
    fn names(&self, names: &Mentions) -> bool {
        names.is_in_body(&self.body) || self.headers.iter().any(|(_, value)| names.is_in(value))
    }
}
