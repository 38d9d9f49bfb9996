//! Words that no tracked file may hold: names of products that are not ours to tell, and traces of one machine.

use super::{Finding, tree::Tree};

/// Hashes of the names of the products whose documents the presets follow. The presets tell a shape, never a
/// product, and so does this list.
const PRODUCTS: &[u64] = &[
    0x0b4d_feb7_f70f_39d5,
    0x0368_2c20_5334_0613,
    0x6edd_b662_65e0_fdcd,
    0xc00f_c81f_6f75_1345,
];

/// Text, in lower case, and why it must not be there. Split, so that this file may be tracked itself.
const TRACES: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a path of one machine"),
    (
        concat!("\"resolved\"", ": \"http"),
        "a registry's host: machines bring their own",
    ),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files()
        .flat_map(|(path, text)| check_file(path, text))
        .collect()
}

fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let lines = [path].into_iter().chain(text.lines()).enumerate();
    lines
        .filter_map(|(index, line)| {
            let reason = objection(&line.to_lowercase())?;
            Some(Finding::error(path, index.max(1), reason))
        })
        .collect()
}

fn objection(line: &str) -> Option<String> {
    if let Some((trace, reason)) = TRACES.iter().find(|(trace, _)| line.contains(trace)) {
        return Some(format!("`{trace}`: {reason}"));
    }
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .find(|word| PRODUCTS.contains(&fnv(word)))
        .map(|word| format!("`{word}` is a product: name its shape"))
}

/// FNV-1a, 64 bits: enough to recognise a word without writing it down.
fn fnv(word: &str) -> u64 {
    word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn traces_are_found_in_text_and_in_names() {
        let text = format!("fine\nsee {}wt\n", concat!("/wo", "rk/"));
        let lines: Vec<usize> = check(&Tree::of(&[("docs/a.md", &text)]))
            .iter()
            .map(|finding| finding.line)
            .collect();
        assert_eq!(lines, [2]);
        assert_eq!(
            check(&Tree::of(&[(
                "a.md",
                "the framework/library pair; nginx works"
            )])),
            []
        );
    }
}
