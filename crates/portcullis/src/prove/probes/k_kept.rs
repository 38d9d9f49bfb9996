//! k. Webhooks: what becomes of one before it is acknowledged (B3).

use portcullis_core::Timestamp;
use uuid::Uuid;

use super::k_webhooks::rows;
use super::senders::{self, Message, Sender};
use super::stored::Stored;
use crate::prove::Scene;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::world::World;
use crate::verbs::now;

const ROW: &str = "SELECT id, state, sealed, received_at FROM webhook_delivery WHERE endpoint = $1 AND (event = $2 OR event = $3)";

/// B3
pub(super) async fn recorded(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let (mut told, mut unheard) = (Vec::new(), Vec::new());
    for sender in senders::all(w)? {
        let name = format!("`{}`", sender.config.name);
        if !sender.plays() {
            unheard.push(name);
            continue;
        }
        unwritten(w, &sender).await?;
        let message = Message::new();
        let began = now();
        let id = kept(w, &sender, &message, began).await?;
        in_no_file(w, &message)?;
        opens(w, id, &message).await?;
        once(w, &sender, &message).await?;
        told.push(name);
    }
    if told.is_empty() {
        return Err(Short::not_proven(format!(
            "only their senders can sign for {}",
            unheard.join(", ")
        )));
    }
    let others = if unheard.is_empty() {
        String::new()
    } else {
        format!(
            "; not seen of {}, whose sender alone can sign",
            unheard.join(", ")
        )
    };
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "{}: where the row cannot be written the sender gets no 2xx and the product nothing, and what it sends again is taken; a row is there by the answer, opens to the very bytes, and no file of the database has them in the clear; the same message again is neither written nor delivered a second time{others}",
            told.join(", ")
        ),
    ))
}

/// Nothing is acknowledged that is not written: in the rehearsal's database nobody writes a message for a while.
async fn unwritten(w: &World, sender: &Sender<'_>) -> Result<(), Short> {
    const HINDER: &str = "CREATE TRIGGER prove_hinders BEFORE INSERT ON webhook_delivery BEGIN SELECT RAISE(ABORT, 'hindered by prove'); END";
    const LET: &str = "DROP TRIGGER prove_hinders";
    let change = async |sql: &'static str| {
        let mut tx = w.stores.db.begin().await?;
        tx.execute(sql, &[]).await?;
        tx.commit().await
    };
    let message = Message::new();
    let headers = sender.signs(now().as_seconds(), &message);
    change(HINDER).await?;
    let hindered = sender.post(w, &headers, &message.body).await;
    change(LET).await?;
    let hindered = hindered?;
    must(
        hindered.status >= 500 && sender.told(w, &message)? == 0,
        || {
            format!(
                "a message that could not be written is answered {}, and the product hears of it {} times",
                hindered.said(),
                sender.told(w, &message).unwrap_or_default()
            )
        },
        ALWAYS,
    )?;
    let again = sender.post(w, &headers, &message.body).await?;
    must(
        again.passed() && !Sender::is_known(&again) && rows(w, sender, &message).await? == 1,
        || {
            format!(
                "a message that could not be written and is sent again is answered {}",
                again.said()
            )
        },
        ALWAYS,
    )
}

/// That there is a row of it when it is acknowledged, and that the row does not say what the message says. Its id.
async fn kept(
    w: &World,
    sender: &Sender<'_>,
    message: &Message,
    began: Timestamp,
) -> Result<Uuid, Short> {
    let headers = sender.signs(now().as_seconds(), message);
    let first = sender.post(w, &headers, &message.body).await?;
    must(
        first.passed(),
        || format!("a right message is answered {}", first.said()),
        ALWAYS,
    )?;
    let [id, digest] = Sender::event_ids(message);
    let args = [(&sender.config.name).into(), (&id).into(), (&digest).into()];
    let found = w.stores.db.fetch_all(ROW, &args).await?;
    let [row] = found.as_slice() else {
        let what = format!("{} rows were written of one message", found.len());
        return Err(Short::failed(what, ALWAYS));
    };
    let sealed = row.bytes("sealed")?;
    must(
        sealed.starts_with(portcullis_vault::fields::MARK.as_bytes())
            && !sealed
                .windows(message.note.len())
                .any(|part| part == message.note.as_bytes()),
        || "the message is written in the clear".to_owned(),
        ALWAYS,
    )?;
    let at = row.timestamp("received_at")?;
    must(
        at >= began && at <= now(),
        || format!("a message of now is on record as of {at}"),
        ALWAYS,
    )?;
    Ok(row.uuid("id")?)
}

fn in_no_file(w: &World, message: &Message) -> Result<(), Short> {
    let [id, digest] = Sender::event_ids(message);
    let said = [("what a message says", message.note.as_str())];
    let found = Stored::of(w)?.holds(&said, &[id.as_bytes(), digest.as_bytes()])?;
    must(
        found.is_none(),
        || found.clone().unwrap_or_default(),
        ALWAYS,
    )
}

/// What was sealed is what came, to the byte.
async fn opens(w: &World, id: Uuid, message: &Message) -> Result<(), Short> {
    let opened = w.stores.identity.webhooks.message(id).await;
    let opened = opened.map_err(|error| Short::not_proven(format!("a kept message: {error}")))?;
    must(
        opened.body == message.body.as_bytes(),
        || "what is kept of a message is not what came".to_owned(),
        ALWAYS,
    )
}

/// It comes to the product, and is written and delivered once, however often it comes.
async fn once(w: &World, sender: &Sender<'_>, message: &Message) -> Result<(), Short> {
    let came = w
        .until(async || Ok(sender.told(w, message).unwrap_or(0) > 0))
        .await?;
    must(came, || "the product never got it".to_owned(), ALWAYS)?;
    // Signed anew, as senders do who were not sure.
    let headers = sender.signs(now().as_seconds().saturating_add(1), message);
    let again = sender.post(w, &headers, &message.body).await?;
    must(
        again.passed() && Sender::is_known(&again),
        || format!("the same message again is answered {}", again.said()),
        ALWAYS,
    )?;
    let (written, times) = (rows(w, sender, message).await?, sender.told(w, message)?);
    must(
        written == 1 && times == 1,
        || format!("sent twice, it is {written} rows and reached the product {times} times"),
        ALWAYS,
    )
}
