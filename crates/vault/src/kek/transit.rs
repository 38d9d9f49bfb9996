//! A KEK in the transit engine of an OpenBao or Vault server, which has one HTTP API.
//!
//! - `POST /v1/MOUNT/encrypt/KEY` and `decrypt/KEY`. What a data key is bound to goes along as
//!   `associated_data`, which the server authenticates and which is in none of its logs.
//! - How the gate signs in there: [`openbao`].
//! - What is stored is our mark and the server's own text, `vault:v3:…`, which says the key's version.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use portcullis_core::{Clock, Secret};
use portcullis_edge::openbao::{self, Server, SignIn};
use portcullis_edge::outbound::Target;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Asked, Error, Kek, KekKind, Settings, Whose, mark_of};
use crate::seal::{self, MARK_LEN};

/// The first byte of what this wraps.
const FORM: u8 = 2;

pub(super) struct Transit {
    mark: [u8; MARK_LEN],
    key: String,
    encrypt: Target,
    decrypt: Target,
    server: Server,
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

fn away(said: impl std::fmt::Display) -> Error {
    Error::Away(KekKind::Transit, said.to_string().into())
}

impl Transit {
    pub(super) fn new(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        let unusable = |said: String| Error::Settings(KekKind::Transit, said.into());
        let missing = || unusable("something is missing".to_owned());
        let (config, secrets) = (&settings.config, &settings.secrets);
        let key = config.key.as_deref().ok_or_else(missing)?;
        let mount = config.mount.trim_matches('/');
        let (token, secret_id) = (secrets.token.as_ref(), secrets.secret_id.as_ref());
        let sign_in = SignIn::of(config.role_id.as_deref(), token, secret_id);
        let server = openbao::Settings {
            address: config.address.clone().ok_or_else(missing)?,
            namespace: config.namespace.clone(),
            sign_in: sign_in.ok_or_else(missing)?,
            ca: secrets.ca.clone(),
            timeout: settings.timeout,
        };
        let server = Server::new(server, Arc::clone(clock));
        let server = server.map_err(|error| unusable(error.to_string()))?;
        let at = |path: String| {
            server
                .at(&path)
                .map_err(|error| unusable(error.to_string()))
        };
        // Not the address: the same server may be reached by another name one day.
        let namespace = config.namespace.as_deref().unwrap_or_default();
        let name = format!("transit\n{namespace}\n{mount}\n{key}");
        Ok(Transit {
            mark: mark_of(FORM, &name),
            key: key.to_owned(),
            encrypt: at(format!("{mount}/encrypt/{key}"))?,
            decrypt: at(format!("{mount}/decrypt/{key}"))?,
            server,
        })
    }

    async fn ask<T: DeserializeOwned>(&self, target: &Target, body: &Value) -> Result<T, Error> {
        let is_wrapped = body.get("ciphertext").is_some();
        let answer = self.server.post(target, body).await.map_err(away)?;
        match answer.status {
            StatusCode::OK => serde_json::from_slice(&answer.body)
                .map_err(|_| away("its answer is none that is documented")),
            // Everything is under it: this is no fault of what was to be opened.
            StatusCode::BAD_REQUEST if is_wrapped && says_no_key(&answer.body) => {
                let key = &self.key;
                Err(away(format_args!(
                    "there is no key `{key}`: was it deleted?"
                )))
            }
            // SECURITY: what the server says of it stays here: it may quote what it was sent.
            StatusCode::BAD_REQUEST if is_wrapped => Err(Error::Refused(
                KekKind::Transit,
                "the server refuses it (status 400)".into(),
            )),
            status => Err(away(format_args!("it answers {status}"))),
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<String>,
}

fn says_no_key(body: &[u8]) -> bool {
    let refusal: Result<Refusal, _> = serde_json::from_slice(body);
    refusal.is_ok_and(|refusal| {
        let mut errors = refusal.errors.iter();
        errors.any(|error| error.contains("encryption key not found"))
    })
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
