//! `X-Forwarded-For`: nobody becomes somebody else but by the word of a trusted proxy.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis_edge::{Peer, TrustedProxies};

fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else {
            return;
        };
        headers.append("x-forwarded-for", value);
    }
    let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")]);
    let stranger = Peer::new("192.0.2.1:1".parse().expect("an address"), false);
    assert_eq!(trusted.client(&stranger, &headers).ip(), stranger.addr.ip());
    let proxy = Peer::new("10.0.0.1:1".parse().expect("an address"), false);
    let client = trusted.client(&proxy, &headers).ip();
    assert_eq!(client, client.to_canonical());
});
