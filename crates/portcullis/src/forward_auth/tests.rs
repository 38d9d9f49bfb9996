use http::Request;
use http::request::Parts;
use portcullis_core::path;
use portcullis_edge::forward::WebSocketAsked;
use proptest::prelude::*;

use super::*;

const TRAEFIK: &[(&str, &str)] = &[
    ("x-forwarded-method", "POST"),
    ("x-forwarded-uri", "/a/b?c=d"),
    ("x-forwarded-host", "app.example.com"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-for", "192.0.2.1"),
];
const NGINX: &[(&str, &str)] = &[
    ("x-original-method", "POST"),
    ("x-original-uri", "/a/b?c=d"),
    ("x-forwarded-host", "app.example.com"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-for", "192.0.2.1"),
];

fn head(lines: &[(&str, &str)]) -> Parts {
    let mut request = Request::get(PATH).header("host", "gate.internal");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn restore(lines: &[(&str, &str)]) -> Result<Parts, Error> {
    let mut head = head(lines);
    Convention::of(&head.headers)?.restore(&mut head)?;
    Ok(head)
}

/// `lines` with another value for one of them.
fn with<'l>(
    lines: &[(&'l str, &'l str)],
    name: &'l str,
    value: &'l str,
) -> Vec<(&'l str, &'l str)> {
    let others = lines.iter().copied().filter(|line| line.0 != name);
    others.chain([(name, value)]).collect()
}

#[test]
fn both_conventions_tell_the_same_request() {
    for lines in [NGINX, TRAEFIK] {
        let head = restore(lines).unwrap();
        assert_eq!(head.method, "POST");
        assert_eq!(head.uri, "/a/b?c=d");
        assert_eq!(head.headers["host"], "app.example.com");
        assert_eq!(head.headers["x-forwarded-proto"], "https");
        assert!(!head.headers.contains_key("x-original-uri"));
        assert!(!head.headers.contains_key("x-forwarded-uri"));
    }
}

#[test]
fn a_header_that_is_missing_or_there_twice_is_refused() {
    for lines in [NGINX, TRAEFIK] {
        for (position, (name, value)) in lines.iter().enumerate() {
            let mut fewer = lines.to_vec();
            fewer.remove(position);
            assert!(restore(&fewer).is_err(), "without {name}");
            let empty = with(lines, name, "");
            assert!(restore(&empty).is_err(), "with an empty {name}");
            let more = [lines, &[(name, value)]].concat();
            assert_eq!(
                restore(&more).unwrap_err(),
                Error::Repeated(name.parse().unwrap())
            );
        }
    }
}

#[test]
fn two_conventions_at_once_are_refused_even_where_they_agree() {
    let both = [NGINX, &TRAEFIK[..2]].concat();
    assert_eq!(restore(&both).unwrap_err(), Error::TwoConventions);
    let half = [TRAEFIK, &[("x-original-uri", "/public")]].concat();
    assert_eq!(restore(&half).unwrap_err(), Error::TwoConventions);
}

#[test]
fn what_the_path_would_have_removed_is_refused() {
    for name in [
        "x-portcullis-assertion",
        "x-portcullis-cookie",
        "x-forwarded-user",
        "remote-user",
        "x-http-method-override",
        "x-original-url",
        "x-rewrite-url",
        "forwarded",
    ] {
        let lines = [TRAEFIK, &[(name, "x")]].concat();
        assert_eq!(
            restore(&lines).unwrap_err(),
            Error::LeftIn(name.parse().unwrap())
        );
    }
    let harmless = [TRAEFIK, &[("x-requested-with", "x"), ("x-real-ip", "::1")]].concat();
    assert!(restore(&harmless).is_ok());
}

#[test]
fn only_a_path_in_its_one_spelling_is_decided_on() {
    for target in [
        "/a%2Db",
        "/%61dmin",
        "/a/../b",
        "/a//b",
        "//evil.example/a",
        "/a;b",
        "/a%2fb",
        "/a\\b",
        "/a#b",
        "a",
        "*",
        "http://app.example.com/a",
        "/ä",
        "/a b",
    ] {
        assert!(
            restore(&with(NGINX, "x-original-uri", target)).is_err(),
            "{target}"
        );
    }
    assert!(restore(&with(NGINX, "x-original-uri", "/caf%C3%A9?q=%2e%2e//")).is_ok());
}

#[test]
fn methods_and_schemes_that_are_none_are_refused() {
    for method in ["GET, POST", "GET POST", "CONNECT", "TRACE", "G\u{e9}T"] {
        assert!(
            restore(&with(TRAEFIK, "x-forwarded-method", method)).is_err(),
            "{method}"
        );
    }
    for proto in ["http, https", "HTTPS ", "ftp", "https,http"] {
        assert!(
            restore(&with(TRAEFIK, "x-forwarded-proto", proto)).is_err(),
            "{proto}"
        );
    }
    let handshake = restore(&with(TRAEFIK, "x-forwarded-proto", "wss")).unwrap();
    assert_eq!(handshake.headers["x-forwarded-proto"], "https");
}

#[test]
fn a_handshake_is_known_without_the_headers_that_proxies_keep() {
    let lines = [NGINX, &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]].concat();
    let asked = |lines: &[(&str, &str)]| {
        let head = restore(lines).unwrap();
        head.extensions.get::<WebSocketAsked>().is_some()
    };
    assert!(asked(&lines));
    assert!(!asked(NGINX));
}

#[test]
fn nginx_is_told_nothing_that_it_would_not_understand() {
    for (status, nginx) in [
        (401, 401),
        (403, 403),
        (404, 403),
        (429, 403),
        (503, 403),
        (301, 403),
    ] {
        for (convention, expected) in [
            (Convention::Original, nginx),
            (Convention::Forwarded, status),
        ] {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            convention.speak(&mut response);
            assert_eq!(response.status(), expected);
            assert_eq!(
                response.headers()["x-portcullis-status"],
                status.to_string()
            );
        }
    }
}

#[test]
fn an_answer_of_the_gates_own_never_permits() {
    let mut preflight = Response::new(Bytes::new());
    *preflight.status_mut() = StatusCode::NO_CONTENT;
    let answer = not_a_permit(preflight);
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["x-portcullis-status"], "204");
}

#[test]
fn proxies_that_are_not_trusted_for_addresses_are_a_mistake() {
    let config = Config {
        proxies: vec![
            "10.0.0.0/16".parse().unwrap(),
            "192.0.2.1/32".parse().unwrap(),
        ],
    };
    let findings = config.findings(&["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].key, "forward-auth.proxies.1");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_decided_on_is_what_was_sent_to_the_last_byte(target in "/[ -~]{0,24}") {
        if let Ok(head) = restore(&with(NGINX, "x-original-uri", &target)) {
            prop_assert_eq!(head.uri.to_string(), target.clone());
            let canonical = path::canonicalize(head.uri.path()).unwrap();
            prop_assert_eq!(canonical, head.uri.path());
        }
    }
}
