//! Around the journey: the request id, the deadline for panics, and the one way out.
//!
//! Whatever happened inside, exactly one answer leaves here, hardened, logged, counted, and, where
//! it was a refusal, on its way to the audit trail. A panic is a 500 for its own request alone.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri, header};
use http_body_util::BodyExt as _;
use portcullis_access::config::Framing as RouteFraming;
use portcullis_access::policy::Route;
use portcullis_console::api::Streamed;
use portcullis_core::{Problem, Scheme, problem};
use portcullis_edge::body::BodyError;
use portcullis_edge::{Arrival, Body, Inbound};
use portcullis_events::access_log::Line;
use portcullis_events::metrics::Exit;
use portcullis_events::traces::{Ended, Trace};
use portcullis_guard::headers::{Nonce, NonceBody, Source, framing};
use portcullis_guard::rate_limit;
use portcullis_vault::TokenHash;

use crate::answer::{self, Frame, Prefers};
use crate::error_reports::Report;
use crate::lane::Lane;
use crate::snapshot::Snapshot;
use crate::story::Story;
use crate::{forward_auth, own, panics, pipeline};

/// Answers one arrival, whatever it is.
pub(crate) async fn answer(lane: &Lane, arrival: Arrival) -> Response<Body> {
    let snapshot = lane.gate.snapshot.load();
    let at = lane.gate.clock.now();
    let id = lane.ids.next(at);
    lane.metrics.started();
    match arrival {
        Arrival::Malformed { reason, peer } => {
            let mut story = Story::new(id, at, peer.addr.ip());
            story.trace = lane.trace(at, &Method::GET, None, || false);
            let told = Told {
                method: Method::GET,
                target: Uri::from_static("*"),
                accept: None,
                scheme: scheme(peer.tls),
            };
            finish(lane, &snapshot, Err(reason.into()), &mut story, &told)
        }
        Arrival::Request(mut inbound) => {
            let question = forward_auth::question(&snapshot, &mut inbound);
            let convention = question.as_ref().map(|question| question.convention);
            let peer = inbound.peer.addr.ip();
            let mut story = Story::new(id, at, peer);
            let head = &inbound.head;
            story.trace = lane.trace(at, &head.method, Some(&head.headers), || {
                snapshot.trusted.trusts(peer)
            });
            let told = Told::of(
                &inbound,
                snapshot
                    .trusted
                    .scheme(&inbound.peer, &inbound.head.headers),
            );
            // A panic unwinds through values that are dropped with this request; the lane's own state
            // is in cells that are whole between awaits.
            let journey = async {
                match question {
                    None => pipeline::journey(lane, &snapshot, inbound, &mut story).await,
                    Some(question) => {
                        forward_auth::answer(lane, &snapshot, question, inbound, &mut story).await
                    }
                }
            };
            let outcome = AssertUnwindSafe(journey).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| {
                lane.gate.panicked();
                Err(Problem::internal(panics::last()))
            });
            let mut response = finish(lane, &snapshot, outcome, &mut story, &told);
            if let Some(convention) = convention {
                convention.speak(&mut response);
            }
            response
        }
    }
}

/// What the way out needs of a head that the journey has consumed.
pub(crate) struct Told {
    method: Method,
    target: Uri,
    accept: Option<HeaderValue>,
    scheme: Scheme,
}

impl Told {
    fn of(inbound: &Inbound, scheme: Scheme) -> Self {
        Told {
            method: inbound.head.method.clone(),
            target: inbound.head.uri.clone(),
            accept: inbound.head.headers.get(header::ACCEPT).cloned(),
            scheme,
        }
    }

    fn prefers(&self) -> Prefers {
        Prefers::of(self.accept.as_ref())
    }
}

const fn scheme(tls: bool) -> Scheme {
    if tls { Scheme::Https } else { Scheme::Http }
}

fn finish(
    lane: &Lane,
    snapshot: &Snapshot,
    outcome: Result<Response<Body>, Problem>,
    story: &mut Story<'_>,
    told: &Told,
) -> Response<Body> {
    let exit = exit(&outcome, story);
    let slug = outcome.as_ref().err().map(|problem| problem.kind.slug);
    let response = match outcome {
        Ok(response) => response,
        Err(problem) => refuse(lane, &problem, story, told),
    };
    let response = harden(snapshot, response, story, told);
    let status = response.status().as_u16();
    lane.metrics.finished(exit, status);
    let route = story.route.map(|route| route.path.as_str());
    lane.metrics.used(route, status);
    let trace = story.trace.as_deref().map(Trace::id);
    end_trace(lane, story, told, status, slug);
    if let Some(log) = &lane.log {
        log.line(&Line {
            at: story.at,
            request: story.id,
            method: told.method.as_str(),
            route: story.route.map(|route| route.path.as_str()),
            path: told.target.path(),
            status,
            problem: slug,
            principal: story.principal,
            client: story.client,
            duration: Duration::from(lane.gate.clock.now().since(story.at)),
            bytes: http_body::Body::size_hint(response.body())
                .exact()
                .unwrap_or(0),
            upstream: story.upstream.map(portcullis_edge::Upstream::name),
            trace,
        });
    }
    response
}

