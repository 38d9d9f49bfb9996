//! One lane: what the journey uses on one core. Nothing here is shared with another lane but
//! snapshots and atomics, and nothing here waits for a disk.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use portcullis_console::api::Streamed;
use portcullis_core::binding::Place;
use portcullis_core::decision::{Consent, Rule};
use portcullis_core::roles::Roles;
use portcullis_core::{Permit, Principal, Problem, RequestId, Scheme, Span, Timestamp, problem};
use portcullis_edge::body::BodyError;
use portcullis_edge::{Body, Forwarder, Inbound, Upstream};
use portcullis_events::traces::{Trace, Traces};
use portcullis_events::{access_log, metrics};
use portcullis_identity::consents::Agreed;
use portcullis_vault::tokens::TokenHash;
use tower::ServiceExt as _;

use crate::assertion::Assertions;
use crate::credentials::Proof;
use crate::gate::Gate;
use crate::pipeline::Permitted;
use crate::request_ids::RequestIds;
use crate::snapshot::Snapshot;
use crate::story::Story;
use crate::toll::Toll;

/// One lane's own things.
pub(crate) struct Lane {
    pub(crate) gate: Arc<Gate>,
    pub(crate) metrics: Arc<metrics::Lane>,
    pub(crate) log: Option<access_log::Lane>,
    pub(crate) ids: RequestIds,
    traces: Option<Traces>,
    forwarder: Forwarder,
    assertions: Assertions,
}

#[derive(Debug, thiserror::Error)]
#[error("the task on the back runtime ended early")]
struct Lost;

impl Lane {
    pub(crate) fn new(
        gate: Arc<Gate>,
        log: Option<access_log::Lane>,
        traces: Option<Traces>,
    ) -> Self {
        let metrics = gate.metrics.lane();
        Lane {
            gate,
            metrics,
            log,
            ids: RequestIds::default(),
            traces,
            forwarder: Forwarder::new(),
            assertions: Assertions::default(),
        }
    }

    /// The span of a request, where spans are exported.
    pub(crate) fn trace(
        &self,
        at: Timestamp,
        method: &Method,
        headers: Option<&HeaderMap>,
        is_trusted: impl FnOnce() -> bool,
    ) -> Option<Box<Trace>> {
        let traces = self.traces.as_ref()?;
        Some(Box::new(traces.begin(at, method, headers, is_trusted())))
    }

    /// The tenant that a known caller works in: from memory, or where memory does not know it, from
    /// the database.
    pub(crate) async fn place_of(&self, caller: &Principal) -> Result<Option<Arc<Place>>, Problem> {
        let Some(tenant) = caller.tenant() else {
            return Ok(None);
        };
        if let Some(place) = self.gate.directory.lookup(tenant) {
            return Ok(Some(place));
        }
        let directory = Arc::clone(&self.gate.directory);
        // Boxed, as all that is rare: room for it here would be copied with every request.
        Ok(Box::pin(self.on_back(async move { directory.load(tenant).await })).await??)
    }

    /// What the person has agreed to, where a route asks for something. Nothing else waits for it.
    pub(crate) async fn agreed(
        &self,
        rule: &Rule,
        caller: &Principal,
    ) -> Result<Option<Arc<[Consent]>>, Problem> {
        let (Some(_), Some(person)) = (&rule.consent, Agreed::whose(caller)) else {
            return Ok(None);
        };
        if let Some(agreed) = self.gate.agreed.lookup(person) {
            return Ok(Some(agreed));
        }
        let agreed = Arc::clone(&self.gate.agreed);
        // Boxed, as all that is rare: room for it here would be copied with every request.
        let loaded = Box::pin(self.on_back(async move { agreed.load(person).await })).await?;
        Ok(Some(loaded?))
    }

    /// An answer without an end of its own ends when what its caller was known by is revoked. Only
    /// for such answers.
    pub(crate) async fn bind_to_caller(
        &self,
        rule: &Rule,
        principal: &Principal,
        proof: Proof,
        response: Response<Body>,
    ) -> Result<Response<Body>, Problem> {
        let Some(ear) = self.gate.streams.join(principal) else {
            return Ok(response);
        };
        // SECURITY: a revocation while the product answered came before anybody listened for it.
        if !Box::pin(self.still_holds(proof)).await? {
            return Err(Problem::new(&problem::AUTHENTICATION_REQUIRED));
        }
        if let Some(consent) = &rule.consent {
            let agreed = Box::pin(self.agreed(rule, principal)).await?;
            if !agreed.is_some_and(|agreed| agreed.contains(consent)) {
                return Err(Problem::consent_required(consent));
            }
        }
        let sessions = self.gate.sessions.cache();
        let of_session = proof.session().and_then(|hash| sessions.expires_at(&hash));
        if let Some(end) = of_session.or_else(|| self.end_of_visit(proof)) {
            self.gate.streams.set_end(principal, end);
        }
        Ok(response.map(|body| body.until(ear)))
    }

