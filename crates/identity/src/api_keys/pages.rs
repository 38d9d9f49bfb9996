//! Keys in the console.

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use portcullis_console::Status;
use portcullis_console::api::{Failure, parse_id};
use portcullis_console::desk::{mark, shown_once, turn};
use portcullis_core::limit::Rate;
use portcullis_core::{ApiKeyId, Problem, Span, TenantId, Timestamp, UserId};
use serde::Deserialize;

use super::manage::{longest_overlap, tenant};
use super::{Error, Grantor, KeyInfo, Made, NewKey};
use crate::admin_pages::{
    Asks, Faults, ONE_MORE, Pages, Question, Sent, Visit, cut, number, picks, select, text,
    textarea,
};
use crate::pages::to_the_minute;
use crate::{Email, tenants, users};

const MANAGE: Asks = Asks::Permission("manage:keys");
const UP: Option<(&str, &str)> = Some(("/keys", "API keys"));
/// How long a key still works after it was rotated: a value and its words.
const OVERLAPS: [(&str, &str); 5] = [
    ("1m", "a minute"),
    ("1h", "an hour"),
    ("24h", "a day"),
    ("7d", "a week"),
    ("30d", "30 days"),
];

pub(crate) fn pages() -> Pages {
    Pages::new()
        .get("/keys", MANAGE, list)
        .post("/keys", MANAGE, create)
        .get("/keys/new", MANAGE, new)
        .get("/keys/{id}", MANAGE, show)
        .post("/keys/{id}/rotate", MANAGE, rotate)
        .post("/keys/{id}/revoke", MANAGE, revoke)
}

#[derive(Default, Deserialize)]
struct Asked {
    user: Option<String>,
    after: Option<String>,
}

fn now(visit: &Visit) -> Timestamp {
    visit.console.admin.accounts.parts().clock.now()
}

async fn list(visit: Visit, Question(asked): Question<Asked>) -> Result<Response, Failure> {
    let after: Option<ApiKeyId> = asked.after.as_deref().map(parse_id).transpose()?;
    let user: Option<UserId> = asked.user.as_deref().map(parse_id).transpose()?;
    let admin = &visit.console.admin;
    let owner = match user {
        None => None,
        Some(user) => Some(admin.accounts.find(user).await?),
    };
    let found = admin.keys.list(user, after, ONE_MORE).await?;
    let mut found = found.ok_or(Failure(Error::NotFound.into()))?;
    let more = cut(&mut found);
    let at = |after: Option<ApiKeyId>| {
        let of = user.map(|id| format!("&user={id}")).unwrap_or_default();
        let after = after.map(|id| format!("after={id}")).unwrap_or_default();
        format!("{}?{after}{of}", visit.to("/keys"))
    };
    let first = after.map(|_| at(None));
    let last = found.last().filter(|_| more);
    let next = last.map(|key| at(Some(key.id)));
    let now = now(&visit);
    let to_new = match user {
        Some(user) => format!("/keys/new?user={user}"),
        None => "/keys/new".to_owned(),
    };
    let body = html! {
        div.above {
            p.quiet {
                @if let Some(owner) = &owner { "Keys of " (owner.email) ", newest first. " a href=(visit.to("/keys")) { "Show all" } }
                @else { "Newest first, revoked ones included." }
            }
            a.button href=(visit.to(&to_new)) { "New key" }
        }
        @if found.is_empty() {
            div.sheet { p { "There are no keys here." } }
        } @else {
            ul.rows { @for key in &found { (row(&visit, key, now)) } }
        }
        (turn(first.as_deref(), next.as_deref()))
    };
    Ok(visit.page("API keys", None, &body))
}

fn row(visit: &Visit, key: &KeyInfo, now: Timestamp) -> Markup {
    html! {
        li {
            div {
                a href=(visit.to(&format!("/keys/{}", key.id))) { (key.name) }
                " " code { (key.hint) "…" }
                p.quiet {
                    @match key.last_used_at {
                        Some(at) => { "Last used " (to_the_minute(at)) },
                        None => "Never used",
                    }
                    @if let Some(end) = key.expires_at { " · ends " (to_the_minute(end)) }
                }
            }
            (state(key, now))
        }
    }
}

fn is_live(key: &KeyInfo, now: Timestamp) -> bool {
    key.revoked_at.is_none() && key.expires_at.is_none_or(|end| now < end)
}

fn state(key: &KeyInfo, now: Timestamp) -> Markup {
    match (key.revoked_at, is_live(key, now), key.successor) {
        (Some(_), _, _) => mark(Status::Bad, "revoked"),
        (None, false, _) => mark(Status::Plain, "expired"),
        (None, true, Some(_)) => mark(Status::Plain, "rotated"),
        (None, true, None) => mark(Status::Good, "active"),
    }
}

