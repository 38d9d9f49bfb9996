//! The pages: signing in, and a minimal account page with a way out. They need no script.
//!
//! Their forms carry no token: the pipeline refuses a form that comes from another site by
//! `Sec-Fetch-Site` or `Origin`, sign-in and sign-out included.

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::response::{Html, IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use maud::{Markup, html};
use portcullis_console::{Nonce, Page, errors, field};
use portcullis_core::{Principal, Problem, Secret, Timestamp, problem};
use serde::Deserialize;

use crate::accounts::Error;
use crate::api::{Api, Failure, clear_cookies, end_current, set_cookies};
use crate::next::local_or_root;

#[derive(Deserialize)]
pub(crate) struct Where {
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    email: String,
    password: Secret<String>,
    next: Option<String>,
}

pub(crate) async fn sign_in(
    State(api): State<Api>,
    query: Result<Query<Where>, QueryRejection>,
    parts: Parts,
) -> Response {
    let next = query.ok().and_then(|Query(query)| query.next);
    let form = sign_in_form(&api, "", next.as_deref(), &[]);
    page(&parts, StatusCode::OK, "Sign in", &form)
}

pub(crate) async fn submit_sign_in(
    State(api): State<Api>,
    parts: Parts,
    form: Result<Form<SignIn>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    let client = api.client(&parts);
    let signed_in = api
        .accounts
        .login(&input.email, &input.password, &client)
        .await;
    let next = input.next.as_deref();
    let (status, message) = match signed_in {
        Ok(signed_in) => {
            let mut response = see_other(local_or_root(next));
            set_cookies(&api, &signed_in, &mut response)?;
            return Ok(response);
        }
        Err(Error::Refused) => (
            StatusCode::UNAUTHORIZED,
            problem::CREDENTIALS_REFUSED.title.to_owned(),
        ),
        Err(Error::Throttled { retry_after }) => {
            let minutes = retry_after.as_seconds_ceil().div_ceil(60);
            let message = format!(
                "Too many attempts for this account. The next one is possible in {minutes} min."
            );
            let body = sign_in_form(&api, &input.email, next, &[message]);
            let mut response = page(&parts, StatusCode::TOO_MANY_REQUESTS, "Sign in", &body);
            let seconds = HeaderValue::from(retry_after.as_seconds_ceil());
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
            return Ok(response);
        }
        Err(error) => return Err(error.into()),
    };
    let body = sign_in_form(&api, &input.email, next, &[message]);
    Ok(page(&parts, status, "Sign in", &body))
}

pub(crate) async fn sign_out(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    end_current(&api, &parts).await?;
    let mut response = see_other(&api.path("/sign-in"));
    clear_cookies(&api, &mut response);
    Ok(response)
}

pub(crate) async fn account(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let user = match parts.extensions.get::<Principal>() {
        Some(Principal::User(user)) => user,
        Some(Principal::Anonymous | Principal::ApiKey(_) | Principal::Visitor(_)) | None => {
            return Ok(see_other(&api.path("/sign-in")));
        }
    };
    let account = api.accounts.get(user.id).await?;
    let sessions = api.accounts.sessions().list(user.id).await?;
    let body = html! {
        p { "You are signed in as " strong { (account.email) } "." }
        h2 { "Sessions" }
        ul {
            @for session in &sessions {
                li {
                    (session.user_agent.as_deref().unwrap_or("unknown client"))
                    @if Some(session.id) == user.session() { " (this one)" }
                    br;
                    small { "Last seen " (to_the_minute(session.last_seen_at)) }
                }
            }
        }
        form method="post" action=(api.path("/sign-out")) {
            button type="submit" { "Sign out" }
        }
    };
    Ok(page(&parts, StatusCode::OK, "Your account", &body))
}

/// `2026-03-01 09:30 UTC`.
fn to_the_minute(at: Timestamp) -> String {
    let text: String = at.to_string().chars().take(16).collect();
    format!("{} UTC", text.replace('T', " "))
}

fn sign_in_form(api: &Api, email: &str, next: Option<&str>, faults: &[String]) -> Markup {
    html! {
        (errors(faults))
        form method="post" action=(api.path("/sign-in")) {
            (field("email", "E-mail address", "email", "username", email))
            (field("password", "Password", "password", "current-password", ""))
            input type="hidden" name="next" value=(local_or_root(next));
            button type="submit" { "Sign in" }
        }
    }
}

fn page(parts: &Parts, status: StatusCode, title: &str, body: &Markup) -> Response {
    let nonce = parts.extensions.get::<Nonce>();
    let page = Page { title, nonce };
    (status, Html(page.render(body).into_string())).into_response()
}

/// 303, so that the browser does not repeat the form with its password.
fn see_other(to: &str) -> Response {
    let location = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

fn refused_form(rejection: &FormRejection) -> Problem {
    match rejection.status() {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(&problem::BODY_TOO_LARGE),
        StatusCode::UNPROCESSABLE_ENTITY => Problem::new(&problem::INVALID_INPUT),
        _ => Problem::new(&problem::MALFORMED_BODY),
    }
}