fn end_trace(
    lane: &Lane,
    story: &mut Story<'_>,
    told: &Told,
    status: u16,
    problem: Option<&'static str>,
) {
    let Some(trace) = story.trace.take() else {
        return;
    };
    trace.end(&Ended {
        at: lane.gate.clock.now(),
        request: story.id,
        method: &told.method,
        scheme: told.scheme,
        route: story.route.map(|route| route.path.as_str()),
        stage: story.stage.as_str(),
        status,
        problem,
        denied: story.denied.as_ref(),
    });
}

fn exit(outcome: &Result<Response<Body>, Problem>, story: &Story<'_>) -> Exit {
    match outcome {
        Ok(_) if story.upstream.is_some() => Exit::Forwarded,
        Ok(_) => Exit::Own,
        Err(problem) if problem.kind.status.is_server_error() => Exit::Failed,
        Err(_) => Exit::Refused,
    }
}

/// What is refused because somebody said so, or because there is too much of it: no fault of anything.
fn is_on_purpose(kind: &problem::Kind) -> bool {
    kind == &problem::OVERLOADED || kind == &problem::ROUTE_FROZEN
}

/// The answer to a refusal, which is also an event and a count, and, for a 5xx, a log line with the cause.
fn refuse(lane: &Lane, problem: &Problem, story: &mut Story<'_>, told: &Told) -> Response<Body> {
    lane.metrics.refused(problem.kind, story.stage);
    // What is shed is counted above; a line for each would be one more load.
    if problem.kind.status.is_server_error() && !is_on_purpose(problem.kind) {
        let cause = problem.cause.as_ref().map(|cause| chain(&**cause));
        let safe = cause.as_deref().map(portcullis_events::redact::text);
        tracing::error!(request_id = %story.id, problem = problem.kind.slug, stage = story.stage.as_str(), cause = safe.as_deref().unwrap_or("-"), "request failed");
        report(lane, problem, story, cause.unwrap_or_default());
    }
    if let Some(event) = story.refusal_event(problem.kind, told.method.as_str()) {
        lane.gate.trail.note(event);
    }
    let sign_in = sign_in_link(told);
    let second_factor = sign_in.replacen(own::SIGN_IN, own::SECOND_FACTOR, 1);
    if told.prefers() == Prefers::Html {
        story.own_nonce = Nonce::generate();
    }
    let nonce = story
        .own_nonce
        .as_ref()
        .map(|nonce| portcullis_console::Nonce(nonce.as_str().into()));
    let frame = Frame {
        sign_in: &sign_in,
        second_factor: &second_factor,
        nonce: nonce.as_ref(),
    };
    if told.prefers() == Prefers::Html && leads_to_sign_in(problem, told) {
        return answer::see_other(&sign_in).map(Body::full);
    }
    if told.prefers() == Prefers::Html && leads_to_choice(problem, told) {
        let choose = sign_in.replacen(own::SIGN_IN, own::CHOOSE_TENANT, 1);
        return answer::see_other(&choose).map(Body::full);
    }
    answer::problem(problem, story.id, told.prefers(), frame).map(Body::full)
}

/// To whoever gathers errors. What a client alone brings about (a method that nobody speaks) is none.
fn report(lane: &Lane, problem: &Problem, story: &Story<'_>, cause: String) {
    let Some(reports) = &lane.gate.reports else {
        return;
    };
    if problem.kind == &problem::METHOD_NOT_SUPPORTED {
        return;
    }
    reports.send(Report {
        at: story.at,
        request: Some(story.id),
        kind: problem.kind.slug,
        stage: story.stage.as_str(),
        route: story.route.map(|route| route.path.as_str().to_owned()),
        cause,
    });
}

/// Whoever opens the console and is nobody is sent to sign in, and back.
fn leads_to_sign_in(problem: &Problem, told: &Told) -> bool {
    problem.kind == &problem::AUTHENTICATION_REQUIRED
        && told.method == Method::GET
        && own::has_root(told.target.path(), own::CONSOLE)
}

/// Whoever works in no tenant, where one is asked for, is sent to choose one, and back.
fn leads_to_choice(problem: &Problem, told: &Told) -> bool {
    problem.kind == &problem::TENANT_REQUIRED && told.method == Method::GET
}

/// An error and its sources, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes: Vec<String> = std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect();
    causes.join(": ")
}

fn sign_in_link(told: &Told) -> String {
    let next: String =
        url::form_urlencoded::byte_serialize(told.target.path().as_bytes()).collect();
    format!("{}?next={next}", own::SIGN_IN)
}

