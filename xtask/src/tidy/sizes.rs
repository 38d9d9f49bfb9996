//! A file that one cannot read in one sitting holds more than one concept. Tests may be long lists.

use super::{Finding, tree::Tree};

const WARN_ABOVE: usize = 600;
const FAIL_ABOVE: usize = 1000;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter(|(path, _)| !is_test(path))
        .filter_map(|(path, text)| judge(path, text.lines().count()))
        .collect()
}

fn is_test(path: &str) -> bool {
    path.split('/')
        .any(|part| part == "tests" || part.ends_with("tests.rs"))
}

fn judge(path: &str, lines: usize) -> Option<Finding> {
    let reason = |limit: usize| format!("{lines} lines, more than {limit}: split it by concept");
    if lines > FAIL_ABOVE {
        Some(Finding::error(path, 1, reason(FAIL_ABOVE)))
    } else if lines > WARN_ABOVE {
        Some(Finding::warning(path, 1, reason(WARN_ABOVE)))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::Weight;
    use super::*;

    #[test]
    fn long_files_are_warned_about_and_longer_ones_fail() {
        let weights = |lines: usize| {
            let text = "\n".repeat(lines);
            let tree = Tree::of(&[
                ("crates/a/src/a.rs", &text),
                ("crates/a/src/a/tests.rs", &text),
            ]);
            check(&tree)
                .iter()
                .map(|finding| finding.weight)
                .collect::<Vec<_>>()
        };
        assert_eq!(weights(600), []);
        assert_eq!(weights(601), [Weight::Warning]);
        assert_eq!(weights(1001), [Weight::Error]);
    }
}
