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
use portcullis_core::Secret;
use serde::Deserialize;

use super::by_letter::{AskPage, Asked, Link, token_of};
use crate::accounts::Error;
use crate::api::Api;
use crate::pages::{page, refused_form, sentences};

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

const ASK: AskPage = AskPage {
    title: "Forgot your password?",
    path: "/forgot-password",
    what: "We send you a link with which you can choose a new one.",
    button: "Send the link",
    asked: "If there is an account with this address, a letter with a link is on its way.",
};
const CHOOSE: &str = "Choose a new password";
const CONFIRM: &str = "Confirm your e-mail address";

pub(super) async fn forgot(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    if !api.accounts.offers_recovery() {
        return Err(Error::NotFound.into());
    }
    Ok(ASK.show(&api, &parts))
}

pub(super) async fn ask(
    State(api): State<Api>,
    parts: Parts,
    form: Result<Form<Asked>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    let client = api.client(&parts);
    let asked = api.accounts.ask_reset(&input.email, &client).await;
    ASK.answer(&api, &parts, asked)
}

pub(super) async fn new_password(
    State(api): State<Api>,
    query: Result<Query<Link>, QueryRejection>,
    parts: Parts,
) -> Response {
    match token_of(query) {
        Some(token) => page(&parts, StatusCode::OK, CHOOSE, &choose(&api, &token, &[])),
        None => ASK.spent(&api, &parts),
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
        Err(Error::LinkSpent) => Ok(ASK.spent(&api, &parts)),
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
        return ASK.spent(&api, &parts);
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
        Err(Error::LinkSpent) => Ok(ASK.spent(&api, &parts)),
        Err(error) => Err(error.into()),
    }
}
