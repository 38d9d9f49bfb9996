//! Whether a message is from whom it says it is: one file for each way of signing.
//!
//! - Verified are the bytes as they came, before anybody reads them as anything.
//! - Each form is read strictly: a header once, its characters printable, its numbers plain digits, its
//!   hexadecimal digits lower case, its length bounded. What is merely almost right is wrong.
//! - The signature first, then the age: that a message is too old is told only of one that is genuine.
//! - What identifies a message is covered by its signature. Where the sender's own id is not (GitHub),
//!   the digest of the body is taken: another id on a captured message makes no new one of it.
//! - Every secret is compared with every signature, so that the time says nothing of which one it was.
//!
//! Sources: <https://docs.stripe.com/webhooks/signature>, the Standard Webhooks specification,
//! GitHub's "Validating webhook deliveries", Slack's "Verifying requests from Slack".

mod github;
mod hmac;
mod slack;
mod standard;
mod stripe;

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderName};
use portcullis_core::{Problem, Secret, Span, Timestamp, problem};
use portcullis_vault::foreign;
use portcullis_vault::keys::ForeignMac;
use serde::Deserialize;

pub use hmac::{Encoding, Form};

/// How a sender signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    Stripe,
    /// Standard Webhooks: Supabase, Clerk, Svix, `OpenAI` and others.
    Standard,
    Github,
    Slack,
    /// HMAC-SHA256 over the body, in a header of one's choice.
    Hmac,
}

/// Why a message is not taken. What exactly is wrong is for the log: a forger is told nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no signature")]
    Missing,
    #[error("a header of the signature is there more than once")]
    Twice,
    #[error("the signature is not of the right form")]
    Form,
    #[error("no secret made this signature")]
    Signature,
    #[error("it was signed too long ago")]
    Old,
    #[error("it was signed in the future")]
    Future,
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Missing | Refused::Twice | Refused::Form | Refused::Signature => {
                Problem::new(&problem::WEBHOOK_SIGNATURE_INVALID).header(
                    http::header::WWW_AUTHENTICATE,
                    http::HeaderValue::from_static("Webhook-Signature"),
                )
            }
            Refused::Old | Refused::Future => Problem::new(&problem::WEBHOOK_TIMESTAMP_OUTSIDE),
        }
    }
}

/// Proof that a message was verified. Only [`Verifier::verify`] makes one, and nothing is stored
/// without it.
#[derive(Debug)]
#[must_use]
pub struct Verified {
    /// The sender's id of the message, where the signature covers it.
    pub(super) id: Option<String>,
    /// What kind of event a header says it is. A label: nothing is decided by it.
    pub(super) kind: Option<String>,
}

/// A secret, ready to verify.
enum Key {
    Mac(Box<ForeignMac>),
    /// The public key of a sender that signs with Ed25519 (Standard Webhooks, `v1a`).
    Public([u8; 32]),
}

/// What a message must bear to be believed.
pub struct Verifier {
    scheme: Scheme,
    form: Option<Form>,
    keys: Vec<Key>,
    tolerance: Span,
}

impl Verifier {
    /// Compiles the secrets. On a mistake its position and what is wrong.
    pub fn new(
        scheme: Scheme,
        form: Option<Form>,
        secrets: &[Secret<String>],
        tolerance: Span,
    ) -> Result<Self, (usize, &'static str)> {
        let keys = secrets.iter().enumerate().map(|(position, secret)| {
            let key = match scheme {
                Scheme::Standard => standard::key(secret),
                Scheme::Stripe | Scheme::Github | Scheme::Slack | Scheme::Hmac => plain(secret),
            };
            key.map_err(|message| (position, message))
        });
        Ok(Verifier {
            scheme,
            form,
            keys: keys.collect::<Result<_, _>>()?,
            tolerance,
        })
    }

    /// Verifies the body as it came.
    pub fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Verified, Refused> {
        let (verified, signed_at) = match self.scheme {
            Scheme::Stripe => stripe::verify(&self.keys, headers, body)?,
            Scheme::Standard => standard::verify(&self.keys, headers, body)?,
            Scheme::Github => github::verify(&self.keys, headers, body)?,
            Scheme::Slack => slack::verify(&self.keys, headers, body)?,
            Scheme::Hmac => {
                let form = self.form.as_ref().ok_or(Refused::Form)?;
                hmac::verify(form, &self.keys, headers, body)?
            }
        };
        if let Some(signed_at) = signed_at {
            check_age(signed_at, now, self.tolerance)?;
        }
        Ok(verified)
    }

