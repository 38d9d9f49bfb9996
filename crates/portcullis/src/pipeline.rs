//! The journey of a request, from top to bottom.
//!
//! ```text
//! accept -> route -> address limit -> authenticate -> csrf -> quota -> authorize     (decide)
//!                                           -> screen body -> forward -> harden      (carry out)
//! ```
//!
//! Each stage takes what an earlier one proved, and `?` is the only short circuit. [`decide`] looks
//! at the request's head alone, so the same function answers for a proxy that asks beside the path.
//! [`carry_out`] needs the [`Permit`] that only the decision makes. Why the order is this one:
//!
//! - Cheap before dear, and what an anonymous flood can cause before what needs a look-up.
//! - Address limits stand before authentication, so that guessing credentials is paid for. Where
//!   memory knows who calls there is nothing to guess, and they are taken together with the quota.
//! - CSRF stands after authentication, because only a request with a live session can be forged in
//!   somebody's name, and before the quota, so that another site cannot spend a user's quota.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use portcullis_access::policy::{Cors as RouteCors, Csrf as RouteCsrf, Route};
use portcullis_core::binding::Asked;
use portcullis_core::{Permit, Principal, Problem, Scheme, Span, path, problem};
use portcullis_edge::forward::WebSocketAsked;
use portcullis_edge::headers::{Forwarded, clean_request, remove_cookies};
use portcullis_edge::{Body, ClientAddr, Crowded, Inbound, Peer};
use portcullis_events::metrics::Stage;
use portcullis_guard::cors::{self, Cors, Foreign, Grant};
use portcullis_guard::csrf::is_safe;
use portcullis_guard::{Own, https};

use crate::credentials::{Caller, Proof};
use crate::lane::Lane;
use crate::snapshot::{Found, RouteGuards, Snapshot};
use crate::story::Story;
use crate::toll::{Charged, Toll};
use crate::{screen, streams, uploads, widget};

/// What came of a request that was not refused.
pub(crate) enum Decided<'s> {
    Permitted(Box<Permitted<'s>>),
    /// The gate itself answers: a redirect to https, a CORS preflight.
    Answered(Response<Bytes>),
}

/// A request that may go on, and everything that was learned on the way.
pub(crate) struct Permitted<'s> {
    permit: Permit,
    pub(crate) principal: Principal,
    pub(crate) proof: Proof,
    /// The header that bore the credential, where it was ours.
    pub(crate) spent: Option<HeaderName>,
    pub(crate) route: &'s Route,
    pub(crate) is_own: bool,
    pub(crate) client: ClientAddr,
    pub(crate) scheme: Scheme,
    /// The canonical path, where it differs from the one that was sent.
    rewritten: Option<String>,
    pub(crate) grant: Grant,
    pub(crate) charged: Charged,
}

/// The whole journey of one request.
pub(crate) async fn journey<'s>(
    lane: &Lane,
    snapshot: &'s Snapshot,
    inbound: Box<Inbound>,
    story: &mut Story<'s>,
) -> Result<Response<Body>, Problem> {
    let decided = decide(lane, snapshot, &inbound.head, &inbound.peer, story).await;
    if decided.is_err() {
        let is_apart =
            |route: &Route| matches!(route.cors, RouteCors::Never) || route.is_called_by_widget;
        if !story.route.is_some_and(is_apart) {
            story.grant = snapshot.cors.grant_for_refusal(&inbound.head.headers);
        } else if story.route.is_some_and(|route| route.is_called_by_widget) {
            story.grant = lane.grant_for_widget(&inbound.head);
        }
    }
    match decided? {
        Decided::Answered(response) => Ok(response.map(Body::full)),
        Decided::Permitted(permitted) => carry_out(lane, snapshot, permitted, inbound, story).await,
    }
}

