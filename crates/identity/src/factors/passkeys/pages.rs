//! The forms. They need the one script of the gate's pages, for only a script can ask an
//! authenticator: without it they stay hidden. It fills in the field `credential` and sends the form,
//! so that everything that is said, is said by a page.

use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use maud::{Markup, html};
use portcullis_console::Nonce;
use portcullis_console::api::Failure;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::PasskeyView;
use super::api::{clear_ceremony, parse_id, shown};
use crate::accounts::Error;
use crate::api::{Api, set_cookies, signed_in};
use crate::factors::Proof;
use crate::factors::api::prove;
use crate::factors::pages::{SECURITY, codes_body, told};
use crate::next::local_or_root;
use crate::pages::{minute, page, refused_form, see_other};

const SCRIPT: &str = include_str!("passkeys.js");

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/passkeys.js", get(script))
        .route("/sign-in/passkey", post(sign_in))
        .route("/second-factor/prove-passkey", post(prove_passkey))
        .route("/security/passkeys", post(register))
        .route("/security/passkeys/rename", post(rename))
        .route("/security/passkeys/remove", post(remove))
}

async fn script() -> Response {
    let kind = HeaderValue::from_static("text/javascript; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], SCRIPT).into_response()
}

/// The script of a page, admitted by the page's nonce.
fn script_element(api: &Api, parts: &Parts) -> Markup {
    let nonce = parts.extensions.get::<Nonce>();
    html! {
        script nonce=[nonce.map(|nonce| &*nonce.0)] src=(api.path("/passkeys.js")) defer {}
    }
}

/// A form that asks for a passkey: where it asks, and where the answer goes.
struct Ask<'a> {
    begin: &'a str,
    to: &'a str,
    label: &'a str,
}

impl Ask<'_> {
    fn form(&self, api: &Api, parts: &Parts, fields: &Markup) -> Markup {
        html! {
            form method="post" action=(api.path(self.to)) data-passkey=(api.path(self.begin)) hidden {
                (fields)
                input type="hidden" name="credential";
                button type="submit" { (self.label) }
                p role="status" {}
            }
            (script_element(api, parts))
        }
    }
}

/// On the page for signing in; nothing where there are no passkeys.
pub(crate) fn offer_to_sign_in(api: &Api, parts: &Parts, next: Option<&str>) -> Markup {
    let ask = Ask {
        begin: "/passkeys/begin",
        to: "/sign-in/passkey",
        label: "Sign in with a passkey",
    };
    offer(api, parts, &ask, next)
}

/// On the page for the second factor.
pub(in crate::factors) fn offer_to_prove(api: &Api, parts: &Parts, next: Option<&str>) -> Markup {
    let ask = Ask {
        begin: "/second-factor/passkey/begin",
        to: "/second-factor/prove-passkey",
        label: "Use a passkey",
    };
    offer(api, parts, &ask, next)
}

fn offer(api: &Api, parts: &Parts, ask: &Ask<'_>, next: Option<&str>) -> Markup {
    let next = html! { input type="hidden" name="next" value=(local_or_root(next)); };
    html! {
        @if api.accounts.offers_passkeys() { (ask.form(api, parts, &next)) }
    }
}

/// On the page about the account's security.
pub(in crate::factors) fn section(api: &Api, parts: &Parts, has: &[PasskeyView]) -> Markup {
    let ask = Ask {
        begin: "/factors/passkeys/begin",
        to: "/security/passkeys",
        label: "Add a passkey",
    };
    let fields = html! {
        label for="passkey-name" { "Name of the new passkey" }
        input id="passkey-name" name="name" type="text" autocomplete="off" maxlength="100" value="Passkey" required;
    };
    html! {
        @if api.accounts.offers_passkeys() || !has.is_empty() {
            h2 { "Passkeys" }
            @if has.is_empty() {
                p { "None. A passkey signs you in with your device's lock, instead of your password and a code." }
            } @else {
                ul { @for passkey in has { li { (one(api, passkey)) } } }
            }
        }
        @if api.accounts.offers_passkeys() { (ask.form(api, parts, &fields)) }
    }
}

