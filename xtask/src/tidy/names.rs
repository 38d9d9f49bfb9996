//! Folders and modules are named after a concept. A drawer for everything has no concept.

use std::collections::BTreeSet;

use super::{Finding, tree::Tree};

const BANNED: &[&str] = &["common", "helper", "helpers", "misc", "util", "utils"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for (path, _) in tree.files() {
        for part in path.split('/') {
            let name = part.strip_suffix(".rs").unwrap_or(part);
            // A folder is told once, by its first file.
            let folder = path
                .split_inclusive('/')
                .take_while(|other| other.trim_end_matches('/') != part);
            if BANNED.contains(&name) && seen.insert(folder.collect::<String>() + name) {
                findings.push(Finding::error(
                    path,
                    1,
                    format!("`{name}` says nothing: name it after what it holds"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawers_are_found_once_each() {
        let tree = Tree::of(&[
            ("crates/a/src/utils/one.rs", ""),
            ("crates/a/src/utils/two.rs", ""),
            ("crates/b/src/helpers.rs", ""),
            ("docs/common-questions.md", ""),
        ]);
        let found: Vec<String> = check(&tree)
            .into_iter()
            .map(|finding| finding.path)
            .collect();
        assert_eq!(
            found,
            ["crates/a/src/utils/one.rs", "crates/b/src/helpers.rs"]
        );
    }
}
