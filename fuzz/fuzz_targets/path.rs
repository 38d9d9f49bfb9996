//! Paths: what comes out is canonical already, and stays below the root.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::path::canonicalize;

fuzz_target!(|text: &str| {
    let Ok(path) = canonicalize(text) else {
        return;
    };
    assert!(path.starts_with('/'), "{path:?}");
    assert!(
        !path
            .split('/')
            .any(|segment| segment == "." || segment == "..")
    );
    assert_eq!(canonicalize(&path).as_deref(), Ok(&*path));
});
