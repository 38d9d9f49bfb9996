//! Hosts: what is accepted is on the list, whatever it looks like.
#![no_main]

use http::{HeaderValue, Request, header};
use libfuzzer_sys::fuzz_target;
use portcullis_core::{Mode, Scheme};
use portcullis_guard::{Authority, hosts::Config};

fuzz_target!(|text: &str| {
    if let Some(authority) = Authority::parse(text) {
        let host = authority.host;
        assert!(
            !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ', '\\']),
            "{host:?}"
        );
    }
    let hosts = Config {
        allow: vec!["app.test".to_owned(), "*.customers.test".to_owned()],
    };
    let hosts = hosts.compile(Mode::Production).expect("the list is good");
    let Ok(value) = HeaderValue::from_str(text) else {
        return;
    };
    let mut request = Request::new(());
    request.headers_mut().insert(header::HOST, value);
    let (head, ()) = request.into_parts();
    if let Ok(own) = hosts.check(&head, Scheme::Https) {
        let host = own
            .authority
            .host
            .trim_end_matches('.')
            .to_ascii_lowercase();
        assert!(
            host == "app.test" || host.ends_with(".customers.test"),
            "{host:?}"
        );
    }
});
