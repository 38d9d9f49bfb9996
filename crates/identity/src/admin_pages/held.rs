//! Uploads that the gate keeps, in the console: above all what is in quarantine. No content is shown.
//!
//! A tenant's own administrators see what its people sent. What becomes of it is for whoever runs the gate to say, as
//! in the admin API.

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use portcullis_console::Status;
use portcullis_console::api::{Failure, parse_id};
use portcullis_console::chart::number;
use portcullis_console::desk::{mark, turn};
use portcullis_core::Problem;
use portcullis_events::upload_store::{Error, State, Stored, Verdict};
use serde::Deserialize;
use uuid::Uuid;

use super::recorded::to_the_second;
use super::{Asks, Faults, ONE_MORE, Pages, Question, Visit, cut, select};

const UPLOADS: Asks = Asks::Permission("manage:uploads");
/// What the lists are called, as in the bar.
const ALL: &str = "Uploads";
const OWN: &str = "Tenant's uploads";

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/uploads", UPLOADS, list)
        .get("/uploads/{id}", UPLOADS, show)
        .post("/uploads/{id}/release", UPLOADS, release)
        .post("/uploads/{id}/delete", UPLOADS, delete)
        .get("/tenants/{tenant}/uploads", UPLOADS, list_own)
        .get("/tenants/{tenant}/uploads/{id}", UPLOADS, show_own)
}

#[derive(Deserialize)]
#[serde(default)]
struct Asked {
    state: String,
    after: Option<String>,
}

/// What a person has to look at.
impl Default for Asked {
    fn default() -> Self {
        Asked {
            state: State::Quarantined.as_str().to_owned(),
            after: None,
        }
    }
}

async fn list(visit: Visit, Question(asked): Question<Asked>) -> Result<Response, Failure> {
    let (state, after) = asked.read()?;
    let store = &visit.console.admin.upload_store;
    let found = store.list(state, after, ONE_MORE).await?;
    Ok(listed(&visit, ("/uploads", ALL), (state, after), found))
}

async fn list_own(visit: Visit, Question(asked): Question<Asked>) -> Result<Response, Failure> {
    let (state, after) = asked.read()?;
    let (tenant, slug) = visit.own_tenant()?;
    let store = &visit.console.admin.upload_store;
    let found = store.of_tenant(tenant, state, after, ONE_MORE).await?;
    let to = format!("/tenants/{slug}/uploads");
    Ok(listed(&visit, (&to, OWN), (state, after), found))
}

/// One page of a list that is at `to`, and what it is called.
fn listed(
    visit: &Visit,
    (to, title): (&str, &str),
    (state, after): (Option<State>, Option<Uuid>),
    mut found: Vec<Stored>,
) -> Response {
    let more = cut(&mut found);
    let word = state.map_or("", State::as_str);
    let to = visit.to(to);
    let at = |after: &str| format!("{to}?state={word}{after}");
    let first = after.map(|_| at(""));
    let last = found.last().filter(|_| more);
    let next = last.map(|last| at(&format!("&after={}", last.id)));
    let states = [
        ("", "all"),
        ("quarantined", "in quarantine"),
        ("kept", "kept"),
    ];
    let states = states.map(|(value, words)| (value.to_owned(), words.to_owned()));
    let body = html! {
        form.search method="get" action=(to) {
            div { (select(&Faults::default(), ("state", "Which"), word, &states)) }
            button.plain type="submit" { "Show" }
        }
        @if found.is_empty() {
            div.sheet { p { "There are no such files." } }
        } @else {
            ul.rows { @for one in &found { (row(&to, one)) } }
        }
        (turn(first.as_deref(), next.as_deref()))
    };
    visit.page(title, None, &body)
}

fn row(to: &str, one: &Stored) -> Markup {
    html! {
        li {
            div {
                a href=(format!("{to}/{}", one.id)) { (one.kind.as_str().to_uppercase()) ", " (size(one.size)) }
                p.quiet { (to_the_second(one.created_at)) " · " (one.owner) @if let Some(found) = &one.found { " · " (found) } }
            }
            (verdict(one))
        }
    }
}