async fn new(visit: Visit, Question(asked): Question<Asked>) -> Result<Response, Failure> {
    let user: Option<UserId> = asked.user.as_deref().map(parse_id).transpose()?;
    let owner = match user {
        None => String::new(),
        Some(user) => visit.console.admin.accounts.find(user).await?.email,
    };
    let form = new_form(&visit, &Sent::default(), &owner, &Faults::default());
    Ok(visit.page("New key", UP, &form))
}

fn new_form(visit: &Visit, sent: &Sent, owner: &str, faults: &Faults) -> Markup {
    let grantor = Grantor::Caller(&visit.principal, &visit.roles);
    let mut offered = visit.permission_names();
    offered.retain(|permission| grantor.may_give(permission));
    let inside = html! {
        (text(faults, ("name", "What it is for", "text"), sent.one("name"), "So that you know it later, such as \"nightly export\".", true))
        (picks(faults, ("permissions", "What it may do"), &offered, &sent.all("permissions"), "You can give what you hold yourself. A key has no roles."))
        (textarea(faults, ("routes", "Routes"), sent.one("routes"), "Beginnings of paths that it may use, one a line, such as /api/reports. Left empty: all routes that admit keys."))
        (text(faults, ("user_id", "Owner", "email"), owner, "E-mail address of an account. The key then ends with the account, and may no more than its owner. Left empty: nobody's.", false))
        @if visit.user.tenant.is_none() {
            (text(faults, ("tenant_id", "Tenant", "text"), sent.one("tenant_id"), "Short name of a tenant that it belongs to. May be left out.", false))
        }
        @if let Some(tenant) = &visit.tenant { p.hint { "It belongs to the tenant that you work in: " (tenant) "." } }
        (number(faults, ("expires_at", "Ends after days"), sent.one("expires_at"), "Left empty: it works until it is revoked.", false))
        (text(faults, ("rate", "Limit of its own", "text"), sent.one("rate"), "Such as 60/minute. May be left out.", false))
        button type="submit" { "Make the key" }
    };
    html! {
        (faults.shown())
        div.sheet { (visit.form("wide", "/keys", &inside)) }
    }
}

async fn create(visit: Visit, sent: Sent) -> Result<Response, Failure> {
    visit.take(&sent).await?;
    let made = match read(&visit, &sent).await? {
        Err(faults) => Err(faults),
        Ok(new) => {
            let grantor = Grantor::Caller(&visit.principal, &visit.roles);
            match visit
                .console
                .admin
                .keys
                .create(new, &grantor, &visit.by)
                .await
            {
                Ok(made) => Ok(made),
                Err(Error::NotFound) => {
                    Err(Faults::of("user_id", "The owner's account is suspended."))
                }
                Err(error) => Err(Faults::from(error)?),
            }
        }
    };
    match made {
        Ok(made) => Ok(shown(&visit, "Key made", &made)),
        Err(faults) => {
            let form = new_form(&visit, &sent, sent.one("user_id"), &faults);
            Ok(visit.page_as(StatusCode::UNPROCESSABLE_ENTITY, "New key", UP, &form))
        }
    }
}

/// What the form asks for, or what of it cannot be read.
async fn read(visit: &Visit, sent: &Sent) -> Result<Result<NewKey, Faults>, Failure> {
    let rate = match sent.some("rate").map(str::parse::<Rate>) {
        None => None,
        Some(Ok(rate)) => Some(rate),
        Some(Err(_)) => {
            return Ok(Err(Faults::of(
                "rate",
                "The limit must be a rate such as 60/minute.",
            )));
        }
    };
    let expires_at = match sent.some("expires_at").map(str::parse::<u16>) {
        None => None,
        Some(Ok(days)) => Some(now(visit) + Span::from_days(days.into())),
        Some(Err(_)) => {
            return Ok(Err(Faults::of(
                "expires_at",
                "The days must be a whole number.",
            )));
        }
    };
    let user = match sent.some("user_id") {
        None => None,
        Some(address) => match owner(visit, address).await? {
            Some(id) => Some(id),
            None => {
                return Ok(Err(Faults::of(
                    "user_id",
                    "There is no account with this address.",
                )));
            }
        },
    };
    let asked: Option<TenantId> = match sent.some("tenant_id") {
        None => None,
        Some(name) => match visit.console.admin.tenants.get(name).await {
            Ok(tenant) => Some(tenant.id),
            Err(tenants::Error::NotFound) => {
                return Ok(Err(Faults::of(
                    "tenant_id",
                    "There is no tenant with this short name.",
                )));
            }
            Err(error) => return Err(error.into()),
        },
    };
    let routes = sent.lines("routes");
    Ok(match tenant(&visit.principal, asked) {
        Ok(tenant) => Ok(NewKey {
            name: sent.one("name").to_owned(),
            permissions: sent.all("permissions"),
            routes: (!routes.is_empty()).then_some(routes),
            rate,
            tenant,
            user,
            expires_at,
        }),
        Err(Failure(problem)) => Err(Faults::from(problem)?),
    })
}