/// Everything that is decided on the head: who calls, how often, from where, and whether they may.
pub(crate) async fn decide<'s>(
    lane: &Lane,
    snapshot: &'s Snapshot,
    head: &Parts,
    peer: &Peer,
    story: &mut Story<'s>,
) -> Result<Decided<'s>, Problem> {
    // accept: one host, one path, one client address, or 400 and 421
    story.stage = Stage::Accept;
    let client = snapshot.trusted.client(peer, &head.headers);
    let scheme = snapshot.trusted.scheme(peer, &head.headers);
    story.client = client.ip();
    let place = snapshot.hosts.check(head, scheme)?;
    let path = path::canonicalize(head.uri.path())
        .map_err(|error| Problem::new(&problem::AMBIGUOUS_PATH).detail(error.to_string()))?;
    if let https::Outcome::Redirect(location) =
        https::check(head, place, snapshot.mode, snapshot.https_port)?
    {
        return Ok(Decided::Answered(redirect(location)));
    }

    // route: what no route names is refused, but not before the flood of such requests is counted
    story.stage = Stage::Route;
    let preflight = requested_method(head);
    let method = preflight.as_ref().unwrap_or(&head.method);
    let found = snapshot.find(place.authority.host, method, &path);
    let guards = guards(snapshot, found.as_ref().ok(), preflight.is_some());
    story.route = found.as_ref().ok().map(|found| found.route);

    // address limit: 429, and 503 where the whole gate has its hands full. That is for products'
    // requests alone: whoever is overrun must still be able to sign out and revoke, and to see health.
    story.stage = Stage::AddressLimit;
    let is_for_product = found.as_ref().is_ok_and(|found| !found.is_own);
    if is_for_product && head.extensions.get::<Crowded>().is_some() {
        return Err(Problem::new(&problem::OVERLOADED).retry_after(Span::from_seconds(1)));
    }
    // SECURITY: before anybody is looked up, so that nobody is let through while an incident goes on,
    // whoever they are. The gate's own paths are never frozen: by them people sign out and revoke.
    if is_for_product && lane.gate.alarm.is_frozen(&path) {
        story.stage = Stage::Route;
        return Err(Problem::new(&problem::ROUTE_FROZEN).retry_after(Span::from_minutes(1)));
    }
    let counters = &lane.gate.counters;
    let whence = (client.ip(), story.at);
    let mut toll = Toll::new(counters, snapshot, &guards.limits, &path, whence);
    let passed = match &found {
        Ok(found) => pass(lane, snapshot, found, head, place, &mut toll, story).await,
        Err(denied) => {
            story.stage = Stage::Route;
            Err(denied.clone().into())
        }
    };

    // quota: 429, counted by who is calling, and whatever is not paid yet
    let settled = toll
        .settle(passed.as_ref().ok().and_then(Passed::principal))
        .await;
    if let Some(stage) = toll.refused_at() {
        story.stage = stage;
    }
    if let (Some(trace), Some((began, ended))) = (&story.trace, toll.look_up()) {
        trace.part("look up", began, ended);
    }
    settled?;
    let (caller, grant) = match passed? {
        Passed::Preflight(headers) => {
            story.is_preflight = true;
            return Ok(Decided::Answered(preflight_answer(headers)));
        }
        Passed::Caller(caller, grant) => (caller, grant),
    };
    let Found {
        route,
        params,
        is_own,
    } = found?;

    // authorize: 401, 403, 404
    story.stage = Stage::Authorize;
    let at = lane.place_of(&caller.principal).await?;
    let agreed = lane.agreed(&route.rule, &caller.principal).await?;
    let asked = Asked {
        params: &params,
        host: place.authority.host,
        headers: Some(&head.headers),
        place: at.as_deref(),
        agreed: agreed.as_deref().unwrap_or_default(),
        now: story.at,
    };
    let policy = &snapshot.set(is_own).policy;
    let permit = policy
        .decide(route, &caller.principal, &asked)
        .inspect_err(|denied| story.denied = Some(denied.clone()))?;
    let rewritten = match &path {
        Cow::Borrowed(_) => None,
        Cow::Owned(canonical) => Some(canonical.clone()),
    };
    Ok(Decided::Permitted(Box::new(Permitted {
        permit,
        principal: caller.principal,
        proof: caller.proof,
        spent: caller.spent,
        route,
        is_own,
        client,
        scheme,
        rewritten,
        grant,
        charged: toll.into_charged(),
    })))
}

