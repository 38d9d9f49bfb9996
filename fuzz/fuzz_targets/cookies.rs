//! Cookies and session tokens.
#![no_main]

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use portcullis_identity::sessions::Config;
use portcullis_vault::Token;

fuzz_target!(|bytes: &[u8]| {
    let cookies = Config::default()
        .compile(true)
        .expect("the defaults are good")
        .cookies;
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else {
            return;
        };
        headers.append(header::COOKIE, value);
    }
    let _ = cookies.presented(&headers);
    portcullis_edge::headers::remove_cookies(&mut headers, |name| {
        name.eq_ignore_ascii_case(cookies.name().as_bytes())
    });
    // SECURITY: the product must never get the session, whatever stands around it.
    assert!(matches!(
        cookies.presented(&headers),
        portcullis_identity::sessions::Presented::Nothing
    ));
    if let Some(token) = std::str::from_utf8(bytes).ok().and_then(Token::parse) {
        assert_eq!(
            token.text().expose().as_bytes(),
            bytes,
            "one token, one text"
        );
    }
});
