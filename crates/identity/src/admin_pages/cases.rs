//! Incidents in the console, to read: by when somebody has to answer, what was done, and what is left. They
//! are opened and worked on at the command line (`portcullis incident`).

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};
use portcullis_console::Status;
use portcullis_console::api::{Failure, parse_id};
use portcullis_console::desk::mark;
use portcullis_core::{Problem, Timestamp};
use portcullis_events::incidents::{File, Incident, Note, Task};

use super::glance::{incident, rough};
use super::{Asks, Pages, Visit};
use crate::pages::to_the_minute;

const SYSTEM: Asks = Asks::Permission("manage:system");

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/incidents", SYSTEM, list)
        .get("/incidents/{id}", SYSTEM, show)
}

async fn list(visit: Visit) -> Result<Response, Failure> {
    let all = visit.console.admin.incidents.list().await;
    let all = all.map_err(Problem::from)?;
    let now = visit.now();
    let (open, closed): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.closed_at.is_none());
    let rows = |title: &str, list: &[&Incident]| {
        html! {
            @if !list.is_empty() {
                h2 { (title) }
                ul.rows { @for one in list { (incident(&visit, one, now)) } }
            }
        }
    };
    let body = html! {
        p.quiet { "Opened and worked on with " code { "portcullis incident" } "." }
        @if all.is_empty() { div.sheet { p { "There are no incidents." } } }
        (rows("Open", &open))
        (rows("Closed", &closed))
    };
    Ok(visit.page("Incidents", None, &body))
}

async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let file = visit.console.admin.incidents.file(parse_id(&id)?).await;
    let file = file.map_err(Problem::from)?;
    let one = &file.incident;
    let now = visit.now();
    let body = html! {
        div.sheet {
            dl.facts {
                dt { "Severity" } dd { (one.severity) }
                dt { "Opened" } dd { (to_the_minute(one.opened_at)) }
                dt { "Acknowledged" } dd { (by_when(one.acknowledged_at, Some(one.acknowledge_by()), now)) }
                dt { "Triaged" } dd { (by_when(one.triaged_at, one.triage_by(), now)) }
                dt { "Closed" } dd { @if let Some(at) = one.closed_at { (to_the_minute(at)) } @else { "no" } }
                @if let Some(cause) = &one.root_cause { dt { "Cause" } dd { (cause) } }
                dt { "Id" } dd { code { (one.id) } }
            }
        }
        (left(&file))
        @if !file.notes.is_empty() {
            h2 { "What was done" }
            ul.rows { @for one in &file.notes { (note(one)) } }
        }
        @if !file.tasks.is_empty() {
            h2 { "What is to be done" }
            ul.rows { @for one in &file.tasks { (task(one, now)) } }
        }
    };
    Ok(visit.page(&one.title, Some(("/incidents", "Incidents")), &body))
}

/// When it was done, or how long there is.
fn by_when(done: Option<Timestamp>, by: Option<Timestamp>, now: Timestamp) -> Markup {
    html! {
        @match (done, by) {
            (Some(at), _) => (to_the_minute(at)),
            (None, Some(by)) if by < now => { (mark(Status::Bad, "late")) " since " (to_the_minute(by)) }
            (None, Some(by)) => { "not yet: " (rough(by.since(now))) " left" }
            (None, None) => "not yet",
        }
    }
}

fn left(file: &File) -> Markup {
    let left = file.left();
    html! {
        @if file.incident.closed_at.is_none() && !left.is_empty() {
            div.sheet {
                p { "Before it can be closed:" }
                ul { @for one in &left { li { (one) } } }
            }
        }
    }
}

fn note(one: &Note) -> Markup {
    html! {
        li {
            div {
                (one.text)
                p.quiet { (to_the_minute(one.at)) " · " (one.by) }
            }
            (mark(Status::Plain, one.phase.as_str()))
        }
    }
}

fn task(one: &Task, now: Timestamp) -> Markup {
    let is_late = one.done_at.is_none() && one.due_at.is_some_and(|due| due < now);
    html! {
        li {
            div {
                (one.text)
                p.quiet {
                    (one.owner)
                    @if let Some(due) = one.due_at { " · due " (to_the_minute(due)) }
                    @if let Some(result) = &one.result { " · " (result) }
                }
            }
            @if one.done_at.is_some() {
                (mark(Status::Good, "done"))
            } @else if is_late {
                (mark(Status::Bad, "late"))
            } @else {
                (mark(Status::Plain, "open"))
            }
        }
    }
}
