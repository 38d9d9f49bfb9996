//! OpenAPI documents, into a plan of routes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_access::openapi::{BasePath, plan, read};

fuzz_target!(|text: &str| {
    if let Ok(api) = read(text, &BasePath::Servers) {
        let _ = plan(&api);
    }
});
