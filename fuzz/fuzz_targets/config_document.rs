//! The configuration file, as far as it is a document with lines and references.
#![no_main]

#[path = "../../crates/portcullis/src/config/document.rs"]
#[expect(dead_code, reason = "the binary uses more of it")]
mod document;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut findings = Vec::new();
    let document =
        document::Document::parse(text, &document::Environment::default(), &mut findings);
    for key in document.table.keys() {
        let _ = document.lines.of(key);
    }
});
