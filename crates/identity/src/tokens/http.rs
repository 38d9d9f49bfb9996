//! The calls of clients that hold tokens: `POST token`, `POST refresh`, and the answer that both
//! and a sign-in give.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::Request;
use http::request::Parts;
use portcullis_console::api::{Failure, json};
use portcullis_core::{Problem, Secret, problem};
use serde::{Deserialize, Serialize};

use super::{Error, Pair, Tokens};
use crate::api::{Api, clear_cookies, signed_in};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: Secret<String>,
}

/// The members of RFC 6749 section 5.1, which every client library knows.
#[derive(Serialize)]
struct View<'a> {
    access_token: &'a str,
    refresh_token: &'a str,
    token_type: &'a str,
    expires_in: u64,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

impl Api {
    /// Our tokens, or 404 where the gate gives out none.
    pub(crate) fn tokens(&self) -> Result<&Tokens, Failure> {
        self.bearers
            .tokens()
            .ok_or_else(|| Failure(Problem::new(&problem::NOT_FOUND)))
    }
}

pub(crate) fn answer(pair: &Pair) -> Response {
    Json(View {
        access_token: pair.access_token.expose(),
        refresh_token: pair.refresh_token.expose(),
        token_type: "Bearer",
        expires_in: pair.expires_in.as_seconds(),
    })
    .into_response()
}

/// `POST token`: a session, with whatever factors it has, becomes tokens.
pub(crate) async fn exchange(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let tokens = api.tokens()?;
    let user = signed_in(&parts)?;
    let session = user.session().ok_or(Error::NoSession)?;
    let pair = tokens.grant(user.id, session, &api.client(&parts)).await?;
    let mut response = answer(&pair);
    clear_cookies(&api, &mut response);
    Ok(response)
}

/// `POST refresh`: the next pair for a refresh token.
pub(crate) async fn refresh(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let tokens = api.tokens()?;
    let (parts, body) = request.into_parts();
    let input: Refresh = json(&parts.headers, body).await?;
    let pair = tokens
        .refresh(input.refresh_token.expose(), &api.client(&parts))
        .await?;
    Ok(answer(&pair))
}

/// A sign-out. Other members are no matter: front ends send what they like here.
#[derive(Deserialize)]
struct SignOut {
    #[serde(default)]
    refresh_token: Option<Secret<String>>,
}

/// The refresh token in the body of a sign-out, where there is one: a client whose access token
/// has expired can still end what it holds.
pub(crate) async fn named_in(body: Body) -> Result<Option<Secret>, Failure> {
    let bytes = axum::body::to_bytes(body, MAX_SIGN_OUT)
        .await
        .map_err(|_| Failure(Problem::new(&problem::BODY_TOO_LARGE)))?;
    // SECURITY: a body that says nothing to us must not keep anybody from signing out.
    let said = serde_json::from_slice::<SignOut>(&bytes).ok();
    Ok(said.and_then(|said| said.refresh_token))
}

/// Larger than any that names a token.
const MAX_SIGN_OUT: usize = 16 * 1024;
