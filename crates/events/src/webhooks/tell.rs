//! What the gate itself tells the product: the same rows, the same way, and no sender.

use portcullis_store::Tx;
use portcullis_vault::tokens::sha256;
use uuid::Uuid;

use super::content::{Facts, Message};
use super::{Error, Webhooks, store};

/// Where the product hears of new values of its secrets. No configured webhook can be called so.
pub const SECRET_HOOK: &str = "portcullis.secrets";

/// One message of ours.
#[derive(Debug)]
pub struct Told<'t> {
    /// The name of an endpoint of ours.
    pub endpoint: &'static str,
    /// A second one of the same is the same message.
    pub event: String,
    pub kind: &'t str,
    /// Messages about the same thing are delivered one after the other.
    pub about: Uuid,
    /// JSON.
    pub body: String,
}

/// A message of ours that is sealed, and waits for its transaction.
#[derive(Debug)]
pub struct Ready {
    endpoint: &'static str,
    id: Uuid,
    facts: Facts,
    sealed: Vec<u8>,
}

impl Webhooks {
    /// Seals a message. Not in the transaction: the vault may have to ask for a key.
    pub async fn ready(&self, told: &Told<'_>) -> Result<Ready, Error> {
        let id = Uuid::now_v7();
        let message = Message {
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: told.body.clone().into_bytes(),
        };
        Ok(Ready {
            endpoint: told.endpoint,
            id,
            sealed: self.seal(told.endpoint, id, &message).await?,
            facts: Facts {
                event: told.event.clone(),
                kind: Some(told.kind.to_owned()),
                order_key: Some(sha256(told.about.as_bytes())),
                challenge: None,
            },
        })
    }

    /// Puts a message beside what it tells of: it is delivered if and only if the transaction is
    /// committed.
    pub async fn tell_in(&self, tx: &mut Tx, ready: &Ready) -> Result<(), Error> {
        let now = self.clock.now();
        let Ready {
            endpoint,
            id,
            facts,
            sealed,
        } = ready;
        store::insert(tx, endpoint, *id, facts, sealed, now).await?;
        Ok(())
    }

    /// Something may be due: it is looked for at once.
    pub fn hurry(&self) {
        self.arrived.notify_one();
    }
}