fn size(bytes: u64) -> String {
    if bytes < 1024 {
        format!("{bytes} bytes")
    } else {
        format!("{} KiB", number(bytes.div_ceil(1024)))
    }
}

fn verdict(one: &Stored) -> Markup {
    match one.verdict {
        Verdict::Clean => mark(Status::Good, "clean"),
        Verdict::NotScanned => mark(Status::Plain, "not scanned"),
        Verdict::Infected => mark(Status::Bad, "infected"),
        Verdict::Unscanned => mark(Status::Bad, "the scanner was away"),
    }
}

impl Asked {
    fn read(&self) -> Result<(Option<State>, Option<Uuid>), Failure> {
        let after = self.after.as_deref().map(parse_id).transpose()?;
        Ok((State::parse(&self.state), after))
    }
}

async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: Uuid = parse_id(&id)?;
    shown(&visit, id, StatusCode::OK, &Faults::default()).await
}

async fn shown(
    visit: &Visit,
    id: Uuid,
    status: StatusCode,
    faults: &Faults,
) -> Result<Response, Failure> {
    let (one, name) = visit.console.admin.upload_store.show(id).await?;
    let at = |act: &str| format!("/uploads/{id}/{act}");
    let body = html! {
        (faults.shown())
        (facts(&one))
        @if one.state == State::Quarantined {
            div.sheet {
                p { "The file is scanned again. It is served from then on only if nothing is found in it." }
                (visit.button("", &at("release"), "Scan again and release", ""))
            }
        }
        (visit.grave(&at("delete"), "Delete the file", "It is gone for good, and whoever has a permit for it gets nothing."))
    };
    let up = Some(("/uploads", ALL));
    Ok(visit.page_as(status, &called(name), up, &body))
}

async fn show_own(
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let id: Uuid = parse_id(&id)?;
    let (tenant, slug) = visit.own_tenant()?;
    let store = &visit.console.admin.upload_store;
    let (one, name) = store.show_of(tenant, id).await?;
    let body = html! {
        (facts(&one))
        @if one.state == State::Quarantined {
            p.quiet { "Whoever runs the gate has it scanned again and releases it, or deletes it." }
        }
    };
    let up = format!("/tenants/{slug}/uploads");
    Ok(visit.page(&called(name), Some((&up, OWN)), &body))
}

fn called(name: Option<String>) -> String {
    name.unwrap_or_else(|| "A file without a name".to_owned())
}

fn facts(one: &Stored) -> Markup {
    html! {
        div.sheet {
            dl.facts {
                dt { "State" } dd { @match one.state { State::Kept => "kept", State::Quarantined => "in quarantine: served to nobody" } }
                dt { "Verdict" } dd { (verdict(one)) @if let Some(found) = &one.found { " " (found) } }
                dt { "Kind" } dd { (one.kind.as_str()) }
                dt { "Size" } dd { (size(one.size)) }
                dt { "SHA-256" } dd { code { (hex(&one.sha256)) } }
                dt { "From" } dd { code { (one.owner) } }
                @if let Some(tenant) = one.tenant { dt { "Tenant" } dd { code { (tenant) } } }
                dt { "Came" } dd { (to_the_second(one.created_at)) }
                @if let Some(at) = one.taken_at { dt { "Taken" } dd { (to_the_second(at)) } }
                dt { "Id" } dd { code { (one.id) } }
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

async fn release(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: Uuid = parse_id(&id)?;
    let by = visit.by.recorded();
    match visit.console.admin.upload_store.release(id, &by).await {
        Ok(()) => Ok(visit.done(&format!("/uploads/{id}"), "released")),
        // Why it stays where it is, beside the file: it is the answer to what was asked.
        Err(
            error @ (Error::Infected(_)
            | Error::Unscannable(_)
            | Error::NoScanner
            | Error::Scanner(_)
            | Error::NotQuarantined),
        ) => {
            let faults = Faults::of("", format!("It stays as it is: {error}."));
            shown(&visit, id, Problem::from(error).kind.status, &faults).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn delete(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: Uuid = parse_id(&id)?;
    let by = visit.by.recorded();
    visit.console.admin.upload_store.discard(id, &by).await?;
    Ok(visit.done("/uploads", "deleted"))
}
