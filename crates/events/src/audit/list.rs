//! Reading the trail, newest first, a page at a time: for `portcullis audit list` and the admin API.

use std::fmt;
use std::str::FromStr;

use portcullis_core::id::EventId;
use portcullis_core::{ApiKeyId, RequestId, TenantId, Timestamp, UserId, VisitorId};
use portcullis_store::{Db, Row};

use super::{Action, Actor, Error, Event, Outcome};
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
    pub actor: Option<UserId>,
    pub action: Option<Action>,
}

/// A place in the trail: the last event of a page. Printed and parsed as `micros.id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    at: Timestamp,
    id: EventId,
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
            "SELECT id, at, actor_kind, actor_id, action, target, outcome, request_id, ",
            "client_address, tenant_id, metadata FROM audit_event ",
            "WHERE at >= $1 AND at < $2 AND (at, id) < ($3, $4) ",
            $condition,
            " ORDER BY at DESC, id DESC LIMIT $5"
        )
    };
}

// One text per index, so that neither database has to guess.
const LIST: &str = list_where!("");
const LIST_BY_ACTOR: &str = list_where!("AND actor_id = $6");
const LIST_BY_ACTION: &str = list_where!("AND action = $6");
const LIST_BY_BOTH: &str = list_where!("AND actor_id = $6 AND action = $7");

/// Events that match `filter`, newest first, those after `cursor` if there is one. `limit` is taken
/// as 1 to 1000.
pub async fn list(
    db: &Db,
    filter: &Filter,
    cursor: Option<Cursor>,
    limit: u32,
) -> Result<Page, Error> {
    let limit = limit.clamp(1, MAX_PAGE);
    let start = cursor.unwrap_or(Cursor {
        at: Timestamp::from_micros(i64::MAX),
        id: EventId::from_uuid(uuid::Uuid::max()),
    });
    let since = filter.since.unwrap_or(Timestamp::from_micros(i64::MIN));
    let until = filter.until.unwrap_or(Timestamp::from_micros(i64::MAX));
    let mut args = vec![
        since.into(),
        until.into(),
        start.at.into(),
        start.id.as_uuid().into(),
        // One more than asked for tells whether there is a next page.
        i64::from(limit).saturating_add(1).into(),
    ];
    if let Some(actor) = filter.actor {
        args.push(actor.into());
    }
    if let Some(action) = filter.action {
        args.push(action.as_str().into());
    }
    let sql = match (filter.actor, filter.action) {
        (None, None) => LIST,
        (Some(_), None) => LIST_BY_ACTOR,
        (None, Some(_)) => LIST_BY_ACTION,
        (Some(_), Some(_)) => LIST_BY_BOTH,
    };
    let rows = db.fetch_all(sql, &args).await?;
    let asked = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > asked;
    let mut events = Vec::with_capacity(rows.len());
    for row in rows.iter().take(asked) {
        events.push(event(row)?);
    }
    let next = events.last().filter(|_| more).map(|last| Cursor {
        at: last.at,
        id: last.id,
    });
    Ok(Page { events, next })
}

fn event(row: &Row) -> Result<Event, Error> {
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
    let outcome = match row.text("outcome")?.as_str() {
        "allowed" => Outcome::Allowed,
        "denied" => Outcome::Denied,
        "failed" => Outcome::Failed,
        _ => return Err(Error::Unreadable("outcome")),
    };
    let action = row.text("action")?;
    let client = row.opt_text("client_address")?;
    Ok(Event {
        id: EventId::from_uuid(row.uuid("id")?),
        at: row.timestamp("at")?,
        actor,
        action: action.parse().map_err(|_| Error::Unreadable("action"))?,
        target: row.opt_text("target")?.map(Event::target_from_store),
        outcome,
        request: row.opt_uuid("request_id")?.map(RequestId::from_uuid),
        client: client.and_then(|text| text.parse().ok()),
        tenant: row.opt_uuid("tenant_id")?.map(TenantId::from_uuid),
        metadata: Event::metadata_from_store(&row.text("metadata")?)
            .ok_or(Error::Unreadable("metadata"))?,
    })
}
