//! The pages: the code of a sign-in, and the security of an account (factors, codes, devices).
//! They need no script, passkeys apart. Forms come from the gate's own pages: their `Origin` says so.

use axum::Router;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use http::request::Parts;
use maud::{Markup, PreEscaped, html};
use portcullis_console::api::Failure;
use portcullis_console::errors;
use portcullis_core::principal::User;
use portcullis_core::{Problem, Secret, problem};
use serde::Deserialize;

use super::api::clear_challenge;
use super::{Enrolment, Proof, Status, Typed, challenge, passkeys};
use crate::accounts::{Error, SignedIn};
use crate::api::{Api, set_cookies, signed_in};
use crate::next::local_or_root;
use crate::pages::{page, refused_form, see_other, sentences, to_the_minute};
use crate::sessions::SignedInFor;

/// The pages of the signed-in, relative to where the auth API is mounted.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/security", get(security))
        .route("/security/totp", post(begin_totp))
        .route("/security/totp/confirm", post(confirm_totp))
        .route("/security/totp/remove", post(remove_totp))
        .route("/security/recovery-codes", post(make_codes))
        .route("/security/sessions/end", post(end_session))
        .route("/security/sessions/end-others", post(end_others))
}

#[derive(Deserialize)]
pub(super) struct Where {
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofForm {
    code: Secret<String>,
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Code {
    code: Secret<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ended {
    id: String,
}

const PROVE: &str = "Second factor";
pub(super) const SECURITY: &str = "Account security";
const ENROL: &str = "Set up an authenticator app";

/// The form for a code; for somebody signed in without a factor, the way to one.
pub(super) async fn second_factor(
    State(api): State<Api>,
    query: Result<Query<Where>, QueryRejection>,
    parts: Parts,
) -> Result<Response, Failure> {
    let next = query.ok().and_then(|Query(query)| query.next);
    if api.cookies().challenge_value(&parts.headers).is_none() {
        let Ok(user) = signed_in(&parts) else {
            return Ok(see_other(&api.path("/sign-in")));
        };
        let has = api.accounts.factors(user.id).await?;
        if !has.has_any() {
            let body = html! {
                p { "This asks for a second factor, and your account has none yet." }
                p { a href=(api.path("/security")) { "Set one up" } }
            };
            return Ok(page(&parts, StatusCode::OK, PROVE, &body));
        }
    }
    let form = prove_form(&api, &parts, next.as_deref(), &[]).await?;
    Ok(page(&parts, StatusCode::OK, PROVE, &form))
}

/// What the account that the caller stands before can show; of an unknown one, what all can.
async fn shows(api: &Api, parts: &Parts) -> Result<Status, Error> {
    let accounts = api.accounts.parts();
    let user = match api.cookies().challenge_value(&parts.headers) {
        Some(hash) => challenge::find(&accounts.db, &hash, accounts.clock.now()).await?,
        None => signed_in(parts).ok().map(|user| user.id),
    };
    match user {
        Some(user) => api.accounts.factors(user).await,
        None => Ok(Status {
            totp: true,
            passkeys: 0,
            recovery_codes_left: 0,
        }),
    }
}

async fn prove_form(
    api: &Api,
    parts: &Parts,
    next: Option<&str>,
    faults: &[String],
) -> Result<Markup, Error> {
    let has = shows(api, parts).await?;
    let label = if has.totp {
        "Code of your authenticator app, or a recovery code"
    } else {
        "A recovery code"
    };
    Ok(html! {
        (errors(faults))
        @if has.passkeys > 0 { (passkeys::offer_to_prove(api, parts, next)) }
        form method="post" action=(api.path("/second-factor/prove")) {
            (code_field(label))
            input type="hidden" name="next" value=(local_or_root(next));
            button type="submit" { "Continue" }
        }
        p { a href=(api.path("/sign-in")) { "Sign in as somebody else" } }
    })
}

/// No `inputmode`: a recovery code has letters.
fn code_field(label: &str) -> Markup {
    html! {
        label for="code" { (label) }
        input id="code" name="code" type="text" autocomplete="one-time-code" autocapitalize="none" spellcheck="false" maxlength="64" required;
    }
}

pub(super) async fn prove(
    State(api): State<Api>,
    parts: Parts,
    form: Result<Form<ProofForm>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    let next = input.next.as_deref();
    let done = super::api::prove(&api, &parts, Proof::Typed(Typed(input.code.expose()))).await;
    proved(&api, &parts, next, done).await
}

/// Where somebody goes who has shown a factor, or has tried to.
pub(super) async fn proved(
    api: &Api,
    parts: &Parts,
    next: Option<&str>,
    done: Result<SignedIn, Error>,
) -> Result<Response, Failure> {
    match done {
        Ok(signed_in) => {
            let mut response = see_other(local_or_root(next));
            set_cookies(api, &signed_in, &mut response)?;
            clear_challenge(api, &mut response);
            Ok(response)
        }
        Err(Error::ChallengeOver) => {
            let mut response = see_other(&api.path("/sign-in"));
            clear_challenge(api, &mut response);
            Ok(response)
        }
        Err(error) => {
            let problem = Problem::from(error);
            let form = prove_form(api, parts, next, &sentences(&problem)).await?;
            told(parts, PROVE, problem, |_| form)
        }
    }
}

/// The page again with what is wrong, where that can be said to its reader.
pub(super) fn told(
    parts: &Parts,
    title: &str,
    problem: Problem,
    again: impl FnOnce(&[String]) -> Markup,
) -> Result<Response, Failure> {
    let faults = sentences(&problem);
    if faults.is_empty() {
        return Err(problem.into());
    }
    Ok(page(parts, problem.kind.status, title, &again(&faults)))
}

async fn security(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let Ok(user) = signed_in(&parts) else {
        return Ok(see_other(&api.path("/sign-in")));
    };
    let body = security_body(&api, &parts, user).await?;
    Ok(page(&parts, StatusCode::OK, SECURITY, &body))
}

pub(super) async fn security_body(
    api: &Api,
    parts: &Parts,
    user: &User,
) -> Result<Markup, Failure> {
    let account = api.accounts.get(user.id).await?;
    let has = api.accounts.factors(user.id).await?;
    let keys = api.accounts.passkeys(user.id).await?;
    let sessions = api.accounts.devices(user.id).await?;
    let current = user.credential.listed_as();
    Ok(html! {
        p { "You are signed in as " strong { (account.email) } "." }
        h2 { "Authenticator app" }
        @if has.totp {
            p { "An app is in use: its code is asked for when you sign in." }
            (button(api, "/security/totp/remove", "Remove the app"))
        } @else {
            p { "None." @if !has.has_any() { " Whoever knows your password is you." } }
            (button(api, "/security/totp", "Set up an app"))
        }
        (passkeys::section(api, parts, &keys))
        @if has.has_any() {
            h2 { "Recovery codes" }
            p { "You have " (has.recovery_codes_left) " left. Each signs you in once when everything else is lost." }
            (button(api, "/security/recovery-codes", "Make new codes"))
        }
        h2 { "Password" }
        p { a href=(api.path("/password")) { "Change your password" } }
        h2 { "Devices" }
        ul {
            @for session in &sessions {
                li {
                    (session.name)
                    @if Some(session.id) == current { " (this one)" }
                    @if session.kind == SignedInFor::Tokens { " (with tokens)" }
                    br;
                    small {
                        "Last seen " (to_the_minute(session.last_seen_at))
                        @if let Some(address) = &session.client_address { " from " (address) }
                    }
                    form method="post" action=(api.path("/security/sessions/end")) {
                        input type="hidden" name="id" value=(session.id);
                        button type="submit" { "Sign out" span.away { " the device last seen " (to_the_minute(session.last_seen_at)) } }
                    }
                }
            }
        }
        (button(api, "/security/sessions/end-others", "Sign out everywhere else"))
    })
}

fn button(api: &Api, to: &str, label: &str) -> Markup {
    html! {
        form method="post" action=(api.path(to)) { button type="submit" { (label) } }
    }
}

async fn begin_totp(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    let enrolment = api.accounts.begin_totp(user).await?;
    let body = enrol_form(&api, Some(&enrolment), &[]);
    Ok(page(&parts, StatusCode::OK, ENROL, &body))
}

fn enrol_form(api: &Api, enrolment: Option<&Enrolment>, faults: &[String]) -> Markup {
    html! {
        (errors(faults))
        @if let Some(enrolment) = enrolment {
            p { "Point the camera of your authenticator app at this picture." }
            div.picture { (PreEscaped(enrolment.picture.expose())) }
            p { "Or type this into the app:" br; code { (enrolment.secret.expose()) } }
        }
        form method="post" action=(api.path("/security/totp/confirm")) {
            (code_field("The code that the app shows now"))
            button type="submit" { "Take it into use" }
        }
        p { a href=(api.path("/security")) { "Not now" } }
    }
}

async fn confirm_totp(
    State(api): State<Api>,
    parts: Parts,
    form: Result<Form<Code>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    let user = signed_in(&parts)?;
    let client = api.client(&parts);
    match api
        .accounts
        .confirm_totp(user, Typed(input.code.expose()), &client)
        .await
    {
        Ok(enrolled) => {
            let body = codes_body(&api, &enrolled.codes);
            let mut response = page(&parts, StatusCode::OK, "The app is in use", &body);
            set_cookies(&api, &enrolled.signed_in, &mut response)?;
            Ok(response)
        }
        Err(error) => {
            let again = |faults: &[String]| enrol_form(&api, None, faults);
            told(&parts, ENROL, error.into(), again)
        }
    }
}

pub(super) fn codes_body(api: &Api, codes: &[Secret<String>]) -> Markup {
    html! {
        @if !codes.is_empty() {
            p { "These are your recovery codes. Each signs you in once when everything else is lost. They are shown this once: print them, or keep them where you keep your passwords." }
            ul.codes { @for code in codes { li { code { (code.expose()) } } } }
        }
        p { a href=(api.path("/security")) { "Back to account security" } }
    }
}

async fn remove_totp(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    api.accounts.remove_totp(user, &api.client(&parts)).await?;
    Ok(see_other(&api.path("/security")))
}

async fn make_codes(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    let codes = api.accounts.make_codes(user, &api.client(&parts)).await?;
    let body = codes_body(&api, &codes);
    Ok(page(&parts, StatusCode::OK, "New recovery codes", &body))
}

async fn end_session(
    State(api): State<Api>,
    parts: Parts,
    form: Result<Form<Ended>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    let user = signed_in(&parts)?;
    let id = input
        .id
        .parse()
        .map_err(|_| Failure(Problem::new(&problem::NOT_FOUND)))?;
    api.accounts
        .revoke_session(user, id, &api.client(&parts))
        .await?;
    Ok(see_other(&api.path("/security")))
}

async fn end_others(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    api.accounts
        .revoke_others(user, &api.client(&parts))
        .await?;
    Ok(see_other(&api.path("/security")))
}
