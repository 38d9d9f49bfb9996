//! The failure table: its page is what the rows say, and the tests that the rows name are there.

use super::{Finding, tree::Tree};
use crate::failures;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let (Some(rows), Some(page)) = (tree.get(failures::ROWS), tree.get(failures::PAGE)) else {
        return vec![Finding::error(
            failures::ROWS,
            1,
            "the failure table or its page is not here",
        )];
    };
    let mut findings = Vec::new();
    match failures::render(rows, page) {
        Ok(new) if new == page => {}
        Ok(_) => findings.push(Finding::error(
            failures::PAGE,
            1,
            "it is stale: run `cargo xtask docs`",
        )),
        Err(error) => findings.push(Finding::error(failures::PAGE, 1, format!("{error:#}"))),
    }
    match failures::tests(rows) {
        Ok(tests) => findings.extend(tests.iter().filter_map(|(file, name)| {
            let opening = format!("fn {name}(");
            let is_there = tree.get(file).is_some_and(|text| text.contains(&opening));
            (!is_there).then(|| {
                let line = rows
                    .lines()
                    .position(|line| line.contains(name))
                    .map_or(1, |at| at + 1);
                Finding::error(failures::ROWS, line, format!("{file} has no `{name}`"))
            })
        })),
        Err(error) => findings.push(Finding::error(failures::ROWS, 1, format!("{error:#}"))),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_names_a_test_that_is_not_there_is_found() {
        let rows = "[[row]]\nfeature = \"f\"\naway = \"a\"\noutcome = \"closed\"\nbehaviour = \"b\"\nkeys = []\nseen = []\ntests = [\"t.rs::here\", \"t.rs::gone\"]\n";
        let page = failures::render(
            rows,
            "<!-- from failure.toml, by `cargo xtask docs` -->\n<!-- end -->\n",
        )
        .unwrap();
        let tree = Tree::of(&[
            (failures::ROWS, rows),
            (failures::PAGE, &page),
            ("t.rs", "fn here() {}\n"),
        ]);
        let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["docs/failure.toml:8: t.rs has no `gone`"]);
        let stale = page.replace("| f |", "| g |");
        let tree = Tree::of(&[
            (failures::ROWS, rows),
            (failures::PAGE, &stale),
            ("t.rs", "fn here() {}\nfn gone() {}\n"),
        ]);
        assert_eq!(check(&tree).len(), 1);
    }
}
