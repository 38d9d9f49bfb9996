//! The pages of `docs/problems/`, built into the binary so that a problem's `type` leads somewhere.

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

#[cfg(test)]
mod tests {
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
