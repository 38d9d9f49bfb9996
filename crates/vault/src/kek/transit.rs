//! A KEK in the transit engine of an OpenBao or Vault server, which has one HTTP API.
//!
//! - `POST /v1/MOUNT/encrypt/KEY` and `decrypt/KEY`. What a data key is bound to goes along as
//!   `associated_data`, which the server authenticates and which is in none of its logs.
//! - The token is given, or read from its file each time, or had by signing in with a role. A token
//!   that is refused is had anew once.
//! - What is stored is our mark and the server's own text, `vault:v3:…`, which says the key's version.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use portcullis_core::locks::lock;
use portcullis_core::{Clock, Secret, Span, Timestamp};
use portcullis_edge::outbound::{Answer, Outbound, Reach, Target};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Asked, Error, Kek, KekKind, Settings, Token, Whose, mark_of};
use crate::seal::{self, MARK_LEN};

/// The first byte of what this wraps.
const FORM: u8 = 2;
const JSON: &str = "application/json";

pub(super) struct Transit {
    mark: [u8; MARK_LEN],
    encrypt: Target,
    decrypt: Target,
    sign_in: SignIn,
    namespace: Option<HeaderValue>,
    outbound: Outbound,
    clock: Arc<dyn Clock>,
}

enum SignIn {
    Token(Token),
    Role {
        login: Target,
        role_id: String,
        secret_id: Token,
        last: Mutex<Option<(Secret, Timestamp)>>,
    },
}

#[derive(Deserialize)]
struct Whole<T> {
    data: T,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: Secret,
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

fn away(said: impl std::fmt::Display) -> Error {
    Error::Away(KekKind::Transit, said.to_string().into())
}

impl Transit {
    pub(super) fn new(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        let unusable = |said: String| Error::Settings(KekKind::Transit, said.into());
        let missing = || unusable("something is missing".to_owned());
        let (config, secrets) = (&settings.config, &settings.secrets);
        let address = config.address.as_deref().ok_or_else(missing)?;
        let at = |path: &str| {
            let url = format!("{}/v1/{path}", address.trim_end_matches('/'));
            Target::parse(&url, Reach::Configured).map_err(|error| unusable(error.to_string()))
        };
        let key = config.key.as_deref().ok_or_else(missing)?;
        let mount = config.mount.trim_matches('/');
        let namespace = config.namespace.as_deref();
        let sign_in = match (&config.role_id, &secrets.token, &secrets.secret_id) {
            (Some(role_id), _, Some(secret_id)) => SignIn::Role {
                login: at("auth/approle/login")?,
                role_id: role_id.clone(),
                secret_id: secret_id.clone(),
                last: Mutex::default(),
            },
            (None, Some(token), _) => SignIn::Token(token.clone()),
            (Some(_) | None, _, _) => return Err(missing()),
        };
        // Not the address: the same server may be reached by another name one day.
        let name = format!("transit\n{}\n{mount}\n{key}", namespace.unwrap_or_default());
        Ok(Transit {
            mark: mark_of(FORM, &name),
            encrypt: at(&format!("{mount}/encrypt/{key}"))?,
            decrypt: at(&format!("{mount}/decrypt/{key}"))?,
            sign_in,
            namespace: namespace
                .map(HeaderValue::try_from)
                .transpose()
                .map_err(|error| unusable(error.to_string()))?,
            outbound: Outbound::new(settings.timeout, secrets.ca.clone()),
            clock: Arc::clone(clock),
        })
    }

    /// Asks with a token, and with another one where the first is refused.
    async fn ask<T: DeserializeOwned>(&self, target: &Target, body: &Value) -> Result<T, Error> {
        let is_wrapped = body.get("ciphertext").is_some();
        let body = Bytes::from(body.to_string());
        let mut answer = self.post(target, Some(self.token().await?), &body).await?;
        if answer.status == StatusCode::FORBIDDEN && self.forget_token() {
            answer = self.post(target, Some(self.token().await?), &body).await?;
        }
        match answer.status {
            StatusCode::OK => serde_json::from_slice(&answer.body)
                .map_err(|_| away("its answer is none that is documented")),
            // SECURITY: what the server says of it stays here: it may quote what it was sent.
            StatusCode::BAD_REQUEST if is_wrapped => Err(Error::Refused(
                KekKind::Transit,
                "the server refuses it (status 400)".into(),
            )),
            status => Err(away(format_args!("it answers {status}"))),
        }
    }

