//! Another issuer on loopback: its discovery document, its keys, and the tokens that it signs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Response;
use jsonwebtoken::{Algorithm, EncodingKey};
use portcullis_vault::SigningKey;
use serde_json::{Value, json};

use super::Upstream;
use super::signer::{ed25519, encode, now, sign};

/// An issuer that signs with Ed25519.
pub(crate) struct Issuer {
    pub(crate) server: Upstream,
    pub(crate) url: String,
    pub(crate) seed: [u8; 32],
    keys: Arc<Mutex<Vec<Value>>>,
    is_away: Arc<AtomicBool>,
}

impl Issuer {
    pub(crate) async fn start(seed: u8) -> Issuer {
        let seed = [seed; 32];
        let keys = Arc::new(Mutex::new(vec![jwk(&seed)]));
        let published = Arc::clone(&keys);
        let is_away = Arc::<AtomicBool>::default();
        let silent = Arc::clone(&is_away);
        let server = Upstream::answering(move |request| {
            if silent.load(Ordering::SeqCst) {
                let answer = Response::builder().status(503);
                return answer.body(Body::empty()).unwrap();
            }
            let host = request.header("host").unwrap();
            let document = match request.target.as_str() {
                "/.well-known/openid-configuration" => json!({
                    "issuer": format!("http://{host}"),
                    "jwks_uri": format!("http://{host}/.well-known/jwks.json"),
                }),
                _ => json!({ "keys": *published.lock().unwrap() }),
            };
            Response::new(Body::from(document.to_string()))
        })
        .await;
        Issuer {
            url: server.url(),
            server,
            seed,
            keys,
            is_away,
        }
    }

    /// From now on it answers nothing that is of use.
    pub(crate) fn fall_silent(&self) {
        self.is_away.store(true, Ordering::SeqCst);
    }

    pub(crate) fn answer_again(&self) {
        self.is_away.store(false, Ordering::SeqCst);
    }

    /// The keys that it publishes at any time.
    pub(crate) fn published(&self) -> Arc<Mutex<Vec<Value>>> {
        Arc::clone(&self.keys)
    }

    /// Another one, which signs with a key of its own.
    pub(crate) fn clone_with(&self, seed: u8) -> Issuer {
        Issuer {
            server: self.server.clone(),
            url: self.url.clone(),
            seed: [seed; 32],
            keys: Arc::default(),
            is_away: Arc::clone(&self.is_away),
        }
    }

    /// Publishes another key in place of the first; what it signs from now on.
    pub(crate) fn rotate(&mut self, seed: u8) {
        self.seed = [seed; 32];
        *self.keys.lock().unwrap() = vec![jwk(&self.seed)];
    }

    /// The claims that every token has, and these.
    pub(crate) fn claims(&self, subject: &str, more: &Value) -> Value {
        let mut claims = json!({
            "iss": self.url, "aud": "product", "sub": subject, "iat": now(), "exp": now() + 600,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims
                    .as_object_mut()
                    .unwrap()
                    .insert(name.clone(), value.clone()),
            };
        }
        claims
    }

    pub(crate) fn token(&self, subject: &str, more: &Value) -> String {
        self.signed(&self.header(), &self.claims(subject, more))
    }

    pub(crate) fn header(&self) -> Value {
        let key = SigningKey::from_seed(&self.seed).unwrap();
        json!({ "alg": "EdDSA", "typ": "JWT", "kid": key.kid() })
    }

    pub(crate) fn signed(&self, header: &Value, claims: &Value) -> String {
        let message = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        let signature = sign(&message, &ed25519(&self.seed), Algorithm::EdDSA);
        format!("{message}.{signature}")
    }
}

fn jwk(seed: &[u8; 32]) -> Value {
    SigningKey::from_seed(seed).unwrap().jwk()
}

/// A token under HS256.
pub(crate) fn hs256(secret: &str, claims: &Value) -> String {
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let message = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature = sign(&message, &key, Algorithm::HS256);
    format!("{message}.{signature}")
}
