//! An authenticator in software (level 3 of the standard, without attestation): what a phone or a key does,
//! and what only a forged one does.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Answer, Browser};

const AUTH: &str = "/.portcullis/auth";
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const WITH_KEY: u8 = 0x40;

/// One key pair. A clone of it is what a thief has who copied the device.
#[derive(Clone)]
pub(crate) struct Authenticator {
    pub(crate) key: Arc<EcdsaKeyPair>,
    pub(crate) id: Vec<u8>,
    /// Whose it says it is.
    pub(crate) handle: String,
    pub(crate) origin: String,
    pub(crate) rp_id: String,
    pub(crate) counter: u32,
    /// Whether it checks who holds it.
    pub(crate) verifies: bool,
    /// Whether it says that a page in a frame of another site asked.
    pub(crate) kind_of_get: &'static str,
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Authenticator {
    /// For the site that is reached at `origin`.
    pub(crate) fn at(origin: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let host = origin.split("://").nth(1).unwrap();
        Authenticator {
            key: Arc::new(key),
            id: uuid::Uuid::new_v4().into_bytes().to_vec(),
            handle: String::new(),
            origin: origin.to_owned(),
            rp_id: host.split(':').next().unwrap().to_owned(),
            counter: 0,
            verifies: true,
            kind_of_get: "webauthn.get",
        }
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let challenge = &options["publicKey"]["challenge"];
        json!({ "type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false })
            .to_string()
            .into_bytes()
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let mut data = digest(&SHA256, self.rp_id.as_bytes()).as_ref().to_vec();
        let verified = if self.verifies { VERIFIED } else { 0 };
        data.push(PRESENT | verified | flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// `navigator.credentials.create`
    pub(crate) fn create(&mut self, options: &Value) -> Value {
        let handle = options["publicKey"]["user"]["id"].as_str().unwrap();
        handle.clone_into(&mut self.handle);
        let mut data = self.data(WITH_KEY);
        data.extend([0; 16]);
        data.extend(u16::try_from(self.id.len()).unwrap().to_be_bytes());
        data.extend(&self.id);
        let point = self.key.public_key().as_ref();
        // A COSE key: EC2, ES256, P-256, x, y.
        data.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        data.extend(&point[1..33]);
        data.extend([0x22, 0x58, 0x20]);
        data.extend(&point[33..65]);
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".to_vec();
        object.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        object.extend(&data);
        json!({
            "id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key",
            "response": {
                "attestationObject": encode(&object),
                "clientDataJSON": encode(&self.client_data("webauthn.create", options)),
            },
        })
    }

    /// `navigator.credentials.get`
    pub(crate) fn get(&mut self, options: &Value) -> Value {
        self.counter += 1;
        let data = self.data(0);
        let client_data = self.client_data(self.kind_of_get, options);
        let mut signed = data.clone();
        signed.extend(digest(&SHA256, &client_data).as_ref());
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap();
        json!({
            "id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key",
            "response": {
                "authenticatorData": encode(&data),
                "clientDataJSON": encode(&client_data),
                "signature": encode(signature.as_ref()),
                "userHandle": self.handle,
            },
        })
    }

    /// Makes a passkey for whoever is signed in.
    pub(crate) async fn register(&mut self, browser: &Browser, name: &str) -> Answer {
        let asked = ask(browser, "factors/passkeys/begin").await;
        let credential = self.create(&asked);
        browser
            .post(&format!("{AUTH}/factors/passkeys"))
            .json(&json!({ "credential": credential, "name": name }))
            .send()
            .await
    }

    /// Signs in with nothing else.
    pub(crate) async fn sign_in(&mut self, browser: &Browser) -> Answer {
        let asked = ask(browser, "passkeys/begin").await;
        let credential = self.get(&asked);
        show(browser, "passkeys/sign-in", &credential).await
    }

    /// Proves itself as a second factor.
    pub(crate) async fn prove(&mut self, browser: &Browser) -> Answer {
        let asked = ask(browser, "second-factor/passkey/begin").await;
        let credential = self.get(&asked);
        show(browser, "second-factor/passkey", &credential).await
    }
}

/// What the browser is asked.
pub(crate) async fn ask(browser: &Browser, path: &str) -> Value {
    let asked = browser.post(&format!("{AUTH}/{path}")).send().await;
    assert_eq!(asked.status, 200, "{}", asked.text());
    asked.json()
}

pub(crate) async fn show(browser: &Browser, path: &str, credential: &Value) -> Answer {
    browser
        .post(&format!("{AUTH}/{path}"))
        .json(&json!({ "credential": credential }))
        .send()
        .await
}