/// Whoever came past the checks that look at where a request comes from.
enum Passed {
    Caller(Caller, Grant),
    Preflight(HeaderMap),
}

impl Passed {
    const fn principal(&self) -> Option<&Principal> {
        match self {
            Passed::Caller(caller, _) => Some(&caller.principal),
            Passed::Preflight(_) => None,
        }
    }
}

/// From which page the request comes, and in whose name.
async fn pass<'s>(
    lane: &Lane,
    snapshot: &Snapshot,
    found: &Found<'s, '_>,
    head: &Parts,
    place: Own<'_>,
    toll: &mut Toll<'_>,
    story: &mut Story<'s>,
) -> Result<Passed, Problem> {
    story.stage = Stage::Route;
    let grant = match check_origin(lane, snapshot, found, head, place, toll, story).await? {
        cors::Outcome::Preflight(headers) => return Ok(Passed::Preflight(headers)),
        cors::Outcome::Pass(grant) => grant,
    };

    // authenticate: who is calling; a credential that is no longer good makes nobody of them
    story.stage = Stage::Authenticate;
    let caller = identify(lane, snapshot, head, toll, story).await?;
    story.set_caller(&caller.principal, caller.is_stale);
    story.lacks_csrf = caller.proof.session().filter(|session| {
        head.method == Method::GET
            && accepts_html(&head.headers)
            && !snapshot.csrf.has_token(&head.headers, session)
    });

    // csrf: 403 where another site speaks in the caller's name
    story.stage = Stage::Csrf;
    check_csrf(snapshot, found.route, found.is_own, head, place, &caller)?;
    Ok(Passed::Caller(caller, grant))
}

/// Who is calling, with a session that is in a stranger's hands taken away from them.
async fn identify(
    lane: &Lane,
    snapshot: &Snapshot,
    head: &Parts,
    toll: &mut Toll<'_>,
    story: &mut Story<'_>,
) -> Result<Caller, Problem> {
    let mut caller = lane.authenticate(snapshot, head, toll).await?;
    // SECURITY: before anything is done in the session's name.
    if let Some(stranger) = lane.stranger(&caller, &head.headers) {
        toll.pay().await?;
        caller = Box::pin(lane.turn_away(caller, stranger, story.client, story.id)).await;
    }
    if let Proof::CarriedOver(hash) = caller.proof {
        toll.pay().await?;
        story.renewal = Box::pin(lane.renewal(hash)).await;
    }
    if let Principal::ApiKey(key) = &caller.principal {
        lane.gate.keys.seen(key, story.client, story.id);
    }
    Ok(caller)
}

