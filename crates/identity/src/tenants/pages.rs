//! Tenants in the console: the register for whoever runs the gate, and the pages on which the
//! administrators of one tenant look after it.
//!
//! What lies below `/tenants/{tenant}/` is about the caller's own tenant, as in the admin API.

mod delegations;
mod invitations;
mod made_roles;
mod members;

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_console::Status;
use portcullis_console::api::Failure;
use portcullis_console::desk::{mark, shown_once, turn};
use portcullis_core::TenantId;
use serde::Deserialize;

use super::invitations::Written;
use super::register::Tenant;
use crate::admin_pages::{Asks, Faults, Pages, Question, ROWS, Sent, Visit, cut, picks, text};
use crate::pages::to_the_minute;

/// Of whoever looks after all tenants.
const SYSTEM: Asks = Asks::Permission("manage:system");
/// Of whoever looks after their own.
const OWN: Asks = Asks::Permission("manage:users");
const UP: Option<(&str, &str)> = Some(("/tenants", "Tenants"));

pub(crate) fn pages() -> Pages {
    Pages::new()
        .get("/tenants", SYSTEM, list)
        .post("/tenants", SYSTEM, create)
        .get("/tenants/new", SYSTEM, new)
        .get("/tenants/{id}", SYSTEM, show)
        .post("/tenants/{id}/suspend", SYSTEM, suspend)
        .post("/tenants/{id}/resume", SYSTEM, resume)
        .and(members::pages())
        .and(invitations::pages())
        .and(made_roles::pages())
        .and(delegations::pages())
}

/// Where a list goes on: behind a row, or behind so many.
#[derive(Default, Deserialize)]
struct After {
    after: Option<String>,
}

type Page = Question<After>;

fn after(Question(page): Page) -> Option<String> {
    page.after
}

/// Behind how many rows a list goes on.
fn skipped(page: Page) -> u32 {
    after(page)
        .and_then(|count| count.parse().ok())
        .unwrap_or_default()
}

/// The ways on from a part of a list that begins behind `skipped` rows.
fn turned(to: &str, skipped: u32, more: bool) -> Markup {
    let next = format!("{to}?after={}", skipped.saturating_add(ROWS));
    turn((skipped > 0).then_some(to), more.then_some(&*next))
}

/// The tenant that the path names. Where it has to be the caller's own, the decision has seen to it.
async fn named(visit: &Visit, name: &str) -> Result<Tenant, Failure> {
    Ok(visit.console.admin.tenants.get(name).await?)
}

async fn list(visit: Visit, page: Page) -> Result<Response, Failure> {
    let after = after(page);
    let tenants = &visit.console.admin.tenants;
    let mut found = tenants.list(after.as_deref().unwrap_or_default()).await?;
    let more = cut(&mut found);
    let at = |slug: &str| format!("{}?after={slug}", visit.to("/tenants"));
    let next = found.last().filter(|_| more).map(|last| at(&last.slug));
    let first = after.map(|_| visit.to("/tenants"));
    let body = html! {
        div.above {
            p.quiet { "By their short names." }
            a.button href=(visit.to("/tenants/new")) { "New tenant" }
        }
        @if found.is_empty() {
            div.sheet { p { "There are no tenants here." } }
        } @else {
            ul.rows {
                @for tenant in &found {
                    li {
                        div {
                            a href=(visit.to(&format!("/tenants/{}", tenant.id))) { (tenant.name) }
                            p.quiet { code { (tenant.slug) } }
                        }
                        (state(tenant))
                    }
                }
            }
        }
        (turn(first.as_deref(), next.as_deref()))
    };
    Ok(visit.page("Tenants", None, &body))
}

fn state(tenant: &Tenant) -> Markup {
    match tenant.suspended_at {
        None => mark(Status::Good, "active"),
        Some(_) => mark(Status::Bad, "suspended"),
    }
}

async fn new(visit: Visit) -> Response {
    let form = new_form(&visit, &Sent::default(), &Faults::default());
    visit.page("New tenant", UP, &form)
}

