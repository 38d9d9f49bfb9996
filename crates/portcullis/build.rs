//! Lists the problem pages of the documentation, so that the binary can show them.
#![expect(
    clippy::unwrap_used,
    reason = "a build script talks to cargo, and ends the build when it fails"
)]

use std::path::Path;

fn main() {
    let pages = Path::new("../../docs/problems");
    println!("cargo::rerun-if-changed={}", pages.display());
    let mut slugs: Vec<String> = std::fs::read_dir(pages)
        .unwrap()
        .filter_map(|entry| {
            entry
                .unwrap()
                .file_name()
                .into_string()
                .unwrap()
                .strip_suffix(".md")
                .map(str::to_owned)
        })
        .filter(|slug| slug != "README")
        .collect();
    slugs.sort();
    let list: Vec<String> = slugs.iter().map(|slug| format!("{slug:?}")).collect();
    let out = Path::new(&std::env::var_os("OUT_DIR").unwrap()).join("problem_pages.rs");
    std::fs::write(out, format!("pages!({});\n", list.join(", "))).unwrap();
}
