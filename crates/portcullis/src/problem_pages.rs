//! The pages of `docs/problems/`, built into the binary so that a problem's `type` leads somewhere.

use maud::{Markup, html};

macro_rules! pages {
    ($($slug:literal),* $(,)?) => {
        const PAGES: &[(&str, &str)] = &[$(($slug, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/problems/", $slug, ".md")))),*];
    };
}

include!(concat!(env!("OUT_DIR"), "/problem_pages.rs"));

/// The page about a kind of problem.
pub(crate) fn text(slug: &str) -> Option<&'static str> {
    PAGES
        .iter()
        .find(|(known, _)| *known == slug)
        .map(|(_, text)| *text)
}

/// The page as HTML, without its title. The pages are written in a small part of Markdown: headings,
/// lists, paragraphs and `code`.
pub(crate) fn html(slug: &str) -> Markup {
    let blocks = text(slug).unwrap_or_default().split("\n\n");
    html! {
        @for block in blocks.flat_map(parts) {
            @match block {
                Block::Title => {}
                Block::Heading(text) => h2 { (inline(text)) },
                Block::List(items) => ul { @for item in items { li { (inline(item)) } } },
                Block::Paragraph(text) => p { (inline(text)) },
            }
        }
    }
}

enum Block<'t> {
    Title,
    Heading(&'t str),
    List(Vec<&'t str>),
    Paragraph(&'t str),
}

/// A heading may stand right above its text.
fn parts(block: &str) -> Vec<Block<'_>> {
    let block = block.trim();
    let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
    let head = if let Some(heading) = first.strip_prefix("## ") {
        Block::Heading(heading)
    } else if first.starts_with("# ") {
        Block::Title
    } else if let Some(list) = block.strip_prefix("- ") {
        return vec![Block::List(list.split("\n- ").collect())];
    } else {
        return match block {
            "" => Vec::new(),
            text => vec![Block::Paragraph(text)],
        };
    };
    let mut found = vec![head];
    found.extend(parts(rest));
    found
}

fn inline(text: &str) -> Markup {
    html! {
        @for (position, piece) in text.split('`').enumerate() {
            @if position % 2 == 1 { code { (piece) } } @else { (piece) }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_page_has_headings_lists_and_code_and_no_marks_of_its_source() {
        for kind in portcullis_core::problem::ALL {
            let html = super::html(kind.slug).into_string();
            assert!(html.contains("<p>") && html.contains("<h2>"), "{html}");
            for mark in ["## ", "`", "\n- ", "# "] {
                assert!(!html.contains(mark), "{}: {mark}: {html}", kind.slug);
            }
        }
    }

    #[test]
    fn every_problem_has_a_page() {
        for kind in portcullis_core::problem::ALL {
            assert!(
                super::text(kind.slug).is_some(),
                "docs/problems/{}.md",
                kind.slug
            );
        }
    }
}
