//! The calls, for front ends with pages of their own, and where the gate's own pages are.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::request::Parts;
use http::{Request, StatusCode};
use portcullis_console::api::{Failure, json};
use portcullis_core::Secret;
use serde::Deserialize;

use super::by_letter::Asked;
use super::pages;
use crate::api::{Api, signed_in};

/// Everything of recovery, relative to where the auth API is mounted.
pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/request-password-reset", post(request_reset))
        .route("/reset-password", post(reset))
        .route("/request-email-verification", post(request_verification))
        .route("/forgot-password", get(pages::forgot).post(pages::ask))
        .route(
            "/new-password",
            get(pages::new_password).post(pages::set_password),
        )
        .route(
            "/verify-email",
            get(pages::verify_email).post(pages::confirm_email),
        )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    token: Secret<String>,
    new_password: Secret<String>,
}

/// 202 whether or not there is such an account.
async fn request_reset(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let input: Asked = json(&parts.headers, body).await?;
    api.accounts
        .ask_reset(&input.email, &api.client(&parts))
        .await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn reset(State(api): State<Api>, request: Request<Body>) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let input: Reset = json(&parts.headers, body).await?;
    api.accounts
        .reset_password(&input.token, &input.new_password, &api.client(&parts))
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn request_verification(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    api.accounts
        .ask_verification(user, &api.client(&parts))
        .await?;
    Ok(StatusCode::ACCEPTED.into_response())
}
