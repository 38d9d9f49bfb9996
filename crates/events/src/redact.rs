//! Keeps secrets and e-mail addresses out of whatever is written down: the one engine for the log, the
//! access log, the audit trail, error reports, and `portcullis scrub`.
//!
//! Masked is what [`Kind`] lists. An [`Engine`] is compiled from [`Rules`] and goes over bytes: a whole
//! text ([`Engine::scrub`]) or one that comes in pieces ([`Stream`]). The functions of this module use
//! the gate's own engine, with the strictest rules, and make one line of what they are given: control
//! characters become U+FFFD, so that no text can start a line of its own (CWE-117).
//!
//! Masks too much rather than too little. Never fails. A second time changes nothing. It does not find a
//! password that stands alone in prose: nothing can, so callers never pass one.

mod engine;
mod extent;
mod fields;
mod names;
mod one_line;
mod pem;
mod providers;
mod runs;
mod shapes;
mod stream;
mod view;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

pub use engine::{Counts, Engine};
pub use providers::{Made, PROVIDERS, Provider};
pub use stream::Stream;

/// Stands where a secret stood.
pub const MASK: &str = "[redacted]";

/// The longest text that [`text`] returns, in bytes, give or take a mask.
pub const MAX_TEXT_BYTES: usize = 1024;

const MAX_DEPTH: usize = 4;
const MAX_ITEMS: usize = 16;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $about:literal;)*) => {
        /// What is looked for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Kind { $($(#[$doc])* $name),* }

        impl Kind {
            pub const ALL: [Kind; 10] = [$(Kind::$name),*];

            /// The stable word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Kind::$name => $word),* }
            }

            /// What it is, for people.
            pub const fn about(self) -> &'static str {
                match self { $(Kind::$name => $about),* }
            }
        }
    };
}

kinds! {
    /// Values beside a telling name.
    Fields = "fields", "values named password, token, secret, authorization, cookie, api_key ...";
    /// Keys with a known prefix.
    Keys = "keys", "keys of known providers (OpenAI, AWS, GitHub, Slack, Stripe ...)";
    /// JWTs, and what follows `Bearer` and `Basic`.
    Tokens = "tokens", "JWTs, and what follows Bearer and Basic";
    PrivateKeys = "private-keys", "PEM private keys, over several lines too";
    /// User information in URLs.
    Urls = "urls", "user and password in URLs and connection strings";
    Emails = "emails", "e-mail addresses, but for the first letter and the domain";
    /// Numbers of payment cards.
    Cards = "cards", "card numbers (by their check digit)";
    /// Names of users in paths.
    Paths = "paths", "user names in /home/NAME, /Users/NAME, C:\\Users\\NAME";
    /// Long text that looks drawn by lot.
    Opaque = "opaque", "any long text that looks random (digests and commit ids, too)";
    /// Whole queries of URLs.
    Queries = "queries", "whole query strings, whatever is in them";
}

/// `emails` and the like; the error is the list of what there is.
impl FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let known = || Kind::ALL.map(Kind::as_str).join(", ");
        let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == word);
        found.ok_or_else(|| format!("it is one of {}", known()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Some of the [`Kind`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// Everything.
    pub const ALL: Kinds = Kinds((1 << Kind::ALL.len()) - 1);

    /// What is hardly ever wrong: everything but `opaque` and `queries`.
    pub const USUAL: Kinds = Kinds::ALL.without(Kind::Opaque).without(Kind::Queries);

    /// What no client needs to read in an answer.
    const ANSWERS: Kinds = Kinds::USUAL
        .without(Kind::Fields)
        .without(Kind::Emails)
        .without(Kind::Paths);

    #[must_use]
    pub const fn with(self, kind: Kind) -> Kinds {
        Kinds(self.0 | (1 << kind as u16))
    }

    #[must_use]
    pub const fn without(self, kind: Kind) -> Kinds {
        Kinds(self.0 & !(1 << kind as u16))
    }

    pub const fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }
}

/// None.
impl Default for Kinds {
    fn default() -> Self {
        Kinds(0)
    }
}

/// What an engine looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub kinds: Kinds,
    /// Parts of field names beside those that everybody has, `_` or `-` between words.
    pub fields: Vec<String>,
    /// How keys begin, beside those of known providers.
    pub prefixes: Vec<String>,
    /// Whether `root@localhost` is an address. Otherwise a domain has a dot.
    pub any_domain: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            kinds: Kinds::USUAL,
            fields: Vec::new(),
            prefixes: Vec::new(),
            any_domain: false,
        }
    }
}

/// `[redaction]`: what the gate keeps out of its log, its audit trail and its error reports, beside
/// what it knows by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Names of fields whose values are secrets in your product, such as `"iban"` or
    /// `"customer_number"`. A name that holds one of them is masked, in any case. Default: none.
    pub fields: Vec<String>,
    /// How keys of your product begin, such as `"acme_live_"`, four letters or more. Default: none.
    pub prefixes: Vec<String>,
}

