//! The handlers: thin, each a few sentences.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode, header};
use portcullis_console::api::json;
use portcullis_core::principal::Credential;
use portcullis_core::{Principal, Problem, Secret, SessionId, problem};
use portcullis_events::{Actor, By};
use serde::{Deserialize, Serialize};

use super::{Api, Failure, signed_in};
use crate::accounts::Error;
use crate::accounts::{AccountView, SignedIn};
use crate::backoff::DEVICE_LIFETIME;
use crate::factors::{Proof, Typed, challenge_cookie};
use crate::privacy::manage::{Download, download};
use crate::sessions::{Notice, SessionView};
use crate::{Client, tokens};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    email: String,
    password: Secret<String>,
    /// The second factor, where the client asks for both at once.
    #[serde(default)]
    code: Option<Secret<String>>,
    #[serde(default)]
    grant: Grant,
}

/// What a sign-in is to give: a cookie, as browsers want it, or tokens.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Grant {
    #[default]
    Session,
    Tokens,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    old_password: Secret<String>,
    new_password: Secret<String>,
}

/// An account, and the token that unsafe requests must bear from now on.
#[derive(Serialize)]
struct Hydrated {
    #[serde(flatten)]
    account: AccountView,
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf_token: Option<String>,
}

pub(super) async fn login(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let input: Login = json(&parts.headers, body).await?;
    let client = api.client(&parts);
    input.grant.is_offered(&api)?;
    let accounts = &api.accounts;
    let signed_in = accounts.login(&input.email, &input.password, &client).await;
    let signed_in = match (signed_in, &input.code) {
        (Ok(signed_in), _) => signed_in,
        (Err(Error::SecondFactor(challenge)), Some(code)) => {
            let hash = challenge.token.hash();
            accounts
                .finish_sign_in(&hash, Proof::Typed(Typed(code.expose())), &client)
                .await?
        }
        (Err(Error::SecondFactor(challenge)), None) => {
            let cookie = challenge_cookie(&api, &challenge)?;
            let problem = Problem::second_factor_required().header(header::SET_COOKIE, cookie);
            return Err(Failure(problem));
        }
        (Err(error), _) => return Err(error.into()),
    };
    input.grant.answer(&api, &signed_in, &client).await
}

impl Grant {
    /// Asked before anything is proved: a password is not checked for what cannot be given.
    pub(crate) fn is_offered(self, api: &Api) -> Result<(), Failure> {
        match self {
            Grant::Session => Ok(()),
            Grant::Tokens => api.tokens().map(drop),
        }
    }

    /// What a sign-in gives, whatever it took.
    pub(crate) async fn answer(
        self,
        api: &Api,
        signed_in: &SignedIn,
        client: &Client,
    ) -> Result<Response, Failure> {
        match self {
            Grant::Session => answer(api, signed_in),
            Grant::Tokens => {
                let (user, session) = (signed_in.account.id, signed_in.session.id);
                let pair = api.tokens()?.grant(user, session, client).await?;
                Ok(tokens::http::answer(&pair))
            }
        }
    }
}

pub(super) async fn change_password(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let user = signed_in(&parts)?;
    let input: ChangePassword = json(&parts.headers, body).await?;
    let (old, new) = (&input.old_password, &input.new_password);
    let client = api.client(&parts);
    let signed_in = api
        .accounts
        .change_password(user, old, new, &client)
        .await?;
    let grant = match user.credential {
        Credential::Session(_) | Credential::Foreign => Grant::Session,
        // Whoever came with tokens gets new ones: the old are over, like every session.
        Credential::AccessToken(_) => Grant::Tokens,
    };
    grant.answer(&api, &signed_in, &client).await
}

/// The account with its new cookies.
pub(crate) fn answer(api: &Api, signed_in: &SignedIn) -> Result<Response, Failure> {
    // One token for both: what the page reads here must be what its cookie holds.
    let csrf = (api.csrf.0)(&signed_in.session.token.hash(), None);
    let hydrated = Hydrated {
        account: signed_in.account.clone(),
        csrf_token: Some(csrf.token),
    };
    let mut response = Json(hydrated).into_response();
    append_cookies(api, signed_in, &csrf.set_cookie, &mut response)?;
    Ok(response)
}

pub(crate) fn set_cookies(
    api: &Api,
    signed_in: &SignedIn,
    response: &mut Response,
) -> Result<(), Failure> {
    let csrf = (api.csrf.0)(&signed_in.session.token.hash(), None);
    append_cookies(api, signed_in, &csrf.set_cookie, response)
}

