//! What pages call: the beginning of a visit, how long it still lasts, its end, and the two scripts.
//!
//! By the time a handler runs, the pipeline has seen to it that a visit begins on a page of the
//! tenant's, and that everything else is called by the visitor.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use portcullis_console::api::{Failure, json, no_store};
use portcullis_core::{Principal, Problem, TenantId, VisitorId, problem};
use portcullis_events::Actor;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Found, MARK, Metadata, Shape, Visitors, script};
use crate::Client;
use crate::accounts::By;

/// Where the routes lie, below what the binary reserves for itself.
pub const BEGIN: &str = "/visitors/{tenant}";
pub const OWN: &str = "/visitor";
pub const EMBED_SCRIPT: &str = "/widget.js";
pub const FRAME_SCRIPT: &str = "/widget/{tenant}/frame.js";

/// The handlers, relative to where they are mounted.
pub fn router(visitors: Visitors) -> Router {
    Router::new()
        .route(BEGIN, post(begin))
        .route(OWN, get(show).delete(end))
        .route(FRAME_SCRIPT, get(frame))
        .layer(axum::middleware::map_response(no_store))
        .route(EMBED_SCRIPT, get(embed))
        .with_state(visitors)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    /// What the browser tells of itself. What is not known here is left out.
    #[serde(default)]
    metadata: BTreeMap<String, Value>,
}

/// A visit that has just begun.
#[derive(Serialize)]
struct BegunView {
    id: VisitorId,
    /// Shown this once.
    token: String,
    expires_at: String,
}

/// A visit that goes on.
#[derive(Serialize)]
struct View {
    id: VisitorId,
    tenant_id: TenantId,
    expires_at: String,
}

impl From<super::Error> for Failure {
    fn from(error: super::Error) -> Self {
        Failure(error.into())
    }
}

async fn begin(
    State(visitors): State<Visitors>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let text = |name| parts.headers.get(name)?.to_str().ok();
    // Nobody but a browser sends none, and nobody but a browser is to begin a visit.
    let origin = text(header::ORIGIN).ok_or(super::Error::OriginNotAllowed)?;
    let input: Input = json(&parts.headers, body).await?;
    let metadata = Metadata::reduced(&input.metadata, text(header::USER_AGENT))?;
    let begun = visitors
        .begin(&tenant, origin, &metadata, &Client::of(&parts.extensions))
        .await?;
    let view = BegunView {
        id: begun.id,
        token: format!("{MARK}{}", begun.token.text().expose()),
        expires_at: begun.expires_at.to_string(),
    };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// The visitor that calls, or 401.
fn caller(parts: &Parts) -> Result<(VisitorId, TenantId), Failure> {
    match parts.extensions.get::<Principal>() {
        Some(Principal::Visitor(visitor)) => Ok((visitor.id, visitor.tenant)),
        Some(Principal::Anonymous | Principal::User(_) | Principal::ApiKey(_)) | None => {
            Err(Failure(Problem::new(&problem::AUTHENTICATION_REQUIRED)))
        }
    }
}

async fn show(State(visitors): State<Visitors>, parts: Parts) -> Result<Json<View>, Failure> {
    let (id, tenant_id) = caller(&parts)?;
    let hash = match token(&parts.headers).map(|text| visitors.read(text)) {
        Some(Shape::Own(hash)) => hash,
        Some(Shape::Foreign | Shape::Broken) | None => return Err(no_longer()),
    };
    let live = match visitors.lookup(&hash) {
        Found::Live(live) => live,
        Found::Unknown => visitors.load(&hash).await?.ok_or_else(no_longer)?,
    };
    // It is renewed here and now, so that the page reads the end that counts.
    let renewed = if live.is_due {
        visitors.renew(&hash, id).await?
    } else {
        None
    };
    Ok(Json(View {
        id,
        tenant_id,
        expires_at: renewed.unwrap_or(live.expires_at).to_string(),
    }))
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value
        .split_once(' ')
        .map(|(_, token)| token.trim_matches(' '))
}

fn no_longer() -> Failure {
    Failure(Problem::new(&problem::INVALID_TOKEN))
}

async fn end(State(visitors): State<Visitors>, parts: Parts) -> Result<StatusCode, Failure> {
    let (id, tenant) = caller(&parts)?;
    let by = By::themselves(Actor::Visitor(id), Client::of(&parts.extensions));
    match visitors.revoke(tenant, id, &by).await {
        // Ended meanwhile by somebody else: that was the wish.
        Ok(()) | Err(super::Error::NotFound) => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err(error.into()),
    }
}

fn javascript(text: String, cache: &'static str) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/javascript; charset=utf-8"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static(cache)),
    ];
    (headers, text).into_response()
}

async fn embed(State(visitors): State<Visitors>) -> Response {
    javascript(script::embed(visitors.config()), "public, max-age=300")
}

async fn frame(
    State(visitors): State<Visitors>,
    Path(tenant): Path<String>,
) -> Result<Response, Failure> {
    let known = match visitors.widgets().lookup(&tenant) {
        Some(known) => known,
        None => visitors.widgets().load(&tenant).await?,
    };
    let widget = known.ok_or_else(|| Failure(Problem::new(&problem::NOT_FOUND)))?;
    Ok(javascript(script::frame(&tenant, &widget), "no-store"))
}
