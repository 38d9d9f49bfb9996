//! The two places that a browser passes: where a sign-in begins, and where it comes back to.

use ::http::request::Parts;
use ::http::{HeaderValue, StatusCode, header};
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use maud::html;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_console::api::Failure;
use portcullis_core::{Principal, Secret};
use portcullis_vault::{Token, TokenHash};
use serde::Deserialize;

use super::admit::{Outcome, Person};
use super::flow::{Flow, LIFETIME};
use super::id_token::{self, Refused};
use super::{Error, OpenidLogin, exchange, store};
use crate::Client;
use crate::api::{Api, set_cookies};
use crate::factors::challenge_cookie;
use crate::issuers::Provider;
use crate::pages::{page, see_other};
use crate::record::{Act, Entry};

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/openid/{provider}", get(begin))
        .route("/openid/{provider}/callback", get(finish))
}

#[derive(Deserialize)]
struct Where {
    next: Option<String>,
}

/// What a provider sends back, each at most once. It has no `Debug`: a code is as good as a password.
#[derive(Deserialize)]
struct Back {
    state: Option<String>,
    code: Option<Secret<String>>,
    iss: Option<String>,
    error: Option<String>,
}

/// Sends the browser to the provider.
async fn begin(
    State(api): State<Api>,
    Path(name): Path<String>,
    query: Result<Query<Where>, QueryRejection>,
    parts: Parts,
) -> Result<Response, Failure> {
    let next = query.ok().and_then(|Query(query)| query.next);
    let openid = &api.openid;
    let provider = openid.provider(&name)?;
    let endpoints = provider.endpoints().await.map_err(Error::from)?;
    // Whoever is signed in and signs in means it: the provider has to ask.
    let again = parts
        .extensions
        .get::<Principal>()
        .and_then(Principal::user)
        .is_some();
    let flow = Flow::begin(openid.now(), next.as_deref(), again).map_err(Error::from)?;
    // One secret for all tabs of the browser.
    let browser = match api.cookies().openid_value(&parts.headers) {
        Some(browser) => browser,
        None => Token::generate().map_err(Error::from)?,
    };
    let state = openid.0.flows.seal(&flow, &name, &browser.hash());
    let state = state.map_err(Error::from)?;
    let url = openid.authorization_url(&provider, &endpoints, &flow, &state);
    let mut response = see_other(&url.ok_or(Error::NoProvider)?);
    let cookie = api.cookies().openid(&browser, LIFETIME);
    if let Ok(mut value) = HeaderValue::from_str(cookie.expose()) {
        value.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    Ok(response)
}

/// Takes what the provider sends back.
async fn finish(
    State(api): State<Api>,
    Path(name): Path<String>,
    query: Result<Query<Back>, QueryRejection>,
    parts: Parts,
) -> Result<Response, Failure> {
    let openid = &api.openid;
    let provider = openid.provider(&name)?;
    let client = api.client(&parts);
    let browser = api.cookies().openid_value(&parts.headers);
    let back = query.ok().map(|Query(back)| back);
    let came = Came {
        browser: browser.map(|browser| browser.hash()),
        back,
        client: &client,
    };
    match openid.come_back(&provider, came).await {
        Ok((flow, outcome)) => arrive(&api, &parts, &flow, outcome),
        Err(error) => {
            tracing::info!(provider = name, cause = %error, "a sign-in at a provider did not work");
            if error.is_refusal() {
                openid.note(&provider, &client);
            }
            Err(error.into())
        }
    }
}

/// A browser that came back.
struct Came<'c> {
    browser: Option<TokenHash>,
    back: Option<Back>,
    client: &'c Client,
}

impl OpenidLogin {
    async fn come_back(
        &self,
        provider: &Provider<'_>,
        came: Came<'_>,
    ) -> Result<(Flow, Outcome), Error> {
        let (Some(browser), Some(back)) = (came.browser, came.back) else {
            return Err(Error::Over);
        };
        let now = self.now();
        let state = back.state.as_deref().unwrap_or_default();
        let flow = self.0.flows.open(state, provider.name(), &browser, now);
        let flow = flow.ok_or(Error::Over)?;
        // SECURITY: before anything is done with the answer, also with one that says no.
        if !store::redeem(self.db(), &flow.hash(), now).await? {
            return Err(Error::Over);
        }
        let endpoints = provider.endpoints().await?;
        // SECURITY: RFC 9207 section 2.4. Another provider's code must not go to this one, nor this
        // one's to another (mix-up).
        match &back.iss {
            Some(issuer) if issuer == provider.url() => {}
            None if !endpoints.names_itself => {}
            Some(_) | None => return Err(Error::OtherIssuer),
        }
        if let Some(error) = &back.error {
            return Err(Error::Denied(exchange::known(error)));
        }
        let code = back.code.ok_or(Error::Denied("no code"))?;
        let granted = self.exchange(provider, &endpoints, &code, &flow).await?;
        let token = provider.id_token(granted.id_token.expose()).await?;
        let (alg, mut claims) = token.ok_or(Refused::Signature)?;
        let access_token = granted.access_token.as_ref();
        let now = self.now();
        let said = id_token::check(provider, (&alg, &claims), &flow, access_token, now)?;
        // SECURITY: who asked for a proof of today is not content with one of yesterday.
        let asked_at = flow.began_at() - provider.leeway();
        if flow.again && said.authenticated_at.is_none_or(|at| at < asked_at) {
            return Err(Error::NotAgain);
        }
        self.add_userinfo(provider, &endpoints, &granted, &mut claims)
            .await?;
        let person = Person {
            said,
            verified: provider.verified_email(&claims),
        };
        let outcome = self.admit(provider, &person, came.client).await?;
        Ok((flow, outcome))
    }

    fn note(&self, provider: &Provider<'_>, client: &Client) {
        let accounts = &self.0.accounts;
        accounts.parts().record.note(Entry {
            provider: Some(provider.name().to_owned()),
            ..accounts.entry(Act::LoginFailed, client)
        });
    }
}

/// Where somebody goes who is signed in, or who has a second factor to prove.
fn arrive(api: &Api, parts: &Parts, flow: &Flow, outcome: Outcome) -> Result<Response, Failure> {
    match outcome {
        Outcome::SignedIn(signed_in) => {
            let mut response = onward(api, parts, flow.next());
            set_cookies(api, &signed_in, &mut response)?;
            Ok(response)
        }
        Outcome::SecondFactor(challenge) => {
            let next = utf8_percent_encode(flow.next(), NON_ALPHANUMERIC);
            let mut response = onward(
                api,
                parts,
                &api.path(&format!("/second-factor?next={next}")),
            );
            let cookie = challenge_cookie(api, &challenge)?;
            response.headers_mut().append(header::SET_COOKIE, cookie);
            Ok(response)
        }
    }
}

/// A redirect; or, where cookies are `SameSite=Strict`, a page of our own that leads on: a browser
/// that comes from another site shows no such cookie, however often it is redirected.
fn onward(api: &Api, parts: &Parts, to: &str) -> Response {
    if !api.cookies().is_strict() {
        return see_other(to);
    }
    let body = html! { p { a href=(to) { "Go on" } } };
    let mut response = page(parts, StatusCode::OK, "You are signed in", &body);
    if let Ok(value) = HeaderValue::from_str(&format!("0; url={to}")) {
        response.headers_mut().insert("refresh", value);
    }
    response
}
