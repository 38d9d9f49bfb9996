//! Stored password hashes, as an import or a foreign database brings them: what is taken over can be
//! computed within bounds, and nothing breaks the reading.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_vault::passwords::{NOTHING, is_importable};

fuzz_target!(|text: &str| {
    if !is_importable(text) {
        return;
    }
    assert_ne!(text, NOTHING);
    if let Some(rest) = text.strip_prefix("$2") {
        let cost: u32 = rest[2..4].parse().expect("a cost of two digits");
        assert!((4..=15).contains(&cost), "{text:?}");
    } else {
        assert!(text.starts_with("$argon2"), "{text:?}");
        let parameters = text.split('$').find(|part| part.starts_with("m="));
        for parameter in parameters.into_iter().flat_map(|part| part.split(',')) {
            let (name, value) = parameter.split_once('=').expect("a parameter");
            let most = match name {
                "m" => 256 * 1024,
                "t" => 16,
                "p" => 8,
                _ => continue,
            };
            let value: u32 = value.parse().expect("a number");
            assert!(value <= most, "{text:?}");
        }
    }
});
