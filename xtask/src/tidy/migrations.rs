//! Migrations come in pairs: `migrations/sqlite/0001_users.sql` and `migrations/postgres/0001_users.sql`, and no
//! number is used twice.

use std::collections::BTreeMap;

use super::{Finding, tree::Tree};

const FOLDER: &str = "crates/store/migrations";
const ENGINES: [(&str, &str); 2] = [("sqlite", "postgres"), ("postgres", "sqlite")];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    ENGINES
        .into_iter()
        .flat_map(|(engine, other)| check_engine(tree, engine, other))
        .collect()
}

fn check_engine(tree: &Tree, engine: &str, other: &str) -> Vec<Finding> {
    let folder = format!("{FOLDER}/{engine}");
    let mut numbers = BTreeMap::new();
    let mut findings = Vec::new();
    for (file, _) in tree.under(&folder) {
        let path = format!("{folder}/{file}");
        let Some(number) = number(file) else {
            findings.push(Finding::error(
                &path,
                1,
                "a migration is named like 0001_what_it_makes.sql",
            ));
            continue;
        };
        let twin = format!("{FOLDER}/{other}/{file}");
        if tree.get(&twin).is_none() {
            findings.push(Finding::error(&path, 1, format!("has no twin {twin}")));
        }
        if let Some(first) = numbers.insert(number, file) {
            findings.push(Finding::error(
                &path,
                1,
                format!("number {number:04} is taken by {first}"),
            ));
        }
    }
    findings
}

fn number(file: &str) -> Option<u32> {
    let (number, name) = file.strip_suffix(".sql")?.split_once('_')?;
    let named = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if number.len() == 4 && named {
        number.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[&str]) -> Vec<String> {
        let paths: Vec<String> = files
            .iter()
            .map(|file| format!("{FOLDER}/{file}"))
            .collect();
        let tree = Tree::of(
            &paths
                .iter()
                .map(|path| (path.as_str(), ""))
                .collect::<Vec<_>>(),
        );
        check(&tree)
            .into_iter()
            .map(|finding| finding.reason)
            .collect()
    }

    #[test]
    fn pairs_pass() {
        let pairs = [
            "sqlite/0001_a.sql",
            "postgres/0001_a.sql",
            "sqlite/0002_b.sql",
            "postgres/0002_b.sql",
        ];
        assert_eq!(findings(&pairs), [""; 0]);
    }

    #[test]
    fn a_single_one_and_a_differently_named_one_are_found() {
        assert_eq!(
            findings(&["sqlite/0001_a.sql"]),
            [format!("has no twin {FOLDER}/postgres/0001_a.sql")]
        );
        assert_eq!(
            findings(&["sqlite/0001_a.sql", "postgres/0001_b.sql"]).len(),
            2
        );
    }

    #[test]
    fn a_number_is_used_once() {
        let twice = [
            "sqlite/0001_a.sql",
            "postgres/0001_a.sql",
            "sqlite/0001_b.sql",
            "postgres/0001_b.sql",
        ];
        assert_eq!(findings(&twice), ["number 0001 is taken by 0001_a.sql"; 2]);
    }

    #[test]
    fn a_loose_name_is_found() {
        assert_eq!(
            findings(&["sqlite/1_a.sql", "postgres/0001-a.sql"]).len(),
            2
        );
    }
}