/// The permitted request goes to whoever answers it, and the answer is made fit for the client.
async fn carry_out<'s>(
    lane: &Lane,
    snapshot: &'s Snapshot,
    mut permitted: Box<Permitted<'s>>,
    mut inbound: Box<Inbound>,
    story: &mut Story<'s>,
) -> Result<Response<Body>, Problem> {
    let guards = snapshot.guards(permitted.is_own, permitted.route.id);
    story.grant = std::mem::take(&mut permitted.grant);

    // screen body: 413, at once where the length is told, else as it streams; 404, 415 and 422 where
    // the product's own description asks for something else
    story.stage = Stage::Body;
    screen::bound(guards, &mut inbound)?;
    // Boxed, as all that is rare: room for it here would be copied with every request.
    if let Some(requests) = &guards.requests {
        let rewritten = permitted.rewritten.as_deref();
        Box::pin(screen::hold_against(
            lane,
            requests,
            guards,
            rewritten,
            &mut inbound,
        ))
        .await?;
    }
    let screened = match &guards.upload {
        None => None,
        Some(rules) => {
            Box::pin(uploads::screen(
                lane,
                snapshot,
                rules,
                &permitted,
                &mut inbound,
                story,
            ))
            .await?
        }
    };

    // forward: 502, 503, 504
    story.stage = Stage::Forward;
    if let Some(canonical) = &permitted.rewritten {
        inbound.head.uri = with_path(&inbound.head.uri, canonical)?;
    }
    story.charged = Some(std::mem::take(&mut permitted.charged));
    let rule = &permitted.route.rule;
    let (response, principal, proof) = if permitted.is_own {
        // Boxed, as all that is rare: room for it here would be copied with every request.
        let roles = Arc::clone(snapshot.product.policy.roles());
        let limit = guards.max_body.as_usize();
        let (principal, proof) = (permitted.principal.clone(), permitted.proof);
        let answer = lane.answer_ourselves(*permitted, *inbound, limit, roles, story);
        (Box::pin(answer).await?, principal, proof)
    } else {
        prepare(lane, snapshot, guards, &permitted, &mut inbound.head, story)?;
        let mut pending = None;
        if let Some(screened) = screened {
            // After the client's own headers of that name were taken out.
            let headers = &mut inbound.head.headers;
            headers.insert(uploads::RECEIPT, screened.receipt);
            pending = screened.pending.map(Box::new);
        }
        let upstream = snapshot
            .upstreams
            .get(permitted.route.upstream)
            .ok_or_else(|| Problem::new(&problem::INTERNAL_ERROR))?;
        let Permitted {
            permit,
            principal,
            proof,
            route,
            ..
        } = *permitted;
        let response = lane
            .forward(permit, upstream, route.timeout, inbound, story)
            .await;
        // Files that the gate keeps stay where the product took them.
        match (pending, &response) {
            (None, _) => {}
            (Some(pending), Ok(response)) => {
                Box::pin(pending.settle(lane, response.status())).await;
            }
            (Some(pending), Err(problem)) => Box::pin(pending.forget(lane, problem)).await,
        }
        (response?, principal, proof)
    };
    let response = if streams::is_endless(&response) {
        Box::pin(lane.bind_to_caller(rule, &principal, proof, response)).await?
    } else {
        response
    };

    // harden happens in the shell, for refusals as well
    story.stage = Stage::Harden;
    Ok(response)
}

/// What guards the route, where there is one.
fn guards<'s>(
    snapshot: &'s Snapshot,
    found: Option<&Found<'_, '_>>,
    is_preflight: bool,
) -> &'s RouteGuards {
    match found {
        // A browser asks before each visit that begins, and a visit is to cost its page one.
        Some(found) if is_preflight && found.route.is_called_by_widget => &snapshot.unrouted,
        Some(found) => snapshot.guards(found.is_own, found.route.id),
        None => &snapshot.unrouted,
    }
}

/// Which pages may call, and whose widget it is where the route belongs to one.
async fn check_origin<'s>(
    lane: &Lane,
    snapshot: &Snapshot,
    found: &Found<'s, '_>,
    head: &Parts,
    place: Own<'_>,
    toll: &mut Toll<'_>,
    story: &mut Story<'s>,
) -> Result<cors::Outcome, Problem> {
    let route = found.route;
    if let Some(param) = &route.widget {
        story.widget = Box::pin(lane.widget(&found.params, param, toll)).await?;
    }
    if !route.is_called_by_widget {
        return check_cors(snapshot, route, found.is_own, head, place);
    }
    let is_named = |origin: &[u8]| {
        let widget = story.widget.as_ref();
        widget.is_some_and(|widget| widget.admits(origin))
    };
    Ok(cors::widget::check(head, is_named)?)
}

fn check_cors(
    snapshot: &Snapshot,
    route: &Route,
    is_own: bool,
    head: &Parts,
    place: Own<'_>,
) -> Result<cors::Outcome, Problem> {
    let foreign = match route.csrf {
        RouteCsrf::Exempt if !is_own => Foreign::Pass,
        // Judged by the CSRF stage; what it may read is still for the list to say.
        RouteCsrf::Required if snapshot.csrf.trusts(&head.headers) => Foreign::Pass,
        RouteCsrf::Exempt | RouteCsrf::Required => Foreign::Refuse,
    };
    let cors = match route.cors {
        RouteCors::AsConfigured => &snapshot.cors,
        RouteCors::Never => &snapshot.no_cors,
    };
    Ok(cors.check(head, place, foreign)?)
}

