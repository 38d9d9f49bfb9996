//! What a secret is called, how its values are made, and its public part.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{Secret, TenantId};
use portcullis_vault::tokens;
use serde_json::{Map, Value};

use super::Error;

const LONGEST_NAME: usize = 100;
/// A shorter value is found in others by chance.
const TELLING: usize = 8;
/// Largest public part, as JSON, in bytes.
const LARGEST_PUBLIC: usize = 8 * 1024;

/// 1 to 100 letters, digits, `_`, `-` and `.`, a letter or digit first: `stripe`, `OPENAI_API_KEY`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let begins = text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric());
        if begins && text.len() <= LONGEST_NAME && text.bytes().all(is_plain) {
            Ok(Name(text.to_owned()))
        } else {
            Err(Error::Invalid(
                "name",
                "must be 1 to 100 letters, digits, `_`, `-` and `.`, a letter or digit first",
            ))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whose secret it is, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Nothing: the product's own.
    pub tenant: Option<TenantId>,
    pub name: Name,
}

impl Label {
    /// The tenant as a column holds it.
    pub(super) fn tenant_text(&self) -> String {
        tenant_text(self.tenant)
    }
}

pub(super) fn tenant_text(tenant: Option<TenantId>) -> String {
    tenant.map_or_else(String::new, |tenant| tenant.to_string())
}

/// How a new value comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// Somebody else makes it: it is given, and never changed by the gate alone.
    Provider,
    /// It is in a file, which alone changes it.
    File,
    Hex(u16),
    Base64Url(u16),
}

impl Made {
    /// A new value, where it is made here.
    pub(super) fn value(self) -> Result<Option<Secret<String>>, tokens::Error> {
        let random = |bytes: u16| {
            let all = Secret::new(tokens::random::<MOST_BYTES>()?.to_vec());
            let length = usize::from(bytes).min(MOST_BYTES);
            let cut = all.expose().get(..length).unwrap_or_default().to_vec();
            Ok::<_, tokens::Error>(Secret::new(cut))
        };
        Ok(match self {
            Made::Provider | Made::File => None,
            Made::Hex(bytes) => Some(Secret::new(hex::encode(random(bytes)?.expose()))),
            Made::Base64Url(bytes) => {
                Some(Secret::new(URL_SAFE_NO_PAD.encode(random(bytes)?.expose())))
            }
        })
    }
}

const LEAST_BYTES: usize = 16;
const MOST_BYTES: usize = 256;

impl FromStr for Made {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || {
            Error::Invalid(
                "made",
                "must be `provider`, or `hex:N` or `base64url:N` for N random bytes, 16 to 256",
            )
        };
        match text {
            "provider" => return Ok(Made::Provider),
            "file" => return Ok(Made::File),
            _ => {}
        }
        let (form, bytes) = text.split_once(':').ok_or_else(refused)?;
        let bytes: u16 = bytes.parse().map_err(|_| refused())?;
        if !(LEAST_BYTES..=MOST_BYTES).contains(&usize::from(bytes)) {
            return Err(refused());
        }
        match form {
            "hex" => Ok(Made::Hex(bytes)),
            "base64url" => Ok(Made::Base64Url(bytes)),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Made::Provider => f.write_str("provider"),
            Made::File => f.write_str("file"),
            Made::Hex(bytes) => write!(f, "hex:{bytes}"),
            Made::Base64Url(bytes) => write!(f, "base64url:{bytes}"),
        }
    }
}

/// What every client may know of a secret, such as `publicApiKey`: a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Public(Map<String, Value>);

impl Public {
    pub fn new(object: Map<String, Value>) -> Result<Self, Error> {
        let public = Public(object);
        if public.to_text().len() > LARGEST_PUBLIC {
            return Err(Error::Invalid("public", "must have at most 8192 bytes"));
        }
        Ok(public)
    }

    pub(super) fn to_text(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    pub(super) fn from_text(text: &str) -> Result<Self, Error> {
        let object = serde_json::from_str(text).map_err(|_| Error::Unreadable)?;
        Ok(Public(object))
    }

    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }

    /// Whether it would give the private part away.
    pub(super) fn shows(&self, value: &Secret<String>) -> bool {
        fn holds(one: &Value, value: &str) -> bool {
            match one {
                Value::String(text) => text.contains(value),
                Value::Array(all) => all.iter().any(|one| holds(one, value)),
                Value::Object(all) => all
                    .iter()
                    .any(|(key, one)| key.contains(value) || holds(one, value)),
                Value::Null | Value::Bool(_) | Value::Number(_) => false,
            }
        }
        // A word of a few letters stands everywhere.
        let value = value.expose();
        value.len() >= TELLING && holds(&Value::Object(self.0.clone()), value)
    }
}
