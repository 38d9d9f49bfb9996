//! What was found in the trail, whom it was told, and what is kept silent, in the console.

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use portcullis_console::Status;
use portcullis_console::api::{Failure, parse_id};
use portcullis_console::chart::number as figure;
use portcullis_console::desk::{mark, turn};
use portcullis_core::{Problem, Span, problem};
use portcullis_events::alerts::{self, Alert, SOURCES, Silence, Silencing};
use portcullis_events::anomalies::{self, Found, Severity};
use serde::Deserialize;
use uuid::Uuid;

use super::recorded::to_the_second;
use super::{Asks, Faults, ONE_MORE, Pages, Question, Sent, Visit, cut, number, select, text};
use crate::pages::to_the_minute;

const SYSTEM: Asks = Asks::Permission("manage:system");
const UP: Option<(&str, &str)> = Some(("/alerts", "Alerts"));

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/alerts", SYSTEM, list)
        .get("/alerts/sent", SYSTEM, sent)
        .get("/alerts/silences/new", SYSTEM, new_silence)
        .post("/alerts/silences", SYSTEM, silence)
        .post("/alerts/silences/{id}/lift", SYSTEM, lift)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    state: String,
    source: String,
    subject: String,
    after: Option<String>,
}

async fn list(visit: Visit, Question(asked): Question<Asked>) -> Result<Response, Failure> {
    let after: Option<Uuid> = asked.after.as_deref().map(parse_id).transpose()?;
    let admin = &visit.console.admin;
    let all = anomalies::Filter::default();
    let found = admin.anomalies.list(&all, after, ONE_MORE).await?;
    let mut found = found.ok_or(Problem::new(&problem::NOT_FOUND))?;
    let more = cut(&mut found);
    let to = visit.to("/alerts");
    let first = after.map(|_| to.clone());
    let last = found.last().filter(|_| more);
    let next = last.map(|last| format!("{to}?after={}", last.id));
    let silences = admin.alerts.silences().await?;
    let body = html! {
        div.above {
            p.quiet { a href=(visit.to("/alerts/sent")) { "What was told" } " · rules: " code { "portcullis anomalies rules" } }
            a.button href=(visit.to("/alerts/silences/new")) { "Keep a source silent" }
        }
        @if !silences.is_empty() {
            h2 { "Silent" }
            ul.rows { @for one in &silences { (silent(&visit, one)) } }
        }
        h2 { "Found" }
        @if found.is_empty() {
            div.sheet { p { "Nothing conspicuous was found." } }
        } @else {
            ul.rows { @for one in &found { (row(&visit, one)) } }
        }
        (turn(first.as_deref(), next.as_deref()))
    };
    Ok(visit.page("Alerts", None, &body))
}

fn weight(severity: Severity) -> Markup {
    let status = match severity {
        Severity::High | Severity::Medium => Status::Bad,
        Severity::Low => Status::Plain,
    };
    mark(status, severity.as_str())
}

fn row(visit: &Visit, one: &Found) -> Markup {
    let encoded = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let silence = format!(
        "/alerts/silences/new?source={}&subject={}",
        encoded(&one.detector),
        encoded(&one.subject)
    );
    html! {
        li {
            div {
                strong { (one.detector) } " " code { (one.subject) }
                p { (one.told) }
                p.quiet {
                    (to_the_second(one.began_at)) " to "
                    @match one.ended_at { Some(at) => (to_the_second(at)), None => "now" }
                    " · " (figure(one.count)) " events"
                }
            }
            (weight(one.severity))
            @if one.ended_at.is_none() { (mark(Status::Bad, "goes on")) }
            a href=(visit.to(&silence)) { "Silence" span.away { " " (one.detector) " of " (one.subject) } }
        }
    }
}

fn silent(visit: &Visit, one: &Silence) -> Markup {
    html! {
        li {
            div {
                strong { (one.source) }
                @if let Some(subject) = &one.subject { " " code { (subject) } }
                p { (one.because) }
                p.quiet { "until " (to_the_minute(one.until)) " · by " (one.made_by) }
            }
            (visit.button("plain", &format!("/alerts/silences/{}/lift", one.id), "End the silence", &one.source))
        }
    }
}