fn one(api: &Api, passkey: &PasskeyView) -> Markup {
    let field = format!("name-{}", passkey.id);
    html! {
        strong { (passkey.name) }
        br;
        small {
            "Added " (minute(&passkey.created_at))
            @match &passkey.last_used_at {
                Some(at) => { ", last used " (minute(at)) }
                None => { ", not used yet" }
            }
        }
        form method="post" action=(api.path("/security/passkeys/rename")) {
            input type="hidden" name="id" value=(passkey.id);
            label for=(field) { "Name" span.away { " of the passkey " (passkey.name) } }
            input id=(field) name="name" type="text" autocomplete="off" maxlength="100" value=(passkey.name) required;
            button type="submit" { "Rename" span.away { " the passkey " (passkey.name) } }
        }
        form method="post" action=(api.path("/security/passkeys/remove")) {
            input type="hidden" name="id" value=(passkey.id);
            button type="submit" { "Remove" span.away { " the passkey " (passkey.name) } }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    credential: String,
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    credential: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Renamed {
    id: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Removed {
    id: String,
}

type Sent<T> = Result<Form<T>, FormRejection>;

fn sent<T>(form: Sent<T>) -> Result<T, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    Ok(input)
}

/// What the script put into the form. Anything else is an answer that is not right.
fn read<T: DeserializeOwned>(credential: &str) -> Result<T, Error> {
    serde_json::from_str(credential).map_err(|_| Error::PasskeyRefused)
}

async fn sign_in(
    State(api): State<Api>,
    parts: Parts,
    form: Sent<Answered>,
) -> Result<Response, Failure> {
    let input = sent(form)?;
    let next = input.next.as_deref();
    let done = match read(&input.credential) {
        Ok(credential) => {
            let shown = shown(&api, &parts, credential);
            let client = api.client(&parts);
            api.accounts.sign_in_with_passkey(&shown, &client).await
        }
        Err(_) => Err(Error::PasskeyUnknown),
    };
    match done {
        Ok(signed_in) => {
            let mut response = see_other(local_or_root(next));
            set_cookies(&api, &signed_in, &mut response)?;
            clear_ceremony(&api, &mut response);
            Ok(response)
        }
        Err(Error::PasskeyUnknown) => {
            let faults =
                ["This passkey is not known here, or the sign-in took too long.".to_owned()];
            let body = crate::pages::sign_in_form(&api, &parts, "", next, &faults);
            Ok(page(&parts, StatusCode::UNAUTHORIZED, "Sign in", &body))
        }
        Err(error) => Err(error.into()),
    }
}

async fn prove_passkey(
    State(api): State<Api>,
    parts: Parts,
    form: Sent<Answered>,
) -> Result<Response, Failure> {
    let input = sent(form)?;
    let next = input.next.as_deref();
    let done = match read(&input.credential) {
        Ok(credential) => {
            let shown = shown(&api, &parts, credential);
            prove(&api, &parts, Proof::Passkey(&shown)).await
        }
        Err(error) => Err(error),
    };
    let mut response = crate::factors::pages::proved(&api, &parts, next, done).await?;
    clear_ceremony(&api, &mut response);
    Ok(response)
}

async fn register(
    State(api): State<Api>,
    parts: Parts,
    form: Sent<Made>,
) -> Result<Response, Failure> {
    let input = sent(form)?;
    let user = signed_in(&parts)?;
    let question = api.cookies().ceremony_value(&parts.headers);
    let client = api.client(&parts);
    let done = match read(&input.credential) {
        Ok(answer) => {
            api.accounts
                .finish_passkey(user, question.as_ref(), &answer, &input.name, &client)
                .await
        }
        // Without an answer there is nothing to take, but perhaps somebody who has to sign in again.
        Err(error) => Err(api.accounts.why_not(user).await.unwrap_or(error)),
    };
    match done {
        Ok(enrolled) => {
            let body = codes_body(&api, &enrolled.codes);
            let mut response = page(&parts, StatusCode::OK, "The passkey is in use", &body);
            set_cookies(&api, &enrolled.signed_in, &mut response)?;
            clear_ceremony(&api, &mut response);
            Ok(response)
        }
        Err(error) => security_again(&api, &parts, error).await,
    }
}

async fn rename(
    State(api): State<Api>,
    parts: Parts,
    form: Sent<Renamed>,
) -> Result<Response, Failure> {
    let input = sent(form)?;
    let user = signed_in(&parts)?;
    let id = parse_id(&input.id)?;
    match api.accounts.rename_passkey(user, id, &input.name).await {
        Ok(()) => Ok(see_other(&api.path("/security"))),
        Err(error) => security_again(&api, &parts, error).await,
    }
}

async fn remove(
    State(api): State<Api>,
    parts: Parts,
    form: Sent<Removed>,
) -> Result<Response, Failure> {
    let input = sent(form)?;
    let user = signed_in(&parts)?;
    let id = parse_id(&input.id)?;
    let client = api.client(&parts);
    api.accounts.remove_passkey(user, id, &client).await?;
    Ok(see_other(&api.path("/security")))
}

/// The page about the account's security, with what is wrong.
async fn security_again(api: &Api, parts: &Parts, error: Error) -> Result<Response, Failure> {
    let user = signed_in(parts)?;
    let body = crate::factors::pages::security_body(api, parts, user).await?;
    told(parts, SECURITY, error.into(), |faults| {
        html! { (portcullis_console::errors(faults)) (body) }
    })
}