    async fn post(
        &self,
        target: &Target,
        token: Option<Secret>,
        body: &Bytes,
    ) -> Result<Answer, Error> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let value = HeaderValue::try_from(token.expose().trim());
            let value = value.map_err(|_| away("its token is no header"))?;
            headers.insert(HeaderName::from_static("x-vault-token"), value);
        }
        if let Some(namespace) = &self.namespace {
            headers.insert(
                HeaderName::from_static("x-vault-namespace"),
                namespace.clone(),
            );
        }
        // The server refuses what a browser was tricked into without it.
        headers.insert(
            HeaderName::from_static("x-vault-request"),
            HeaderValue::from_static("true"),
        );
        let answer = self
            .outbound
            .post_with(target, headers, JSON, body.clone())
            .await;
        answer.map_err(away)
    }

    async fn token(&self) -> Result<Secret, Error> {
        let (login, role_id, secret_id, last) = match &self.sign_in {
            SignIn::Token(token) => return read(token).await,
            SignIn::Role {
                login,
                role_id,
                secret_id,
                last,
            } => (login, role_id, secret_id, last),
        };
        let now = self.clock.now();
        let known = lock(last).clone();
        if let Some((token, until)) = known
            && now < until
        {
            return Ok(token);
        }
        let secret_id = read(secret_id).await?;
        let body = json!({ "role_id": role_id, "secret_id": secret_id.expose().trim() });
        let answer = self.post(login, None, &body.to_string().into()).await?;
        if answer.status != StatusCode::OK {
            return Err(away(format_args!(
                "the sign-in is answered {}",
                answer.status
            )));
        }
        let SignedIn { auth } = serde_json::from_slice(&answer.body)
            .map_err(|_| away("the answer to the sign-in is none that is documented"))?;
        // Early enough, whatever the clocks say.
        let lease = match auth.lease_duration {
            0 => Span::from_days(1),
            seconds => Span::from_seconds(seconds / 3 * 2),
        };
        *lock(last) = Some((auth.client_token.clone(), now + lease));
        Ok(auth.client_token)
    }

    /// Whether there is another token to be had.
    fn forget_token(&self) -> bool {
        match &self.sign_in {
            SignIn::Token(Token::Fixed(_)) => false,
            // An agent may have written a new one just now.
            SignIn::Token(Token::File(_)) => true,
            SignIn::Role { last, .. } => {
                *lock(last) = None;
                true
            }
        }
    }
}

async fn read(token: &Token) -> Result<Secret, Error> {
    match token {
        Token::Fixed(secret) => Ok(secret.clone()),
        Token::File(path) => match tokio::fs::read_to_string(path).await {
            Ok(text) => Ok(Secret::new(text)),
            Err(error) => Err(away(format_args!("`{}`: {error}", path.display()))),
        },
    }
}

fn associated_data(whose: &Whose<'_>) -> String {
    STANDARD.encode(seal::joined(&whose.parts()))
}

impl Kek for Transit {
    fn kind(&self) -> KekKind {
        KekKind::Transit
    }

    fn mark(&self) -> [u8; MARK_LEN] {
        self.mark
    }

    fn version(&self, wrapped: &[u8]) -> Option<u32> {
        let text = std::str::from_utf8(wrapped.get(MARK_LEN..)?).ok()?;
        version_of(text)
    }

    fn wrap<'a>(&'a self, whose: &'a Whose<'_>, key: &'a [u8]) -> Asked<'a, Vec<u8>> {
        Box::pin(async move {
            let plaintext = Zeroizing::new(STANDARD.encode(key));
            let body = json!({
                "plaintext": plaintext.as_str(),
                "associated_data": associated_data(whose),
            });
            let answer: Whole<Encrypted> = self.ask(&self.encrypt, &body).await?;
            let text = answer.data.ciphertext;
            if version_of(&text).is_none() {
                return Err(away("its answer is none that is documented"));
            }
            Ok([&self.mark[..], text.as_bytes()].concat())
        })
    }

    fn unwrap<'a>(&'a self, whose: &'a Whose<'_>, wrapped: &'a [u8]) -> Asked<'a, Secret<Vec<u8>>> {
        Box::pin(async move {
            let text = wrapped.get(MARK_LEN..).map(std::str::from_utf8);
            let Some(Ok(text)) = text else {
                return Err(Error::Refused(KekKind::Transit, "it is no text".into()));
            };
            let body = json!({ "ciphertext": text, "associated_data": associated_data(whose) });
            let answer: Whole<Decrypted> = self.ask(&self.decrypt, &body).await?;
            let key = STANDARD.decode(answer.data.plaintext.expose());
            key.map(Secret::new)
                .map_err(|_| away("its answer is none that is documented"))
        })
    }
}

/// `vault:v3:…`
fn version_of(text: &str) -> Option<u32> {
    let (version, rest) = text.strip_prefix("vault:v")?.split_once(':')?;
    (!rest.is_empty()).then(|| version.parse().ok()).flatten()
}
