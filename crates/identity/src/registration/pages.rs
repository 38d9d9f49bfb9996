//! The pages: ask for an account, and open it behind the link. They need no script.
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

use super::Opening;
use crate::accounts::Error;
use crate::api::Api;
use crate::pages::{page, refused_form, sentences};
use crate::recovery::by_letter::{AskPage, Asked, Link, token_of};

const ASK: AskPage = AskPage {
    title: "Open an account",
    path: "/create-account",
    what: "We send you a letter with a link. Behind it you choose your password.",
    button: "Send the letter",
    asked: "A letter is on its way to this address.",
};
const CHOOSE: &str = "Choose your password";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    token: Secret<String>,
    display_name: String,
    password: Secret<String>,
}

pub(super) async fn create(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    api.accounts.opens_by_link()?;
    Ok(ASK.show(&api, &parts))
}

pub(super) async fn ask(
    State(api): State<Api>,
    parts: Parts,
    form: Result<Form<Asked>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    let client = api.client(&parts);
    let asked = api.accounts.ask_registration(&input.email, &client).await;
    ASK.answer(&api, &parts, asked)
}

pub(super) async fn chosen(
    State(api): State<Api>,
    query: Result<Query<Link>, QueryRejection>,
    parts: Parts,
) -> Response {
    match token_of(query) {
        Some(token) => {
            let form = choose(&api, &token, "", &[]);
            page(&parts, StatusCode::OK, CHOOSE, &form)
        }
        None => ASK.spent(&api, &parts),
    }
}

fn choose(api: &Api, token: &Secret<String>, name: &str, faults: &[String]) -> Markup {
    html! {
        (errors(faults))
        form method="post" action=(api.path("/open-account")) {
            (field("display_name", "Your name", "text", "name", name))
            (field("password", "Password", "password", "new-password", ""))
            input type="hidden" name="token" value=(token.expose());
            button type="submit" { "Open the account" }
        }
    }
}

pub(super) async fn open(
    State(api): State<Api>,
    parts: Parts,
    form: Result<Form<Chosen>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    let name = input.display_name.as_str();
    let opening = Opening {
        token: &input.token,
        password: &input.password,
        display_name: Some(name),
    };
    let problem: Problem = match api
        .accounts
        .open_by_link(&opening, &api.client(&parts))
        .await
    {
        Ok(_) => {
            let body = html! {
                p { "Your account is open." }
                p { a href=(api.path("/sign-in")) { "Sign in" } }
            };
            return Ok(page(&parts, StatusCode::CREATED, "Welcome", &body));
        }
        Err(Error::LinkSpent) => return Ok(ASK.spent(&api, &parts)),
        Err(error) => error.into(),
    };
    let faults = sentences(&problem);
    if faults.is_empty() {
        return Err(problem.into());
    }
    let form = choose(&api, &input.token, name, &faults);
    Ok(page(&parts, problem.kind.status, CHOOSE, &form))
}
