//! Senders of webhooks, played: whoever shares a secret with the gate can sign as they do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::Secret;
use portcullis_events::webhooks::Config;
use portcullis_events::webhooks::verify::{Encoding, Scheme};
use portcullis_vault::keys::ForeignMac;
use portcullis_vault::tokens::{random, sha256};
use serde_json::{Value, json};

use crate::prove::probe::Short;
use crate::prove::wire::Reply;
use crate::prove::world::World;

/// The headers of a signature.
pub(super) type Headers = Vec<(String, String)>;

/// Who sends to one `[[webhook]]`.
pub(super) struct Sender<'w> {
    pub(super) config: &'w Config,
    secret: &'w Secret,
}

/// A message that nobody has sent before.
pub(super) struct Message {
    /// The sender's own id of it.
    pub(super) id: String,
    /// What nobody but this message says.
    pub(super) note: String,
    pub(super) body: String,
}

impl Message {
    pub(super) fn new() -> Self {
        let marker = uuid::Uuid::new_v4().simple();
        let (id, note) = (format!("evt_{marker}"), format!("note-{marker}"));
        let body = json!({ "id": id, "event_id": id, "type": "prove.rehearsal", "data": { "object": { "id": id, "note": note } } });
        Message {
            id,
            note,
            body: body.to_string(),
        }
    }

    /// The same with another content.
    pub(super) fn changed(&self) -> String {
        self.body.replace("prove.rehearsal", "prove.reversed")
    }
}

/// Every webhook of the policy.
pub(super) fn all(w: &World) -> Result<Vec<Sender<'_>>, Short> {
    let configs = &w.config().webhooks;
    let secrets = &w.stores.loaded.secrets.webhooks;
    let senders: Vec<Sender<'_>> = configs
        .iter()
        .zip(secrets)
        .filter_map(|(config, secrets)| {
            let secret = secrets.first()?;
            Some(Sender { config, secret })
        })
        .collect();
    if senders.is_empty() {
        return Err(Short::not_configured("[[webhook]]"));
    }
    Ok(senders)
}

