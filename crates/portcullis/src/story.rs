//! What is known of one request, for the log, the metrics and the audit trail.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;
use portcullis_access::policy::Route;
use portcullis_core::decision::Denied;
use portcullis_core::principal::CallerKind;
use portcullis_core::problem::{self, Kind};
use portcullis_core::{Principal, RequestId, TenantId, Timestamp};
use portcullis_events::audit::{Action, Actor, Event, Outcome, Target};
use portcullis_events::metrics::Stage;
use portcullis_events::traces::Trace;
use portcullis_guard::cors::Grant;
use portcullis_identity::visitors::Widget;
use portcullis_vault::TokenHash;
use uuid::Uuid;

use crate::toll::Charged;

/// The story of one request so far. Stages write into it; the shell tells it.
///
/// It borrows from the snapshot that the request is judged by: counting references to what all lanes
/// share would have their cores wait for each other.
#[derive(Debug)]
pub(crate) struct Story<'s> {
    pub(crate) id: RequestId,
    pub(crate) at: Timestamp,
    pub(crate) stage: Stage,
    pub(crate) client: IpAddr,
    pub(crate) route: Option<&'s Route>,
    pub(crate) caller: Actor,
    /// Kind and id, for the log.
    pub(crate) principal: Option<(CallerKind, Uuid)>,
    pub(crate) tenant: Option<TenantId>,
    /// A session cookie came that opens nothing: the answer takes it back.
    pub(crate) stale_session: bool,
    /// Cookies that take the place of one that was carried over.
    pub(crate) renewal: Vec<HeaderValue>,
    /// A page was asked for in this live session, without a CSRF token of it.
    pub(crate) lacks_csrf: Option<TokenHash>,
    pub(crate) denied: Option<Denied>,
    pub(crate) upstream: Option<&'s portcullis_edge::Upstream>,
    /// The gate answers a preflight: its CORS headers are written already.
    pub(crate) is_preflight: bool,
    pub(crate) grant: Grant,
    /// The widget that the route belongs to.
    pub(crate) widget: Option<Arc<Widget>>,
    pub(crate) charged: Option<Charged>,
    pub(crate) own_nonce: Option<portcullis_guard::headers::Nonce>,
    /// Its span, where spans are exported. Boxed, as all that is rare.
    pub(crate) trace: Option<Box<Trace>>,
}

impl Story<'_> {
    pub(crate) fn new(id: RequestId, at: Timestamp, peer: IpAddr) -> Self {
        Story {
            id,
            at,
            stage: Stage::Accept,
            client: peer,
            route: None,
            caller: Actor::Anonymous,
            principal: None,
            tenant: None,
            stale_session: false,
            renewal: Vec::new(),
            lacks_csrf: None,
            denied: None,
            upstream: None,
            is_preflight: false,
            grant: Grant::default(),
            widget: None,
            charged: None,
            own_nonce: None,
            trace: None,
        }
    }

    pub(crate) fn set_caller(&mut self, principal: &Principal, is_stale: bool) {
        self.stale_session = is_stale;
        self.caller = Actor::from(principal);
        self.principal = principal.kind().zip(self.caller.id());
        self.tenant = principal.tenant();
    }

    /// The security event that this refusal is, if it is one.
    pub(crate) fn refusal_event(&self, kind: &'static Kind, method: &str) -> Option<Event> {
        let action = match self.stage {
            Stage::AddressLimit | Stage::Quota if kind == &problem::RATE_LIMITED => {
                Action::LimitExceeded
            }
            Stage::Route | Stage::Csrf | Stage::Authorize
                if kind == &problem::ORIGIN_NOT_ALLOWED =>
            {
                Action::OriginRefused
            }
            Stage::Csrf => Action::CsrfRefused,
            Stage::Route | Stage::Authorize => Action::AccessDenied,
            Stage::Accept => Action::RequestMalformed,
            // A key, a token or two of them that open nothing; what the gate could not ask is no attempt.
            Stage::Authenticate if kind.status.is_client_error() => Action::CredentialRefused,
            Stage::AddressLimit
            | Stage::Quota
            | Stage::Authenticate
            | Stage::Body
            | Stage::Forward
            | Stage::Harden => return None,
        };
        let mut event = Event::new(self.at, action, Outcome::Denied)
            .during(self.id)
            .from(self.client)
            .by(self.caller)
            .tenant(self.tenant)
            .with("problem", kind.slug)
            .with("method", method);
        if let Some(route) = &self.route {
            event = event.to(Target::route(&route.path));
        }
        Some(match &self.denied {
            Some(denied) => event.with("reason", denied.to_string()),
            None => event,
        })
    }
}
