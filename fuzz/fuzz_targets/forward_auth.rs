//! Questions of a proxy: what is decided on is what the proxy will forward, to the last byte.
#![no_main]

use http::{HeaderName, HeaderValue, Request, header};
use libfuzzer_sys::fuzz_target;

// Taken in by its path, for a program has no library: what only the gate calls is unused here.
#[expect(dead_code, reason = "the gate uses more of it")]
#[path = "../../crates/portcullis/src/forward_auth/convention.rs"]
mod convention;

use convention::Convention;

// Lines of `name: value`, as a proxy sends them.
fuzz_target!(|bytes: &[u8]| {
    let mut request = Request::get("/.portcullis/forward-auth");
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (halves.next().unwrap_or_default(), halves.next());
        let Ok(name) = HeaderName::from_bytes(name) else {
            continue;
        };
        let Ok(value) = HeaderValue::from_bytes(value.unwrap_or_default().trim_ascii()) else {
            continue;
        };
        request = request.header(name, value);
    }
    let Ok(request) = request.body(()) else {
        return;
    };
    let (mut head, ()) = request.into_parts();
    let told = head.headers.clone();
    let Ok(convention) = Convention::of(&told) else {
        return;
    };
    if convention.restore(&mut head).is_err() {
        return;
    }
    let names = match convention {
        Convention::Original => ["x-original-method", "x-original-uri"],
        Convention::Forwarded => ["x-forwarded-method", "x-forwarded-uri"],
    };
    let [method, target] = names.map(|name| told.get(name).expect("it was told").as_bytes());
    assert_eq!(head.method.as_str().as_bytes(), method);
    assert_eq!(head.uri.to_string().as_bytes(), target);
    // SECURITY: with two values of one of these, proxy and gate may believe different ones.
    for name in names.iter().chain(&["x-forwarded-host", "x-forwarded-proto", "x-forwarded-for"]) {
        assert_eq!(told.get_all(*name).iter().count(), 1, "{name}");
    }
    assert_eq!(head.headers.get(header::HOST), told.get("x-forwarded-host"));
    assert!(!head.uri.path().contains("/../") && !head.uri.path().contains('\\'));
    for name in ["x-forwarded-uri", "x-original-uri", "x-forwarded-host"] {
        assert!(!head.headers.contains_key(name), "{name}");
    }
});
