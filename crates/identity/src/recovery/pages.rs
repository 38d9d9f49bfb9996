//! The pages: ask for a link, choose a new password, confirm an address. They need no script.
//!
//! Opening a link changes nothing, for mail programs open links by themselves: only the form behind
//! it does.

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use maud::{Markup, html};
use portcullis_console::api::Failure;
use portcullis_console::{errors, field};
use portcullis_core::{Problem, Secret};
use serde::Deserialize;

use crate::accounts::Error;
use crate::api::Api;
use crate::pages::{page, refused_form, sentences};

#[derive(Deserialize)]
pub(crate) struct Link {
    token: Option<Secret<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    email: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    token: Secret<String>,
    new_password: Secret<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirmed {
    token: Secret<String>,
}

pub(super) async fn forgot(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    if !api.accounts.offers_recovery() {
        return Err(Error::NotFound.into());
    }
    Ok(page(&parts, StatusCode::OK, ASK, &ask_form(&api, &[])))
}

const ASK: &str = "Forgot your password?";
const CHOOSE: &str = "Choose a new password";
const CONFIRM: &str = "Confirm your e-mail address";

fn ask_form(api: &Api, faults: &[String]) -> Markup {
    html! {
        (errors(faults))
        p { "We send you a link with which you can choose a new one." }
        form method="post" action=(api.path("/forgot-password")) {
            (field("email", "E-mail address", "email", "username", ""))
            button type="submit" { "Send the link" }
        }
        p { a href=(api.path("/sign-in")) { "Back to signing in" } }
    }
}

pub(super) async fn ask(
    State(api): State<Api>,
    parts: Parts,
    form: Result<Form<Asked>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    match api
        .accounts
        .ask_reset(&input.email, &api.client(&parts))
        .await
    {
        Ok(()) => {}
        Err(Error::NotAnEmail(_)) => {
            let faults = ["This is not an e-mail address.".to_owned()];
            let form = ask_form(&api, &faults);
            return Ok(page(&parts, StatusCode::UNPROCESSABLE_ENTITY, ASK, &form));
        }
        Err(error) => return Err(error.into()),
    }
    let body = html! {
        p { "If there is an account with this address, a letter with a link is on its way. Look into the folder for unwanted mail as well." }
        p { a href=(api.path("/sign-in")) { "Back to signing in" } }
    };
    Ok(page(
        &parts,
        StatusCode::ACCEPTED,
        "Look into your mailbox",
        &body,
    ))
}

pub(super) async fn new_password(
    State(api): State<Api>,
    query: Result<Query<Link>, QueryRejection>,
    parts: Parts,
) -> Response {
    match token_of(query) {
        Some(token) => page(&parts, StatusCode::OK, CHOOSE, &choose(&api, &token, &[])),
        None => spent(&api, &parts),
    }
}

fn choose(api: &Api, token: &Secret<String>, faults: &[String]) -> Markup {
    html! {
        (errors(faults))
        form method="post" action=(api.path("/new-password")) {
            (field("new_password", "New password", "password", "new-password", ""))
            input type="hidden" name="token" value=(token.expose());
            button type="submit" { "Set the password" }
        }
        p { "Everybody who is signed in to your account is signed out." }
    }
}

pub(super) async fn set_password(
    State(api): State<Api>,
    parts: Parts,
    form: Result<Form<Chosen>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    let client = api.client(&parts);
    match api
        .accounts
        .reset_password(&input.token, &input.new_password, &client)
        .await
    {
        Ok(()) => {
            let body = html! {
                p { "Your password is changed. Everybody who was signed in has been signed out." }
                p { a href=(api.path("/sign-in")) { "Sign in" } }
            };
            Ok(page(&parts, StatusCode::OK, "Done", &body))
        }
        Err(Error::LinkSpent) => Ok(spent(&api, &parts)),
        Err(Error::Weak(_, weak)) => {
            let problem = weak.into_problem("new_password");
            let faults = sentences(&problem);
            let form = choose(&api, &input.token, &faults);
            Ok(page(&parts, problem.kind.status, CHOOSE, &form))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn verify_email(
    State(api): State<Api>,
    query: Result<Query<Link>, QueryRejection>,
    parts: Parts,
) -> Response {
    let Some(token) = token_of(query) else {
        return spent(&api, &parts);
    };
    let body = html! {
        form method="post" action=(api.path("/verify-email")) {
            input type="hidden" name="token" value=(token.expose());
            button type="submit" { "Yes, this is my address" }
        }
    };
    page(&parts, StatusCode::OK, CONFIRM, &body)
}

pub(super) async fn confirm_email(
    State(api): State<Api>,
    parts: Parts,
    form: Result<Form<Confirmed>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    match api
        .accounts
        .verify_email(&input.token, &api.client(&parts))
        .await
    {
        Ok(()) => {
            let body = html! { p { "Thank you. Your e-mail address is confirmed." } };
            Ok(page(&parts, StatusCode::OK, "Done", &body))
        }
        Err(Error::LinkSpent) => Ok(spent(&api, &parts)),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn token_of(query: Result<Query<Link>, QueryRejection>) -> Option<Secret<String>> {
    query.ok().and_then(|Query(link)| link.token)
}

fn spent(api: &Api, parts: &Parts) -> Response {
    let problem: Problem = Error::LinkSpent.into();
    let body = html! {
        p { "It was used already, it is too old, or it is not complete." }
        p { a href=(api.path("/forgot-password")) { "Ask for a new one" } }
    };
    page(parts, problem.kind.status, problem.kind.title, &body)
}
