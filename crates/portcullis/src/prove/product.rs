//! The product behind the gate of a rehearsal: it remembers every request, so that a probe can say that
//! nothing came through. It is also the identity provider and the receiver of error reports there.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, Response, header};
use bytes::Bytes;
use portcullis_vault::signing::SigningKey;
use serde_json::json;

const LONGEST_BODY: usize = 16 * 1024 * 1024;
/// What a careless product says of itself. The gate takes it out.
pub(crate) const BOAST: &str = "careless-product/7.2";

/// One request that came through.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

#[derive(Clone)]
pub(crate) struct Product {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// What it signs tokens with, as an identity provider.
    pub(crate) key: Arc<SigningKey>,
}

impl Product {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let seed = portcullis_vault::tokens::random::<32>()?;
        let product = Product {
            address: listener.local_addr()?,
            seen: Arc::default(),
            key: Arc::new(SigningKey::from_seed(&seed)?),
        };
        let router = Router::new().fallback(answer).with_state(product.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(product)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many requests for this path came through, whatever their query.
    pub(crate) fn count(&self, path: &str) -> usize {
        let is_it = |seen: &&Seen| seen.path.split('?').next() == Some(path);
        self.seen().iter().filter(is_it).count()
    }

    /// The last one for this path.
    pub(crate) fn last(&self, path: &str) -> Option<Seen> {
        self.last_of(path, |_| true)
    }

    /// The last one for this path that is also so.
    pub(crate) fn last_of(&self, path: &str, is_so: impl Fn(&Seen) -> bool) -> Option<Seen> {
        let is_it = |seen: &Seen| seen.path.split('?').next() == Some(path) && is_so(seen);
        self.seen().into_iter().rev().find(is_it)
    }
}

async fn answer(State(product): State<Product>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, LONGEST_BODY).await.unwrap_or_default();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let keys = path == "/.well-known/jwks.json";
    let seen = Seen {
        method: head.method.to_string(),
        path: path.to_owned(),
        headers: head.headers,
        body,
    };
    product
        .seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(seen);
    let (kind, text) = if keys {
        let set = json!({ "keys": [product.key.jwk()] });
        ("application/json", set.to_string())
    } else {
        ("text/html; charset=utf-8", "<p>the product</p>".to_owned())
    };
    let response = Response::builder()
        .header(header::CONTENT_TYPE, kind)
        .header(header::SERVER, BOAST)
        .header("x-powered-by", BOAST)
        .body(Body::from(text));
    response.unwrap_or_default()
}
