//! Where senders post to. When this runs the pipeline has checked host, path, limits and size.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use portcullis_console::api::{Failure, no_store};
use portcullis_core::{Problem, problem};
use serde_json::json;

use super::{Receipt, Webhooks};
use crate::audit::{Actor, By};

/// Answers at the paths of whatever endpoints there are; elsewhere there is nothing.
pub fn router(webhooks: Webhooks) -> Router {
    Router::new()
        .fallback(receive)
        .layer(axum::middleware::map_response(no_store))
        .with_state(webhooks)
}

async fn receive(State(webhooks): State<Webhooks>, request: Request) -> Result<Response, Failure> {
    let endpoints = webhooks.endpoints.load_full();
    let endpoint = endpoints
        .at(request.uri().path())
        .map(Arc::clone)
        .ok_or_else(|| Failure(Problem::new(&problem::NOT_FOUND)))?;
    let (head, body) = request.into_parts();
    // The bytes as they came. Their number is limited by the pipeline; a reload may have changed it.
    let body = to_bytes(body, endpoint.max_body)
        .await
        .map_err(|_| Failure(Problem::new(&problem::BODY_TOO_LARGE)))?;
    // Nobody we know: a message speaks for itself.
    let by = By::of(&head.extensions, Actor::Anonymous);
    let receipt = webhooks.receive(&endpoint, &head.headers, &body, &by).await;
    Ok(match receipt? {
        Receipt::Received => Json(json!({ "status": "received" })).into_response(),
        Receipt::AlreadySeen => Json(json!({ "status": "already seen" })).into_response(),
        Receipt::Challenge(challenge) => Json(json!({ "challenge": challenge })).into_response(),
    })
}
