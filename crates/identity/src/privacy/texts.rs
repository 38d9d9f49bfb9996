//! Where a person is named in what others wrote: messages of webhooks, and files of incidents.
//!
//! Both belong to the gate as a whole and to no tenant. They are opened page by page, so that memory holds no more
//! than a page and what was found.

use std::collections::BTreeMap;

use portcullis_core::Timestamp;
use portcullis_events::incidents::erasure as incidents;
use portcullis_events::mentions::Mentions;
use portcullis_events::webhooks::erasure::{Emptied, Mentioned};
use portcullis_store::Tx;
use serde_json::json;
use uuid::Uuid;

use super::archive::Archive;
use super::{Error, Privacy};

const MESSAGES: &str = "webhook_delivery";

/// By what a person is called in texts.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// Everything by which they are found.
    pub(super) found_by: Mentions,
    /// What may not stay where a text itself stays. The id of an account is not in it: it names nobody once the
    /// account is gone.
    pub(super) taken_out: Mentions,
}

/// Where somebody is named.
#[derive(Debug, Default)]
pub(super) struct Found {
    messages: Vec<Uuid>,
    texts: Vec<incidents::Mentioned>,
}

impl Found {
    pub(super) const fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.texts.is_empty()
    }

    /// How many there are, by table.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        let tables = self.texts.iter().map(|text| text.place.table());
        for table in tables.chain(self.messages.iter().map(|_| MESSAGES)) {
            let count: &mut u64 = counts.entry(table).or_default();
            *count = count.saturating_add(1);
        }
        counts
    }
}

impl Privacy {
    /// What names the person, as it reads.
    pub(super) async fn add_texts(
        &self,
        names: &Names,
        archive: &mut Archive<'_>,
    ) -> Result<(), Error> {
        let names = &names.found_by;
        if names.is_empty() {
            return Ok(());
        }
        let mut next = Some(0);
        while let Some(after) = next {
            let page = self.0.webhooks.mentioning(names, after).await?;
            for found in &page.found {
                archive.push(&json!({ "table": MESSAGES, "row": of_message(found) }))?;
            }
            next = page.next;
        }
        let mut next = Some(Uuid::nil());
        while let Some(after) = next {
            let page = self.0.incidents.mentioning(names, after).await?;
            for found in &page.found {
                let row = json!({ "incident": found.incident, "text": found.text });
                archive.push(&json!({ "table": found.place.table(), "row": row }))?;
            }
            next = page.next;
        }
        Ok(())
    }

    /// Where there is something to erase. A message that will be emptied at the end of its way is none any more.
    pub(super) async fn find_texts(&self, names: &Names) -> Result<Found, Error> {
        let mut all = Found::default();
        if names.found_by.is_empty() {
            return Ok(all);
        }
        let mut next = Some(0);
        while let Some(after) = next {
            let page = self.0.webhooks.mentioning(&names.found_by, after).await?;
            let open = page.found.iter().filter(|found| !found.is_seen_to());
            all.messages.extend(open.map(|found| found.delivery.id));
            next = page.next;
        }
        let mut next = (!names.taken_out.is_empty()).then(Uuid::nil);
        while let Some(after) = next {
            let page = self.0.incidents.mentioning(&names.taken_out, after).await?;
            all.texts.extend(page.found);
            next = page.next;
        }
        Ok(all)
    }

    /// Empties the messages, and takes the names out of the texts. What was erased goes to `rows`, what is left for
    /// a while to `kept`.
    pub(super) async fn erase_texts(
        &self,
        tx: &mut Tx,
        (found, names): (&Found, &Names),
        now: Timestamp,
        (rows, kept): (&mut BTreeMap<String, u64>, &mut BTreeMap<String, u64>),
    ) -> Result<(), Error> {
        let add = |to: &mut BTreeMap<String, u64>, table: &str| {
            let count = to.entry(table.to_owned()).or_default();
            *count = count.saturating_add(1);
        };
        for id in &found.messages {
            match self.0.webhooks.empty_in(tx, *id, now).await? {
                Emptied::Now => add(rows, MESSAGES),
                Emptied::AtItsEnd => add(kept, MESSAGES),
                Emptied::Gone => {}
            }
        }
        for text in &found.texts {
            let incidents = &self.0.incidents;
            if incidents.take_out_in(tx, text, &names.taken_out).await? {
                add(rows, text.place.table());
            }
        }
        Ok(())
    }
}

fn of_message(found: &Mentioned) -> serde_json::Value {
    let Mentioned {
        delivery, message, ..
    } = found;
    json!({
        "id": delivery.id, "endpoint": delivery.endpoint, "event": delivery.event, "kind": delivery.kind,
        "state": delivery.state.as_str(), "received_at": delivery.received_at.to_string(),
        "body": String::from_utf8_lossy(&message.body),
    })
}