fn new_form(visit: &Visit, sent: &Sent, faults: &Faults) -> Markup {
    let inside = html! {
        (text(faults, ("slug", "Short name", "text"), sent.one("slug"), "Such as acme: it can stand in paths, hosts and headers, and is never given twice.", true))
        (text(faults, ("name", "Name", "text"), sent.one("name"), "What people read. Left empty: the short name.", false))
        (text(faults, ("email", "First member", "email"), sent.one("email"), "E-mail address of an invitation. May be left out.", false))
        (picks(faults, ("roles", "Roles of the first member"), &visit.role_names(), &sent.all("roles"), ""))
        button type="submit" { "Make the tenant" }
    };
    html! {
        (faults.shown())
        div.sheet { (visit.form("wide", "/tenants", &inside)) }
    }
}

async fn create(visit: Visit, sent: Sent) -> Result<Response, Failure> {
    visit.take(&sent).await?;
    let again = |faults: &Faults| {
        let form = new_form(&visit, &sent, faults);
        visit.page_as(StatusCode::UNPROCESSABLE_ENTITY, "New tenant", UP, &form)
    };
    let tenants = &visit.console.admin.tenants;
    let slug = sent.one("slug");
    let name = sent.some("name").unwrap_or(slug);
    let tenant = match tenants.create(slug, name, &visit.by).await {
        Ok(tenant) => tenant,
        Err(error) => return Ok(again(&Faults::from(error)?)),
    };
    let Some(email) = sent.some("email") else {
        return Ok(visit.done(&format!("/tenants/{}", tenant.id), "saved"));
    };
    let roles = sent.all("roles");
    let written = tenants
        .invite_first(tenant.id, email, &roles, &visit.by)
        .await;
    // The tenant is there: what is wrong is said on its page, and the next form is another one.
    match written {
        Ok(written) => Ok(invited(&visit, &written, UP)),
        Err(error) => Ok(page(&visit, &tenant, &Faults::from(error)?)),
    }
}

/// The token of an invitation, this once.
fn invited(visit: &Visit, written: &Written, up: Option<(&str, &str)>) -> Response {
    let invitation = &written.invitation;
    let body = html! {
        p { strong { (invitation.email) } " is invited, until " (to_the_minute(invitation.expires_at)) "." }
        (shown_once("The token of the invitation", written.token.expose()))
        p { "Hand it to that person. It works once, and only for the account with this address." }
    };
    visit.page_as(StatusCode::CREATED, "Invitation written", up, &body)
}

async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let tenant = named(&visit, &id).await?;
    Ok(page(&visit, &tenant, &Faults::default()))
}

fn page(visit: &Visit, tenant: &Tenant, faults: &Faults) -> Response {
    let at = |act: &str| format!("/tenants/{}/{act}", tenant.id);
    let is_own = visit.user.tenant == Some(tenant.id) && visit.may_in_tenant("manage:users");
    let body = html! {
        (faults.shown())
        div.sheet {
            dl.facts {
                dt { "State" } dd { (state(tenant)) }
                dt { "Short name" } dd { code { (tenant.slug) } }
                dt { "Since" } dd { (to_the_minute(tenant.created_at)) }
                @if let Some(at) = tenant.suspended_at { dt { "Suspended" } dd { (to_the_minute(at)) } }
                dt { "Id" } dd { code { (tenant.id) } }
            }
        }
        @if is_own {
            p { a href=(visit.to(&at("members"))) { "Members" } }
        } @else {
            p.quiet { "Its members are looked after by its own administrators, who work in it." }
        }
        @if tenant.suspended_at.is_some() {
            div.sheet {
                p { "Nobody reaches the product from this tenant." }
                (visit.button("", &at("resume"), "Resume the tenant", ""))
            }
        } @else {
            (visit.grave(&at("suspend"), "Suspend the tenant", "Nobody reaches the product from it, from the next request on, until it is resumed."))
        }
    };
    visit.page_as(faults.status(), &tenant.name, UP, &body)
}

async fn suspend(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: TenantId = named(&visit, &id).await?.id;
    visit.console.admin.tenants.suspend(id, &visit.by).await?;
    Ok(visit.done(&format!("/tenants/{id}"), "suspended"))
}

async fn resume(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: TenantId = named(&visit, &id).await?.id;
    visit.console.admin.tenants.resume(id, &visit.by).await?;
    Ok(visit.done(&format!("/tenants/{id}"), "activated"))
}

/// A page of one tenant, below its short name.
fn below(tenant: &Tenant, page: &str) -> String {
    format!("/tenants/{}/{page}", tenant.slug)
}

/// A segment of a path that somebody named.
fn segment(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}
