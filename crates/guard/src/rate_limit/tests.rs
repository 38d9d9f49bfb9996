use std::sync::Arc;

use http::HeaderMap;
use portcullis_core::limit::Spent;
use portcullis_core::principal::{Credential, User};
use portcullis_core::{SessionId, Span, TenantId, Timestamp, UserId};

use super::*;

fn config(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn user() -> Principal {
    Principal::User(User {
        id: UserId::new(),
        credential: Credential::Session(SessionId::new()),
        tenant: Some(TenantId::new()),
        standing: None,
        roles: Arc::from([]),
        authenticated_at: Timestamp::EPOCH,
        second_factor_at: None,
    })
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn before(route: &RouteLimits, path: &str, from: &str) -> Vec<Charge> {
    let mut charges = Vec::new();
    route.charges_before(path, address(from), &mut charges);
    charges
}

fn after(route: &RouteLimits, from: &str, principal: &Principal) -> Vec<Charge> {
    let mut charges = Vec::new();
    route.charges_after("/", address(from), principal, &mut charges);
    charges
}

#[test]
fn a_route_without_names_gets_the_default_and_what_holds_everywhere() {
    let mut limits =
        config("[all]\nrate = \"9/minute\"\neverywhere = true\n[other]\nrate = \"1/minute\"")
            .compile()
            .unwrap();
    let rates = |route: &RouteLimits| -> Vec<String> {
        before(route, "/", "192.0.2.1")
            .iter()
            .map(|charge| charge.rate.to_string())
            .collect()
    };
    let plain = limits.for_route("/a", "route.0", None).unwrap();
    assert_eq!(rates(&plain), ["9/minute", "600/minute"]);
    let named = names(&["auth", "auth", "all"]);
    let named = limits.for_route("/b", "route.1", Some(&named)).unwrap();
    assert_eq!(rates(&named), ["9/minute", "5/minute"]);
    let none = limits.for_route("/c", "route.2", Some(&[])).unwrap();
    assert_eq!(rates(&none), ["9/minute"]);
}

#[test]
fn address_limits_come_before_authentication_and_the_others_after() {
    let mut limits =
        config("[a]\nrate = \"1/minute\"\n[u]\nrates = [\"2/minute\", \"9/hour\"]\nper = \"user\"")
            .compile()
            .unwrap();
    let route = limits
        .for_route("/", "route.0", Some(&names(&["a", "u"])))
        .unwrap();
    assert_eq!(before(&route, "/", "192.0.2.1").len(), 1);
    assert_eq!(after(&route, "192.0.2.1", &user()).len(), 2);
}

#[test]
fn who_is_counted_follows_per_and_falls_back_to_the_address() {
    for per in ["user", "session", "tenant"] {
        let mut limits = config(&format!("[x]\nrate = \"1/minute\"\nper = \"{per}\""))
            .compile()
            .unwrap();
        let route = limits
            .for_route("/", "route.0", Some(&names(&["x"])))
            .unwrap();
        let subject = |from: &str, principal: &Principal| after(&route, from, principal)[0].subject;
        let (one, two) = (user(), user());
        assert_eq!(
            subject("192.0.2.1", &one),
            subject("192.0.2.2", &one),
            "{per}"
        );
        assert_ne!(
            subject("192.0.2.1", &one),
            subject("192.0.2.1", &two),
            "{per}"
        );
        let nobody = Principal::Anonymous;
        assert_eq!(
            subject("192.0.2.1", &nobody),
            of_address(address("192.0.2.1"))
        );
        assert_ne!(subject("192.0.2.1", &nobody), subject("192.0.2.2", &nobody));
    }
}

#[test]
fn every_spelling_of_an_address_is_one_subject() {
    let subject = |text: &str| of_address(address(text));
    assert_eq!(subject("192.0.2.1"), subject("::ffff:192.0.2.1"));
    assert_ne!(subject("192.0.2.1"), subject("192.0.2.2"));
    assert_eq!(subject("2001:db8::1"), subject("2001:db8::ffff:0:0:1"));
    assert_ne!(subject("2001:db8::1"), subject("2001:db8:0:1::1"));
}

#[test]
fn routes_share_a_budget_unless_it_is_per_route() {
    let mut limits =
        config("[shared]\nrate = \"1/minute\"\n[own]\nrate = \"1/minute\"\nscope = \"route\"")
            .compile()
            .unwrap();
    let mut id = |route: &str, name: &str| {
        let route = limits
            .for_route(route, "route.0", Some(&names(&[name])))
            .unwrap();
        before(&route, "/", "192.0.2.1")[0].limit
    };
    assert_eq!(id("/a", "shared"), id("/b", "shared"));
    assert_ne!(id("/a", "own"), id("/b", "own"));
    assert_eq!(id("/a", "own"), id("/a", "own"));
}

#[test]
fn exempt_paths_are_exact() {
    let mut limits = config("[default]\nrate = \"1/minute\"\nexempt = [\"/health\"]")
        .compile()
        .unwrap();
    let route = limits.for_route("/{*rest}", "route.0", None).unwrap();
    assert!(before(&route, "/health", "192.0.2.1").is_empty());
    for counted in ["/health/", "/Health", "/health/x", "/", "/x/health"] {
        assert_eq!(before(&route, counted, "192.0.2.1").len(), 1, "{counted}");
    }
}

#[test]
fn answers_tell_the_budget_in_structured_fields() {
    let mut limits =
        config("[default]\nrates = [\"60/minute\", \"1000/hour\"]\nlegacy-headers = true")
            .compile()
            .unwrap();
    let route = limits.for_route("/", "route.0", None).unwrap();
    let charges = before(&route, "/", "192.0.2.1");
    let spent: Vec<Spent> = charges
        .iter()
        .map(|charge| charge.rate.take(0, Timestamp::from_seconds(1)))
        .collect();
    let mut headers = HeaderMap::new();
    headers.insert("x-ratelimit-limit", 1.into());
    headers.insert("ratelimit", 1.into());
    write_headers(&limits, &charges, &spent, &mut headers);
    assert_eq!(
        headers["ratelimit-policy"],
        r#""default";q=60;w=60, "default-2";q=1000;w=3600"#
    );
    assert_eq!(
        headers["ratelimit"],
        r#""default";r=59;t=1, "default-2";r=999;t=4"#
    );
    assert_eq!(headers["x-ratelimit-limit"], "60");
    assert_eq!(headers["x-ratelimit-remaining"], "59");
    assert_eq!(headers["x-ratelimit-reset"], "1");

    let mut headers = HeaderMap::new();
    headers.insert("x-ratelimit-remaining", 1.into());
    write_headers(&limits, &[], &[], &mut headers);
    assert!(headers.is_empty());
}

#[test]
fn a_refusal_says_how_long_to_wait() {
    let mut limits = Config::default().compile().unwrap();
    let route = limits
        .for_route("/login", "route.0", Some(&names(&["auth"])))
        .unwrap();
    let charges = before(&route, "/login", "192.0.2.1");
    let spent = [Spent::Refused {
        retry_after: Span::from_millis(11_200),
        reset_after: Span::from_seconds(60),
    }];
    let problem = refusal(&limits, &charges, &spent);
    assert_eq!(problem.kind.status, 429);
    assert_eq!(problem.retry_after, Some(Span::from_millis(11_200)));
    let budget = problem
        .headers
        .iter()
        .find(|(name, _)| name == "ratelimit")
        .unwrap();
    assert_eq!(budget.1, r#""auth";r=0;t=12"#);
}

#[test]
fn the_built_in_limits_can_be_written_over_and_switched_off() {
    let mut limits = config("[default]\noff = true\n[auth]\nrate = \"3/minute\"")
        .compile()
        .unwrap();
    let plain = limits.for_route("/", "route.0", None).unwrap();
    assert!(before(&plain, "/", "192.0.2.1").is_empty());
    let auth = limits
        .for_route("/login", "route.1", Some(&names(&["auth"])))
        .unwrap();
    assert_eq!(before(&auth, "/", "192.0.2.1")[0].rate.count(), 3);
    let mut limits = Config::default().compile().unwrap();
    let both = names(&["auth", "default"]);
    let both = limits.for_route("/", "route.2", Some(&both)).unwrap();
    let kinds: Vec<_> = before(&both, "/", "192.0.2.1")
        .iter()
        .map(|charge| charge.when_degraded)
        .collect();
    assert_eq!(kinds, [WhenDegraded::Tenth, WhenDegraded::Share]);
}

#[test]
fn mistakes_are_reported_with_their_key() {
    let findings = config(
        "[a]\n[b]\nrate = \"1/minute\"\nrates = [\"1/minute\"]\n[\"c d\"]\nrate = \"1/minute\"",
    )
    .compile()
    .unwrap_err();
    let keys: Vec<&str> = findings
        .iter()
        .map(|finding| finding.key.as_str())
        .collect();
    assert_eq!(keys, ["limits.a", "limits.b", "limits.c d"]);
    let mut limits = Config::default().compile().unwrap();
    let findings = limits
        .for_route("/", "route.4.limits", Some(&names(&["nope"])))
        .unwrap_err();
    assert_eq!(
        (findings[0].rule, findings[0].key.as_str()),
        ("limit-unknown", "route.4.limits")
    );
    let many = "[a]\nrates = [\"1/s\", \"1/s\", \"1/s\", \"1/s\", \"1/s\", \"1/s\", \"1/s\", \"1/s\", \"1/s\"]".replace("/s", "/second");
    let mut limits = config(&many).compile().unwrap();
    assert!(
        limits
            .for_route("/", "route.0", Some(&names(&["a"])))
            .is_err()
    );
    assert!(toml::from_str::<Config>("[a]\nrate = \"0/minute\"").is_err());
    assert!(toml::from_str::<Config>("[a]\nrat = \"1/minute\"").is_err());
}
