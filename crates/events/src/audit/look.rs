//! One event with its proof, and everything that was recorded of one request: what a person looks at who was
//! told a request's id.

use portcullis_core::id::EventId;
use portcullis_core::{RequestId, Span, TenantId, Timestamp};

use super::checkpoint::Proof;
use super::leaf::columns;
use super::log::FIND;
use super::{Error, Event, Log};

/// The id of a request says when it came, so that no index is needed: what it did is looked for from then on,
/// for so long. What a stream does later is not found by its request.
const LASTS: Span = Span::from_minutes(2);
/// A clock may be set back a little.
const BEFORE: Span = Span::from_seconds(5);

const OF_REQUEST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM audit_event WHERE at >= $1 AND at < $2 AND request_id = $3 ORDER BY at DESC, id DESC LIMIT 100"
);

/// One event.
#[derive(Debug, Clone)]
pub struct Looked {
    pub event: Event,
    /// Verified. Nothing while the event waits for its place in the log, for about a second.
    pub proof: Option<Proof>,
    /// How many leaves the signed head has that the proof leads to.
    pub size: u64,
}

impl Log {
    /// An event and its proof. Nothing where there is none, or it is not `tenant`'s where one is given.
    pub async fn look(
        &self,
        id: EventId,
        tenant: Option<TenantId>,
    ) -> Result<Option<Looked>, Error> {
        let row = self.db().fetch_optional(FIND, &[id.into()]).await?;
        let Some(row) = row else { return Ok(None) };
        if tenant.is_some() && row.opt_uuid("tenant_id")? != tenant.map(TenantId::as_uuid) {
            return Ok(None);
        }
        let event = self.opened(&row).await?;
        let (proof, size) = match self.head().await? {
            Some(head) => (self.prove_row(&row, &head).await?, head.size),
            None => (None, 0),
        };
        Ok(Some(Looked { event, proof, size }))
    }

    /// What was recorded of a request within two minutes of its beginning, newest first, a hundred at most.
    pub async fn of_request(&self, request: RequestId) -> Result<Vec<Event>, Error> {
        let Some(began) = began(request) else {
            return Ok(Vec::new());
        };
        let args = [
            (began - BEFORE).into(),
            (began + LASTS).into(),
            request.as_uuid().into(),
        ];
        let rows = self.db().fetch_all(OF_REQUEST, &args).await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            events.push(self.opened(row).await?);
        }
        Ok(events)
    }
}

/// When a request came, by its id (RFC 9562 section 5.7).
fn began(request: RequestId) -> Option<Timestamp> {
    let (seconds, nanos) = request.as_uuid().get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    micros
        .checked_add(i64::from(nanos / 1_000))
        .map(Timestamp::from_micros)
}
