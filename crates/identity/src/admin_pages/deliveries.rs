//! Messages of webhooks in the console: where they are on their way, and how one is delivered again. What a
//! message says is not shown.

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};
use portcullis_console::Status;
use portcullis_console::api::{Failure, parse_id};
use portcullis_console::desk::{mark, turn};
use portcullis_core::{Problem, problem};
use portcullis_events::webhooks::{Delivery, Filter, State};
use serde::Deserialize;
use uuid::Uuid;

use super::recorded::to_the_second;
use super::{Asks, Faults, ONE_MORE, Pages, Question, Visit, cut, select};

const SYSTEM: Asks = Asks::Permission("manage:system");

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/webhooks", SYSTEM, list)
        .get("/webhooks/{id}", SYSTEM, show)
        .post("/webhooks/{id}/replay", SYSTEM, replay)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    state: String,
    after: Option<String>,
}

async fn list(visit: Visit, Question(asked): Question<Asked>) -> Result<Response, Failure> {
    let after: Option<Uuid> = asked.after.as_deref().map(parse_id).transpose()?;
    let filter = Filter {
        state: State::parse(&asked.state),
        endpoint: None,
    };
    let webhooks = &visit.console.admin.webhooks;
    let found = webhooks.list(&filter, after, ONE_MORE).await?;
    let mut found = found.ok_or(Problem::new(&problem::NOT_FOUND))?;
    let more = cut(&mut found);
    let word = filter.state.map_or("", State::as_str);
    let at = |after: &str| format!("{}?state={word}{after}", visit.to("/webhooks"));
    let first = after.map(|_| at(""));
    let last = found.last().filter(|_| more);
    let next = last.map(|last| at(&format!("&after={}", last.id)));
    let body = html! {
        form.search method="get" action=(visit.to("/webhooks")) {
            div { (select(&Faults::default(), ("state", "On their way"), word, &states())) }
            button.plain type="submit" { "Show" }
        }
        @if found.is_empty() {
            div.sheet { p { "There are no such messages." } }
        } @else {
            ul.rows { @for one in &found { (row(&visit, one)) } }
        }
        (turn(first.as_deref(), next.as_deref()))
    };
    Ok(visit.page("Webhooks", None, &body))
}

fn states() -> Vec<(String, String)> {
    let all = std::iter::once((String::new(), "all".to_owned()));
    let each = State::ALL.iter().map(|state| {
        let words = match state {
            State::Waiting => "waiting",
            State::Delivered => "delivered",
            State::Dead => "given up",
        };
        (state.as_str().to_owned(), words.to_owned())
    });
    all.chain(each).collect()
}

fn state(delivery: &Delivery) -> Markup {
    match delivery.state {
        State::Waiting => mark(Status::Plain, "waiting"),
        State::Delivered => mark(Status::Good, "delivered"),
        State::Dead => mark(Status::Bad, "given up"),
    }
}

fn row(visit: &Visit, one: &Delivery) -> Markup {
    html! {
        li {
            div {
                a href=(visit.to(&format!("/webhooks/{}", one.id))) { (one.endpoint) }
                @if let Some(kind) = &one.kind { " " (kind) }
                p.quiet {
                    (to_the_second(one.received_at)) " · tried " (times(one.attempts))
                    @match (&one.fault, one.status) {
                        (Some(fault), _) => { " · " (fault) }
                        (None, Some(status)) => { " · answered " (status) }
                        (None, None) => {}
                    }
                }
            }
            (state(one))
            @if one.state == State::Dead {
                (visit.button("plain", &format!("/webhooks/{}/replay", one.id), "Deliver again", &one.event))
            }
        }
    }
}

fn times(count: i64) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let one = visit.console.admin.webhooks.get(parse_id(&id)?).await?;
    let replay = format!("/webhooks/{}/replay", one.id);
    let body = html! {
        div.sheet {
            dl.facts {
                dt { "State" } dd { (state(&one)) }
                dt { "Event" } dd { code { (one.event) } }
                @if let Some(kind) = &one.kind { dt { "Kind" } dd { (kind) } }
                dt { "Received" } dd { (to_the_second(one.received_at)) }
                dt { "Tried" } dd { (times(one.attempts)) }
                @if let Some(at) = one.due_at { dt { "Next" } dd { (to_the_second(at)) } }
                @if let Some(status) = one.status { dt { "Answered" } dd { (status) } }
                @if let Some(fault) = &one.fault { dt { "Fault" } dd { (fault) } }
                @if let Some(at) = one.ended_at { dt { "Ended" } dd { (to_the_second(at)) } }
                dt { "Id" } dd { code { (one.id) } }
            }
        }
        @match one.state {
            State::Waiting => { p.quiet { "It is tried again by itself." } }
            State::Dead => { (visit.button("", &replay, "Deliver again", "")) }
            State::Delivered => { (visit.grave(&replay, "Deliver again", "The product has it already, and gets it a second time.")) }
        }
    };
    Ok(visit.page(&one.endpoint, Some(("/webhooks", "Webhooks")), &body))
}

async fn replay(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: Uuid = parse_id(&id)?;
    let by = visit.by.recorded();
    visit.console.admin.webhooks.replay(id, &by).await?;
    Ok(visit.done(&format!("/webhooks/{id}"), "replayed"))
}
