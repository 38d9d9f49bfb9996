//! Every problem slug has a page, and every page a slug: `docs/problems/<slug>.md`.

use std::collections::BTreeMap;

use super::{Finding, tree::Tree};

const CATALOGUE: &str = "crates/core/src/problem.rs";
const PAGES: &str = "docs/problems";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(catalogue) = tree.get(CATALOGUE) else {
        return vec![Finding::error(
            CATALOGUE,
            1,
            "the catalogue of problems is not here",
        )];
    };
    let slugs = slugs(catalogue);
    if slugs.is_empty() {
        return vec![Finding::error(
            CATALOGUE,
            1,
            "no `kinds! { NAME = \"slug\", ... }` is found here",
        )];
    }
    let without_page = slugs.iter().filter_map(|(slug, line)| {
        let page = format!("{PAGES}/{slug}.md");
        let missing = tree.get(&page).is_none();
        missing.then(|| Finding::error(CATALOGUE, *line, format!("`{slug}` has no page {page}")))
    });
    let without_slug = tree.under(PAGES).filter_map(|(file, _)| {
        let slug = file.strip_suffix(".md").filter(|slug| *slug != "README")?;
        let unknown = !slugs.contains_key(slug);
        unknown.then(|| {
            Finding::error(
                &format!("{PAGES}/{file}"),
                1,
                format!("no problem has the slug `{slug}`"),
            )
        })
    });
    without_page.chain(without_slug).collect()
}

/// The slugs of the `kinds!` block with their lines: `NAME = "slug", STATUS, "Title";`.
fn slugs(catalogue: &str) -> BTreeMap<&str, usize> {
    let lines = catalogue
        .lines()
        .enumerate()
        .skip_while(|(_, line)| !line.starts_with("kinds! {"));
    let block = lines.take_while(|(_, line)| *line != "}");
    block
        .filter_map(|(index, line)| Some((slug(line)?, index + 1)))
        .collect()
}

fn slug(line: &str) -> Option<&str> {
    let (name, rest) = line.trim().split_once(" = \"")?;
    let is_name = name
        .chars()
        .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    rest.split_once('"')
        .map(|(slug, _)| slug)
        .filter(|_| is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "const OTHER: &str = \"no\";\nkinds! {\n    \
        BAD_BODY = \"bad-body\", BAD_REQUEST, \"The = \\\"body\\\"\";\n    NO_ROUTE = \"no-route\", NOT_FOUND, \"-\";\n}\n";

    #[test]
    fn documented_problems_pass() {
        let pages = [
            ("docs/problems/bad-body.md", ""),
            ("docs/problems/no-route.md", ""),
            (CATALOGUE, TEXT),
        ];
        assert_eq!(check(&Tree::of(&pages)), []);
    }

    #[test]
    fn a_slug_without_a_page_and_a_page_without_a_slug_are_found() {
        let tree = Tree::of(&[
            (CATALOGUE, TEXT),
            ("docs/problems/bad-body.md", ""),
            ("docs/problems/old.md", ""),
        ]);
        let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "crates/core/src/problem.rs:4: `no-route` has no page docs/problems/no-route.md",
                "docs/problems/old.md:1: no problem has the slug `old`",
            ]
        );
    }

    #[test]
    fn a_catalogue_that_cannot_be_read_is_not_an_empty_one() {
        assert_eq!(
            check(&Tree::of(&[(CATALOGUE, "static X: u8 = 1;")])).len(),
            1
        );
    }
}
