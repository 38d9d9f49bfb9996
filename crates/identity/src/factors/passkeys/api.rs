//! The calls. What a call to begin answers goes to `navigator.credentials`, and what that answers
//! comes back to the call that finishes; binary values are base64url without padding, as in the
//! standard's own JSON.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode, header};
use portcullis_console::api::{Failure, json};
use portcullis_core::{Problem, problem};
use serde::Deserialize;
use uuid::Uuid;

use super::ceremony::LIFETIME;
use super::library::{PublicKeyCredential, RegisterPublicKeyCredential};
use super::{Begun, PasskeyView, Shown, pages};
use crate::accounts::Error;
use crate::api::{Api, Grant, set_cookies, signed_in};
use crate::factors::api::{Codes, clear_challenge, prove};
use crate::factors::{Proof, challenge};

/// Everything of passkeys, relative to where the auth API is mounted.
pub(in crate::factors) fn routes() -> Router<Api> {
    Router::new()
        .route("/passkeys/begin", post(begin_sign_in))
        .route("/passkeys/sign-in", post(sign_in))
        .route("/second-factor/passkey/begin", post(begin_proof))
        .route("/second-factor/passkey", post(second_factor))
        .route("/factors/passkeys", get(list).post(register))
        .route("/factors/passkeys/begin", post(begin_registration))
        .route("/factors/passkeys/{id}", patch(rename).delete(remove))
        .merge(pages::routes())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asserted {
    credential: PublicKeyCredential,
    #[serde(default)]
    grant: Grant,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registered {
    credential: RegisterPublicKeyCredential,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

/// What the browser is asked, and the cookie by which its answer is known.
fn asked(api: &Api, begun: &Begun) -> Result<Response, Failure> {
    let cookie = api.cookies().ceremony(&begun.token, LIFETIME);
    let mut cookie = HeaderValue::from_str(cookie.expose())
        .map_err(|error| Failure(Problem::internal(error)))?;
    cookie.set_sensitive(true);
    let mut response = Json(&begun.options).into_response();
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

pub(super) fn clear_ceremony(api: &Api, response: &mut Response) {
    if let Ok(value) = HeaderValue::try_from(api.cookies().clear_ceremony()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

pub(super) fn shown(api: &Api, parts: &Parts, credential: PublicKeyCredential) -> Shown {
    Shown {
        ceremony: api.cookies().ceremony_value(&parts.headers),
        credential,
    }
}

async fn begin_sign_in(State(api): State<Api>) -> Result<Response, Failure> {
    asked(&api, &api.accounts.begin_sign_in_with_passkey().await?)
}

async fn sign_in(State(api): State<Api>, request: Request<Body>) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let input: Asserted = json(&parts.headers, body).await?;
    input.grant.is_offered(&api)?;
    let shown = shown(&api, &parts, input.credential);
    let client = api.client(&parts);
    let signed_in = api.accounts.sign_in_with_passkey(&shown, &client).await?;
    let mut response = input.grant.answer(&api, &signed_in, &client).await?;
    clear_ceremony(&api, &mut response);
    Ok(response)
}

/// For whoever is between two factors, else for whoever is signed in.
async fn begin_proof(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let user = match api.cookies().challenge_value(&parts.headers) {
        Some(hash) => challenge::find(
            &api.accounts.parts().db,
            &hash,
            api.accounts.parts().clock.now(),
        )
        .await
        .map_err(Error::from)?
        .ok_or(Error::ChallengeOver)?,
        None => signed_in(&parts).map_err(|_| Error::ChallengeOver)?.id,
    };
    asked(&api, &api.accounts.begin_proof_with_passkey(user).await?)
}

async fn second_factor(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let input: Asserted = json(&parts.headers, body).await?;
    input.grant.is_offered(&api)?;
    let shown = shown(&api, &parts, input.credential);
    let signed_in = prove(&api, &parts, Proof::Passkey(&shown)).await?;
    let client = api.client(&parts);
    let mut response = input.grant.answer(&api, &signed_in, &client).await?;
    clear_challenge(&api, &mut response);
    clear_ceremony(&api, &mut response);
    Ok(response)
}

async fn list(State(api): State<Api>, parts: Parts) -> Result<Json<Vec<PasskeyView>>, Failure> {
    let user = signed_in(&parts)?;
    Ok(Json(api.accounts.passkeys(user.id).await?))
}

async fn begin_registration(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    asked(&api, &api.accounts.begin_passkey(user).await?)
}

async fn register(State(api): State<Api>, request: Request<Body>) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let user = signed_in(&parts)?;
    let input: Registered = json(&parts.headers, body).await?;
    let question = api.cookies().ceremony_value(&parts.headers);
    let client = api.client(&parts);
    let enrolled = api
        .accounts
        .finish_passkey(
            user,
            question.as_ref(),
            &input.credential,
            &input.name,
            &client,
        )
        .await?;
    let codes = Json(Codes::of(&enrolled.codes));
    let mut response = (StatusCode::CREATED, codes).into_response();
    set_cookies(&api, &enrolled.signed_in, &mut response)?;
    clear_ceremony(&api, &mut response);
    Ok(response)
}

async fn rename(
    State(api): State<Api>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<StatusCode, Failure> {
    let (parts, body) = request.into_parts();
    let user = signed_in(&parts)?;
    let input: Named = json(&parts.headers, body).await?;
    let id = parse_id(&id)?;
    api.accounts.rename_passkey(user, id, &input.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(
    State(api): State<Api>,
    Path(id): Path<String>,
    parts: Parts,
) -> Result<StatusCode, Failure> {
    let user = signed_in(&parts)?;
    let id = parse_id(&id)?;
    let client = api.client(&parts);
    api.accounts.remove_passkey(user, id, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is no id names no passkey.
pub(super) fn parse_id(text: &str) -> Result<Uuid, Failure> {
    text.parse()
        .map_err(|_| Failure(Problem::new(&problem::NOT_FOUND)))
}
