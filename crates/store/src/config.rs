//! The `[state]` table: where users, sessions, the audit trail and shared counters live.

use std::fmt;
use std::path::PathBuf;

use portcullis_core::Span;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

/// The `[state]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// The database. Default `"sqlite://portcullis.db"`, a file beside the configuration; for
    /// several nodes a reference to a secret that holds a `postgres://` URL, such as
    /// `{ env = "DATABASE_URL" }`. TLS is the URL's `sslmode`; without one, a server on another
    /// machine is asked for `verify-full`.
    pub database: Location,
    /// Redis for the counters that several nodes share, such as `{ env = "REDIS_URL" }`; `rediss://`
    /// for TLS. Default none: counters are in memory, and each node counts for itself.
    pub redis: Option<Location>,
    /// File with the certificates (PEM) of the authority that signed Redis's own, for a `rediss://`
    /// address. Default none: those that this machine trusts.
    pub redis_ca: Option<PathBuf>,
    /// Name before every key in Redis. Default `"portcullis"`. Nodes of one gate must agree on it;
    /// gates that share a Redis and not their limits must not.
    pub redis_namespace: String,
    /// How many nodes there are. Default `1`. While Redis is away, each node allows its share of
    /// every limit: a number that is too low lets more through then, one too high less.
    pub nodes: u32,
    /// Reading connections to SQLite. Default `4`. (There is one that writes: SQLite allows no more.)
    pub readers: u32,
    /// Connections to PostgreSQL. Default `16`. All nodes together must stay below the server's
    /// `max_connections`.
    pub connections: u32,
    /// How long a request waits for a free connection before it is answered with 503. Default
    /// `"2s"`.
    pub acquire_timeout: Span,
    /// How long one statement may take before it is answered with 503. Default `"5s"`.
    pub statement_timeout: Span,
    /// How long one question to Redis may take before the local counters answer. Default `"50ms"`.
    /// It is added to the answer time of a request on the day that Redis hangs.
    pub redis_timeout: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            database: Location::Plain("sqlite://portcullis.db".to_owned()),
            redis: None,
            redis_ca: None,
            redis_namespace: "portcullis".to_owned(),
            nodes: 1,
            readers: 4,
            connections: 16,
            acquire_timeout: Span::from_seconds(2),
            statement_timeout: Span::from_seconds(5),
            redis_timeout: Span::from_millis(50),
        }
    }
}

/// What is said to whoever asks a build for Redis that has none.
pub(crate) const NO_REDIS: &str =
    "this program was built without Redis: build it with `--features redis`, or with `full`";

impl Config {
    /// Everything that is wrong here: the key and what to do about it.
    pub fn findings(&self) -> Vec<(&'static str, &'static str)> {
        let mut findings = Vec::new();
        if self.redis.is_some() && !cfg!(feature = "redis") {
            findings.push(("redis", NO_REDIS));
        }
        for (key, number) in [
            ("nodes", self.nodes),
            ("readers", self.readers),
            ("connections", self.connections),
        ] {
            if !(1..=1000).contains(&number) {
                findings.push((key, "must be from 1 to 1000"));
            }
        }
        for (key, span, most) in [
            ("acquire-timeout", self.acquire_timeout, 30),
            ("statement-timeout", self.statement_timeout, 60),
            ("redis-timeout", self.redis_timeout, 1),
        ] {
            if span.is_zero() || span > Span::from_seconds(most) {
                findings.push((
                    key,
                    match most {
                        1 => "must be more than nothing and at most 1s",
                        30 => "must be more than nothing and at most 30s",
                        _ => "must be more than nothing and at most 60s",
                    },
                ));
            }
        }
        let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if !(1..=64).contains(&self.redis_namespace.len())
            || !self.redis_namespace.bytes().all(named)
        {
            findings.push((
                "redis-namespace",
                "must be 1 to 64 letters, digits, `-` or `_`",
            ));
        }
        if let Location::Plain(url) = &self.database
            && !url.starts_with("sqlite:")
        {
            findings.push((
                "database",
                "only a sqlite: address may stand here in the clear; put a postgres:// URL into { env = \"NAME\" } or { file = \"path\" }",
            ));
        }
        if let Some(Location::Plain(url)) = &self.redis
            && url.contains('@')
        {
            findings.push((
                "redis",
                "an address with a password must come from { env = \"NAME\" } or { file = \"path\" }",
            ));
        }
        findings
    }
}

/// An address in the clear, or where to find it.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    Plain(String),
    /// The name of an environment variable.
    Env(String),
    /// A file that holds the address.
    File(PathBuf),
}

/// A plain address may hold a password by mistake, so it is not shown.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Plain(_) => f.write_str("Plain(..)"),
            Location::Env(name) => write!(f, "Env({name})"),
            Location::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LocationVisitor)
    }
}

struct LocationVisitor;

impl<'de> Visitor<'de> for LocationVisitor {
    type Value = Location;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address, { env = \"NAME\" } or { file = \"path\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Location, E> {
        Ok(Location::Plain(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Location, A::Error> {
        let location = match map.next_key::<String>()?.as_deref() {
            Some("env") => Location::Env(map.next_value()?),
            Some("file") => Location::File(map.next_value()?),
            Some(other) => return Err(de::Error::unknown_field(other, &["env", "file"])),
            None => return Err(de::Error::missing_field("env")),
        };
        match map.next_key::<String>()? {
            None => Ok(location),
            Some(_) => Err(de::Error::custom("either `env` or `file`, nothing else")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_the_default_and_has_no_findings() {
        let config: Config = toml::from_str("").unwrap();
        assert_eq!(config, Config::default());
        assert!(config.findings().is_empty());
    }

    #[test]
    fn secrets_are_read_by_reference() {
        let config: Config = toml::from_str(
            "database = { env = \"DATABASE_URL\" }\nredis = { file = \"/run/redis\" }\nnodes = 3",
        )
        .unwrap();
        assert_eq!(config.database, Location::Env("DATABASE_URL".to_owned()));
        assert_eq!(config.redis, Some(Location::File("/run/redis".into())));
        assert!(config.findings().is_empty());
    }

    #[test]
    fn unknown_keys_and_half_references_are_refused() {
        for text in [
            "datbase = \"x\"",
            "database = {}",
            "database = { vault = \"x\" }",
            "database = { env = \"A\", file = \"b\" }",
            "database = 5",
        ] {
            assert!(toml::from_str::<Config>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_in_the_clear_and_figures_out_of_bounds_are_all_found() {
        let config: Config = toml::from_str(
            "database = \"postgres://u:p@db/x\"\nredis = \"redis://:p@r/\"\nnodes = 0\nstatement-timeout = \"0s\"",
        )
        .unwrap();
        let keys: Vec<&str> = config.findings().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["nodes", "statement-timeout", "database", "redis"]);
        assert!(!format!("{config:?}").contains("u:p"));
    }
}
