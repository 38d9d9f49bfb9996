//! Reading the trail, newest first, a page at a time: for `portcullis audit list` and the admin API.

use std::fmt;
use std::str::FromStr;

use portcullis_core::id::EventId;
use portcullis_core::{ApiKeyId, RequestId, TenantId, Timestamp, UserId, VisitorId};
use portcullis_store::{Db, Row};
use uuid::Uuid;

use super::leaf::columns;
use super::personal::Part;
use super::{Action, Actor, Error, Event, Outcome, Personal};
use crate::redact;

/// A page holds at most this many events.
const MAX_PAGE: u32 = 1000;

/// Which events. Everything by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not at or after.
    pub until: Option<Timestamp>,
    /// The id of a user, an API key or a visitor.
    pub actor: Option<Uuid>,
    pub action: Option<Action>,
    pub outcome: Option<Outcome>,
    pub tenant: Option<TenantId>,
}

/// A place in the trail: the last event of a page. Printed and parsed as `micros.id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    at: Timestamp,
    id: EventId,
}

impl Cursor {
    /// Where a list begins that goes on nowhere.
    pub(super) fn or_newest(cursor: Option<Cursor>) -> Cursor {
        cursor.unwrap_or(Cursor {
            at: Timestamp::from_micros(i64::MAX),
            id: EventId::from_uuid(Uuid::max()),
        })
    }

    pub(super) const fn parts(self) -> (Timestamp, EventId) {
        (self.at, self.id)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.as_micros(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || Error::Cursor(redact::bounded(text, 80));
        let (micros, id) = text.split_once('.').ok_or_else(refuse)?;
        Ok(Cursor {
            at: Timestamp::from_micros(micros.parse().map_err(|_| refuse())?),
            id: id.parse().map_err(|_| refuse())?,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub events: Vec<Event>,
    /// Where the next page begins; nothing when this was the last one.
    pub next: Option<Cursor>,
}

macro_rules! list_where {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM audit_event WHERE at >= $1 AND at < $2 AND (at, id) < ($3, $4) ",
            "AND (outcome = $6 OR $6 = '') AND (action = $7 OR $7 = '') ",
            "AND (actor_id = $8 OR $8 = $10) AND (tenant_id = $9 OR $9 = $10) ",
            $condition,
            " ORDER BY at DESC, id DESC LIMIT $5"
        )
    };
}

// One text per index, so that neither database has to guess. The other filters are tried on what it finds.
const LIST: &str = list_where!("");
const LIST_BY_ACTOR: &str = list_where!("AND actor_id = $8");
const LIST_BY_TENANT: &str = list_where!("AND tenant_id = $9");
const LIST_BY_ACTION: &str = list_where!("AND action = $7");

/// Events that match `filter`, newest first, those after `cursor` if there is one. `limit` is taken
/// as 1 to 1000. What identifies a person is there while it is not sealed: [`super::Log::list`] opens it.
pub async fn list(
    db: &Db,
    filter: &Filter,
    cursor: Option<Cursor>,
    limit: u32,
) -> Result<Page, Error> {
    let (rows, more) = rows(db, filter, cursor, limit).await?;
    let events: Result<Vec<Event>, Error> = rows.iter().map(event).collect();
    Ok(page(events?, more))
}

pub(super) fn page(events: Vec<Event>, more: bool) -> Page {
    let next = events.last().filter(|_| more).map(|last| Cursor {
        at: last.at,
        id: last.id,
    });
    Page { events, next }
}

/// The rows of a page, and whether there are more.
pub(super) async fn rows(
    db: &Db,
    filter: &Filter,
    cursor: Option<Cursor>,
    limit: u32,
) -> Result<(Vec<Row>, bool), Error> {
    let limit = limit.clamp(1, MAX_PAGE);
    let start = Cursor::or_newest(cursor);
    let since = filter.since.unwrap_or(Timestamp::from_micros(i64::MIN));
    let until = filter.until.unwrap_or(Timestamp::from_micros(i64::MAX));
    let tenant = filter.tenant.map(TenantId::as_uuid);
    let args = [
        since.into(),
        until.into(),
        start.at.into(),
        start.id.as_uuid().into(),
        // One more than asked for tells whether there is a next page.
        i64::from(limit).saturating_add(1).into(),
        filter.outcome.map_or("", Outcome::as_str).into(),
        filter.action.map_or("", Action::as_str).into(),
        filter.actor.unwrap_or_default().into(),
        tenant.unwrap_or_default().into(),
        Uuid::nil().into(),
    ];
    let sql = match (filter.actor, filter.tenant, filter.action) {
        (Some(_), _, _) => LIST_BY_ACTOR,
        (None, Some(_), _) => LIST_BY_TENANT,
        (None, None, Some(_)) => LIST_BY_ACTION,
        (None, None, None) => LIST,
    };
    let mut rows = db.fetch_all(sql, &args).await?;
    let asked = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > asked;
    rows.truncate(asked);
    Ok((rows, more))
}

pub(super) fn event(row: &Row) -> Result<Event, Error> {
    let kind = row.text("actor_kind")?;
    let actor = match (kind.as_str(), row.opt_uuid("actor_id")?) {
        ("user", Some(id)) => Actor::User(UserId::from_uuid(id)),
        ("api-key", Some(id)) => Actor::ApiKey(ApiKeyId::from_uuid(id)),
        ("visitor", Some(id)) => Actor::Visitor(VisitorId::from_uuid(id)),
        ("anonymous", None) => Actor::Anonymous,
        ("system", None) => Actor::System,
        ("operator", None) => Actor::Operator,
        _ => return Err(Error::Unreadable("actor_kind")),
    };
    let outcome = row.text("outcome")?;
    let action = row.text("action")?;
    let client = row.opt_text("client_address")?;
    let personal = match (
        row.opt_text("personal")?,
        row.opt_text("sealed")?,
        row.opt_bytes("personal_hash")?,
    ) {
        (Some(_), _, _) | (None, None, None) => Personal::Open,
        (None, Some(_), _) => Personal::Sealed,
        (None, None, Some(_)) => Personal::Erased,
    };
    let mut event = Event {
        id: EventId::from_uuid(row.uuid("id")?),
        at: row.timestamp("at")?,
        actor,
        action: action.parse().map_err(|_| Error::Unreadable("action"))?,
        target: row.opt_text("target")?.map(Event::target_from_store),
        outcome: outcome.parse().map_err(|_| Error::Unreadable("outcome"))?,
        request: row.opt_uuid("request_id")?.map(RequestId::from_uuid),
        client: client.and_then(|text| text.parse().ok()),
        tenant: row.opt_uuid("tenant_id")?.map(TenantId::from_uuid),
        metadata: Event::metadata_from_store(&row.text("metadata")?)
            .ok_or(Error::Unreadable("metadata"))?,
        personal,
    };
    if let Some(text) = row.opt_text("personal")? {
        add(&mut event, &text)?;
    }
    Ok(event)
}

/// Puts the personal part back into its event.
pub(super) fn add(event: &mut Event, text: &str) -> Result<(), Error> {
    let part: Part = serde_json::from_str(text).map_err(|_| Error::Unreadable("personal"))?;
    event.client = part.client_address;
    event.metadata.restore(part.details);
    event.personal = Personal::Open;
    Ok(())
}
