//! Where a body is files: the journey waits here until all of it was screened, and what goes on is what was
//! screened, with a receipt.
//!
//! The lane reads the client, the back runtime does the rest. Names of files are in the receipt and nowhere
//! else: they tell of people, and the log and the audit trail do without.

pub(crate) mod stored;

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use portcullis_access::config::RouteConfig;
use portcullis_core::finding::Finding;
use portcullis_core::principal::CallerKind;
use portcullis_core::{Mode, Problem, RequestId, TenantId, problem};
use portcullis_edge::body::BodyError;
use portcullis_edge::forward::WebSocketAsked;
use portcullis_edge::{Body, Inbound};
use portcullis_events::audit::{Action, Event, Outcome, Target};
use portcullis_events::metrics::{Dependency, UploadMark};
use portcullis_guard::uploads::{Accepted, Chunk, Error, Facts, Rules, Shape, Taken, Uploads};
use portcullis_vault::signing::UPLOAD_TYPE;
use serde::Serialize;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::config::Config;
use crate::lane::Lane;
use crate::pipeline::Permitted;
use crate::snapshot::Snapshot;
use crate::story::Story;
use crate::uploads::stored::Pending;

/// What tells the product that the body was screened, and what is in it.
pub(crate) const RECEIPT: HeaderName = HeaderName::from_static("x-portcullis-upload");

/// How long a receipt is good, in seconds: the product may check it when the file has arrived.
const LIFETIME: i64 = 300;

/// Pieces of a body that wait for the disk.
const WAITING: usize = 4;

/// The limits of a route, with the one that counts uploads.
pub(crate) fn limits(route: &RouteConfig) -> Vec<String> {
    let mut names = route.limits.clone();
    if route.upload.is_some() {
        if names.is_empty() {
            names.push("default".to_owned());
        }
        names.push("uploads".to_owned());
    }
    names
}

/// What the route takes. The outer option is nothing where that cannot be compiled.
#[expect(
    clippy::option_option,
    reason = "a mistake and a route without uploads are two things"
)]
pub(crate) fn rules(
    route: &RouteConfig,
    key: &str,
    findings: &mut Vec<Finding>,
) -> Option<Option<Arc<Rules>>> {
    let Some(written) = &route.upload else {
        return Some(None);
    };
    let rules = Rules::compile(written, &format!("{key}.upload"));
    let rules = rules.map_err(|more| findings.extend(more)).ok()?;
    if route.max_body.is_some_and(|size| size < written.max_size) {
        findings.push(
            Finding::error(
                "upload-size",
                format!("{key}.max-body"),
                "it is less than the largest file that upload.max-size allows",
            )
            .remedy("leave max-body out: it follows from upload.max-size and upload.max-files"),
        );
    }
    let is_safe = |method: &String| ["GET", "HEAD", "OPTIONS"].contains(&method.as_str());
    if route
        .methods
        .as_ref()
        .is_none_or(|methods| methods.iter().any(is_safe))
    {
        findings.push(
            Finding::warning(
                "upload-methods",
                format!("{key}.methods"),
                "every request on this route counts as an upload, also those that only read",
            )
            .remedy("give uploads a route of their own, with methods = [\"POST\"]"),
        );
    }
    Some(Some(Arc::new(rules)))
}

pub(crate) fn findings(config: &Config) -> Vec<Finding> {
    let routes = config
        .access
        .routes
        .iter()
        .any(|route| route.upload.is_some());
    let mut findings = config
        .uploads
        .findings(routes, config.mode == Mode::Production);
    findings.extend(store_findings(config));
    findings
}

/// What is wrong with `[upload-store]`, and with routes that need it.
fn store_findings(config: &Config) -> Vec<Finding> {
    let Some(store) = &config.upload_store else {
        let key = |(position, route): (usize, &RouteConfig)| {
            let stores = route.upload.as_ref().is_some_and(|upload| upload.store);
            stores.then(|| format!("route.{position}.upload.store"))
        };
        let message = "the route keeps files, and there is no `[upload-store]` to keep them in";
        let each = config.access.routes.iter().enumerate().filter_map(key);
        return each
            .map(|key| {
                Finding::error("upload-store", key, message).remedy(
                    "write [upload-store] and folder = \"uploads\", or take `store` out: then the files go on",
                )
            })
            .collect();
    };
    let findings = store.findings().into_iter();
    findings
        .map(|(key, message)| Finding::error("upload-store", key, message))
        .collect()
}

/// What goes on was screened.
pub(crate) struct Screened {
    pub(crate) receipt: HeaderValue,
    /// Files that the gate keeps.
    pub(crate) pending: Option<Pending>,
}

