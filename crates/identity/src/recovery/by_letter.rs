//! What everything that goes by a letter has in common: the page that asks for the letter, and the link in it.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
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
use crate::pages::page;

/// Who asks for a letter, by a form or by a call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    pub(crate) email: String,
}

#[derive(Deserialize)]
pub(crate) struct Link {
    token: Option<Secret<String>>,
}

pub(crate) fn token_of(query: Result<Query<Link>, QueryRejection>) -> Option<Secret<String>> {
    query.ok().and_then(|Query(link)| link.token)
}

/// The page that asks for a letter.
pub(crate) struct AskPage {
    pub(crate) title: &'static str,
    /// Where it is, below where the auth API is mounted.
    pub(crate) path: &'static str,
    /// What the letter is for.
    pub(crate) what: &'static str,
    pub(crate) button: &'static str,
    /// What is said to everybody who asked.
    pub(crate) asked: &'static str,
}

impl AskPage {
    pub(crate) fn show(&self, api: &Api, parts: &Parts) -> Response {
        page(parts, StatusCode::OK, self.title, &self.form(api, &[]))
    }

    /// The answer to whoever asked.
    pub(crate) fn answer(
        &self,
        api: &Api,
        parts: &Parts,
        asked: Result<(), Error>,
    ) -> Result<Response, Failure> {
        match asked {
            Ok(()) => {
                let body = html! {
                    p { (self.asked) " Look into the folder for unwanted mail as well." }
                    (back(api))
                };
                let title = "Look into your mailbox";
                Ok(page(parts, StatusCode::ACCEPTED, title, &body))
            }
            Err(Error::NotAnEmail(_)) => {
                let form = self.form(api, &["This is not an e-mail address.".to_owned()]);
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                Ok(page(parts, status, self.title, &form))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The page behind a link that does not do.
    pub(crate) fn spent(&self, api: &Api, parts: &Parts) -> Response {
        let problem: Problem = Error::LinkSpent.into();
        let body = html! {
            p { "It was used already, it is too old, or it is not complete." }
            p { a href=(api.path(self.path)) { "Ask for a new one" } }
        };
        page(parts, problem.kind.status, problem.kind.title, &body)
    }

    fn form(&self, api: &Api, faults: &[String]) -> Markup {
        html! {
            (errors(faults))
            p { (self.what) }
            form method="post" action=(api.path(self.path)) {
                (field("email", "E-mail address", "email", "username", ""))
                button type="submit" { (self.button) }
            }
            (back(api))
        }
    }
}

fn back(api: &Api) -> Markup {
    html! { p { a href=(api.path("/sign-in")) { "Back to signing in" } } }
}
