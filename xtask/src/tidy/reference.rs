//! What is generated from the doc comments of the configuration structs says what they say.

use super::{Finding, tree::Tree};
use crate::reference;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    match reference::render(|path| tree.get(path).map(str::to_owned)) {
        Ok(files) => files
            .into_iter()
            .filter(|(name, content)| tree.get(name) != Some(content))
            .map(|(name, _)| Finding::error(name, 1, "it is stale: run `cargo xtask docs`"))
            .collect(),
        Err(error) => vec![Finding::error(
            "docs/reference/config.md",
            1,
            format!("{error:#}"),
        )],
    }
}