/// Takes the body out of `inbound`, and puts the screened one in its place. What comes back has the receipt;
/// nothing where there is no body.
pub(crate) async fn screen(
    lane: &Lane,
    snapshot: &Snapshot,
    rules: &Arc<Rules>,
    permitted: &Permitted<'_>,
    inbound: &mut Inbound,
    story: &Story<'_>,
) -> Result<Option<Screened>, Problem> {
    let head = &inbound.head;
    // SECURITY: what is said on a channel is in no body, and nobody would look at it.
    if head.extensions.get::<WebSocketAsked>().is_some() {
        return Err(Problem::new(&problem::UPLOAD_TYPE_REFUSED)
            .detail("Files are taken in the body of a request."));
    }
    let needs_none = [Method::GET, Method::HEAD, Method::OPTIONS, Method::DELETE];
    if inbound.body.is_empty() && needs_none.contains(&head.method) {
        return Ok(None);
    }
    let taken = take(lane, &snapshot.uploads, rules, inbound).await;
    match keep(lane, rules, taken, story).await {
        Ok((accepted, ids)) => {
            let receipt = receipt(lane, snapshot, permitted, (&accepted, &ids), story)?;
            tell_accepted(lane, &accepted, story);
            accepted.describe(&mut inbound.head.headers);
            let body = accepted.into_body(&lane.gate.back);
            let failed = |error| BodyError::Other(Box::new(error));
            inbound.body = Body::stream(http_body_util::BodyExt::map_err(body, failed));
            let pending = (!ids.is_empty()).then(|| Pending::new(ids, story));
            Ok(Some(Screened { receipt, pending }))
        }
        Err(Stopped::Upload(error)) => {
            tell_refused(lane, &error, story);
            Err(error.into())
        }
        Err(Stopped::Body(error)) => Err(error.into()),
        Err(Stopped::Gate(problem)) => {
            lane.gate.metrics.upload(UploadMark::Failed);
            Err(problem)
        }
    }
}

/// Where the gate keeps the files, they are kept here, and have ids.
async fn keep(
    lane: &Lane,
    rules: &Rules,
    taken: Result<Taken, Stopped>,
    story: &Story<'_>,
) -> Result<(Accepted, Vec<Uuid>), Stopped> {
    let accepted = match taken? {
        Taken::Accepted(accepted) => accepted,
        Taken::Held(held) => Box::pin(stored::hold(lane, held, rules.stores(), story)).await?,
    };
    if rules.stores() {
        Box::pin(stored::keep(lane, accepted, story)).await
    } else {
        Ok((accepted, Vec::new()))
    }
}

enum Stopped {
    Upload(Error),
    /// The client's body failed on its way here.
    Body(BodyError),
    Gate(Problem),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped::Upload(error)
    }
}

async fn take(
    lane: &Lane,
    uploads: &Arc<Uploads>,
    rules: &Arc<Rules>,
    inbound: &mut Inbound,
) -> Result<Taken, Stopped> {
    let shape = Shape::of(&inbound.head, rules)?;
    let place = uploads.place()?;
    let (sender, chunks) = mpsc::channel(WAITING);
    let (uploads, rules) = (Arc::clone(uploads), Arc::clone(rules));
    let work = lane.on_back(async move { uploads.take(&rules, shape, chunks, place).await });
    let mut work = std::pin::pin!(work);
    let pumping = pump(std::mem::take(&mut inbound.body), sender);
    tokio::select! {
        // Refused before all of it was read: the rest is not waited for.
        outcome = &mut work => return Ok(outcome.map_err(Stopped::Gate)??),
        pumped = pumping => pumped.map_err(Stopped::Body)?,
    }
    Ok(work.await.map_err(Stopped::Gate)??)
}

/// Hands the body over, piece by piece. Whoever takes it may stop to.
async fn pump(mut body: Body, to: mpsc::Sender<Chunk>) -> Result<(), BodyError> {
    use http_body_util::BodyExt as _;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if to.send(Chunk::Data(data)).await.is_err() {
            return Ok(());
        }
    }
    // Nobody listens where it was refused already.
    let _ = to.send(Chunk::End).await;
    Ok(())
}

/// The claims of a receipt. `sub` and `kind` are those of the assertion that goes with it.
#[derive(Serialize)]
struct Receipt<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    iat: i64,
    exp: i64,
    jti: String,
    /// `X-Request-Id` of the request that it goes with.
    request: RequestId,
    /// `clean`, `not-scanned` or `quarantined`.
    verdict: &'static str,
    /// The scanner and its signatures, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    scanner: Option<&'a str>,
    files: Vec<Claim<'a>>,
}

/// What the product is told of one file.
#[derive(Serialize)]
struct Claim<'a> {
    /// Where the gate keeps the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    upload: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    r#type: &'static str,
    media_type: &'static str,
    size: u64,
    sha256: &'a str,
}

