//! What a bearer is: no text breaks the reading, and what is taken for a key is one, to the last byte.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_identity::api_keys::{Prefixes, Shape};

fuzz_target!(|text: &str| {
    let prefixes = Prefixes {
        own: "pck".to_owned(),
        imported: Some("shop".to_owned()),
    };
    match prefixes.shape(text) {
        Shape::Own => {
            assert_eq!(text.len(), 4 + 43 + 6);
            assert_ne!(prefixes.shape(&format!("{text}0")), Shape::Own);
        }
        Shape::Imported => assert!(text.starts_with("shop_") && text.len() <= 256),
        Shape::Broken => assert!(text.starts_with("pck_") || text.starts_with("shop_")),
        Shape::Foreign => assert!(!text.starts_with("pck_") && !text.starts_with("shop_")),
    }
});
