use portcullis_core::Scheme;
use proptest::prelude::*;

use crate::Authority;

use super::*;

fn config(origins: &[&str]) -> Config {
    Config {
        allow_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
        allow_credentials: true,
        ..Config::default()
    }
}

fn cors() -> Cors {
    config(&[
        "https://app.example.com",
        "https://Other.example:8443",
        "https://usual.example:443",
    ])
    .compile(Mode::Production)
    .unwrap()
}

fn run(
    cors: &Cors,
    method: &str,
    headers: &[(&str, &str)],
    foreign: Foreign,
) -> Result<Outcome, Error> {
    let mut request = http::Request::builder().method(method).uri("/api");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let own = Own {
        scheme: Scheme::Https,
        authority: Authority::parse("api.example.com").unwrap(),
    };
    cors.check(&head, own, foreign)
}

fn granted(cors: &Cors, origin: &str) -> Option<String> {
    match run(cors, "GET", &[("origin", origin)], Foreign::Refuse).unwrap() {
        Outcome::Pass(Grant(Granted::Listed(value))) => Some(value.to_str().unwrap().to_owned()),
        Outcome::Pass(Grant(Granted::Nobody)) => None,
        Outcome::Pass(Grant(Granted::Widget(_))) => panic!("no widget was asked for"),
        Outcome::Preflight(_) => panic!("a read is no preflight"),
    }
}

const STRANGERS: [&str; 14] = [
    "null",
    "",
    "*",
    "https://evil.example",
    "http://app.example.com",
    "https://app.example.com:444",
    "https://app.example.com:443",
    "https://app.example.com.evil.example",
    "https://evil-app.example.com",
    "https://xapp.example.com",
    "https://APP.example.com",
    "https://app.example.com/",
    "https://app.example.com@evil.example",
    "https://other.example",
];

#[test]
fn an_origin_is_allowed_by_equality_alone() {
    let cors = cors();
    for good in [
        "https://app.example.com",
        "https://other.example:8443",
        "https://usual.example",
    ] {
        assert_eq!(granted(&cors, good).as_deref(), Some(good));
    }
    for stranger in STRANGERS {
        assert_eq!(granted(&cors, stranger), None, "{stranger}");
    }
}

#[test]
fn an_unsafe_request_of_a_stranger_is_refused_unless_the_route_takes_it() {
    let cors = cors();
    for stranger in STRANGERS {
        let headers = [("origin", stranger)];
        for method in ["POST", "PUT", "PATCH", "DELETE", "PURGE"] {
            let outcome = run(&cors, method, &headers, Foreign::Refuse);
            assert!(
                matches!(outcome, Err(Error::OriginNotAllowed)),
                "{method} {stranger}"
            );
            let outcome = run(&cors, method, &headers, Foreign::Pass);
            assert!(
                matches!(outcome, Ok(Outcome::Pass(Grant(Granted::Nobody)))),
                "{method} {stranger}"
            );
        }
    }
    let twice = [
        ("origin", "https://app.example.com"),
        ("origin", "https://evil.example"),
    ];
    assert!(matches!(
        run(&cors, "GET", &twice, Foreign::Pass),
        Err(Error::Ambiguous)
    ));
    let own = [("origin", "https://api.example.com")];
    assert!(matches!(
        run(&cors, "POST", &own, Foreign::Refuse),
        Ok(Outcome::Pass(Grant(Granted::Nobody)))
    ));
    assert!(run(&cors, "POST", &[], Foreign::Refuse).is_ok());
}

#[test]
fn a_preflight_is_answered_for_listed_origins_only() {
    let cors = cors();
    let ask = |origin| {
        let headers = [("origin", origin), ("access-control-request-method", "PUT")];
        run(&cors, "OPTIONS", &headers, Foreign::Pass)
    };
    let Ok(Outcome::Preflight(headers)) = ask("https://app.example.com") else {
        panic!("it was not answered");
    };
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://app.example.com"
    );
    assert_eq!(headers["access-control-allow-credentials"], "true");
    assert_eq!(headers["access-control-max-age"], "600");
    assert_eq!(
        headers["access-control-allow-methods"],
        "GET, HEAD, POST, PUT, PATCH, DELETE"
    );
    assert_eq!(headers["vary"], "Origin");
    for stranger in STRANGERS {
        assert!(
            matches!(ask(stranger), Err(Error::OriginNotAllowed)),
            "{stranger}"
        );
    }
}

