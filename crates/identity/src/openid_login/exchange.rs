//! What goes to the provider, and what comes back.

use ::http::{HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::Secret;
use serde::Deserialize;
use serde_json::{Map, Value};
use url::form_urlencoded::{Serializer, byte_serialize};

use super::flow::Flow;
use super::id_token::Refused;
use super::{Error, OpenidLogin};
use crate::issuers::Provider;
use crate::issuers::keyset::{self, Endpoints};

/// What a code was good for.
#[derive(Deserialize)]
pub(super) struct Granted {
    pub(super) id_token: Secret<String>,
    token_type: String,
    pub(super) access_token: Option<Secret<String>>,
}

#[derive(Deserialize)]
struct NotGranted {
    error: String,
}

/// Errors of RFC 6749 sections 4.1.2.1 and 5.2 and OpenID Connect Core section 3.1.2.6. What is not
/// among them is not repeated anywhere.
const ERRORS: [&str; 15] = [
    "access_denied",
    "account_selection_required",
    "consent_required",
    "interaction_required",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "login_required",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unmet_authentication_requirements",
    "unsupported_grant_type",
    "unsupported_response_type",
];

/// The provider's word for what went wrong, where it is one.
pub(super) fn known(error: &str) -> &'static str {
    ERRORS
        .into_iter()
        .find(|known| *known == error)
        .unwrap_or("an error without a name")
}

impl OpenidLogin {
    /// Where the browser goes.
    pub(super) fn authorization_url(
        &self,
        provider: &Provider<'_>,
        endpoints: &Endpoints,
        flow: &Flow,
        state: &str,
    ) -> Option<String> {
        let mut url = url::Url::parse(&endpoints.authorization).ok()?;
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.login.config.client_id)
            .append_pair("redirect_uri", &self.redirect_uri(provider))
            .append_pair("scope", &provider.login.scopes)
            .append_pair("state", state)
            .append_pair("nonce", &flow.nonce)
            .append_pair("code_challenge", &flow.challenge())
            .append_pair("code_challenge_method", "S256");
        if flow.again {
            // `max_age` besides, so that the answer has to say when (Core section 2, `auth_time`).
            query
                .append_pair("prompt", "login")
                .append_pair("max_age", "0");
        }
        if !provider.login.config.second_factor_acr.is_empty() {
            let wanted = provider.login.config.second_factor_acr.join(" ");
            query.append_pair("acr_values", &wanted);
        }
        drop(query);
        Some(url.into())
    }

    fn token_request(
        &self,
        provider: &Provider<'_>,
        endpoints: &Endpoints,
        code: &Secret<String>,
        flow: &Flow,
    ) -> (Option<HeaderValue>, String) {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code.expose())
            .append_pair("redirect_uri", &self.redirect_uri(provider))
            .append_pair("code_verifier", &flow.verifier);
        let login = provider.login;
        let (id, secret) = (&login.config.client_id, login.client_secret.expose());
        if endpoints.takes_basic {
            return (basic(id, secret), form.finish());
        }
        form.append_pair("client_id", id)
            .append_pair("client_secret", secret);
        (None, form.finish())
    }

    /// Gives the code for what it is good for. Nothing of it is logged.
    pub(super) async fn exchange(
        &self,
        provider: &Provider<'_>,
        endpoints: &Endpoints,
        code: &Secret<String>,
        flow: &Flow,
    ) -> Result<Granted, Error> {
        let (authorization, form) = self.token_request(provider, endpoints, code, flow);
        let answer = provider
            .ask(&endpoints.token, authorization, Some(form))
            .await?;
        let broken = || {
            let host = endpoints.token.host().to_owned();
            Error::from(provider.away(keyset::Error::Status(host, answer.status)))
        };
        match answer.status {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let said: NotGranted =
                    serde_json::from_slice(&answer.body).map_err(|_| broken())?;
                let error = known(&said.error);
                if matches!(error, "invalid_client" | "unauthorized_client") {
                    tracing::error!(
                        provider = provider.name(),
                        error,
                        "the provider does not know the client: see issuer.NAME.login.client-id and client-secret"
                    );
                }
                return Err(Error::Code(error));
            }
            _ => return Err(broken()),
        }
        let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| broken())?;
        if !granted.token_type.eq_ignore_ascii_case("bearer") {
            return Err(broken());
        }
        Ok(granted)
    }

    /// Adds the address to the claims, where the provider tells it only when asked (Core section 5.3).
    pub(super) async fn add_userinfo(
        &self,
        provider: &Provider<'_>,
        endpoints: &Endpoints,
        granted: &Granted,
        claims: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        let wants_email = provider
            .login
            .config
            .scopes
            .iter()
            .any(|scope| scope == "email");
        let (Some(target), Some(token)) = (&endpoints.userinfo, &granted.access_token) else {
            return Ok(());
        };
        if !wants_email || claims.contains_key("email") {
            return Ok(());
        }
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok();
        let answer = provider.ask(target, bearer, None).await?;
        let said = (answer.status == StatusCode::OK)
            .then(|| serde_json::from_slice::<Map<String, Value>>(&answer.body).ok())
            .flatten();
        let Some(mut said) = said else {
            let host = target.host().to_owned();
            return Err(provider
                .away(keyset::Error::Status(host, answer.status))
                .into());
        };
        // SECURITY: userinfo is not signed; an answer about somebody else must not be mixed in.
        if said.get("sub") != claims.get("sub") {
            return Err(Refused::UserInfo.into());
        }
        for name in ["email", "email_verified"] {
            // Both from one place: what the token says of no address is said of none.
            match said.remove(name) {
                Some(value) => claims.insert(name.to_owned(), value),
                None => claims.remove(name),
            };
        }
        Ok(())
    }
}

/// HTTP Basic as OAuth writes it: both parts form-encoded first (RFC 6749 section 2.3.1).
fn basic(id: &str, secret: &str) -> Option<HeaderValue> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(id), encoded(secret));
    HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()
}