fn append_cookies(
    api: &Api,
    signed_in: &SignedIn,
    csrf: &str,
    response: &mut Response,
) -> Result<(), Failure> {
    let session = api.accounts.sessions().cookie(&signed_in.session.token);
    let device = api.cookies().device(&signed_in.device, DEVICE_LIFETIME);
    for value in [session.expose().as_str(), &device, csrf] {
        let mut value =
            HeaderValue::from_str(value).map_err(|error| Failure(Problem::internal(error)))?;
        value.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    Ok(())
}

pub(crate) fn clear_cookies(api: &Api, response: &mut Response) {
    for value in api.cookies().clear_values() {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

pub(super) async fn me(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    let mut account = api.accounts.get(user.id).await?;
    // What counts now: an issuer may name its administrators by address.
    account.roles = user.roles.iter().map(ToString::to_string).collect();
    let session = api.cookies().presented(&parts.headers).hash();
    let csrf = session.map(|hash| (api.csrf.0)(&hash, Some(&parts.headers)));
    let mut response = Json(Hydrated {
        account,
        csrf_token: csrf.as_ref().map(|csrf| csrf.token.clone()),
    })
    .into_response();
    if let Some(value) = csrf.and_then(|csrf| HeaderValue::try_from(csrf.set_cookie).ok()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    Ok(response)
}

/// Also for a caller without a session: the cookie goes, and nothing is said.
pub(super) async fn logout(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let named = tokens::http::named_in(body).await?;
    // First, so that nothing about the token named stands in the way.
    end_current(&api, &parts).await?;
    if let (Some(token), Some(tokens)) = (named, api.bearers.tokens()) {
        tokens.end_by(token.expose(), &api.client(&parts)).await?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    clear_cookies(&api, &mut response);
    Ok(response)
}

pub(crate) async fn end_current(api: &Api, parts: &Parts) -> Result<(), Failure> {
    match parts.extensions.get::<Principal>() {
        Some(Principal::User(user)) => {
            let client = api.client(parts);
            match user.credential {
                Credential::Session(_) => api.accounts.logout(user, &client).await?,
                Credential::AccessToken(family) => {
                    api.tokens()?.end(user.id, family, &client).await?;
                }
                Credential::Foreign => api.bearers.issuers().end(user.id, &client).await?,
            }
            Ok(())
        }
        Some(Principal::Anonymous | Principal::ApiKey(_) | Principal::Visitor(_)) | None => Ok(()),
    }
}

pub(super) async fn list_sessions(
    State(api): State<Api>,
    parts: Parts,
) -> Result<Json<Vec<SessionView>>, Failure> {
    let user = signed_in(&parts)?;
    let list = api.accounts.devices(user.id).await?;
    let current = user.credential.listed_as();
    Ok(Json(
        list.into_iter().map(|info| info.view(current)).collect(),
    ))
}

pub(super) async fn revoke_session(
    State(api): State<Api>,
    Path(id): Path<String>,
    parts: Parts,
) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    let id = id
        .parse()
        .map_err(|_| Failure(Problem::new(&problem::NOT_FOUND)))?;
    let client = api.client(&parts);
    api.accounts.revoke_session(user, id, &client).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if Some(id) == user.session().map(SessionId::as_uuid) {
        clear_cookies(&api, &mut response);
    }
    Ok(response)
}

/// Which sessions to end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(default)]
    all: bool,
}

/// All but this one, or with `?all=true` this one too.
pub(super) async fn revoke_sessions(
    State(api): State<Api>,
    which: Result<Query<Which>, QueryRejection>,
    parts: Parts,
) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    let Query(which) = which.map_err(|_| {
        Problem::new(&problem::INVALID_INPUT)
            .detail("The query may hold `all=true` and nothing else.")
    })?;
    let client = api.client(&parts);
    let mut response = StatusCode::NO_CONTENT.into_response();
    if which.all {
        api.accounts.revoke_all(user, &client).await?;
        clear_cookies(&api, &mut response);
    } else {
        api.accounts.revoke_others(user, &client).await?;
    }
    Ok(response)
}

pub(super) async fn notices(
    State(api): State<Api>,
    parts: Parts,
) -> Result<Json<Vec<Notice>>, Failure> {
    let user = signed_in(&parts)?;
    Ok(Json(api.accounts.notices(user).await?))
}

pub(super) async fn dismiss_notices(
    State(api): State<Api>,
    parts: Parts,
) -> Result<StatusCode, Failure> {
    let user = signed_in(&parts)?;
    api.accounts.dismiss_notices(user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Everything that is held of the caller, as a signed file.
pub(super) async fn personal_data(
    State(api): State<Api>,
    parts: Parts,
) -> Result<Download, Failure> {
    let user = signed_in(&parts)?;
    let by = By::of(&parts.extensions, Actor::User(user.id));
    Ok(download(api.privacy.export(user.id, &by).await?))
}
