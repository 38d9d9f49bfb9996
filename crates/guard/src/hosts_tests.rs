use proptest::prelude::*;

use super::*;

fn compile(allow: &[&str]) -> Hosts {
    Config {
        allow: allow.iter().map(|name| (*name).to_owned()).collect(),
    }
    .compile(Mode::Production)
    .unwrap()
}

fn check(hosts: &Hosts, host: &str) -> Result<(), Error> {
    let (head, ()) = http::Request::get("/")
        .header("host", host)
        .body(())
        .unwrap()
        .into_parts();
    hosts.check(&head, Scheme::Https).map(|_| ())
}

#[test]
fn hosts_on_the_list_are_served_and_others_are_not() {
    let hosts = compile(&[
        "app.example.com",
        "*.tenants.example.com",
        "ported.example.com:8443",
        "default.example.com:443",
        "[2001:db8::1]",
        "xn--bcher-kva.example",
    ]);
    for good in [
        "app.example.com",
        "APP.Example.COM",
        "app.example.com.",
        "app.example.com:9999",
        "a.tenants.example.com",
        "A.TENANTS.example.com:1",
        "ported.example.com:8443",
        "default.example.com",
        "default.example.com:443",
        "[2001:db8::1]",
        "[2001:DB8::1]:8443",
        "xn--bcher-kva.example",
    ] {
        assert_eq!(check(&hosts, good), Ok(()), "{good}");
    }
    for unknown in [
        "evil.example",
        "app.example.com.evil.example",
        "evil-app.example.com",
        "xapp.example.com",
        "example.com",
        "tenants.example.com",
        "a.b.tenants.example.com",
        "ported.example.com",
        "ported.example.com:8444",
        "default.example.com:80",
        "[2001:db8::2]",
        "127.0.0.1",
        "localhost",
    ] {
        assert_eq!(check(&hosts, unknown), Err(Error::Unknown), "{unknown}");
    }
    for malformed in [
        "",
        ".",
        "app.example.com..",
        "app..example.com",
        ".tenants.example.com",
        "app.example.com:",
        "app.example.com:x",
        "app.example.com:-1",
        "app.example.com:99999",
        "user@app.example.com",
        "app.example.com/path",
        "app.example.com, evil.example",
        "app.example.com evil.example",
        "[::1",
        "[evil]",
        "[::1]x",
        "2001:db8::1",
        "app.example.com\t",
        "*.tenants.example.com",
    ] {
        assert_eq!(
            check(&hosts, malformed),
            Err(Error::Malformed),
            "{malformed:?}"
        );
    }
}

#[test]
fn a_request_names_exactly_one_host() {
    let hosts = compile(&["app.example.com", "other.example.com"]);
    let run = |target: &str, version, named: &[&str]| {
        let mut request = http::Request::get(target).version(version);
        for host in named {
            request = request.header("host", *host);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        hosts.check(&head, Scheme::Https).map(|_| ())
    };
    let (one, two) = (Version::HTTP_11, Version::HTTP_2);
    let absolute = "https://app.example.com/";
    assert_eq!(run("/", one, &["app.example.com"]), Ok(()));
    assert_eq!(run(absolute, one, &["app.example.com:443"]), Ok(()));
    assert_eq!(run(absolute, two, &[]), Ok(()));
    assert_eq!(run("/", one, &[]), Err(Error::Missing));
    assert_eq!(run(absolute, one, &[]), Err(Error::Missing));
    let both = ["app.example.com", "other.example.com"];
    assert_eq!(run("/", one, &both), Err(Error::Ambiguous));
    let twice = ["app.example.com", "app.example.com"];
    assert_eq!(run("/", one, &twice), Err(Error::Ambiguous));
    for version in [one, two] {
        let outcome = run(absolute, version, &["other.example.com"]);
        assert_eq!(outcome, Err(Error::Ambiguous));
    }
}

#[test]
fn an_empty_list_means_loopback_in_development_and_an_error_in_production() {
    assert!(Config::default().compile(Mode::Production).is_err());
    let hosts = Config::default().compile(Mode::Development).unwrap();
    for good in [
        "localhost",
        "localhost:3000",
        "127.0.0.1:8080",
        "[::1]:8080",
    ] {
        assert_eq!(check(&hosts, good), Ok(()), "{good}");
    }
    for bad in ["app.example.com", "localhost.evil.example", "127.0.0.2"] {
        assert_eq!(check(&hosts, bad), Err(Error::Unknown), "{bad}");
    }
}

#[test]
fn every_mistake_in_the_list_is_reported_at_once() {
    let allow = [
        "https://a.example",
        "*",
        "*.com",
        "a.*.example",
        "bücher.example",
        "ok.example",
        "*.10.0.0.1",
    ];
    let findings = Config {
        allow: allow.map(str::to_owned).to_vec(),
    }
    .compile(Mode::Production)
    .unwrap_err();
    let keys: Vec<&str> = findings
        .iter()
        .map(|finding| finding.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "hosts.allow.0",
            "hosts.allow.1",
            "hosts.allow.2",
            "hosts.allow.3",
            "hosts.allow.4",
            "hosts.allow.6"
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For every spelling of a name that a client may use: case, trailing dot, port.
    #[test]
    fn every_spelling_of_a_listed_name_is_served(
        upper in proptest::collection::vec(any::<bool>(), 15),
        dot in any::<bool>(),
        port in proptest::option::of(any::<u16>()),
    ) {
        let mut text: String = "app.example.com"
            .chars()
            .zip(upper)
            .map(|(c, upper)| if upper { c.to_ascii_uppercase() } else { c })
            .collect();
        if dot { text.push('.'); }
        if let Some(port) = port { text = format!("{text}:{port}"); }
        prop_assert_eq!(check(&compile(&["app.example.com"]), &text), Ok(()));
    }

    #[test]
    fn no_other_name_is_served(text in "[a-z.:\\[\\]@-]{0,24}") {
        let named = text.trim_end_matches('.').eq("app.example.com");
        prop_assume!(!named && !text.starts_with("app.example.com:"));
        prop_assert!(check(&compile(&["app.example.com"]), &text).is_err());
    }
}
