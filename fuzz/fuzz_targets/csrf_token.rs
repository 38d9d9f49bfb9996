//! CSRF tokens: none that this fuzzer makes up belongs to a session.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis_core::Secret;
use portcullis_guard::csrf::Config;
use portcullis_vault::keys::{Keys, Purpose};
use portcullis_vault::tokens::TokenHash;

fuzz_target!(|bytes: &[u8]| {
    let master =
        Secret::new("0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0".to_owned());
    let mac = Keys::new(master, Vec::new())
        .mac(Purpose::Csrf)
        .expect("a key");
    let csrf = Config::default()
        .compile(mac)
        .expect("the defaults are good");
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert(csrf.header_name(), value.clone());
    let mut cookie = format!("{}=", csrf.cookie_name()).into_bytes();
    cookie.extend(value.as_bytes());
    if let Ok(cookie) = HeaderValue::from_bytes(&cookie) {
        headers.insert(http::header::COOKIE, cookie);
    }
    assert!(!csrf.has_token(&headers, &TokenHash([7; 32])));
});
