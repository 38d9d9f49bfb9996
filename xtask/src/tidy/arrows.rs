//! Crates use only crates below them. Two crates on one level never see each other: what they share moves down.

use toml::Table;

use super::{Finding, tree::Tree};

/// How high each crate stands.
const LEVELS: &[(&str, u8)] = &[
    ("portcullis-core", 0),
    ("portcullis-edge", 1),
    ("portcullis-store", 1),
    ("portcullis-console", 1),
    ("portcullis-vault", 2),
    ("portcullis-events", 3),
    ("portcullis-guard", 4),
    ("portcullis-identity", 4),
    ("portcullis-access", 4),
    ("portcullis", 5),
];

/// Arrows (from, to) that break the rule, each with a decision record that says why. None so far.
const EXCEPTIONS: &[(&str, &str)] = &[];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let manifests = tree
        .files()
        .filter(|(path, _)| path.ends_with("/Cargo.toml") && !path.starts_with("fuzz/"));
    manifests
        .flat_map(|(path, text)| check_manifest(path, text))
        .collect()
}

fn check_manifest(path: &str, text: &str) -> Vec<Finding> {
    let manifest: Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Finding::error(path, 1, format!("not a manifest: {error}"))],
    };
    let Some(name) = manifest
        .get("package")
        .and_then(|package| package.get("name")?.as_str())
    else {
        return Vec::new();
    };
    let own = level(name);
    if own.is_none() && name != "xtask" {
        return vec![Finding::error(
            path,
            1,
            format!("`{name}` has no level in xtask/src/tidy/arrows.rs"),
        )];
    }
    let downward = |target: u8| own.is_some_and(|own| target < own);
    dependencies(&manifest)
        .into_iter()
        .filter(|dependency| dependency != name && !EXCEPTIONS.contains(&(name, dependency)))
        .filter(|dependency| level(dependency).is_some_and(|target| !downward(target)))
        .map(|dependency| {
            let reason = format!("`{name}` may not use `{dependency}`: arrows point downward only");
            Finding::error(path, line_of(text, &dependency), reason)
        })
        .collect()
}

fn level(name: &str) -> Option<u8> {
    LEVELS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, level)| *level)
}

/// The real names of all dependencies: of every kind, for every target.
fn dependencies(manifest: &Table) -> Vec<String> {
    let targets = manifest
        .get("target")
        .and_then(|targets| targets.as_table())
        .into_iter()
        .flatten();
    let tables = targets
        .filter_map(|(_, target)| target.as_table())
        .chain([manifest]);
    tables
        .flat_map(|table| {
            ["dependencies", "dev-dependencies", "build-dependencies"].map(|kind| table.get(kind))
        })
        .flatten()
        .filter_map(|dependencies| dependencies.as_table())
        .flatten()
        .map(|(key, value)| {
            value
                .get("package")
                .and_then(|name| name.as_str())
                .unwrap_or(key)
                .to_owned()
        })
        .collect()
}

fn line_of(text: &str, name: &str) -> usize {
    let names_it = |line: &str| line.split(['"', '.', ' ', '=']).any(|word| word == name);
    text.lines()
        .position(|line| !line.starts_with("name") && names_it(line))
        .map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, dependencies: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{name}\"\n\n{dependencies}\n");
        check(&Tree::of(&[("crates/a/Cargo.toml", &text)]))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn downward_arrows_pass() {
        let text = "[dependencies]\nportcullis-core.workspace = true\nportcullis-events.workspace = true\nserde = \"1\"";
        assert_eq!(findings("portcullis-guard", text), [""; 0]);
    }

    #[test]
    fn sideways_and_upward_arrows_are_found_where_they_stand() {
        let sideways = findings(
            "portcullis-guard",
            "[dependencies]\nserde = \"1\"\nportcullis-access.workspace = true",
        );
        let reason =
            "`portcullis-guard` may not use `portcullis-access`: arrows point downward only";
        assert_eq!(sideways, [format!("crates/a/Cargo.toml:6: {reason}")]);
        assert_eq!(
            findings(
                "portcullis-core",
                "[dev-dependencies]\nportcullis = { path = \"../x\" }"
            )
            .len(),
            1
        );
    }

    #[test]
    fn an_arrow_hides_neither_behind_another_name_nor_behind_a_target() {
        let renamed =
            "[dependencies]\nwords = { package = \"portcullis-access\", path = \"../access\" }";
        assert_eq!(findings("portcullis-store", renamed).len(), 1);
        let target = "[target.'cfg(unix)'.dependencies]\nportcullis-vault.workspace = true";
        assert_eq!(findings("portcullis-store", target).len(), 1);
    }

    #[test]
    fn a_crate_without_a_level_is_found() {
        assert_eq!(findings("portcullis-new", "").len(), 1);
    }

    #[test]
    fn the_automation_uses_no_crate_of_the_product() {
        assert_eq!(
            findings("xtask", "[dependencies]\nportcullis-core.workspace = true").len(),
            1
        );
    }
}
