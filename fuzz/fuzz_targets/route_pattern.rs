//! Route patterns, and paths looked up in a table of them.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use portcullis_core::path::canonicalize;
use portcullis_core::route::{Methods, Pattern, RouteTable};

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let asked = lines.next().unwrap_or_default();
    let mut table = RouteTable::default();
    for line in lines {
        if let Ok(pattern) = Pattern::parse(line) {
            assert_eq!(pattern.as_str(), line);
            let _ = table.insert(pattern, Methods::Any, ());
        }
    }
    if let Ok(path) = canonicalize(asked) {
        let _ = table.find(&Method::GET, &path);
    }
});
