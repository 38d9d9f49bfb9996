//! Uploads that the gate keeps, in the console: above all what is in quarantine. No content is shown.

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

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/uploads", UPLOADS, list)
        .get("/uploads/{id}", UPLOADS, show)
        .post("/uploads/{id}/release", UPLOADS, release)
        .post("/uploads/{id}/delete", UPLOADS, delete)
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
    let after: Option<Uuid> = asked.after.as_deref().map(parse_id).transpose()?;
    let state = State::parse(&asked.state);
    let store = &visit.console.admin.upload_store;
    let mut found = store.list(state, after, ONE_MORE).await?;
    let more = cut(&mut found);
    let word = state.map_or("", State::as_str);
    let at = |after: &str| format!("{}?state={word}{after}", visit.to("/uploads"));
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
        form.search method="get" action=(visit.to("/uploads")) {
            div { (select(&Faults::default(), ("state", "Which"), word, &states)) }
            button.plain type="submit" { "Show" }
        }
        @if found.is_empty() {
            div.sheet { p { "There are no such files." } }
        } @else {
            ul.rows { @for one in &found { (row(&visit, one)) } }
        }
        (turn(first.as_deref(), next.as_deref()))
    };
    Ok(visit.page("Uploads", None, &body))
}

fn row(visit: &Visit, one: &Stored) -> Markup {
    html! {
        li {
            div {
                a href=(visit.to(&format!("/uploads/{}", one.id))) { (one.kind.as_str().to_uppercase()) ", " (size(one.size)) }
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
        div.sheet {
            dl.facts {
                dt { "State" } dd { @match one.state { State::Kept => "kept", State::Quarantined => "in quarantine: served to nobody" } }
                dt { "Verdict" } dd { (verdict(&one)) @if let Some(found) = &one.found { " " (found) } }
                dt { "Kind" } dd { (one.kind.as_str()) }
                dt { "Size" } dd { (size(one.size)) }
                dt { "SHA-256" } dd { code { (hex(&one.sha256)) } }
                dt { "From" } dd { code { (one.owner) } }
                @if let Some(tenant) = one.tenant { dt { "Tenant" } dd { code { (tenant) } } }
                dt { "Came" } dd { (to_the_second(one.created_at)) }
                @if let Some(at) = one.taken_at { dt { "Taken" } dd { (to_the_second(at)) } }
                dt { "Id" } dd { code { (id) } }
            }
        }
        @if one.state == State::Quarantined {
            div.sheet {
                p { "The file is scanned again. It is served from then on only if nothing is found in it." }
                (visit.button("", &at("release"), "Scan again and release", ""))
            }
        }
        (visit.grave(&at("delete"), "Delete the file", "It is gone for good, and whoever has a permit for it gets nothing."))
    };
    let name = name.unwrap_or_else(|| "A file without a name".to_owned());
    Ok(visit.page_as(status, &name, Some(("/uploads", "Uploads")), &body))
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
