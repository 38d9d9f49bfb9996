//! The audit trail in the console: what was recorded, one event with its proof, and what one request led to.
//!
//! SECURITY: below `/tenants/{tenant}` the pipeline lets nobody through whose own tenant is not the one in the
//! path, and which tenant's events are shown is taken from the caller, never from the path.

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_console::Status;
use portcullis_console::api::{Failure, parse_id};
use portcullis_console::chart::number;
use portcullis_console::desk::{mark, turn};
use portcullis_core::id::EventId;
use portcullis_core::problem::{self, Kind};
use portcullis_core::{Problem, RequestId, Span, TenantId, Timestamp};
use portcullis_events::audit::{
    Action, Actor, Cursor, Event, Filter, Looked, Metadata, Outcome, Personal, Target,
};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Asks, Faults, Pages, Question, ROWS, Visit, select, text};

const AUDIT: Asks = Asks::Permission("manage:audit");
/// Without an index to go by, so much is looked through where nothing else is asked for.
const USUALLY: Span = Span::from_days(7);

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/audit", AUDIT, list)
        .get("/audit/{id}", AUDIT, show)
        .get("/tenants/{tenant}/audit", AUDIT, list_own)
        .get("/tenants/{tenant}/audit/{id}", AUDIT, show_own)
}

/// Whose events are shown, and where.
struct Reach {
    /// Nothing for those of all tenants.
    tenant: Option<TenantId>,
    /// Where the list is.
    at: String,
}

impl Reach {
    fn all() -> Self {
        Reach {
            tenant: None,
            at: "/audit".to_owned(),
        }
    }

