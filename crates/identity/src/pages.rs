//! The pages: signing in, and a minimal account page with a way out. They need no script, except to
//! ask for a passkey.
//!
//! Their forms carry no token: the pipeline refuses a form that comes from another site by
//! `Sec-Fetch-Site` or `Origin`, sign-in and sign-out included.

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::response::{Html, IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_console::api::Failure;
use portcullis_console::{Nonce, Page, errors, field};
use portcullis_core::{Principal, Problem, Secret, Timestamp, problem};
use serde::Deserialize;

use crate::accounts::{Error, Registration};
use crate::api::{Api, clear_cookies, end_current, set_cookies, signed_in};
use crate::factors::{challenge_cookie, offer_to_sign_in};
use crate::next::local_or_root;
use crate::sessions::{Notice, SessionInfo, SignedInFor};

#[derive(Deserialize)]
pub(crate) struct Where {
    pub(crate) next: Option<String>,
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
    let form = sign_in_form(&api, &parts, "", next.as_deref(), &[]);
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
        Err(Error::SecondFactor(challenge)) => {
            let next = utf8_percent_encode(local_or_root(next), NON_ALPHANUMERIC);
            let mut response = see_other(&api.path(&format!("/second-factor?next={next}")));
            let cookie = challenge_cookie(&api, &challenge)?;
            response.headers_mut().append(header::SET_COOKIE, cookie);
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
            let body = sign_in_form(&api, &parts, &input.email, next, &[message]);
            let mut response = page(&parts, StatusCode::TOO_MANY_REQUESTS, "Sign in", &body);
            let seconds = HeaderValue::from(retry_after.as_seconds_ceil());
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
            return Ok(response);
        }
        Err(error) => return Err(error.into()),
    };
    let body = sign_in_form(&api, &parts, &input.email, next, &[message]);
    Ok(page(&parts, status, "Sign in", &body))
}