/// The method that a CORS preflight asks for: its route decides, not that of `OPTIONS`.
fn requested_method(head: &Parts) -> Option<Method> {
    if head.method != Method::OPTIONS || !head.headers.contains_key(header::ORIGIN) {
        return None;
    }
    Method::from_bytes(
        head.headers
            .get(header::ACCESS_CONTROL_REQUEST_METHOD)?
            .as_bytes(),
    )
    .ok()
}

fn check_csrf(
    snapshot: &Snapshot,
    route: &Route,
    is_own: bool,
    head: &Parts,
    place: Own<'_>,
    caller: &Caller,
) -> Result<(), Problem> {
    widget::check_home(head, place, &caller.principal)?;
    let session = caller.proof.session();
    // SECURITY: a WebSocket handshake is a GET that opens a channel for writing, and browsers send
    // cookies with it from any page (CWE-1385). No page can add a header, so its Origin decides.
    if session.is_some() && head.extensions.get::<WebSocketAsked>().is_some() {
        return Ok(snapshot.csrf.check_origin(head, place)?);
    }
    if is_safe(&head.method) {
        return Ok(());
    }
    if route.is_called_by_widget {
        // Which page it comes from is settled, and it is in nobody's name.
        return Ok(());
    }
    match (route.csrf, session) {
        (RouteCsrf::Required, Some(session)) => Ok(snapshot.csrf.check(head, place, &session)?),
        // Signing in and out, with a session or without: the page must be the product's own.
        (RouteCsrf::Exempt, _) if is_own => Ok(snapshot.csrf.check_origin(head, place)?),
        (RouteCsrf::Required, None) => Ok(snapshot.csrf.check_unauthenticated(head, place)?),
        (RouteCsrf::Exempt, _) => Ok(()),
    }
}

/// Takes from the head what the client may not say, and adds what the gate knows.
fn prepare(
    lane: &Lane,
    snapshot: &Snapshot,
    guards: &RouteGuards,
    permitted: &Permitted<'_>,
    head: &mut Parts,
    story: &Story<'_>,
) -> Result<(), Problem> {
    let headers = &mut head.headers;
    let mut id = uuid::Uuid::encode_buffer();
    let request_id = story.id.as_uuid().hyphenated().encode_lower(&mut id);
    clean_request(
        headers,
        &Forwarded {
            client: permitted.client,
            scheme: permitted.scheme,
            request_id,
            host: false,
        },
    );
    remove_cookies(headers, |name| snapshot.is_our_cookie(name));
    // SECURITY: a credential of ours would let the product, and whoever reads its logs, act as the caller.
    if let Some(spent) = &permitted.spent {
        headers.remove(spent);
    }
    if snapshot.headers.wants_identity(&guards.headers) && accepts_html(headers) {
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
    }
    let assertion = lane.assertion(snapshot, permitted, story.at)?;
    headers.insert(snapshot.assertion.header.clone(), assertion);
    Ok(())
}

/// Only pages get nonces; scripts, pictures and API answers may stay compressed.
fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| {
        accept
            .as_bytes()
            .windows(9)
            .any(|part| part.eq_ignore_ascii_case(b"text/html"))
    })
}

fn with_path(uri: &Uri, path: &str) -> Result<Uri, Problem> {
    let target = match uri.query() {
        Some(query) => Cow::Owned(format!("{path}?{query}")),
        None => Cow::Borrowed(path),
    };
    target.parse().map_err(Problem::internal)
}

fn redirect(location: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(header::LOCATION, location);
    response
}

fn preflight_answer(headers: HeaderMap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = Cors::PREFLIGHT_STATUS;
    *response.headers_mut() = headers;
    response
}
