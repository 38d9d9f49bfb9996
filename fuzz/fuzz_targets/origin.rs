//! The `Origin` header: only the very place that the request was sent to is one's own (CWE-346).
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::Scheme;
use portcullis_guard::{Authority, Own};
use url::Url;

fuzz_target!(|bytes: &[u8]| {
    let own = Own {
        scheme: Scheme::Https,
        authority: Authority::parse("app.test").expect("a host"),
    };
    if !own.is_origin(bytes) {
        return;
    }
    let text = std::str::from_utf8(bytes).expect("what is taken is text");
    // A browser that came from there came from here.
    let url = Url::parse(text).expect("what is taken is an address");
    assert_eq!(url.scheme(), "https");
    assert_eq!(
        url.host_str().map(|host| host.trim_end_matches('.')),
        Some("app.test")
    );
    assert_eq!(url.port_or_known_default(), Some(443));
    assert!(url.username().is_empty() && url.query().is_none() && url.fragment().is_none());
});