    /// Headers that the product may want to see: the signature's own, and what the sender says beside.
    pub fn passes_on(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        let known: &[&str] = match self.scheme {
            Scheme::Stripe => &["stripe-signature"],
            Scheme::Standard => &standard::HEADERS,
            Scheme::Github => &github::HEADERS,
            Scheme::Slack => &slack::HEADERS,
            Scheme::Hmac => &[],
        };
        name == "content-type"
            || known.contains(&name)
            || self.form.as_ref().is_some_and(|form| form.names(name))
    }

    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether old messages can be told from new ones.
    pub fn knows_age(&self) -> bool {
        match self.scheme {
            Scheme::Stripe | Scheme::Standard | Scheme::Slack => true,
            Scheme::Github => false,
            Scheme::Hmac => self.form.as_ref().is_some_and(Form::has_timestamp),
        }
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

/// SECURITY: a signature is good for ever, so a captured message could be sent again at any time; and
/// one of the future would outlive what is remembered of it. Both ways.
fn check_age(signed_at: i64, now: Timestamp, tolerance: Span) -> Result<(), Refused> {
    let tolerance = i64::try_from(tolerance.as_seconds()).unwrap_or(i64::MAX);
    let age = now.as_seconds().saturating_sub(signed_at);
    if age > tolerance {
        Err(Refused::Old)
    } else if age < tolerance.saturating_neg() {
        Err(Refused::Future)
    } else {
        Ok(())
    }
}

/// A text that is too short is guessed.
const SHORTEST: usize = 16;

fn plain(secret: &Secret<String>) -> Result<Key, &'static str> {
    if secret.expose().len() < SHORTEST {
        return Err("is shorter than 16 characters: it could be guessed");
    }
    Ok(Key::Mac(Box::new(ForeignMac::new(secret))))
}

/// Longer than any signature header of a sender that means well.
const LONGEST_HEADER: usize = 4096;

/// The one value of a header.
fn one<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Refused> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    // SECURITY: of two, the gate and the product might each believe another one (CWE-436).
    if values.next().is_some() {
        return Err(Refused::Twice);
    }
    let text = value.to_str().map_err(|_| Refused::Form)?;
    if text.is_empty() || text.len() > LONGEST_HEADER {
        return Err(Refused::Form);
    }
    Ok(Some(text))
}

fn needed<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, Refused> {
    one(headers, name)?.ok_or(Refused::Missing)
}

/// Seconds since the epoch in plain digits: no sign, no space, no exponent.
fn seconds(text: &str) -> Result<i64, Refused> {
    if text.is_empty() || text.len() > 12 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refused::Form);
    }
    text.parse().map_err(|_| Refused::Form)
}

/// 32 bytes in lower case.
fn from_hex(text: &str) -> Result<Vec<u8>, Refused> {
    let is_plain = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 64 || !text.bytes().all(is_plain) {
        return Err(Refused::Form);
    }
    hex::decode(text).map_err(|_| Refused::Form)
}

/// Whether one of the secrets made one of the tags of `parts`, in a time that does not say which.
fn is_tagged(keys: &[Key], parts: &[&[u8]], tags: &[Vec<u8>]) -> Result<(), Refused> {
    let mut found = false;
    for key in keys {
        match key {
            Key::Mac(mac) => {
                let ours = mac.tag_of_parts(parts);
                for tag in tags {
                    found |= portcullis_vault::ct_eq(&ours, tag);
                }
            }
            Key::Public(_) => {}
        }
    }
    if found {
        Ok(())
    } else {
        Err(Refused::Signature)
    }
}

/// The same for signatures of a private key.
fn is_signed(keys: &[Key], message: &[u8], signatures: &[Vec<u8>]) -> bool {
    let publics = keys.iter().filter_map(|key| match key {
        Key::Public(public) => Some(public),
        Key::Mac(_) => None,
    });
    let mut found = false;
    for public in publics {
        for signature in signatures {
            found |= foreign::is_ed25519_of(public, message, signature);
        }
    }
    found
}

/// A label of the sender's, bounded and printable.
fn label(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    (!text.is_empty() && text.len() <= 100).then(|| text.to_owned())
}
