//! The auth API: register, login, logout, me, change-password, sessions; and the pages beside it.
//!
//! - By the time a handler runs, the pipeline has checked host, path, limits, session and CSRF, and
//!   put [`Principal`], [`portcullis_core::RequestId`] and the client's address into the request's extensions.
//! - Bodies are JSON of a declared type with known fields only, each once.
//! - A refusal leaves as an empty response that bears its [`Problem`] as an extension: the one
//!   function that renders problems does the rest.
//! - Every answer is `Cache-Control: no-store`.
//!
//! `Clear-Site-Data` is not sent on sign-out: it would wipe the product's own storage and the
//! cookie by which the device is known.

mod handlers;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use http::request::Parts;
use http::{HeaderMap, header};
use portcullis_console::api::{Failure, no_store};
use portcullis_core::principal::User;
use portcullis_core::{Principal, Problem, problem};
use portcullis_vault::TokenHash;

use crate::sessions::other_client;
use crate::{
    Accounts, ApiKeys, Bearers, Client, Consents, OpenidLogin, Privacy, Tenants, accounts,
    api_keys, consents, pages, tenants, tokens,
};
pub(crate) use handlers::{Grant, clear_cookies, end_current, set_cookies};

/// A CSRF token for a session, as the guard makes it.
#[derive(Debug, Clone)]
pub struct CsrfToken {
    /// What the page sends back.
    pub token: String,
    /// The whole value of the `Set-Cookie` that carries it.
    pub set_cookie: String,
}

/// Makes CSRF tokens. Given by the binary, which knows the guard.
///
/// Given the headers of a request in that session, it keeps the token that they bear already:
/// another one in the cookie would spoil what an open tab holds in memory.
#[derive(Clone)]
pub struct CsrfCookie(pub Arc<IssueCsrf>);

/// Issues, or keeps, the token of a session.
pub type IssueCsrf = dyn Fn(&TokenHash, Option<&HeaderMap>) -> CsrfToken + Send + Sync;

impl fmt::Debug for CsrfCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CsrfCookie(..)")
    }
}

/// What the handlers share.
#[derive(Clone)]
pub struct Api {
    pub accounts: Accounts,
    pub keys: ApiKeys,
    pub bearers: Bearers,
    pub tenants: Tenants,
    pub openid: OpenidLogin,
    pub privacy: Privacy,
    pub consents: Consents,
    pub csrf: CsrfCookie,
    /// Where the router is mounted, without a slash at the end: forms and redirects need it.
    pub mount: Arc<str>,
}

/// The routes, relative to where they are mounted.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/login", post(handlers::login))
        .route("/logout", post(handlers::logout))
        .route("/token", post(tokens::http::exchange))
        .route("/refresh", post(tokens::http::refresh))
        .route("/me", get(handlers::me))
        .route("/change-password", post(handlers::change_password))
        .route(
            "/sessions",
            get(handlers::list_sessions).delete(handlers::revoke_sessions),
        )
        .route("/sessions/{id}", delete(handlers::revoke_session))
        .route(
            "/keys",
            get(api_keys::handlers::list).post(api_keys::handlers::create),
        )
        .route("/keys/{id}", delete(api_keys::handlers::revoke))
        .route("/revoke-key", post(api_keys::handlers::report))
        .route("/tenants", get(tenants::own::list))
        .route("/tenant", post(tenants::own::choose))
        .route(
            "/choose-tenant",
            get(tenants::choose::page).post(tenants::choose::submit),
        )
        .route("/invitation", post(tenants::own::redeem))
        .route("/sign-in", get(pages::sign_in).post(pages::submit_sign_in))
        .route("/sign-out", post(pages::sign_out))
        .route(
            "/notices",
            get(handlers::notices).delete(handlers::dismiss_notices),
        )
        .route("/personal-data", get(handlers::personal_data))
        .route(
            "/consents",
            get(consents::http::read_own).post(consents::http::write_own),
        )
        .route("/account", get(pages::account))
        .route("/account/sessions", post(pages::end_sessions))
        .route("/account/notices", post(pages::dismiss_notices))
        .route(
            "/password",
            get(pages::password).post(pages::change_password),
        )
        .merge(crate::recovery::routes())
        .merge(crate::registration::routes())
        .merge(crate::factors::routes())
        .merge(crate::openid_login::routes())
        .fallback(async || Failure(Problem::new(&problem::NOT_FOUND)))
        .method_not_allowed_fallback(async || Failure(Problem::new(&problem::METHOD_NOT_ALLOWED)))
        .layer(DefaultBodyLimit::max(portcullis_console::api::MAX_BODY))
        .layer(axum::middleware::map_response(no_store))
        .with_state(api)
}

impl From<accounts::Error> for Failure {
    fn from(error: accounts::Error) -> Self {
        Failure(error.into())
    }
}

impl From<crate::sessions::Error> for Failure {
    fn from(error: crate::sessions::Error) -> Self {
        Failure(error.into())
    }
}

impl Api {
    /// Where the call comes from.
    pub(crate) fn client(&self, parts: &Parts) -> Client {
        let text = |name| parts.headers.get(name)?.to_str().ok();
        Client {
            user_agent: text(header::USER_AGENT).map(|text| text.chars().take(256).collect()),
            kind: other_client::kind_of(&parts.headers),
            device: self
                .cookies()
                .device_value(&parts.headers)
                .map(str::to_owned),
            session: self.cookies().presented(&parts.headers).hash(),
            ..Client::of(&parts.extensions)
        }
    }

    pub(crate) fn cookies(&self) -> &crate::sessions::Cookies {
        &self.accounts.sessions().settings().cookies
    }

    pub(crate) fn path(&self, page: &str) -> String {
        format!("{}{page}", self.mount)
    }
}

/// The signed-in caller, or 401.
pub(crate) fn signed_in(parts: &Parts) -> Result<&User, Failure> {
    parts
        .extensions
        .get::<Principal>()
        .and_then(Principal::user)
        .ok_or_else(|| Failure(Problem::new(&problem::AUTHENTICATION_REQUIRED)))
}

#[cfg(test)]
mod tests;