fn nonce_body(
    body: Body,
    rewrite: &portcullis_guard::headers::Rewrite,
) -> impl http_body::Body<Data = Bytes, Error = BodyError> + 'static {
    NonceBody::new(body, rewrite).map_err(|error| match error.downcast::<BodyError>() {
        Ok(error) => *error,
        Err(error) => BodyError::Other(error),
    })
}

/// Headers that every answer bears, whoever wrote it.
fn harden(
    snapshot: &Snapshot,
    response: Response<Body>,
    story: &Story<'_>,
    told: &Told,
) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
        return Response::from_parts(head, body);
    }
    let is_own = story.upstream.is_none();
    if !is_own {
        snapshot.drop_our_cookies(&mut head.headers);
    }
    let guards = match (story.route, is_own) {
        (Some(route), false) => snapshot.guards(false, route.id),
        (Some(_) | None, _) => &snapshot.unrouted,
    };
    if !story.is_preflight {
        snapshot.cors.finish(&story.grant, &mut head.headers);
    }
    if let Some(charged) = &story.charged {
        rate_limit::write_headers(
            &snapshot.limits,
            &charged.charges,
            &charged.spent,
            &mut head.headers,
        );
    }
    if let Some(session) = &story.lacks_csrf {
        give_csrf_cookie(snapshot, session, &mut head.headers, told.scheme);
    }
    // Not where a shared cache may keep the answer: it would hand the session to others.
    if !story.renewal.is_empty() && !may_be_shared(&head.headers) {
        for value in &story.renewal {
            head.headers.append(header::SET_COOKIE, value.clone());
        }
    }
    if story.stale_session {
        take_back_cookies(snapshot, &mut head.headers, told.scheme);
    }
    let source = match &story.own_nonce {
        Some(nonce) => Source::Own(nonce),
        None => Source::Upstream,
    };
    let hardened =
        snapshot
            .headers
            .harden(&guards.headers, told.scheme, source, &mut head, story.id);
    if head.extensions.get::<Streamed>() == Some(&Streamed::Download) {
        portcullis_guard::headers::download(&mut head.headers);
    }
    if let Some(route) = story.route {
        loosen(route, story, &mut head.headers);
    }
    match hardened {
        Ok(None) => Response::from_parts(head, body),
        Ok(Some(rewrite)) => Response::from_parts(head, Body::stream(nonce_body(body, &rewrite))),
        Err(error) => {
            tracing::error!(request_id = %story.id, %error, "an answer could not be hardened");
            let problem = Problem::new(&problem::INTERNAL_ERROR);
            let frame = Frame {
                sign_in: own::SIGN_IN,
                second_factor: own::SECOND_FACTOR,
                nonce: None,
            };
            answer::problem(&problem, story.id, told.prefers(), frame)
                .map(|bytes: Bytes| Body::full(bytes))
        }
    }
}

/// What other sites may do with this answer: the tenant's pages show it in a frame, all pages load it.
fn loosen(route: &Route, story: &Story<'_>, headers: &mut HeaderMap) {
    if let (Some(RouteFraming::Tenant(_)), Some(widget)) = (&route.framing, &story.widget) {
        framing::open_to(&widget.ancestors, headers);
    }
    if route.is_shared {
        framing::share(headers);
    }
}

/// A page of a live session that bears no token of its own gets one, for the requests that its script
/// will send. Not where a shared cache may keep the answer.
fn give_csrf_cookie(
    snapshot: &Snapshot,
    session: &TokenHash,
    headers: &mut HeaderMap,
    scheme: Scheme,
) {
    if !says(headers, &header::CONTENT_TYPE, &["text/html"]) || may_be_shared(headers) {
        return;
    }
    if let Ok(token) = snapshot.csrf.issue(session)
        && let Some(value) = snapshot.csrf.set_cookie(&token, scheme)
    {
        headers.append(header::SET_COOKIE, value);
    }
}

/// A dead session's cookies, unless the answer brings a new one. Not where a shared cache may keep the
/// answer: it would sign others out.
fn take_back_cookies(snapshot: &Snapshot, headers: &mut HeaderMap, scheme: Scheme) {
    let brings_one = headers
        .get_all(header::SET_COOKIE)
        .iter()
        .any(|value| snapshot.is_session_cookie(value.as_bytes()));
    if brings_one || may_be_shared(headers) {
        return;
    }
    for value in snapshot
        .cookies
        .clear_values()
        .chain(snapshot.csrf.clear_cookie(scheme))
    {
        headers.append(header::SET_COOKIE, value);
    }
}

fn may_be_shared(headers: &HeaderMap) -> bool {
    says(headers, &header::CACHE_CONTROL, &["public", "s-maxage"])
}

/// Whether a header has one of these words, given in lower case.
fn says(headers: &HeaderMap, name: &HeaderName, words: &[&str]) -> bool {
    let values = headers.get_all(name).iter();
    values.filter_map(|value| value.to_str().ok()).any(|text| {
        let text = text.to_ascii_lowercase();
        words.iter().any(|word| text.contains(word))
    })
}
