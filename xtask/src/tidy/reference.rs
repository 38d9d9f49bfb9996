//! The configuration reference says what the doc comments of the configuration structs say.

use super::{Finding, tree::Tree};
use crate::reference;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let problem = match reference::render(|path| tree.get(path).map(str::to_owned)) {
        Ok(page) if tree.get(reference::PAGE) == Some(&page) => return Vec::new(),
        Ok(_) => "it is stale: run `cargo xtask docs`".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    vec![Finding::error(reference::PAGE, 1, problem)]
}
