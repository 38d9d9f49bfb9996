//! A test that does not run proves nothing: none is ignored.

use super::{Finding, tree::Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let lines = tree.rust().flat_map(|(path, text)| {
        text.lines()
            .enumerate()
            .map(move |(index, line)| (path, index, line))
    });
    lines
        .filter(|(_, _, line)| ignores(line.trim()))
        .map(|(path, index, _)| {
            Finding::error(
                path,
                index + 1,
                "an ignored test proves nothing: mend it or delete it",
            )
        })
        .collect()
}

fn ignores(line: &str) -> bool {
    let conditional =
        line.starts_with("#[cfg_attr(") && line.trim_end_matches([']', ')']).ends_with(" ignore");
    line.starts_with("#[ignore") || conditional
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_tests_are_found_however_they_say_it() {
        let text = "#[test]\n    #[ignore = \"slow\"]\nfn a() {}\n#[cfg_attr(miri, ignore)]\nfn b() {}\n// #[ignore]\n";
        let lines: Vec<usize> = check(&Tree::of(&[("a.rs", text)]))
            .iter()
            .map(|finding| finding.line)
            .collect();
        assert_eq!(lines, [2, 4]);
    }
}
