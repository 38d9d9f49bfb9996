//! Signing in at an OpenID provider: authorization code with PKCE (OpenID Connect Core section 3.1,
//! RFC 6749, RFC 7636, RFC 9700).
//!
//! - What is known of a sign-in that is under way travels as its `state`, sealed: no node has to
//!   remember it, and nobody fills a table by beginning sign-ins. It opens only together with the
//!   secret in a cookie of the browser that began it (login CSRF), for the provider that was asked
//!   (mix-up), for ten minutes, and once, by a row in the database.
//! - The code is worth something only with the verifier that is sealed in there, and the identity
//!   token counts only with the nonce that is.
//! - An answer that names another issuer, or none where the provider names itself, is refused before
//!   the code goes anywhere (RFC 9207).
//! - A person is (issuer, subject), as for the issuer's tokens: an address that equals that of a
//!   local account opens nothing of it.
//! - What comes out is a session like any other, with a new token. It is as old as the provider says
//!   that its proof is (`auth_time`): a route with `max-age` sends people back to prove it again.
//! - A provider that does not answer is 503, and everybody else goes on.

mod admit;
pub mod config;
mod exchange;
mod flow;
mod http;
mod id_token;
mod link;
pub(crate) mod manage;
mod standing;
mod store;

use std::sync::Arc;

use portcullis_console::api::Failure;
use portcullis_core::{Problem, Timestamp, problem};
use portcullis_store::Db;
use portcullis_vault::keys::{Keys, Purpose};
use portcullis_vault::{seal, tokens};

use crate::accounts;
use crate::issuers::{self, Provider};
use crate::{Accounts, Issuers};

pub(crate) use http::routes;
pub use standing::Standing;
pub(crate) use store::{carry_over, of_challenge, prune};

use flow::Flows;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no such provider")]
    NoProvider,
    /// One answer for a state that is forged, too old, used, or of another browser.
    #[error("the sign-in is over, or was never begun here")]
    Over,
    #[error("the answer is not of the provider that was asked")]
    OtherIssuer,
    #[error("the provider refused: {0}")]
    Denied(&'static str),
    #[error("the provider does not take the code: {0}")]
    Code(&'static str),
    #[error("the identity token is not good: {0}")]
    IdToken(#[from] id_token::Refused),
    #[error("the provider did not ask again")]
    NotAgain,
    /// One answer for somebody who may not come in, and for an account that is closed.
    #[error("the person has no account here")]
    NoAccount,
    #[error(transparent)]
    Issuer(#[from] issuers::Error),
    #[error(transparent)]
    Accounts(#[from] accounts::Error),
    #[error(transparent)]
    Seal(#[from] seal::Error),
    #[error(transparent)]
    Randomness(#[from] tokens::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let failed =
            |detail: &'static str| Problem::new(&problem::OPENID_LOGIN_FAILED).detail(detail);
        match error {
            Error::NoProvider => Problem::new(&problem::NOT_FOUND),
            Error::Over => failed(
                "This sign-in took too long, was used already, or began in another browser. Begin again.",
            ),
            Error::Denied(_) => failed("The provider did not sign you in. You can begin again."),
            Error::OtherIssuer | Error::Code(_) | Error::IdToken(_) => {
                failed("The provider's answer is not good. You can begin again.")
            }
            Error::NotAgain => {
                failed("The provider did not ask you again who you are, and this is needed here.")
            }
            Error::NoAccount => Problem::new(&problem::OPENID_ACCOUNT_REFUSED),
            Error::Issuer(error) => error.into(),
            Error::Accounts(error) => error.into(),
            Error::Seal(error) => error.into(),
            Error::Randomness(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

impl Error {
    /// Whether somebody was refused, which belongs into the trail. The rest is trouble of our own.
    const fn is_refusal(&self) -> bool {
        match self {
            Error::Over
            | Error::OtherIssuer
            | Error::Denied(_)
            | Error::Code(_)
            | Error::IdToken(_)
            | Error::NotAgain
            | Error::NoAccount => true,
            Error::NoProvider
            | Error::Issuer(_)
            | Error::Accounts(_)
            | Error::Seal(_)
            | Error::Randomness(_)
            | Error::Store(_) => false,
        }
    }
}

/// Where people sign in. Cheap to clone.
#[derive(Clone)]
pub struct OpenidLogin(Arc<Inner>);

struct Inner {
    accounts: Accounts,
    issuers: Issuers,
    flows: Flows,
    /// Where people reach the gate; nothing where no provider is configured.
    origin: String,
    /// The path of everything here, without a slash at the end.
    path: String,
}

impl OpenidLogin {
    /// `path` is where [`routes`] of the auth API's own mount are, and `origin` what is before it.
    pub fn new(
        accounts: Accounts,
        issuers: Issuers,
        keys: &Keys,
        origin: Option<&str>,
        path: String,
    ) -> Result<Self, seal::Error> {
        accounts.sessions().standing().set(&issuers);
        Ok(OpenidLogin(Arc::new(Inner {
            accounts,
            issuers,
            flows: Flows::new(keys, Purpose::OpenidLogin)?,
            origin: origin.unwrap_or_default().to_owned(),
            path,
        })))
    }

    /// The providers, each by what its button says and where that leads.
    pub(crate) fn buttons(&self) -> impl Iterator<Item = (&str, String)> {
        let inner = &*self.0;
        inner.issuers.providers().map(|provider| {
            let path = format!("{}/{}", inner.path, provider.name());
            (provider.login.label.as_str(), path)
        })
    }

    fn provider(&self, name: &str) -> Result<Provider<'_>, Error> {
        self.0
            .issuers
            .providers()
            .find(|provider| provider.name() == name)
            .ok_or(Error::NoProvider)
    }

    /// Where a provider sends people back to. Each provider has its own, so that an answer is never
    /// taken for another one's.
    fn redirect_uri(&self, provider: &Provider<'_>) -> String {
        let inner = &*self.0;
        format!(
            "{}{}/{}/callback",
            inner.origin,
            inner.path,
            provider.name()
        )
    }

    fn now(&self) -> Timestamp {
        self.0.accounts.parts().clock.now()
    }

    fn db(&self) -> &Db {
        &self.0.accounts.parts().db
    }
}
