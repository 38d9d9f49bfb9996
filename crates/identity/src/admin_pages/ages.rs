//! How old the product's secrets are, in the console, and those of a tenant for its own administrators. No value, and
//! no part of one, is read for it.

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};
use portcullis_console::Status;
use portcullis_console::api::Failure;
use portcullis_console::chart::{Share, Tone, bars};
use portcullis_console::desk::{mark, turn};
use portcullis_core::{Problem, Timestamp, problem};
use portcullis_events::secret_store::{
    Label, Listed, Made, SecretStore, Standing, Stored, Version,
};
use serde::Deserialize;

use super::{Asks, ONE_MORE, Pages, Question, ROWS, Visit, cut};
use crate::pages::to_the_minute;

const SECRETS: Asks = Asks::Permission("manage:secrets");
/// What a tenant's list is called, as in the bar.
const OWN: &str = "Tenant's secrets";

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/secrets", SECRETS, list)
        .get("/tenants/{tenant}/secrets", SECRETS, list_own)
        .get("/tenants/{tenant}/secrets/{name}", SECRETS, show_own)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    /// Behind so many.
    after: u32,
}

async fn list(
    visit: Visit,
    Question(Asked { after }): Question<Asked>,
) -> Result<Response, Failure> {
    let store = &visit.console.admin.secret_store;
    let mut found = store.oldest(after, ONE_MORE).await?;
    let more = cut(&mut found);
    let [young, grown, old] = store.by_age().await?;
    let share = |label: &str, value: i64| Share {
        label: label.to_owned(),
        value: u64::try_from(value).unwrap_or(0),
        href: None,
    };
    let ages = [
        share("over 90 days", old),
        share("30 to 90 days", grown),
        share("under 30 days", young),
    ];
    let to = visit.to("/secrets");
    let next = format!("{to}?after={}", after.saturating_add(ROWS));
    let body = html! {
        @if found.is_empty() {
            div.sheet { p { "There are no secrets in the store." } }
        } @else {
            div.sheet { (bars(Tone::Plain, &ages)) }
            p.quiet { "The oldest first. " code { "portcullis secrets replace" } " walks through a replacement." }
            ul.rows { @for one in &found { (row(store, one, None)) } }
        }
        (turn((after > 0).then_some(&*to), more.then_some(&*next)))
    };
    Ok(visit.page("Secrets", None, &body))
}

/// `to` is where there is more about it, in the list of the one tenant that all of them are of.
fn row(store: &SecretStore, one: &Stored, to: Option<&str>) -> Markup {
    html! {
        li {
            div {
                @if let Some(to) = to { a href=(to) { (one.label.name.as_str()) } }
                @else {
                    strong { (one.label.name.as_str()) }
                    @if let Some(tenant) = one.label.tenant { " of tenant " code { (tenant) } }
                }
                p.quiet {
                    (one.purpose) " · " (one.owner) " · version " (one.version) " since " (to_the_minute(one.rotated_at))
                    @if let Some(every) = one.rotate_every { " · new every " (every) }
                }
            }
            span { (days(store, one)) }
            (due(store, one))
        }
    }
}

fn days(store: &SecretStore, one: &Stored) -> String {
    match store.age(one).as_seconds() / 86_400 {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

fn due(store: &SecretStore, one: &Stored) -> Markup {
    if store.is_overdue(one) {
        mark(Status::Bad, "due")
    } else {
        mark(Status::Good, "in time")
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AskedOwn {
    /// Behind this name.
    after: Option<String>,
}

async fn list_own(
    visit: Visit,
    Question(AskedOwn { after }): Question<AskedOwn>,
) -> Result<Response, Failure> {
    let (tenant, slug) = visit.own_tenant()?;
    let store = &visit.console.admin.secret_store;
    let behind = match &after {
        None => None,
        Some(name) => Some(Label {
            tenant: Some(tenant),
            name: name.parse().map_err(|_| unknown())?,
        }),
    };
    let listed = Listed::Of(Some(tenant));
    let mut found = store.list(listed, behind.as_ref(), ONE_MORE).await?;
    let more = cut(&mut found);
    let to = visit.to(&format!("/tenants/{slug}/secrets"));
    let last = found.last().filter(|_| more);
    let next = last.map(|last| format!("{to}?after={}", last.label.name));
    let body = html! {
        @if found.is_empty() {
            div.sheet { p { "Your tenant has no secrets in the store." } }
        } @else {
            p.quiet { "By their names. New values come by the API." }
            ul.rows {
                @for one in &found { (row(store, one, Some(&format!("{to}/{}", one.label.name)))) }
            }
        }
        (turn(after.as_ref().map(|_| &*to), next.as_deref()))
    };
    Ok(visit.page(OWN, None, &body))
}

fn unknown() -> Problem {
    Problem::new(&problem::NOT_FOUND)
}

async fn show_own(
    visit: Visit,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let (tenant, slug) = visit.own_tenant()?;
    let store = &visit.console.admin.secret_store;
    let label = Label {
        tenant: Some(tenant),
        name: name.parse().map_err(|_| unknown())?,
    };
    let one = store.find(&label).await?;
    let versions = store.versions(&one).await?;
    let now = visit.now();
    let body = html! {
        div.sheet {
            dl.facts {
                dt { "In use" } dd { "version " (one.version) " for " (days(store, &one)) " " (due(store, &one)) }
                dt { "For" } dd { (one.purpose) }
                dt { "Answers for it" } dd { (one.owner) }
                dt { "Made" } dd { (made(&one)) }
                dt { "New" } dd { @if let Some(every) = one.rotate_every { "every " (every) } @else { "when somebody says so" } }
                dt { "Old value" } dd { "served for " (one.overlap) " beside a new one" }
                dt { "Since" } dd { (to_the_minute(one.created_at)) }
            }
        }
        h2 { "Versions" }
        ul.rows { @for version in &versions { (version_row(version, now)) } }
        p.quiet { "Values are shown to nobody here: programs read them by the API, and each read is in the audit trail." }
    };
    let up = format!("/tenants/{slug}/secrets");
    Ok(visit.page(label.name.as_str(), Some((&up, OWN)), &body))
}

fn made(one: &Stored) -> String {
    match one.made {
        Made::Provider => "by its provider".to_owned(),
        Made::File => "in a file of the gate's".to_owned(),
        Made::Hex(bytes) | Made::Base64Url(bytes) => format!("here, of {bytes} random bytes"),
    }
}

fn version_row(version: &Version, now: Timestamp) -> Markup {
    let (status, words) = match version.standing(now) {
        Standing::Current => (Status::Good, "in use"),
        Standing::Previous => (Status::Plain, "served still"),
        Standing::Retired => (Status::Plain, "ended"),
    };
    html! {
        li {
            div {
                strong { "Version " (version.version) }
                p.quiet {
                    "Since " (to_the_minute(version.created_at))
                    @if let Some(until) = version.served_until { " · until " (to_the_minute(until)) }
                    " · by " (version.made_by)
                }
            }
            (mark(status, words))
        }
    }
}