pub(crate) async fn sign_out(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    end_current(&api, &parts).await?;
    let mut response = see_other(&api.path("/sign-in"));
    clear_cookies(&api, &mut response);
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePassword {
    old_password: Secret<String>,
    new_password: Secret<String>,
}

const CHANGE: &str = "Change your password";

pub(crate) async fn password(State(api): State<Api>, parts: Parts) -> Response {
    page(&parts, StatusCode::OK, CHANGE, &password_form(&api, &[]))
}

pub(crate) async fn change_password(
    State(api): State<Api>,
    parts: Parts,
    form: Result<Form<ChangePassword>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    let user = signed_in(&parts)?;
    let (old, new) = (&input.old_password, &input.new_password);
    let changed = api
        .accounts
        .change_password(user, old, new, &api.client(&parts))
        .await;
    let problem: Problem = match changed {
        Ok(signed_in) => {
            let mut response = see_other(&api.path("/account"));
            set_cookies(&api, &signed_in, &mut response)?;
            return Ok(response);
        }
        Err(error) => error.into(),
    };
    let faults = sentences(&problem);
    if faults.is_empty() {
        return Err(problem.into());
    }
    let mut response = page(
        &parts,
        problem.kind.status,
        CHANGE,
        &password_form(&api, &faults),
    );
    if let Some(wait) = problem.retry_after {
        let seconds = HeaderValue::from(wait.as_seconds_ceil());
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    Ok(response)
}

/// What is wrong with the fields, or that it is too early, as sentences for people. Nothing where
/// the problem is of another kind.
pub(crate) fn sentences(problem: &Problem) -> Vec<String> {
    let of_fields = problem.fields.iter().map(|fault| {
        let name = match &*fault.field {
            "old_password" => "present password",
            "code" => "code",
            "credential" => "passkey",
            "name" | "display_name" => "name",
            "password" => "password",
            _ => "new password",
        };
        format!("The {name} {}.", fault.message)
    });
    let wait = problem.retry_after.map(|wait| {
        let minutes = wait.as_seconds_ceil().div_ceil(60);
        format!("Too many attempts. The next one is possible in {minutes} min.")
    });
    match problem.kind.slug {
        slug if slug == problem::INVALID_INPUT.slug => of_fields.collect(),
        slug if slug == problem::RATE_LIMITED.slug => wait.into_iter().collect(),
        _ => Vec::new(),
    }
}

fn password_form(api: &Api, faults: &[String]) -> Markup {
    html! {
        (errors(faults))
        form method="post" action=(api.path("/password")) {
            (field("old_password", "Present password", "password", "current-password", ""))
            (field("new_password", "New password", "password", "new-password", ""))
            button type="submit" { "Change the password" }
        }
        p { "Everybody else who is signed in to your account is signed out." }
    }
}

pub(crate) async fn account(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let user = match parts.extensions.get::<Principal>() {
        Some(Principal::User(user)) => user,
        Some(Principal::Anonymous | Principal::ApiKey(_) | Principal::Visitor(_)) | None => {
            return Ok(see_other(&api.path("/sign-in")));
        }
    };
    let account = api.accounts.get(user.id).await?;
    let sessions = api.accounts.devices(user.id).await?;
    let current = user.credential.listed_as();
    let notices = api.accounts.notices(user).await?;
    let body = html! {
        (told(&api, &notices))
        p { "You are signed in as " strong { (account.email) } "." }
        h2 { "Devices" }
        ul {
            @for session in &sessions {
                li { (device(&api, session, Some(session.id) == current)) }
            }
        }
        @if sessions.len() > 1 {
            (ending(&api, "others", "Sign out everywhere else", None))
        }
        (ending(&api, "all", "Sign out everywhere", None))
        p { a href=(api.path("/security")) { "Account security" } }
        form method="post" action=(api.path("/sign-out")) {
            button type="submit" { "Sign out" }
        }
    };
    Ok(page(&parts, StatusCode::OK, "Your account", &body))
}

/// What happened while the user was away, before everything else on the page.
fn told(api: &Api, notices: &[Notice]) -> Markup {
    html! {
        @if !notices.is_empty() {
            div role="alert" {
                @for notice in notices {
                    p {
                        (minute(&notice.at)) ": a session of yours (" (notice.session_client)
                        ") was used from " strong { (notice.client) }
                        @if let Some(address) = &notice.client_address { ", " (address) }
                        ". "
                        @if notice.outcome == "ended" { "It was ended." }
                        @else { "That client was refused." }
                    }
                }
                p { "If that was not you, sign out everywhere and change your password." }
                form method="post" action=(api.path("/account/notices")) {
                    button type="submit" { "I have read this" }
                }
            }
        }
    }
}

fn device(api: &Api, session: &SessionInfo, is_this: bool) -> Markup {
    html! {
        strong { (session.name) }
        @if is_this { " (this device)" }
        @if session.kind == SignedInFor::Tokens { " (with tokens)" }
        br;
        small {
            "First seen " (to_the_minute(session.created_at))
            ", last seen " (to_the_minute(session.last_seen_at))
            @if let Some(from) = session.seen_from() { ", from " (from) }
        }
        @if !is_this {
            (ending(api, &session.id.to_string(), "Sign out", Some(&session.name)))
        }
    }
}

/// A form with one button that ends sessions: one by its id, the `others`, or `all`.
fn ending(api: &Api, which: &str, label: &str, device: Option<&str>) -> Markup {
    html! {
        form method="post" action=(api.path("/account/sessions")) {
            input type="hidden" name="end" value=(which);
            button type="submit" aria-label=[device.map(|device| format!("{label}: {device}"))] {
                (label)
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct End {
    end: String,
}

pub(crate) async fn end_sessions(
    State(api): State<Api>,
    parts: Parts,
    form: Result<Form<End>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    let user = signed_in(&parts)?;
    let client = api.client(&parts);
    match input.end.as_str() {
        "all" => {
            api.accounts.revoke_all(user, &client).await?;
            let mut response = see_other(&api.path("/sign-in"));
            clear_cookies(&api, &mut response);
            return Ok(response);
        }
        "others" => {
            api.accounts.revoke_others(user, &client).await?;
        }
        id => {
            let id = id
                .parse()
                .map_err(|_| Failure(Problem::new(&problem::NOT_FOUND)))?;
            match api.accounts.revoke_session(user, id, &client).await {
                // Ended meanwhile: the page shows that it is gone.
                Ok(()) | Err(Error::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(see_other(&api.path("/account")))
}

pub(crate) async fn dismiss_notices(
    State(api): State<Api>,
    parts: Parts,
) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    api.accounts.dismiss_notices(user).await?;
    Ok(see_other(&api.path("/account")))
}

/// `2026-03-01 09:30 UTC`.
pub(crate) fn to_the_minute(at: Timestamp) -> String {
    minute(&at.to_string())
}

pub(crate) fn minute(at: &str) -> String {
    let text: String = at.chars().take(16).collect();
    format!("{} UTC", text.replace('T', " "))
}

pub(crate) fn sign_in_form(
    api: &Api,
    parts: &Parts,
    email: &str,
    next: Option<&str>,
    faults: &[String],
) -> Markup {
    html! {
        (errors(faults))
        form method="post" action=(api.path("/sign-in")) {
            (field("email", "E-mail address", "email", "username", email))
            (field("password", "Password", "password", "current-password", ""))
            input type="hidden" name="next" value=(local_or_root(next));
            button type="submit" { "Sign in" }
        }
        @for (label, path) in api.openid.buttons() {
            @let next = utf8_percent_encode(local_or_root(next), NON_ALPHANUMERIC);
            // A link: a form that is answered by a redirect to another site is stopped by our CSP.
            p { a.button href=(format!("{path}?next={next}")) { "Sign in with " (label) } }
        }
        (offer_to_sign_in(api, parts, next))
        @if api.accounts.offers_recovery() {
            p { a href=(api.path("/forgot-password")) { "Forgot your password?" } }
        }
        @if api.accounts.registration() == Registration::Confirmed {
            p { a href=(api.path("/create-account")) { "Open an account" } }
        }
    }
}

pub(crate) fn page(parts: &Parts, status: StatusCode, title: &str, body: &Markup) -> Response {
    let nonce = parts.extensions.get::<Nonce>();
    let page = Page { title, nonce };
    (status, Html(page.render(body).into_string())).into_response()
}

/// 303, so that the browser does not repeat the form with its password.
pub(crate) fn see_other(to: &str) -> Response {
    let location = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

pub(crate) fn refused_form(rejection: &FormRejection) -> Problem {
    match rejection.status() {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(&problem::BODY_TOO_LARGE),
        StatusCode::UNPROCESSABLE_ENTITY => Problem::new(&problem::INVALID_INPUT),
        _ => Problem::new(&problem::MALFORMED_BODY),
    }
}
