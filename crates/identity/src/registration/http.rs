//! The calls, for front ends with pages of their own, and where the gate's own pages are.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{Request, StatusCode};
use portcullis_console::api::{Failure, json};
use portcullis_core::{Problem, Secret, problem};
use serde::Deserialize;

use super::{Opening, pages};
use crate::accounts::Registering;
use crate::api::Api;
use crate::recovery::by_letter::Asked;

/// Everything of registration, relative to where the auth API is mounted.
pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/register", post(register))
        .route("/request-registration", post(request_registration))
        .route("/create-account", get(pages::create).post(pages::ask))
        .route("/open-account", get(pages::chosen).post(pages::open))
}

/// By an address where registration is open to anybody, by a link's token where it is by letter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    email: Option<String>,
    token: Option<Secret<String>>,
    password: Secret<String>,
    #[serde(default, alias = "full_name")]
    display_name: Option<String>,
}

async fn register(State(api): State<Api>, request: Request<Body>) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let input: Register = json(&parts.headers, body).await?;
    let client = api.client(&parts);
    let (password, display_name) = (&input.password, input.display_name.as_deref());
    let account = match (&input.email, &input.token) {
        (Some(email), None) => {
            let new = Registering {
                email,
                password,
                display_name,
            };
            api.accounts.register(&new, &client).await?
        }
        (None, Some(token)) => {
            let opening = Opening {
                token,
                password,
                display_name,
            };
            api.accounts.open_by_link(&opening, &client).await?
        }
        (None, None) | (Some(_), Some(_)) => {
            let problem = Problem::new(&problem::INVALID_INPUT);
            return Err(problem
                .field("email", "say either `email`, or the `token` of a letter")
                .into());
        }
    };
    Ok((StatusCode::CREATED, Json(account)).into_response())
}

/// 202 whether or not there is such an account.
async fn request_registration(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let input: Asked = json(&parts.headers, body).await?;
    api.accounts
        .ask_registration(&input.email, &api.client(&parts))
        .await?;
    Ok(StatusCode::ACCEPTED.into_response())
}