    /// Of the tenant that the caller works in.
    fn own(visit: &Visit) -> Result<Self, Failure> {
        let (tenant, slug) = visit.own_tenant()?;
        Ok(Reach {
            tenant: Some(tenant),
            at: format!("/tenants/{slug}/audit"),
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    action: String,
    outcome: String,
    actor: String,
    tenant: String,
    since: String,
    until: String,
    request: String,
    after: Option<String>,
}

impl Asked {
    fn fields(&self) -> [(&'static str, &str); 7] {
        [
            ("action", self.action.trim()),
            ("outcome", self.outcome.trim()),
            ("actor", self.actor.trim()),
            ("tenant", self.tenant.trim()),
            ("since", self.since.trim()),
            ("until", self.until.trim()),
            ("request", self.request.trim()),
        ]
    }

    fn is_anything_asked(&self) -> bool {
        self.fields().iter().any(|(_, value)| !value.is_empty())
    }

    /// The same question as an address.
    fn address(&self, to: &str, after: Option<&str>) -> String {
        let fields = self.fields();
        let mut query: Vec<String> = fields
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        query.extend(after.map(|after| format!("after={after}")));
        if query.is_empty() {
            return to.to_owned();
        }
        format!("{to}?{}", query.join("&"))
    }

    /// What the trail is asked; what is wrong with the question.
    async fn filter(
        &self,
        visit: &Visit,
        reach: &Reach,
    ) -> Result<Result<Filter, Faults>, Failure> {
        macro_rules! parsed {
            ($field:literal, $text:expr, $parse:expr, $said:literal) => {
                match Some($text.trim())
                    .filter(|text| !text.is_empty())
                    .map($parse)
                    .transpose()
                {
                    Ok(parsed) => parsed,
                    Err(_) => return Ok(Err(Faults::of($field, $said))),
                }
            };
        }
        let tenant = match (reach.tenant, self.tenant.trim()) {
            (Some(own), _) => Some(own),
            (None, "") => None,
            (None, name) => match visit.console.admin.tenants.get(name).await {
                Ok(tenant) => Some(tenant.id),
                Err(crate::tenants::Error::NotFound) => {
                    return Ok(Err(Faults::of("tenant", "There is no such tenant.")));
                }
                Err(error) => return Err(error.into()),
            },
        };
        let action = parsed!(
            "action",
            self.action,
            str::parse::<Action>,
            "There is no such action."
        );
        let outcome = parsed!(
            "outcome",
            self.outcome,
            str::parse::<Outcome>,
            "It was allowed, denied or failed."
        );
        let actor = parsed!(
            "actor",
            self.actor,
            str::parse::<Uuid>,
            "Who acted is named by an id."
        );
        let since = parsed!("since", self.since, time, "The first time is no time.");
        let until = parsed!("until", self.until, time, "The last time is no time.");
        let is_indexed = action.is_some() || actor.is_some() || tenant.is_some();
        let must_end = outcome.is_some() && !is_indexed;
        Ok(Ok(Filter {
            since: since.or_else(|| must_end.then(|| until.unwrap_or(visit.now()) - USUALLY)),
            until,
            actor,
            action,
            outcome,
            tenant,
        }))
    }
}

/// As browsers send it: without seconds and offset. It is UTC here.
fn time(text: &str) -> Result<Timestamp, portcullis_core::time::NotATime> {
    match text.len() {
        16 => format!("{text}:00Z").parse(),
        19 => format!("{text}Z").parse(),
        _ => text.parse(),
    }
}

async fn list(visit: Visit, Question(asked): Question<Asked>) -> Result<Response, Failure> {
    listed(&visit, &Reach::all(), &asked).await
}

async fn list_own(visit: Visit, Question(asked): Question<Asked>) -> Result<Response, Failure> {
    let reach = Reach::own(&visit)?;
    listed(&visit, &reach, &asked).await
}

async fn listed(visit: &Visit, reach: &Reach, asked: &Asked) -> Result<Response, Failure> {
    let mut faults = Faults::default();
    let (events, next) = match answers(visit, reach, asked).await? {
        Ok(found) => found,
        Err(said) => {
            faults = said;
            (Vec::new(), None)
        }
    };
    let to = visit.to(&reach.at);
    let first = asked.after.as_ref().map(|_| asked.address(&to, None));
    let next = next.map(|next| asked.address(&to, Some(&next.to_string())));
    let body = html! {
        (faults.shown())
        (question(visit, reach, asked, &faults))
        @if !asked.outcome.is_empty() && asked.action.is_empty() && asked.actor.is_empty() && asked.since.is_empty() && reach.tenant.is_none() && asked.tenant.is_empty() {
            p.quiet { "Of the last seven days, where no first time is said." }
        }
        @if events.is_empty() {
            div.sheet { p { "Nothing was recorded that this asks for." } }
        } @else {
            ul.rows { @for event in &events { (row(visit, &reach.at, event)) } }
        }
        (turn(first.as_deref(), next.as_deref()))
    };
    let title = match reach.tenant {
        None => "Audit",
        Some(_) => "Tenant's audit",
    };
    Ok(visit.page_as(faults.status(), title, None, &body))
}

type Answers = (Vec<Event>, Option<Cursor>);

async fn answers(
    visit: &Visit,
    reach: &Reach,
    asked: &Asked,
) -> Result<Result<Answers, Faults>, Failure> {
    let log = &visit.console.admin.audit_log;
    if !asked.request.trim().is_empty() {
        let Ok(request) = asked.request.trim().parse::<RequestId>() else {
            let said = "A request is named by its id, as its answer says it.";
            return Ok(Err(Faults::of("request", said)));
        };
        let mut events = log.of_request(request).await?;
        events.retain(|event| reach.tenant.is_none() || event.tenant == reach.tenant);
        return Ok(Ok((events, None)));
    }
    let filter = match asked.filter(visit, reach).await? {
        Ok(filter) => filter,
        Err(faults) => return Ok(Err(faults)),
    };
    let after: Option<Cursor> = asked.after.as_deref().map(str::parse).transpose()?;
    let page = log.list(&filter, after, ROWS).await?;
    Ok(Ok((page.events, page.next)))
}

fn question(visit: &Visit, reach: &Reach, asked: &Asked, faults: &Faults) -> Markup {
    let words = |all: &[&str]| -> Vec<(String, String)> {
        let any = std::iter::once((String::new(), "any".to_owned()));
        let each = all
            .iter()
            .map(|word| ((*word).to_owned(), (*word).to_owned()));
        any.chain(each).collect()
    };
    let mut actions: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
    actions.sort_unstable();
    let outcomes = [Outcome::Allowed, Outcome::Denied, Outcome::Failed].map(Outcome::as_str);
    html! {
        details.sheet open[asked.is_anything_asked()] {
            summary { "Find" }
            form.filter role="search" method="get" action=(visit.to(&reach.at)) {
                div { (select(faults, ("action", "Action"), asked.action.trim(), &words(&actions))) }
                div { (select(faults, ("outcome", "Outcome"), asked.outcome.trim(), &words(&outcomes))) }
                div { (text(faults, ("actor", "Who (id)", "text"), asked.actor.trim(), "", false)) }
                @if reach.tenant.is_none() {
                    div { (text(faults, ("tenant", "Tenant", "text"), asked.tenant.trim(), "", false)) }
                }
                div { (text(faults, ("since", "From (UTC)", "datetime-local"), asked.since.trim(), "", false)) }
                div { (text(faults, ("until", "Until (UTC)", "datetime-local"), asked.until.trim(), "", false)) }
                div { (text(faults, ("request", "Request (id)", "text"), asked.request.trim(), "", false)) }
                button type="submit" { "Find" }
            }
        }
    }
}

/// One event in a list.
pub(super) fn row(visit: &Visit, at: &str, event: &Event) -> Markup {
    html! {
        li {
            div {
                a href=(visit.to(&format!("{at}/{}", event.id))) { (event.action) }
                @if let Some(target) = &event.target { " " (target.as_str()) }
                p.quiet {
                    (to_the_second(event.at)) " · " (actor_words(event.actor))
                    @if let Some(client) = event.client { " from " (client) }
                    @if let Some(kind) = problem_of(&event.metadata) { " · " (kind.slug) }
                }
            }
            (outcome(event.outcome))
        }
    }
}

fn outcome(outcome: Outcome) -> Markup {
    let status = match outcome {
        Outcome::Allowed => Status::Good,
        Outcome::Denied => Status::Bad,
        Outcome::Failed => Status::Plain,
    };
    mark(status, outcome.as_str())
}

fn actor_words(actor: Actor) -> String {
    match actor.id() {
        Some(id) => format!("{} {id}", actor.kind().replace('-', " ")),
        None => actor.kind().to_owned(),
    }
}

pub(super) fn to_the_second(at: Timestamp) -> String {
    let text: String = at.to_string().chars().take(19).collect();
    format!("{} UTC", text.replace('T', " "))
}

/// The problem that a refusal was answered with.
fn problem_of(metadata: &Metadata) -> Option<&'static Kind> {
    let slug = metadata.get("problem")?.as_str()?;
    problem::ALL.iter().copied().find(|kind| kind.slug == slug)
}

async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    shown(&visit, &Reach::all(), &id).await
}

async fn show_own(
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let reach = Reach::own(&visit)?;
    shown(&visit, &reach, &id).await
}

async fn shown(visit: &Visit, reach: &Reach, id: &str) -> Result<Response, Failure> {
    let id: EventId = parse_id(id)?;
    let log = &visit.console.admin.audit_log;
    let looked = log.look(id, reach.tenant).await?;
    let looked = looked.ok_or(Problem::new(&problem::NOT_FOUND))?;
    let event = &looked.event;
    let mut others = match event.request {
        Some(request) => log.of_request(request).await?,
        None => Vec::new(),
    };
    others.retain(|other| {
        other.id != event.id && (reach.tenant.is_none() || other.tenant == reach.tenant)
    });
    let body = html! {
        (facts(visit, reach, event))
        @if let Some(kind) = problem_of(&event.metadata) { (decision(visit, event, kind)) }
        (details(&event.metadata))
        @if !others.is_empty() {
            h2 { "The same request" }
            ul.rows { @for other in &others { (row(visit, &reach.at, other)) } }
        }
        (proof(visit, reach, &looked))
    };
    let title = event.action.to_string();
    let up = match reach.tenant {
        None => "Audit",
        Some(_) => "Tenant's audit",
    };
    Ok(visit.page_as(StatusCode::OK, &title, Some((&reach.at, up)), &body))
}

fn facts(visit: &Visit, reach: &Reach, event: &Event) -> Markup {
    html! {
        div.sheet {
            dl.facts {
                dt { "Outcome" } dd { (outcome(event.outcome)) }
                dt { "When" } dd { (to_the_second(event.at)) }
                dt { "Who" } dd { (actor(visit, event.actor)) }
                dt { "From" }
                dd {
                    @match (event.client, event.personal) {
                        (Some(client), _) => (client),
                        (None, Personal::Sealed) => "sealed: the vault is closed",
                        (None, Personal::Erased) => "erased",
                        (None, Personal::Open) => "not from a client",
                    }
                }
                @if let Some(target) = &event.target { dt { "What" } dd { code { (target.as_str()) } } }
                @if let Some(tenant) = event.tenant { dt { "Tenant" } dd { code { (tenant) } } }
                @if let Some(request) = event.request {
                    dt { "Request" }
                    dd { a href=(visit.to(&format!("{}?request={request}", reach.at))) { code { (request) } } }
                }
                dt { "Event" } dd { code { (event.id) } }
            }
        }
    }
}

fn actor(visit: &Visit, actor: Actor) -> Markup {
    let page = match actor {
        Actor::User(id) if visit.may("manage:users") => Some(format!("/users/{id}")),
        Actor::ApiKey(id) if visit.may("manage:keys") => Some(format!("/keys/{id}")),
        Actor::User(_)
        | Actor::ApiKey(_)
        | Actor::Anonymous
        | Actor::Visitor(_)
        | Actor::System
        | Actor::Operator => None,
    };
    let words = actor_words(actor);
    html! { @if let Some(page) = page { a href=(visit.to(&page)) { (words) } } @else { (words) } }
}

/// Which check refused a request, and by what.
fn decision(visit: &Visit, event: &Event, kind: &Kind) -> Markup {
    let said = |name: &str| event.metadata.get(name).and_then(Value::as_str);
    html! {
        h2 { "The decision" }
        div.sheet {
            dl.facts {
                dt { "Refused by" } dd { (check(event.action)) }
                dt { "Because" }
                dd {
                    a href=(visit.to_own(&format!("/problems/{}", kind.slug))) { (kind.title) }
                    @if let Some(reason) = said("reason") { ": " (reason) }
                }
                dt { "Answered" } dd { (kind.status.as_u16()) " " code { (kind.slug) } }
                @if let Some(method) = said("method") { dt { "Method" } dd { (method) } }
                dt { "Route" }
                dd {
                    @match event.target.as_ref().and_then(route) {
                        Some(route) => { code { (route) } },
                        None => "none: it was refused before one was known, or no route is for it",
                    }
                }
            }
            p.quiet { code { "portcullis explain" } " takes a method and a path, and says what decides now." }
        }
    }
}

fn route(target: &Target) -> Option<&str> {
    target.as_str().strip_prefix("route:")
}

/// The checks of the journey that actions of the trail are refusals of.
const CHECKS: [(Action, &str); 6] = [
    (
        Action::RequestMalformed,
        "the reading of the request: its framing, host or path",
    ),
    (Action::LimitExceeded, "a limit"),
    (
        Action::CredentialRefused,
        "authentication: what came opens nothing",
    ),
    (
        Action::CsrfRefused,
        "the check against forged requests (CSRF)",
    ),
    (
        Action::OriginRefused,
        "the check of where the request comes from",
    ),
    (Action::AccessDenied, "authorization: the route's own rule"),
];

fn check(action: Action) -> &'static str {
    let found = CHECKS.iter().find(|(known, _)| *known == action);
    found.map_or("the act itself", |(_, words)| words)
}

fn details(metadata: &Metadata) -> Markup {
    let shown = ["problem", "reason", "method"];
    let is_refusal = problem_of(metadata).is_some();
    let rest = metadata.as_map().iter();
    let rest = rest.filter(|(name, value)| {
        let is_shown = is_refusal && shown.contains(&name.as_str());
        let is_alone = *name == "count" && value.as_u64() == Some(1);
        !(is_shown || is_alone)
    });
    let rest: Vec<_> = rest.collect();
    html! {
        @if !rest.is_empty() {
            h2 { "Details" }
            div.sheet {
                dl.facts {
                    @for (name, value) in rest {
                        dt { (name.replace('_', " ")) }
                        dd { (value.as_str().map_or_else(|| value.to_string(), str::to_owned)) }
                    }
                }
            }
        }
    }
}

fn proof(visit: &Visit, reach: &Reach, looked: &Looked) -> Markup {
    let id = looked.event.id;
    let below = match (reach.tenant, visit.tenant.as_deref()) {
        (Some(_), Some(slug)) => format!("/admin/v1/tenants/{slug}/audit/events/{id}/proof"),
        _ => format!("/admin/v1/audit/events/{id}/proof"),
    };
    html! {
        h2 { "Proof" }
        @match &looked.proof {
            None => {
                div.sheet { p { "The event has no place in the signed log yet. It gets one within a second or two: open the page again." } }
            }
            Some(proof) => {
                div.sheet {
                    p { (mark(Status::Good, "holds")) " Entry " (number(proof.index.saturating_add(1))) " of " (number(looked.size)) " in the log, under a head that is signed. It was verified for this page." }
                    p { a href=(visit.to_own(&below)) { "The proof as text" } ", for " code { "portcullis audit verify --proof" } " or any reader of c2sp.org/tlog-proof." }
                    details { summary { "Show it" } pre tabindex="0" { (proof.text()) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_a_form_is_utc() {
        let expected: Timestamp = "2026-11-27T23:05:00Z".parse().unwrap();
        for text in [
            "2026-11-27T23:05",
            "2026-11-27T23:05:00",
            "2026-11-27T23:05:00Z",
        ] {
            assert_eq!(time(text).unwrap(), expected, "{text}");
        }
        assert!(time("yesterday").is_err() && time("").is_err());
    }

    #[test]
    fn a_question_is_written_back_as_it_was_asked() {
        let asked = Asked {
            action: "access.denied".to_owned(),
            since: "2026-11-27T23:05".to_owned(),
            tenant: " \"&x=1 ".to_owned(),
            ..Asked::default()
        };
        let address = asked.address("/audit", Some("1.2"));
        assert_eq!(
            address,
            "/audit?action=access%2Edenied&tenant=%22%26x%3D1&since=2026%2D11%2D27T23%3A05&after=1.2"
        );
        assert_eq!(Asked::default().address("/audit", None), "/audit");
    }
}
