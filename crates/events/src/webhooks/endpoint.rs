//! The webhooks that there are, as a configuration made them. A reload makes other ones.

use std::sync::Arc;

use http::HeaderName;
use portcullis_core::Span;
use portcullis_edge::Upstream;
use tokio::sync::Semaphore;

use super::config::Config;
use super::verify::{Scheme, Verifier};

/// How the gate signs what it delivers.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The header that bears the assertion.
    pub header: HeaderName,
    pub issuer: String,
    pub lifetime: Span,
}

/// Where one sender posts to, and where it goes from there.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) verifier: Verifier,
    pub(super) upstream: Arc<Upstream>,
    pub(super) upstream_path: String,
    pub(super) order_by: Option<String>,
    pub(super) id_at: Option<String>,
    pub(super) max_body: usize,
    pub(super) timeout: Span,
    pub(super) attempts: u32,
    pub(super) first_wait: Span,
    pub(super) longest_wait: Span,
    pub(super) retention: Span,
    pub(super) at_once: u32,
    /// Places for deliveries under way: a product that hangs holds up no other endpoint's.
    pub(super) places: Arc<Semaphore>,
}

impl Endpoint {
    pub(super) fn new(config: &Config, verifier: Verifier, upstream: Arc<Upstream>) -> Self {
        let at_once = usize::try_from(config.at_once).unwrap_or(1);
        let id_at = match config.scheme {
            Scheme::Stripe => Some("/id".to_owned()),
            Scheme::Slack => Some("/event_id".to_owned()),
            Scheme::Hmac => config.id_at.clone(),
            // Signed in a header; and of no signed id.
            Scheme::Standard | Scheme::Github => None,
        };
        Endpoint {
            name: config.name.clone(),
            path: config.path.clone(),
            verifier,
            upstream,
            upstream_path: config.upstream_path().to_owned(),
            order_by: config.order_by.clone(),
            id_at,
            max_body: config.max_body.as_usize(),
            timeout: config.timeout,
            attempts: config.attempts,
            first_wait: config.first_wait,
            longest_wait: config.longest_wait,
            retention: config.retention,
            at_once: config.at_once,
            places: Arc::new(Semaphore::new(at_once)),
        }
    }

    /// One that the gate alone tells something by. No request has its path, and it has no secret that a
    /// signature could be of.
    pub(super) fn ours(mut self) -> Self {
        self.path.clear();
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Endpoints {
    pub(super) all: Vec<Arc<Endpoint>>,
    pub(super) stamp: Option<Stamp>,
}

impl Endpoints {
    pub(super) fn new(all: Vec<Endpoint>, stamp: Stamp) -> Self {
        Endpoints {
            all: all.into_iter().map(Arc::new).collect(),
            stamp: Some(stamp),
        }
    }

    /// With one more.
    #[must_use]
    pub fn and(mut self, endpoint: Endpoint) -> Self {
        self.all.push(Arc::new(endpoint));
        self
    }

    /// The one that a path is of.
    pub(super) fn at(&self, path: &str) -> Option<&Arc<Endpoint>> {
        self.all.iter().find(|endpoint| endpoint.path == path)
    }
}