    /// Looks something up on the way to the decision, where memory does not know it. Paid for before.
    pub(crate) async fn look_up<T: Send + 'static>(
        &self,
        toll: &mut Toll<'_>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        toll.pay().await?;
        let began = self.gate.clock.now();
        let found = self.on_back(work).await;
        toll.looked_up(began, self.gate.clock.now());
        found
    }

    /// Runs something that may wait on the back runtime.
    pub(crate) async fn on_back<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        self.gate
            .back
            .spawn(work)
            .await
            .map_err(|_| Problem::internal(Lost))
    }

    /// The header value that tells `permitted`'s upstream who is calling.
    pub(crate) fn assertion(
        &self,
        snapshot: &Snapshot,
        permitted: &Permitted<'_>,
        now: Timestamp,
    ) -> Result<HeaderValue, Problem> {
        let upstream = snapshot
            .upstreams
            .get(permitted.route.upstream)
            .ok_or_else(|| Problem::new(&problem::INTERNAL_ERROR))?;
        self.assertions
            .get(
                &self.gate.ring,
                &snapshot.assertion.config,
                upstream,
                &permitted.principal,
                now,
            )
            .map_err(Problem::internal)
    }

    /// Hands a permitted request to its upstream.
    pub(crate) async fn forward<'s>(
        &self,
        permit: Permit,
        upstream: &'s Arc<Upstream>,
        timeout: Option<Span>,
        inbound: Box<Inbound>,
        story: &mut Story<'s>,
    ) -> Result<Response<Body>, Problem> {
        let began = self.gate.clock.now();
        let timeout = timeout.map(Span::as_duration);
        let Inbound { mut head, body, .. } = *inbound;
        let trace = story.trace.as_deref();
        let call =
            trace.map(|trace| trace.call(began, &head.method, upstream.name(), &mut head.headers));
        let response = self
            .forwarder
            .forward(permit, upstream, head, body, timeout)
            .await;
        let ended = self.gate.clock.now();
        self.metrics.upstream_took(ended.since(began).as_duration());
        let response = response.map_err(Problem::from);
        if let Some(call) = call {
            let told = response.as_ref().map(|response| response.status().as_u16());
            call.end(ended, told.map_err(|problem| problem.kind.slug));
        }
        let response = response?;
        story.upstream = Some(upstream);
        Ok(response)
    }

    /// Answers on one of the gate's own routes, on the back runtime. The permit is spent by it.
    pub(crate) async fn answer_ourselves(
        &self,
        permitted: Permitted<'_>,
        inbound: Inbound,
        limit: usize,
        roles: Arc<Roles>,
        story: &mut Story<'_>,
    ) -> Result<Response<Body>, Problem> {
        let Inbound { head, body, .. } = inbound;
        let body = body.collect(limit).await?;
        let mut request = Request::from_parts(head, axum::body::Body::from(body));
        let nonce = portcullis_guard::headers::Nonce::generate()
            .ok_or_else(|| Problem::new(&problem::INTERNAL_ERROR))?;
        story.own_nonce = Some(nonce.clone());
        let extensions = request.extensions_mut();
        extensions.insert::<Principal>(permitted.principal);
        extensions.insert::<RequestId>(story.id);
        extensions.insert(permitted.client);
        extensions.insert::<Scheme>(permitted.scheme);
        extensions.insert(portcullis_console::Nonce(nonce.as_str().into()));
        extensions.insert::<Arc<Roles>>(roles);
        if let Some(session) = permitted.proof.session() {
            extensions.insert::<TokenHash>(session);
        }
        let router = self.gate.own.clone();
        let answer = async move {
            let Ok(response) = router.oneshot(request).await;
            let (head, body) = response.into_parts();
            if head.extensions.get::<Streamed>().is_some() {
                return Ok((head, Answer::Streamed(body)));
            }
            let body = axum::body::to_bytes(body, OWN_ANSWER_LIMIT).await?;
            Ok::<_, axum::Error>((head, Answer::Whole(body)))
        };
        let (mut head, body): (http::response::Parts, Answer) =
            self.on_back(answer).await?.map_err(Problem::internal)?;
        match head.extensions.remove::<Problem>() {
            Some(problem) => Err(problem),
            None => Ok(Response::from_parts(head, body.into_body())),
        }
    }
}

/// What one of our own handlers says.
enum Answer {
    Whole(Bytes),
    Streamed(axum::body::Body),
}

impl Answer {
    fn into_body(self) -> Body {
        match self {
            Answer::Whole(bytes) => Body::full(bytes),
            Answer::Streamed(body) => {
                let failed = |error: axum::Error| BodyError::Other(Box::new(error));
                Body::stream(http_body_util::BodyExt::map_err(body, failed))
            }
        }
    }
}

/// Larger than any page or list of ours.
const OWN_ANSWER_LIMIT: usize = 4 * 1024 * 1024;
