//! Calls to an OpenBao or a Vault server, which have one HTTP API, through
//! [`Outbound`](crate::Outbound).
//!
//! - The token is given, or read from its file each time, or had by signing in with a role (AppRole).
//!   A token that is refused is had anew once.
//! - An answer is read up to a limit. What a refusal says is for the caller to judge and goes no
//!   further: it may quote what it was sent.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use portcullis_core::locks::lock;
use portcullis_core::{Clock, Secret, Span, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::outbound::{self, Answer, Outbound, Reach, Target};

const JSON: &str = "application/json";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the namespace is no header")]
    Namespace,
    #[error("`{0}`: {1}")]
    TokenFile(PathBuf, std::io::Error),
    #[error("its token is no header")]
    Token,
    #[error("the sign-in is answered {0}")]
    SignIn(StatusCode),
    #[error("the answer to the sign-in is none that is documented")]
    NotUnderstood,
    #[error(transparent)]
    Outbound(#[from] outbound::Error),
}

/// Something secret, or the file that it is read from each time.
#[derive(Debug, Clone)]
pub enum Token {
    Fixed(Secret),
    File(PathBuf),
}

impl Token {
    async fn read(&self) -> Result<Secret, Error> {
        match self {
            Token::Fixed(secret) => Ok(secret.clone()),
            Token::File(path) => match tokio::fs::read_to_string(path).await {
                Ok(text) => Ok(Secret::new(text)),
                Err(error) => Err(Error::TokenFile(path.clone(), error)),
            },
        }
    }
}

/// Who we are there.
#[derive(Debug, Clone)]
pub enum SignIn {
    Token(Token),
    Role { role_id: String, secret_id: Token },
}

impl SignIn {
    /// By the role where there is one, with its secret, or else by the token. Nothing where what is needed
    /// is missing.
    pub fn of(
        role_id: Option<&str>,
        token: Option<&Token>,
        secret_id: Option<&Token>,
    ) -> Option<SignIn> {
        Some(match role_id {
            Some(role_id) => SignIn::Role {
                role_id: role_id.to_owned(),
                secret_id: secret_id?.clone(),
            },
            None => SignIn::Token(token?.clone()),
        })
    }
}

/// What a server is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `https`, or `http` on this machine.
    pub address: String,
    pub namespace: Option<String>,
    pub sign_in: SignIn,
    /// The certificate authority that is believed in place of the system's.
    pub ca: Option<PathBuf>,
    /// How long one exchange may take.
    pub timeout: Duration,
}

/// One server.
pub struct Server {
    address: String,
    sign_in: SignIn,
    login: Target,
    /// The token that a role was given, and until when it does.
    last: Mutex<Option<(Secret, Timestamp)>>,
    namespace: Option<HeaderValue>,
    outbound: Outbound,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct SignedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: Secret,
    /// In seconds; 0 is for ever.
    lease_duration: u64,
}

impl Server {
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let address = settings.address.trim_end_matches('/').to_owned();
        let namespace = settings.namespace.map(HeaderValue::try_from).transpose();
        Ok(Server {
            login: at(&address, "auth/approle/login")?,
            address,
            sign_in: settings.sign_in,
            last: Mutex::default(),
            namespace: namespace.map_err(|_| Error::Namespace)?,
            outbound: Outbound::new(settings.timeout, settings.ca),
            clock,
        })
    }

    /// A path below `/v1/`.
    pub fn at(&self, path: &str) -> Result<Target, Error> {
        at(&self.address, path)
    }

    /// With a token, and with another one where the first is refused.
    pub async fn post(&self, target: &Target, body: &Value) -> Result<Answer, Error> {
        self.ask(target, Some(Bytes::from(body.to_string()))).await
    }

    /// The same, without a body.
    pub async fn get(&self, target: &Target) -> Result<Answer, Error> {
        self.ask(target, None).await
    }

    async fn ask(&self, target: &Target, body: Option<Bytes>) -> Result<Answer, Error> {
        let token = self.token().await?;
        let answer = self.send(target, Some(&token), body.clone()).await?;
        if answer.status != StatusCode::FORBIDDEN || !self.forget_token() {
            return Ok(answer);
        }
        let token = self.token().await?;
        self.send(target, Some(&token), body).await
    }

    async fn send(
        &self,
        target: &Target,
        token: Option<&Secret>,
        body: Option<Bytes>,
    ) -> Result<Answer, Error> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let value = HeaderValue::try_from(token.expose().trim());
            let value = value.map_err(|_| Error::Token)?;
            headers.insert(HeaderName::from_static("x-vault-token"), value);
        }
        if let Some(namespace) = &self.namespace {
            let name = HeaderName::from_static("x-vault-namespace");
            headers.insert(name, namespace.clone());
        }
        // The server refuses what a browser was tricked into without it.
        headers.insert(
            HeaderName::from_static("x-vault-request"),
            HeaderValue::from_static("true"),
        );
        let sent = match body {
            Some(body) => self.outbound.post_with(target, headers, JSON, body).await,
            None => self.outbound.get_with(target, headers).await,
        };
        Ok(sent?)
    }

    async fn token(&self) -> Result<Secret, Error> {
        let (role_id, secret_id) = match &self.sign_in {
            SignIn::Token(token) => return token.read().await,
            SignIn::Role { role_id, secret_id } => (role_id, secret_id),
        };
        let now = self.clock.now();
        let known = lock(&self.last).clone();
        if let Some((token, until)) = known
            && now < until
        {
            return Ok(token);
        }
        let secret_id = secret_id.read().await?;
        let body = json!({ "role_id": role_id, "secret_id": secret_id.expose().trim() });
        let body = Bytes::from(body.to_string());
        let answer = self.send(&self.login, None, Some(body)).await?;
        if answer.status != StatusCode::OK {
            return Err(Error::SignIn(answer.status));
        }
        let SignedIn { auth } =
            serde_json::from_slice(&answer.body).map_err(|_| Error::NotUnderstood)?;
        // Early enough, whatever the clocks say.
        let lease = match auth.lease_duration {
            0 => Span::from_days(1),
            seconds => Span::from_seconds(seconds / 3 * 2),
        };
        *lock(&self.last) = Some((auth.client_token.clone(), now + lease));
        Ok(auth.client_token)
    }

    /// Whether there is another token to be had.
    fn forget_token(&self) -> bool {
        match &self.sign_in {
            SignIn::Token(Token::Fixed(_)) => false,
            // An agent may have written a new one just now.
            SignIn::Token(Token::File(_)) => true,
            SignIn::Role { .. } => {
                *lock(&self.last) = None;
                true
            }
        }
    }
}

fn at(address: &str, path: &str) -> Result<Target, Error> {
    let url = format!("{address}/v1/{path}");
    Ok(Target::parse(&url, Reach::Configured)?)
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.address)
    }
}