impl<'a> Claim<'a> {
    fn of(facts: &'a Facts, upload: Option<Uuid>) -> Self {
        Claim {
            upload,
            field: facts.field.as_deref(),
            name: facts.name.as_deref(),
            r#type: facts.kind.as_str(),
            media_type: facts.kind.media_type(),
            size: facts.size,
            sha256: &facts.sha256,
        }
    }
}

fn receipt(
    lane: &Lane,
    snapshot: &Snapshot,
    permitted: &Permitted<'_>,
    (accepted, ids): (&Accepted, &[Uuid]),
    story: &Story<'_>,
) -> Result<HeaderValue, Problem> {
    let upstream = snapshot.upstreams.get(permitted.route.upstream);
    let upstream = upstream.ok_or_else(|| Problem::new(&problem::INTERNAL_ERROR))?;
    let now = lane.gate.clock.now();
    let seconds = now.as_seconds();
    let principal = &permitted.principal;
    let kind = principal.kind().map_or("anonymous", CallerKind::as_str);
    let id = story.caller.id();
    let claims = Receipt {
        iss: &snapshot.assertion.config.issuer,
        aud: upstream.name(),
        sub: id.map_or_else(|| "anonymous".to_owned(), |id| id.to_string()),
        kind,
        tenant: principal.tenant(),
        iat: seconds,
        exp: seconds.saturating_add(LIFETIME),
        jti: uuid::Uuid::new_v4().to_string(),
        request: story.id,
        verdict: accepted.verdict.as_str(),
        scanner: accepted.verdict.scanner(),
        files: claims(&accepted.files, ids),
    };
    let token = lane.gate.ring.sign(UPLOAD_TYPE, &claims, now);
    HeaderValue::try_from(token.map_err(Problem::internal)?).map_err(Problem::internal)
}

fn claims<'a>(files: &'a [Facts], ids: &[Uuid]) -> Vec<Claim<'a>> {
    let ids = ids.iter().copied().map(Some).chain(std::iter::repeat(None));
    files
        .iter()
        .zip(ids)
        .map(|(facts, id)| Claim::of(facts, id))
        .collect()
}

/// The scanner is away, whatever becomes of the file.
fn tell_failed(lane: &Lane, error: &Error) {
    if let Error::Scanner(_) = error {
        lane.gate.metrics.dependency(Dependency::Scanner, false);
        tracing::warn!(%error, "an upload goes into quarantine unscanned");
    }
}

fn tell_accepted(lane: &Lane, accepted: &Accepted, story: &Story<'_>) {
    let metrics = &lane.gate.metrics;
    metrics.upload(UploadMark::Accepted);
    if accepted.verdict.scanner().is_some() {
        metrics.dependency(Dependency::Scanner, true);
    }
    let sum = |size: u64, facts: &Facts| size.saturating_add(facts.size);
    let bytes = accepted.files.iter().fold(0, sum);
    metrics.uploaded(bytes);
    // The whole of a digest looks like a key, and would not get past redaction.
    let digest = accepted
        .files
        .first()
        .and_then(|facts| facts.sha256.get(..24));
    let event = event(story, Action::UploadAccepted, Outcome::Allowed)
        .with("verdict", accepted.verdict.as_str())
        .with("files", accepted.files.len())
        .with("bytes", bytes)
        .with("sha256-begins", digest.unwrap_or_default());
    lane.gate.trail.note(event);
}

fn tell_refused(lane: &Lane, error: &Error, story: &Story<'_>) {
    let metrics = &lane.gate.metrics;
    let (mark, action) = match error {
        Error::Infected { .. } => (UploadMark::Infected, Some(Action::UploadInfected)),
        Error::Malformed(_)
        | Error::Called(_)
        | Error::Type(_)
        | Error::Name(_)
        | Error::Content(_)
        | Error::TooLarge { .. }
        | Error::TooMany { .. }
        | Error::Unscannable(_) => (UploadMark::Refused, Some(Action::UploadRefused)),
        Error::Scanner(_) | Error::Full(_) | Error::Quarantine(_) | Error::Busy | Error::Lost => {
            (UploadMark::Failed, None)
        }
        // The client went away, which is no event.
        Error::Aborted => return,
    };
    metrics.upload(mark);
    match error {
        Error::Scanner(_) => metrics.dependency(Dependency::Scanner, false),
        Error::Infected { .. } | Error::Unscannable(_) => {
            metrics.dependency(Dependency::Scanner, true);
        }
        _ => {}
    }
    if let Some(action) = action {
        let event = event(story, action, Outcome::Denied).with("reason", error.to_string());
        lane.gate.trail.note(event);
    }
}

fn event(story: &Story<'_>, action: Action, outcome: Outcome) -> Event {
    let event = Event::new(story.at, action, outcome)
        .during(story.id)
        .from(story.client)
        .by(story.caller)
        .tenant(story.tenant);
    match &story.route {
        Some(route) => event.to(Target::route(&route.path)),
        None => event,
    }
}