impl Sender<'_> {
    /// Whether the gate has what it takes to sign, and not a public key alone.
    pub(super) fn plays(&self) -> bool {
        !self.secret.expose().starts_with("whpk_")
    }

    /// Whether a signature bears its time.
    pub(super) fn knows_age(&self) -> bool {
        match self.config.scheme {
            Scheme::Stripe | Scheme::Standard | Scheme::Slack => true,
            Scheme::Github => false,
            Scheme::Hmac => self.config.timestamp_header.is_some(),
        }
    }

    pub(super) fn remedy(&self, keys: &str) -> String {
        format!("[[webhook]] {}: {keys}", self.config.name)
    }

    /// What is signed as the sender signs; with a public key, under that key, which everybody has.
    pub(super) fn signs(&self, at: i64, message: &Message) -> Headers {
        self.headers(&mac(self.config.scheme, self.secret), at, message)
    }

    /// The same under a secret that nobody was given.
    pub(super) fn stranger_signs(&self, at: i64, message: &Message) -> Result<Headers, Short> {
        let other = random::<32>().map_err(|error| Short::not_proven(error.to_string()))?;
        let mac = ForeignMac::of_bytes(&Secret::new(other.to_vec()));
        Ok(self.headers(&mac, at, message))
    }

    fn headers(&self, mac: &ForeignMac, at: i64, message: &Message) -> Headers {
        let Message { id, body, .. } = message;
        let config = self.config;
        let hex = |text: String| hex::encode(mac.tag(text.as_bytes()));
        let named = |name: &str, value: String| (name.to_owned(), value);
        match config.scheme {
            Scheme::Stripe => vec![named(
                "stripe-signature",
                format!("t={at},v1={}", hex(format!("{at}.{body}"))),
            )],
            Scheme::Slack => vec![
                named(
                    "x-slack-signature",
                    format!("v0={}", hex(format!("v0:{at}:{body}"))),
                ),
                named("x-slack-request-timestamp", at.to_string()),
            ],
            Scheme::Standard => {
                let tag = mac.tag(format!("{id}.{at}.{body}").as_bytes());
                vec![
                    named("webhook-id", id.clone()),
                    named("webhook-timestamp", at.to_string()),
                    named("webhook-signature", format!("v1,{}", STANDARD.encode(tag))),
                ]
            }
            Scheme::Github => vec![
                named(
                    "x-hub-signature-256",
                    format!("sha256={}", hex(body.clone())),
                ),
                named("x-github-event", "ping".to_owned()),
                named("x-github-delivery", id.clone()),
            ],
            Scheme::Hmac => {
                let signed = match config.timestamp_header {
                    Some(_) => format!("{at}.{body}"),
                    None => body.clone(),
                };
                let tag = mac.tag(signed.as_bytes());
                let tag = match config.signature_encoding.unwrap_or_default() {
                    Encoding::Hex => hex::encode(tag),
                    Encoding::Base64 => STANDARD.encode(tag),
                };
                let prefix = config.signature_prefix.clone().unwrap_or_default();
                let header = config.signature_header.clone().unwrap_or_default();
                let time = config.timestamp_header.clone();
                std::iter::once((header, format!("{prefix}{tag}")))
                    .chain(time.map(|name| (name, at.to_string())))
                    .collect()
            }
        }
    }

    /// A right signature under the name of a way of signing that proves nothing; nothing where there is none.
    pub(super) fn relabelled(&self, headers: &Headers) -> Option<Headers> {
        let (from, to) = match self.config.scheme {
            Scheme::Stripe => (",v1=", ",v0="),
            Scheme::Standard => ("v1,", "v2,"),
            Scheme::Github => ("sha256=", "sha1="),
            Scheme::Slack => ("v0=", "v1="),
            Scheme::Hmac => return None,
        };
        Some(replaced(headers, from, to))
    }

    /// By what a second one is known.
    pub(super) fn event_ids(message: &Message) -> [String; 2] {
        let digest = hex::encode(sha256(message.body.as_bytes()));
        [message.id.clone(), format!("sha256:{digest}")]
    }

    pub(super) async fn post(
        &self,
        w: &World,
        headers: &Headers,
        body: &str,
    ) -> anyhow::Result<Reply> {
        let ask = w
            .target
            .ask("POST", &self.config.path)
            .body("application/json", body.to_owned());
        headers
            .iter()
            .fold(ask, |ask, (name, value)| ask.header(name, value))
            .send()
            .await
    }

    /// How often the product of a rehearsal was told of a message, or of anything that says the same.
    pub(super) fn told(&self, w: &World, message: &Message) -> Result<usize, Short> {
        let note = message.note.as_bytes();
        let seen = w.product()?.seen();
        let about_it = seen.iter().filter(|seen| {
            seen.path == self.config.upstream_path()
                && seen.body.windows(note.len()).any(|part| part == note)
        });
        Ok(about_it.count())
    }

    /// Whether the answer says that it was there before.
    pub(super) fn is_known(reply: &Reply) -> bool {
        reply.json().get("status").and_then(Value::as_str) == Some("already seen")
    }
}

/// The headers with one text in place of another.
pub(super) fn replaced(headers: &Headers, from: &str, to: &str) -> Headers {
    headers
        .iter()
        .map(|(name, value)| (name.clone(), value.replace(from, to)))
        .collect()
}

/// Of Standard Webhooks the secret is what stands encoded behind its prefix; of all others the text as it is.
fn mac(scheme: Scheme, secret: &Secret) -> ForeignMac {
    let text = secret.expose();
    let encoded = match scheme {
        Scheme::Standard => text
            .strip_prefix("whsec_")
            .or_else(|| text.strip_prefix("whpk_")),
        Scheme::Stripe | Scheme::Github | Scheme::Slack | Scheme::Hmac => None,
    };
    match encoded.and_then(|encoded| STANDARD.decode(encoded).ok()) {
        Some(bytes) => ForeignMac::of_bytes(&Secret::new(bytes)),
        None => ForeignMac::new(secret),
    }
}