async fn sent(visit: Visit, Question(asked): Question<Asked>) -> Result<Response, Failure> {
    let after: Option<Uuid> = asked.after.as_deref().map(parse_id).transpose()?;
    let filter = alerts::Filter {
        state: alerts::State::parse(&asked.state),
        destination: None,
    };
    let found = visit
        .console
        .admin
        .alerts
        .list(&filter, after, ONE_MORE)
        .await?;
    let mut found = found.ok_or(Problem::new(&problem::NOT_FOUND))?;
    let more = cut(&mut found);
    let word = filter.state.map_or("", alerts::State::as_str);
    let at = |after: &str| format!("{}?state={word}{after}", visit.to("/alerts/sent"));
    let first = after.map(|_| at(""));
    let last = found.last().filter(|_| more);
    let next = last.map(|last| at(&format!("&after={}", last.id)));
    let states = std::iter::once("").chain(alerts::State::ALL.iter().map(|one| one.as_str()));
    let states: Vec<(String, String)> = states
        .map(|word| {
            let words = if word.is_empty() { "all" } else { word };
            (word.to_owned(), words.to_owned())
        })
        .collect();
    let body = html! {
        form.search method="get" action=(visit.to("/alerts/sent")) {
            div { (select(&Faults::default(), ("state", "On their way"), word, &states)) }
            button.plain type="submit" { "Show" }
        }
        @if found.is_empty() {
            div.sheet { p { "Nothing was told. " code { "[[alert]]" } " in the configuration says who is." } }
        } @else {
            ul.rows { @for one in &found { (told(one)) } }
        }
        (turn(first.as_deref(), next.as_deref()))
    };
    Ok(visit.page("What was told", UP, &body))
}

fn told(one: &Alert) -> Markup {
    let status = match one.state {
        alerts::State::Sent => Status::Good,
        alerts::State::Dead => Status::Bad,
        alerts::State::Waiting | alerts::State::Silenced => Status::Plain,
    };
    html! {
        li {
            div {
                strong { (one.source) } " to " (one.destination)
                p { (one.told) }
                p.quiet {
                    (to_the_second(one.created_at))
                    @if let Some(fault) = &one.fault { " · " (fault) }
                }
            }
            (weight(one.severity))
            (mark(status, one.state.as_str()))
        }
    }
}

async fn new_silence(visit: Visit, Question(asked): Question<Asked>) -> Response {
    let form = silence_form(
        &visit,
        &Faults::default(),
        (&asked.source, &asked.subject),
        ("24", ""),
    );
    visit.page("Keep a source silent", UP, &form)
}

fn silence_form(
    visit: &Visit,
    faults: &Faults,
    (source, subject): (&str, &str),
    (hours, because): (&str, &str),
) -> Markup {
    let sources = SOURCES.map(|source| (source.to_owned(), source.to_owned()));
    let inside = html! {
        (select(faults, ("source", "Source"), source, &sources))
        (text(faults, ("subject", "Only of this subject", "text"), subject, "As the list shows it. Left empty: the whole source.", false))
        (number(faults, ("for", "For so many hours"), hours, "720 at most: a silence without an end is a switch, and that is in the configuration.", true))
        (text(faults, ("because", "Because", "text"), because, "It is in the audit trail.", true))
        button type="submit" { "Keep it silent" }
    };
    html! {
        (faults.shown())
        div.sheet {
            p.quiet { "What it would tell stays in the lists; nobody is told." }
            (visit.form("wide", "/alerts/silences", &inside))
        }
    }
}

async fn silence(visit: Visit, sent: Sent) -> Result<Response, Failure> {
    visit.take(&sent).await?;
    let again = |faults: &Faults| {
        let subject = (sent.one("source"), sent.one("subject"));
        let form = silence_form(
            &visit,
            faults,
            subject,
            (sent.one("for"), sent.one("because")),
        );
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        visit.page_as(status, "Keep a source silent", UP, &form)
    };
    let Ok(hours) = sent.one("for").parse::<u64>() else {
        return Ok(again(&Faults::of(
            "for",
            "How long is a whole number of hours.",
        )));
    };
    let silencing = Silencing {
        source: sent.one("source").to_owned(),
        subject: sent.some("subject").map(str::to_owned),
        span: Span::from_hours(hours),
        because: sent.one("because").to_owned(),
    };
    let by = visit.by.recorded();
    match visit.console.admin.alerts.silence(&silencing, &by).await {
        Ok(_) => Ok(visit.done("/alerts", "silenced")),
        Err(error) => Ok(again(&Faults::from(error)?)),
    }
}

async fn lift(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let by = visit.by.recorded();
    match visit
        .console
        .admin
        .alerts
        .lift_silence(parse_id(&id)?, &by)
        .await
    {
        // It ended meanwhile: the page shows that it is gone.
        Ok(()) | Err(alerts::Error::NotFound) => Ok(visit.done("/alerts", "lifted")),
        Err(error) => Err(error.into()),
    }
}
