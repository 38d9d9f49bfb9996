use super::*;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    map
}

fn cleaned(lines: &[(&'static str, &str)], host: bool) -> HeaderMap {
    let mut map = headers(lines);
    let told = Forwarded {
        client: ClientAddr::new("1.2.3.4".parse().unwrap()),
        scheme: Scheme::Https,
        request_id: "the-id",
        host,
    };
    clean_request(&mut map, &told);
    map
}

#[test]
fn no_identity_or_forwarding_header_of_a_client_passes() {
    for name in [
        "x-forwarded-for",
        "x-forwarded-user",
        "x-forwarded-host",
        "forwarded",
        "x-real-ip",
        "remote-user",
        "x-remote-user",
        "x-auth-request-email",
        "x-user",
        "x-user-id",
        "x-webauth-user",
        "cf-access-jwt-assertion",
        "x-amzn-oidc-identity",
        "x-goog-authenticated-user-email",
        "x-ms-client-principal-id",
        "x-authenticated-userid",
        "x-original-url",
        "x-rewrite-url",
        "x-middleware-subrequest",
        "x-http-method-override",
        "x-portcullis-assertion",
        "x_forwarded_user",
        "x.real.ip",
        "odd_name",
        "oidc-claim-sub",
        "x-request-id",
        "proxy",
    ] {
        let map = cleaned(&[(name, "evil"), ("accept", "*/*")], false);
        assert!(!map.values().any(|value| value == "evil"), "{name}");
        assert!(map.contains_key("accept"));
    }
}

#[test]
fn ordinary_headers_pass() {
    let ordinary = [
        "accept",
        "authorization",
        "cookie",
        "content-type",
        "x-requested-with",
        "x-csrf-token",
        "user-agent",
        "range",
        "traceparent",
        "x-api-key",
        "referer",
        "if-none-match",
    ];
    for name in ordinary {
        assert!(cleaned(&[(name, "v")], false).contains_key(name), "{name}");
    }
}

#[test]
fn the_gate_says_who_and_how() {
    let map = cleaned(&[("host", "a.example")], false);
    assert_eq!(map["x-forwarded-for"], "1.2.3.4");
    assert_eq!(map["x-forwarded-proto"], "https");
    assert_eq!(map["x-request-id"], "the-id");
    assert!(!map.contains_key("x-forwarded-host"));
    let map = cleaned(&[("host", "a.example")], true);
    assert_eq!(map["x-forwarded-host"], "a.example");
}

#[test]
fn connection_names_go_but_cannot_take_what_decides() {
    let map = cleaned(
        &[
            ("host", "a"),
            ("cookie", "a=b"),
            ("content-length", "5"),
            ("connection", "close, X-Hop, host, cookie, content-length"),
            ("connection", "x-forwarded-for"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
        ],
        false,
    );
    for gone in ["connection", "x-hop", "keep-alive", "te", "upgrade"] {
        assert!(!map.contains_key(gone), "{gone}");
    }
    for kept in ["host", "cookie", "content-length", "x-forwarded-for"] {
        assert!(map.contains_key(kept), "{kept}");
    }
}

#[test]
fn a_product_cannot_speak_as_the_gate() {
    let mut map = headers(&[
        ("transfer-encoding", "chunked"),
        ("x-portcullis-anything", "1"),
        ("set-cookie", "a=b"),
        ("set-cookie", "c=d"),
    ]);
    clean_response(&mut map);
    assert_eq!(map.len(), 2);
}

#[test]
fn our_cookie_goes_and_the_others_stay_as_they_are() {
    let ours = |name: &[u8]| name == b"__Host-s";
    for (before, after) in [
        ("__Host-s=1", None),
        ("a=1; __Host-s=2; b=\"x y\"", Some("a=1; b=\"x y\"")),
        ("a=1;b=2", Some("a=1;b=2")),
        ("__Host-s=1; __Host-s=2; a=__Host-s", Some("a=__Host-s")),
        (" __Host-s =1; a=1", Some("a=1")),
        ("__Host-sx=1", Some("__Host-sx=1")),
    ] {
        let mut map = headers(&[("cookie", before)]);
        remove_cookies(&mut map, ours);
        let left = map.get("cookie").map(|value| value.to_str().unwrap());
        assert_eq!(left, after, "{before}");
    }
}

#[test]
fn the_lists_of_reserved_names_can_be_searched() {
    assert!(RESERVED.is_sorted());
    assert!(RESERVED_PREFIXES.is_sorted());
    let all = || RESERVED.iter().chain(RESERVED_PREFIXES);
    assert_eq!(all().map(|name| name.len()).max(), Some(LONGEST_RESERVED));
    for prefix in RESERVED_PREFIXES {
        let begun = RESERVED_PREFIXES
            .iter()
            .filter(|other| other.starts_with(prefix));
        assert_eq!(begun.count(), 1, "{prefix} begins another");
    }
}

#[test]
fn every_reserved_name_is_found_in_every_spelling_and_nothing_beside_it() {
    for name in RESERVED {
        assert!(is_reserved(name.as_bytes()), "{name}");
        assert!(is_reserved(
            name.replace('-', "_").to_uppercase().as_bytes()
        ));
        let longer = format!("{name}q");
        let has_prefix = RESERVED_PREFIXES.iter().any(|it| longer.starts_with(it));
        assert_eq!(is_reserved(longer.as_bytes()), has_prefix, "{longer}");
    }
    for prefix in RESERVED_PREFIXES {
        for rest in ["", "a", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"] {
            let name = format!("{prefix}{rest}");
            assert!(is_reserved(name.as_bytes()), "{name}");
            assert!(is_reserved(
                name.replace('-', ".").to_uppercase().as_bytes()
            ));
        }
        let shorter = prefix.get(..prefix.len() - 2).unwrap();
        assert!(!is_reserved(shorter.as_bytes()), "{shorter}");
    }
}
