//! Keys of the kinds that other issuers sign with.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use serde_json::{Value, json};

use super::signer::encode;

/// A key pair, and the name that tokens call it by.
pub(crate) struct ForeignKey {
    pub(crate) kid: &'static str,
    pair: Pair,
}

enum Pair {
    Rs256(rsa::KeyPair),
    Es256(EcdsaKeyPair),
}

impl ForeignKey {
    pub(crate) fn rs256(kid: &'static str) -> Self {
        let pair = Pair::Rs256(rsa::KeyPair::generate(KeySize::Rsa2048).unwrap());
        ForeignKey { kid, pair }
    }

    pub(crate) fn es256(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let pair = Pair::Es256(pair);
        ForeignKey { kid, pair }
    }

    pub(crate) fn alg(&self) -> &'static str {
        match self.pair {
            Pair::Rs256(_) => "RS256",
            Pair::Es256(_) => "ES256",
        }
    }

    /// The public half, as it is published.
    pub(crate) fn jwk(&self) -> Value {
        match &self.pair {
            Pair::Rs256(pair) => {
                // RFC 8017 appendix A.1.1: a sequence of modulus and exponent. With 2048 bits the
                // modulus stands behind nine bytes, and the exponent (65537) is the last three.
                let der = pair.public_key().as_ref();
                let (modulus, exponent) = (&der[9..9 + 256], &der[der.len() - 3..]);
                json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": encode(modulus), "e": encode(exponent) })
            }
            Pair::Es256(pair) => {
                // SEC 1 section 2.3.3: 4, x, y.
                let point = pair.public_key().as_ref();
                let (x, y) = (&point[1..33], &point[33..65]);
                json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": encode(x), "y": encode(y) })
            }
        }
    }

    pub(crate) fn header(&self) -> Value {
        json!({ "alg": self.alg(), "typ": "JWT", "kid": self.kid })
    }

    /// A token with this header, whatever it says.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let message = [header, claims].map(|part| encode(part.to_string()));
        let message = message.join(".");
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding = &RSA_PKCS1_SHA256;
                let signed = pair.sign(padding, &random, message.as_bytes(), &mut signature);
                signed.unwrap();
                signature
            }
            Pair::Es256(pair) => {
                let signature = pair.sign(&random, message.as_bytes()).unwrap();
                signature.as_ref().to_vec()
            }
        };
        format!("{message}.{}", encode(signature))
    }
}
