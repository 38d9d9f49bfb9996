//! What a message says of itself, once it is verified, and how it is kept.

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_vault::tokens::sha256;
use serde_json::Value;

use super::endpoint::Endpoint;
use super::verify::{Scheme, Verified};

const LONGEST_ID: usize = 200;
const LONGEST_KIND: usize = 100;

/// What is known of a message without opening it again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// By what a second one is known.
    pub(super) event: String,
    pub(super) kind: Option<String>,
    /// Of what it is about, a digest.
    pub(super) order_key: Option<[u8; 32]>,
    /// What Slack wants to read back before it sends anything.
    pub(super) challenge: Option<String>,
}

impl Facts {
    pub(super) fn of(endpoint: &Endpoint, verified: Verified, body: &[u8]) -> Facts {
        let json: Option<Value> = serde_json::from_slice(body).ok();
        let at = |pointer: &str| text_at(json.as_ref()?, pointer);
        let own = verified
            .id
            .or_else(|| endpoint.id_at.as_deref().and_then(at))
            .filter(|id| !id.is_empty());
        // SECURITY: an id that is not as it should be is not left out: then each would be a new one.
        let event = match own {
            Some(id) if is_printable(&id, LONGEST_ID) => id,
            Some(id) => format!("sha256:{}", hex::encode(sha256(id.as_bytes()))),
            None => format!("sha256:{}", hex::encode(sha256(body))),
        };
        let kind = verified
            .kind
            .or_else(|| at("/type"))
            .filter(|kind| is_printable(kind, LONGEST_KIND));
        let order_key = endpoint.order_by.as_deref().and_then(at);
        let is_handshake = endpoint.verifier.scheme() == Scheme::Slack
            && kind.as_deref() == Some("url_verification");
        Facts {
            event,
            order_key: order_key.map(|value| sha256(value.as_bytes())),
            challenge: is_handshake.then(|| at("/challenge")).flatten(),
            kind,
        }
    }
}

fn text_at(json: &Value, pointer: &str) -> Option<String> {
    match json.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn is_printable(text: &str, most: usize) -> bool {
    !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A message as it came: the headers that go on, and the very bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    pub(super) fn taken(endpoint: &Endpoint, headers: &HeaderMap, body: &[u8]) -> Message {
        let passed = headers
            .iter()
            .filter(|(name, _)| endpoint.verifier.passes_on(name))
            .filter_map(|(name, value)| {
                Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
            });
        Message {
            headers: passed.collect(),
            body: body.to_vec(),
        }
    }

    /// Length of the headers, the headers as JSON, the body.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let headers = serde_json::to_vec(&self.headers)?;
        let length = u32::try_from(headers.len()).unwrap_or(u32::MAX);
        Ok([&length.to_be_bytes()[..], &headers, &self.body].concat())
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Message> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (headers, body) = rest.split_at_checked(length)?;
        Some(Message {
            headers: serde_json::from_slice(headers).ok()?,
            body: body.to_vec(),
        })
    }

    pub(super) fn header_map(&self) -> HeaderMap {
        let pairs = self.headers.iter().filter_map(|(name, value)| {
            Some((
                HeaderName::from_bytes(name.as_bytes()).ok()?,
                HeaderValue::from_str(value).ok()?,
            ))
        });
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value);
        }
        map
    }
}
