//! A Rust file that no `mod` leads to is never compiled: its tests never run, and nobody is told.

use std::collections::BTreeSet;

use super::{Finding, tree::Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    for (path, _) in tree.rust().filter(|(path, _)| is_root(path)) {
        follow(tree, path, &mut reached);
    }
    let orphans = tree.rust().filter(|(path, _)| !reached.contains(*path));
    orphans
        .map(|(path, _)| {
            Finding::error(path, 1, "no `mod` leads to this file: it is never compiled")
        })
        .collect()
}

/// Files that cargo compiles by themselves: `src/lib.rs`, `tests/it/main.rs`, `fuzz/fuzz_targets/x.rs` ...
fn is_root(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let file = parts.next().unwrap_or_default();
    let folders: Vec<&str> = parts.collect();
    match folders.as_slice() {
        ["src", ..] => matches!(file, "lib.rs" | "main.rs"),
        [
            "tests" | "benches" | "examples" | "bin" | "fuzz_targets",
            ..,
        ] => true,
        [_, "tests" | "benches" | "examples" | "bin", ..] => file == "main.rs",
        _ => file == "build.rs",
    }
}

fn follow(tree: &Tree, path: &str, reached: &mut BTreeSet<String>) {
    let Some(text) = tree.get(path) else { return };
    if !reached.insert(path.to_owned()) {
        return;
    }
    let (folder, file) = path.rsplit_once('/').unwrap_or((".", path));
    // Modules of `a/b.rs` live in `a/b/`, those of a root or of `mod.rs` beside it.
    let home = match file.strip_suffix(".rs").unwrap_or(file) {
        "mod" => folder.to_owned(),
        _ if is_root(path) => folder.to_owned(),
        stem => format!("{folder}/{stem}"),
    };
    for line in text.lines().map(str::trim) {
        if let Some(name) = module(line) {
            follow(tree, &format!("{home}/{name}.rs"), reached);
            follow(tree, &format!("{home}/{name}/mod.rs"), reached);
        } else if let Some(other) = line
            .strip_prefix("#[path = \"")
            .and_then(|rest| rest.strip_suffix("\"]"))
        {
            follow(tree, &format!("{folder}/{other}"), reached);
        }
    }
}

/// The name in `mod name;`, `pub(crate) mod name;`.
fn module(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("mod ")?;
    let visible = before.is_empty()
        || before == "pub "
        || (before.starts_with("pub(") && before.ends_with(") "));
    let name = rest.strip_suffix(';')?;
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (visible && is_name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphans(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files))
            .into_iter()
            .map(|finding| finding.path)
            .collect()
    }

    #[test]
    fn files_that_a_mod_leads_to_pass() {
        let files = [
            (
                "crates/a/src/lib.rs",
                "pub mod one;\nmod two;\n#[cfg(test)]\nmod tests;",
            ),
            ("crates/a/src/one.rs", "pub(crate) mod deep;"),
            ("crates/a/src/one/deep.rs", ""),
            ("crates/a/src/two/mod.rs", "mod inner;"),
            ("crates/a/src/two/inner.rs", ""),
            ("crates/a/src/tests.rs", ""),
            ("crates/a/tests/it/main.rs", "mod login;\nmod attacks;"),
            ("crates/a/tests/it/login.rs", ""),
            (
                "crates/a/tests/it/attacks/mod.rs",
                "#[path = \"odd-name.rs\"]\n#[cfg(test)]\nmod odd;",
            ),
            ("crates/a/tests/it/attacks/odd-name.rs", ""),
            ("crates/a/build.rs", ""),
            ("examples/layer.rs", ""),
        ];
        assert_eq!(orphans(&files), [""; 0]);
    }

    #[test]
    fn a_test_file_that_nobody_names_is_found() {
        let files = [
            (
                "crates/a/tests/it/main.rs",
                "mod login;\n// mod logout;\nuse crate::mod_list;",
            ),
            ("crates/a/tests/it/login.rs", ""),
            ("crates/a/tests/it/logout.rs", ""),
            ("crates/a/tests/it/attacks/smuggling.rs", ""),
        ];
        assert_eq!(
            orphans(&files),
            [
                "crates/a/tests/it/attacks/smuggling.rs",
                "crates/a/tests/it/logout.rs"
            ]
        );
    }
}
