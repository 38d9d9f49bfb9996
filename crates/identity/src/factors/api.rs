//! The calls. A page of the product may use them; the gate's own pages need none of them.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode, header};
use portcullis_console::api::{Failure, json};
use portcullis_core::{Problem, Secret};
use serde::{Deserialize, Serialize};

use super::{Challenge, Proof, Status, Typed, pages};
use crate::accounts::{Error, SignedIn};
use crate::api::{Api, Grant, signed_in};

/// Everything of second factors, relative to where the auth API is mounted.
pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route(
            "/second-factor",
            get(pages::second_factor).post(second_factor),
        )
        .route("/second-factor/prove", post(pages::prove))
        .route("/factors", get(list))
        .route("/factors/totp", post(begin_totp).delete(remove_totp))
        .route("/factors/totp/confirm", post(confirm_totp))
        .route("/factors/recovery-codes", post(make_codes))
        .merge(pages::routes())
        .merge(super::passkeys::routes())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    code: Secret<String>,
}

/// A code as the last step of a sign-in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LastStep {
    code: Secret<String>,
    #[serde(default)]
    grant: Grant,
}

#[derive(Serialize)]
struct TotpView<'a> {
    secret: &'a str,
    uri: &'a str,
    qr_svg: &'a str,
}

#[derive(Serialize)]
pub(super) struct Codes<'a> {
    recovery_codes: Vec<&'a str>,
}

impl<'a> Codes<'a> {
    pub(super) fn of(codes: &'a [Secret<String>]) -> Self {
        Codes {
            recovery_codes: codes.iter().map(|code| code.expose().as_str()).collect(),
        }
    }
}

/// The last step of a sign-in, or one more proof in a session.
async fn second_factor(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let input: LastStep = json(&parts.headers, body).await?;
    input.grant.is_offered(&api)?;
    let proof = Proof::Typed(Typed(input.code.expose()));
    let signed_in = prove(&api, &parts, proof).await?;
    let client = api.client(&parts);
    let mut response = input.grant.answer(&api, &signed_in, &client).await?;
    clear_challenge(&api, &mut response);
    Ok(response)
}

/// Proves a factor for whoever is between two factors, else for whoever is signed in.
pub(super) async fn prove(api: &Api, parts: &Parts, proof: Proof<'_>) -> Result<SignedIn, Error> {
    let client = api.client(parts);
    if let Some(hash) = api.cookies().challenge_value(&parts.headers) {
        let accounts = &api.accounts;
        return accounts.finish_sign_in(&hash, proof, &client).await;
    }
    let user = signed_in(parts).map_err(|_| Error::ChallengeOver)?;
    api.accounts.step_up(user, proof, &client).await
}

async fn list(State(api): State<Api>, parts: Parts) -> Result<Json<Status>, Failure> {
    let user = signed_in(&parts)?;
    Ok(Json(api.accounts.factors(user.id).await?))
}

async fn begin_totp(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    let enrolment = api.accounts.begin_totp(user).await?;
    let view = TotpView {
        secret: enrolment.secret.expose(),
        uri: enrolment.uri.expose(),
        qr_svg: enrolment.picture.expose(),
    };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

async fn confirm_totp(State(api): State<Api>, request: Request<Body>) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let user = signed_in(&parts)?;
    let input: Code = json(&parts.headers, body).await?;
    let client = api.client(&parts);
    let enrolled = api
        .accounts
        .confirm_totp(user, Typed(input.code.expose()), &client)
        .await?;
    let mut response = Json(Codes::of(&enrolled.codes)).into_response();
    crate::api::set_cookies(&api, &enrolled.signed_in, &mut response)?;
    Ok(response)
}

async fn remove_totp(State(api): State<Api>, parts: Parts) -> Result<StatusCode, Failure> {
    let user = signed_in(&parts)?;
    api.accounts.remove_totp(user, &api.client(&parts)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn make_codes(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    let codes = api.accounts.make_codes(user, &api.client(&parts)).await?;
    Ok((StatusCode::CREATED, Json(Codes::of(&codes))).into_response())
}

/// The `Set-Cookie` that hands the challenge to the client, in a cookie of its own.
pub(crate) fn challenge_cookie(api: &Api, challenge: &Challenge) -> Result<HeaderValue, Failure> {
    let value = api
        .cookies()
        .challenge(&challenge.token, super::challenge::LIFETIME);
    let mut value =
        HeaderValue::from_str(value.expose()).map_err(|error| Failure(Problem::internal(error)))?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) fn clear_challenge(api: &Api, response: &mut Response) {
    if let Ok(value) = HeaderValue::try_from(api.cookies().clear_challenge()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}