async fn owner(visit: &Visit, address: &str) -> Result<Option<UserId>, Failure> {
    let Ok(email) = Email::parse(address) else {
        return Ok(None);
    };
    let accounts = &visit.console.admin.accounts;
    let (db, addresses) = (&accounts.parts().db, accounts.addresses());
    let found = users::find_by_email(db, addresses, &email)
        .await
        .map_err(Problem::from)?;
    Ok(found.map(|account| account.id))
}

fn shown(visit: &Visit, title: &str, made: &Made) -> Response {
    let body = html! {
        p { strong { (made.info.name) } }
        (shown_once("The key", made.text.expose()))
        p { "Put it where the program keeps its secrets. It is sent as " code { "Authorization: Bearer …" } "." }
        p { a href=(visit.to(&format!("/keys/{}", made.info.id))) { "To the key" } }
    };
    visit.page_as(StatusCode::CREATED, title, UP, &body)
}

async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let key = visit.console.admin.keys.get(parse_id(&id)?).await?;
    page(&visit, &key, StatusCode::OK, &Faults::default()).await
}

async fn page(
    visit: &Visit,
    key: &KeyInfo,
    status: StatusCode,
    faults: &Faults,
) -> Result<Response, Failure> {
    let admin = &visit.console.admin;
    let owner = match key.user {
        None => None,
        Some(user) => Some(admin.accounts.find(user).await?),
    };
    let tenant = match key.tenant {
        None => None,
        Some(id) => Some(admin.tenants.get(&id.to_string()).await?.slug),
    };
    let now = now(visit);
    let moment = |at: Option<Timestamp>, none: &str| at.map_or(none.to_owned(), to_the_minute);
    let body = html! {
        (faults.shown())
        div.sheet {
            dl.facts {
                dt { "State" } dd { (state(key, now)) }
                dt { "Begins with" } dd { code { (key.hint) "…" } }
                dt { "May" } dd { @if key.permissions.is_empty() { "nothing that asks for a permission" } @else { (key.permissions.join(", ")) } }
                dt { "Routes" } dd { @match &key.routes { Some(routes) => (routes.join(", ")), None => "all that admit keys" } }
                @if let Some(rate) = key.rate { dt { "Limit" } dd { (rate) } }
                @if let Some(owner) = &owner { dt { "Owner" } dd { (owner.email) } }
                @if let Some(tenant) = &tenant { dt { "Tenant" } dd { (tenant) } }
                dt { "Made" } dd { (to_the_minute(key.created_at)) }
                dt { "Last used" } dd { (moment(key.last_used_at, "never")) }
                dt { "Ends" } dd { (moment(key.expires_at, "not by itself")) }
                @if let Some(at) = key.revoked_at { dt { "Revoked" } dd { (to_the_minute(at)) } }
                @if let Some(next) = key.successor { dt { "Rotated to" } dd { a href=(visit.to(&format!("/keys/{next}"))) { "the key after it" } } }
                dt { "Id" } dd { code { (key.id) } }
            }
        }
        @if is_live(key, now) {
            @if key.successor.is_none() { (rotation(visit, key.id, faults)) }
            (visit.grave(&format!("/keys/{}/revoke", key.id), "Revoke the key", "It is refused from the next request on, and never works again."))
        }
    };
    Ok(visit.page_as(status, &key.name, UP, &body))
}

fn rotation(visit: &Visit, id: ApiKeyId, faults: &Faults) -> Markup {
    let overlaps = OVERLAPS.map(|(value, words)| (value.to_owned(), words.to_owned()));
    let inside = html! {
        (select(faults, ("overlap", "The old one still works for"), "24h", &overlaps))
        button type="submit" { "Rotate the key" }
    };
    html! {
        div.sheet {
            p { "Makes another key that may the same, and shows it once." }
            (visit.form("wide", &format!("/keys/{id}/rotate"), &inside))
        }
    }
}

async fn rotate(visit: Visit, Path(id): Path<String>, sent: Sent) -> Result<Response, Failure> {
    let id: ApiKeyId = parse_id(&id)?;
    visit.take(&sent).await?;
    let keys = &visit.console.admin.keys;
    let rotated = match sent.one("overlap").parse::<Span>() {
        Err(_) => Err(Faults::of(
            "overlap",
            "Choose how long the old key still works.",
        )),
        Ok(overlap) => {
            longest_overlap(overlap)?;
            let grantor = Grantor::Caller(&visit.principal, &visit.roles);
            let made = keys.rotate(id, overlap, &grantor, &visit.by).await;
            match made {
                Ok(made) => Ok(made),
                Err(error) => Err(Faults::from(error)?),
            }
        }
    };
    let refused = match rotated {
        Ok(made) => return Ok(shown(&visit, "Key rotated", &made)),
        Err(faults) => faults,
    };
    let key = keys.get(id).await?;
    page(&visit, &key, StatusCode::UNPROCESSABLE_ENTITY, &refused).await
}

async fn revoke(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: ApiKeyId = parse_id(&id)?;
    visit.console.admin.keys.revoke(id, None, &visit.by).await?;
    Ok(visit.done(&format!("/keys/{id}"), "revoked"))
}