#[test]
fn the_upstreams_own_word_on_cors_is_replaced() {
    let upstream = || {
        let mut headers = HeaderMap::new();
        headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
        headers.append(
            "access-control-allow-origin",
            HeaderValue::from_static("https://evil.example"),
        );
        headers.insert(
            "access-control-allow-credentials",
            HeaderValue::from_static("true"),
        );
        headers.insert("vary", HeaderValue::from_static("Accept"));
        headers
    };
    let mut headers = upstream();
    cors().finish(&Grant::default(), &mut headers);
    assert!(!headers.contains_key("access-control-allow-origin"));
    assert!(!headers.contains_key("access-control-allow-credentials"));
    let vary: Vec<_> = headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Accept", "Origin"]);

    let mut headers = upstream();
    let grant = Grant(Granted::Listed(HeaderValue::from_static(
        "https://app.example.com",
    )));
    cors().finish(&grant, &mut headers);
    let allowed: Vec<_> = headers
        .get_all("access-control-allow-origin")
        .iter()
        .collect();
    assert_eq!(allowed, ["https://app.example.com"]);
    assert_eq!(
        headers["access-control-expose-headers"],
        "RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
    );
}

#[test]
fn a_wildcard_is_for_development_and_never_with_credentials() {
    let mut wild = config(&["*"]);
    assert!(wild.compile(Mode::Production).is_err());
    assert!(wild.compile(Mode::Development).is_err());
    wild.allow_credentials = false;
    assert!(wild.compile(Mode::Production).is_err());
    let cors = wild.compile(Mode::Development).unwrap();
    assert_eq!(
        granted(&cors, "https://anyone.example").as_deref(),
        Some("*")
    );
}

#[test]
fn what_is_no_origin_or_no_name_is_reported() {
    let mut config = config(&[
        "https://ok.example",
        "app.example.com",
        "https://*.example.com",
        "null",
        "http://plain.example",
    ]);
    config.allow_headers.push("*".to_owned());
    config.allow_methods.push("TRACE".to_owned());
    config.max_age = Span::from_days(2);
    let findings = config.compile(Mode::Production).unwrap_err();
    let rules: Vec<&str> = findings.iter().map(|finding| finding.rule).collect();
    assert_eq!(
        rules,
        [
            "cors-origin",
            "cors-origin",
            "cors-origin",
            "cors-name",
            "cors-name",
            "cors-max-age"
        ]
    );
    let plain = super::tests::config(&["http://plain.example"]);
    assert!(plain.compile(Mode::Production).is_err());
    assert!(plain.compile(Mode::Development).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_around_a_listed_origin_is_allowed(before in "[a-z.]{0,3}", after in "[a-z.:/0-9]{0,4}") {
        prop_assume!(!before.is_empty() || !after.is_empty());
        let cors = cors();
        for origin in [
            format!("{before}https://app.example.com{after}"),
            format!("https://{before}app.example.com{after}"),
        ] {
            prop_assert_eq!(granted(&cors, &origin), None, "{}", origin);
        }
    }
}

#[test]
fn a_widgets_page_is_known_by_its_one_origin_and_sends_no_cookies() {
    let ask = |origins: &[&str], method: &str| {
        let mut request = http::Request::builder().method(method).uri("/");
        for origin in origins {
            request = request.header("origin", *origin);
        }
        let request = request.header("access-control-request-method", "POST");
        let (head, ()) = request.body(()).unwrap().into_parts();
        widget::check(&head, |origin| origin == b"https://shop.example")
    };
    for (origins, is_allowed) in [
        (&["https://shop.example"][..], true),
        (&[], false),
        (&["null"], false),
        (&["https://api.example.com"], false),
        (&["https://shop.example.evil.test"], false),
        (&["https://shop.example", "https://shop.example"], false),
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            assert_eq!(
                ask(origins, method).is_ok(),
                is_allowed,
                "{method} {origins:?}"
            );
        }
    }
    let Ok(Outcome::Preflight(headers)) = ask(&["https://shop.example"], "OPTIONS") else {
        panic!("a preflight is answered");
    };
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://shop.example"
    );
    assert!(!headers.contains_key("access-control-allow-credentials"));
    let Ok(Outcome::Pass(grant)) = ask(&["https://shop.example"], "POST") else {
        panic!("a call passes");
    };
    let mut headers = HeaderMap::new();
    cors().finish(&grant, &mut headers);
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://shop.example"
    );
    assert!(!headers.contains_key("access-control-allow-credentials"));
    assert_eq!(headers["vary"], "Origin");
}
