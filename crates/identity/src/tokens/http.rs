//! The calls of clients that hold tokens: `POST token`, `POST refresh`, and the answer that both
//! and a sign-in give.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Request};
use portcullis_core::{Problem, Secret, problem};
use serde::{Deserialize, Serialize};

use super::{Error, Factors, Pair, Tokens};
use crate::api::{Api, Failure, clear_cookies, json, signed_in};

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
    let (session, factors) = Factors::of(user)?;
    let pair = tokens
        .grant(user.id, session, factors, &api.client(&parts))
        .await?;
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

/// The refresh token in the body of a sign-out, where there is one: a client whose access token
/// has expired can still end what it holds.
pub(crate) async fn named_in(headers: &HeaderMap, body: Body) -> Result<Option<Secret>, Failure> {
    if !headers.contains_key(http::header::CONTENT_TYPE) {
        return Ok(None);
    }
    let input: Refresh = json(headers, body).await?;
    Ok(Some(input.refresh_token))
}
