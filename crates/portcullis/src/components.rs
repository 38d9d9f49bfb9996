//! `portcullis components`: what this program is built of, from its own lock file (G4).
//!
//! Advisories are for the tools that know them (`cargo deny`, `osv-scanner`): they read the lock file or the bill of
//! materials, and hand their report in as a scan. Here stands what every such tool relies on: each component in one
//! version, from a registry, with the hash of its content.

use std::fmt;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The lock file of this very build.
const LOCK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock"));
const REGISTRY: &str = "registry+";

#[derive(Deserialize)]
struct Lock {
    package: Vec<Component>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Nothing for the parts of this program itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// SHA-256 of what the registry handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checksum: Option<String>,
}

impl Component {
    fn is_own(&self) -> bool {
        self.source.is_none()
    }

    fn is_pinned(&self) -> bool {
        let from_registry = self
            .source
            .as_ref()
            .is_some_and(|source| source.starts_with(REGISTRY));
        let is_hash =
            |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.is_own() || (from_registry && self.checksum.as_ref().is_some_and(is_hash))
    }
}

/// All of them, by name.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Components(Vec<Component>);

impl Components {
    /// Of this program.
    pub(crate) fn own() -> anyhow::Result<Self> {
        Self::parse(LOCK).context("the lock file of this build")
    }

    fn parse(lock: &str) -> anyhow::Result<Self> {
        let lock: Lock = toml::from_str(lock)?;
        Ok(Components(lock.package))
    }

    /// Those of others.
    pub(crate) fn foreign(&self) -> usize {
        self.0.iter().filter(|one| !one.is_own()).count()
    }

    /// Those that somebody could swap without the lock file telling.
    pub(crate) fn unpinned(&self) -> Vec<&Component> {
        self.0.iter().filter(|one| !one.is_pinned()).collect()
    }

    /// As a report of a scan.
    pub(crate) fn sarif(&self) -> Value {
        let foreign = self.0.iter().filter(|one| !one.is_own());
        let results = foreign.map(|one| {
            let (kind, level, said) = if one.is_pinned() {
                ("pass", "none", "is pinned to a version of a registry, by its hash")
            } else {
                ("fail", "error", "is not pinned by the hash of a registry")
            };
            json!({
                "ruleId": "pinned",
                "kind": kind,
                "level": level,
                "message": { "text": format!("{} {} {said}", one.name, one.version) },
                "locations": [{ "physicalLocation": { "artifactLocation": { "uri": "Cargo.lock" } } }],
            })
        });
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "portcullis components",
                    "version": env!("CARGO_PKG_VERSION"),
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": [{ "id": "pinned" }],
                }},
                "results": results.collect::<Vec<_>>(),
            }],
        })
    }
}

impl fmt::Display for Components {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in self.0.iter().filter(|one| !one.is_own()) {
            let checksum = one.checksum.as_deref().unwrap_or("NOT PINNED");
            writeln!(f, "{} {}  {checksum}", one.name, one.version)?;
        }
        write!(
            f,
            "{} components of others, {} not pinned",
            self.foreign(),
            self.unpinned().len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_of_this_program_is_pinned() {
        let own = Components::own().unwrap();
        assert!(own.foreign() > 100);
        assert_eq!(own.unpinned(), Vec::<&Component>::new());
    }

    #[test]
    fn what_has_no_hash_or_comes_from_elsewhere_is_named() {
        let hash = "a".repeat(64);
        for (rest, expected) in [
            (
                format!("source = \"registry+https://registry.test/index\"\nchecksum = \"{hash}\""),
                0,
            ),
            (
                "source = \"registry+https://registry.test/index\"".to_owned(),
                1,
            ),
            (
                format!("source = \"git+https://git.test/x#abc\"\nchecksum = \"{hash}\""),
                1,
            ),
            (
                "source = \"registry+https://registry.test/index\"\nchecksum = \"abc\"".to_owned(),
                1,
            ),
            (String::new(), 0),
        ] {
            let lock =
                format!("version = 4\n[[package]]\nname = \"x\"\nversion = \"1.0.0\"\n{rest}\n");
            let components = Components::parse(&lock).unwrap();
            assert_eq!(components.unpinned().len(), expected, "{rest}");
            let failed = components.sarif().to_string().matches("\"fail\"").count();
            assert_eq!(failed, expected, "{rest}");
        }
    }
}