impl Config {
    /// What is wrong with it: the key and the reason.
    pub fn mistakes(&self) -> Vec<(String, &'static str)> {
        let short = |texts: &[String], key: &str, least: usize, why: &'static str| {
            let is_wrong = |text: &String| {
                text.len() < least
                    || text.len() > 64
                    || !text.bytes().all(|byte| byte.is_ascii_graphic())
            };
            let wrong = texts.iter().enumerate().filter(|(_, text)| is_wrong(text));
            wrong
                .map(|(index, _)| (format!("redaction.{key}.{index}"), why))
                .collect::<Vec<_>>()
        };
        let mut all = short(
            &self.fields,
            "fields",
            3,
            "a name has 3 to 64 ASCII letters: a shorter one would be found in everyday words",
        );
        all.extend(short(
            &self.prefixes,
            "prefixes",
            4,
            "a prefix has 4 to 64 ASCII letters: a shorter one would be found in everyday words",
        ));
        let many = |list: &[String]| list.len() > 256;
        if many(&self.fields) || many(&self.prefixes) {
            all.push(("redaction".to_owned(), "more than 256 of one kind"));
        }
        all
    }
}

static OWN: OnceLock<Engine> = OnceLock::new();
static ANSWERS: OnceLock<Engine> = OnceLock::new();

/// Has the gate's own engine look for these as well: once, before anything is written. `false` where it
/// runs already, with other rules.
pub fn install(config: &Config, key_prefixes: &[String]) -> bool {
    let mut rules = own_rules();
    rules.fields.clone_from(&config.fields);
    rules.prefixes.clone_from(&config.prefixes);
    rules.prefixes.extend_from_slice(key_prefixes);
    let answers = Rules {
        kinds: Kinds::ANSWERS,
        ..rules.clone()
    };
    OWN.set(Engine::new(rules)).is_ok() && ANSWERS.set(Engine::new(answers)).is_ok()
}

fn own_rules() -> Rules {
    Rules {
        kinds: Kinds::ALL,
        any_domain: true,
        ..Rules::default()
    }
}

/// The gate's own engine.
pub fn own() -> &'static Engine {
    OWN.get_or_init(|| Engine::new(own_rules()))
}

/// What goes back to a client, who may see its own address and its own field names, and no key of anybody.
pub fn answer(detail: &str) -> String {
    let rules = || Rules {
        kinds: Kinds::ANSWERS,
        ..Rules::default()
    };
    ANSWERS.get_or_init(|| Engine::new(rules())).scrub(detail)
}

/// Whether a field of this name has a value that must not be written down.
pub fn is_sensitive_name(name: &str) -> bool {
    names::is_sensitive(name) || {
        let extra = &own().extra;
        !extra.is_empty() && {
            let folded = names::folded(name);
            extra.iter().any(|part| folded.contains(part))
        }
    }
}

/// `input` without secrets, on one line, at most [`MAX_TEXT_BYTES`] of it.
pub fn text(input: &str) -> String {
    bounded(input, MAX_TEXT_BYTES)
}

/// As [`text`], with another bound.
pub fn bounded(input: &str, max_bytes: usize) -> String {
    own().scrub(&one_line::printable(input, max_bytes))
}

/// Of whom or what something is, as `kind:name`, the name without secrets. Each goes through redaction by itself:
/// together they read like a secret with its value where the kind is `api-key`, and nobody could find whose it is.
pub fn subject(subject: &str) -> String {
    match subject.split_once(':') {
        Some((kind, name)) => format!("{}:{}", text(kind), text(name)),
        None => text(subject),
    }
}

/// A JSON value that belongs to the field `name`. Deep and long values are cut.
pub fn value(name: &str, value: Value) -> Value {
    nested(name, value, 0)
}

fn nested(name: &str, value: Value, depth: usize) -> Value {
    if is_sensitive_name(name) {
        return match value {
            Value::Null | Value::Bool(_) => value,
            Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => MASK.into(),
        };
    }
    let deeper = depth.saturating_add(1);
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
        Value::String(string) => bounded(&string, crate::audit::Metadata::MAX_TEXT_BYTES).into(),
        Value::Array(_) | Value::Object(_) if deeper > MAX_DEPTH => "[cut]".into(),
        Value::Array(items) => items
            .into_iter()
            .take(MAX_ITEMS)
            .map(|item| nested(name, item, deeper))
            .collect(),
        Value::Object(fields) => fields
            .into_iter()
            .take(MAX_ITEMS)
            .map(|(name, value)| {
                let value = nested(&name, value, deeper);
                (bounded(&name, 64), value)
            })
            .collect(),
    }
}

/// `alice@example.com` as `a***@example.com`. What is not an address becomes `***`.
pub fn mask_email(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => {
            let first = local.chars().next().filter(|c| !c.is_control());
            let mut masked: String = first.into_iter().collect();
            masked.push_str("***@");
            masked.push_str(domain);
            one_line::printable(&masked, 128)
        }
        None => "***".to_owned(),
    }
}

/// Whether `path` plainly holds nothing to mask: the fast way past [`text`] for paths of requests.
pub(crate) fn is_plain_path(path: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.');
    !path.bytes().fold(false, |odd, byte| odd | !plain(byte))
        && path
            .as_bytes()
            .split(|byte| *byte == b'/')
            .all(|segment| segment.len() < 13 || runs::is_uuid(segment))
}

impl Engine {
    /// A whole text without secrets.
    pub fn scrub(&self, text: &str) -> String {
        let out = self.scrub_bytes(text.as_bytes());
        // What was cut out are whole characters, but where the text was none to begin with.
        String::from_utf8(out)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// The same for bytes of any kind.
    pub fn scrub_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 16);
        let mut stream = Stream::new(self);
        stream.push(bytes, &mut out);
        stream.finish(&mut out);
        out
    }
}
