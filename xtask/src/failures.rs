//! The table in `docs/failure.md`, from `docs/failure.toml`, which the binary reads as well.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{say, workspace};

/// Where the rows stand.
pub(crate) const ROWS: &str = "docs/failure.toml";
/// Where the table is written.
pub(crate) const PAGE: &str = "docs/failure.md";

const BEGIN: &str = "<!-- from failure.toml, by `cargo xtask docs` -->\n";
const END: &str = "<!-- end -->";

const HEAD: &str = "| feature | away | outcome | what happens | keys | seen in | shown by |\n|---|---|---|---|---|---|---|\n";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    feature: String,
    away: String,
    outcome: String,
    behaviour: String,
    keys: Vec<String>,
    seen: Vec<String>,
    tests: Vec<String>,
}

/// Writes the table into its page; with `check` only says whether it is stale.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = workspace::root();
    let read = |path: &str| {
        fs::read_to_string(root.join(path)).with_context(|| format!("{path} is not here"))
    };
    let old = read(PAGE)?;
    let page = render(&read(ROWS)?, &old)?;
    if page == old {
        say::line(format!("{PAGE} is up to date"));
        return Ok(());
    }
    if check {
        bail!("{PAGE} is stale: run `cargo xtask docs`");
    }
    fs::write(root.join(PAGE), page).with_context(|| format!("cannot write {PAGE}"))?;
    say::line(format!("{PAGE} written"));
    Ok(())
}

/// The page with the table as the rows say it.
pub(crate) fn render(rows: &str, page: &str) -> Result<String> {
    let table: Table = toml::from_str(rows).with_context(|| format!("{ROWS} cannot be read"))?;
    let (before, rest) = page
        .split_once(BEGIN)
        .with_context(|| format!("{PAGE} has no place for the table"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("the table in {PAGE} has no end"))?;
    let mut text = format!("{before}{BEGIN}\n{HEAD}");
    for row in &table.row {
        let keys = list(row.keys.iter().map(|key| format!("`{key}`")));
        let seen = list(row.seen.iter().map(|seen| {
            if seen.contains("portcullis_") {
                format!("`{seen}`")
            } else {
                seen.clone()
            }
        }));
        let tests = list(files(&row.tests)?.into_iter().map(|file| {
            let name = file.rsplit('/').next().unwrap_or(file);
            format!("[{name}](../{file})")
        }));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {keys} | {seen} | {tests} |",
            row.feature, row.away, row.outcome, row.behaviour
        );
    }
    let _ = write!(text, "\n{END}{after}");
    Ok(text)
}

/// The tests that the rows name, as file and function.
pub(crate) fn tests(rows: &str) -> Result<Vec<(String, String)>> {
    let table: Table = toml::from_str(rows).with_context(|| format!("{ROWS} cannot be read"))?;
    let named = table.row.iter().flat_map(|row| &row.tests);
    named
        .map(|test| split(test).map(|(file, name)| (file.to_owned(), name.to_owned())))
        .collect()
}

fn split(test: &str) -> Result<(&str, &str)> {
    test.split_once("::")
        .with_context(|| format!("`{test}` is not `file::function`"))
}

/// Each file once, in order.
fn files(tests: &[String]) -> Result<Vec<&str>> {
    let mut files = Vec::new();
    for test in tests {
        let (file, _) = split(test)?;
        if !files.contains(&file) {
            files.push(file);
        }
    }
    Ok(files)
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() {
        "–".to_owned()
    } else {
        items.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "[[row]]\nfeature = \"limit\"\naway = \"redis\"\noutcome = \"stricter\"\nbehaviour = \"A share.\"\nkeys = [\"state.nodes\"]\nseen = []\ntests = [\"a/b.rs::one\", \"a/b.rs::two\"]\n";

    #[test]
    fn rows_become_a_table_between_the_marks_and_nothing_else_changes() {
        let page = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let new = render(ROW, &page).unwrap();
        assert!(new.starts_with("before\n") && new.ends_with("-->\nafter\n"));
        assert!(
            new.contains(
                "| limit | redis | stricter | A share. | `state.nodes` | – | [b.rs](../a/b.rs) |"
            ),
            "{new}"
        );
        assert_eq!(render(ROW, &new).unwrap(), new);
        assert!(render(ROW, "no marks").is_err());
    }

    #[test]
    fn tests_are_named_by_file_and_function() {
        let named = tests(ROW).unwrap();
        assert_eq!(named[1], ("a/b.rs".to_owned(), "two".to_owned()));
        assert!(tests(&ROW.replace("::one", "")).is_err());
    }
}
