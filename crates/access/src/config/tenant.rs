//! `tenant` of a route, as it is written.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a route's tenant stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantAt {
    /// Nowhere: the caller has to work in a tenant, whichever it is.
    Any,
    /// In this parameter of the path.
    Path(String),
    /// In the host, which is written with `{tenant}` as its first label.
    Host(String),
    /// In this header.
    Header(String),
}

/// As it is written in TOML.
impl fmt::Display for TenantAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TenantAt::Any => f.write_str("\"any\""),
            TenantAt::Path(value) => write!(f, "{{ path = {value:?} }}"),
            TenantAt::Host(value) => write!(f, "{{ host = {value:?} }}"),
            TenantAt::Header(value) => write!(f, "{{ header = {value:?} }}"),
        }
    }
}

impl Serialize for TenantAt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, value) = match self {
            TenantAt::Any => return serializer.serialize_str("any"),
            TenantAt::Path(value) => ("path", value),
            TenantAt::Host(value) => ("host", value),
            TenantAt::Header(value) => ("header", value),
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(key, value)?;
        map.end()
    }
}

const EXPECTED: &str = "\"any\", { path = \"parameter\" }, { host = \"{tenant}.example.com\" } or { header = \"X-Tenant\" }";

impl<'de> Deserialize<'de> for TenantAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TenantVisitor)
    }
}

struct TenantVisitor;

impl<'de> Visitor<'de> for TenantVisitor {
    type Value = TenantAt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<TenantAt, E> {
        match word {
            "any" => Ok(TenantAt::Any),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TenantAt, A::Error> {
        let mut found = None;
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            let place = match key.as_str() {
                "path" => TenantAt::Path(value),
                "host" => TenantAt::Host(value),
                "header" => TenantAt::Header(value),
                other => return Err(de::Error::unknown_field(other, &["path", "host", "header"])),
            };
            if found.replace(place).is_some() {
                // Two places could name two tenants.
                return Err(de::Error::custom(format!(
                    "`tenant` takes one place: {EXPECTED}"
                )));
            }
        }
        found.ok_or_else(|| de::Error::custom(format!("`tenant` takes one place: {EXPECTED}")))
    }
}
