use std::collections::HashSet;

use super::*;

fn compile(text: &str) -> Headers {
    match toml::from_str::<Config>(text).unwrap().compile() {
        Ok(headers) => headers,
        Err(findings) => panic!("{findings:?}"),
    }
}

struct Answer {
    head: response::Parts,
    rewrite: Option<Rewrite>,
}

impl Answer {
    fn all(&self, name: &str) -> Vec<&str> {
        self.head
            .headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    fn nonces(&self) -> Vec<&str> {
        self.all("content-security-policy")[0]
            .split("'nonce-")
            .skip(1)
            .map(|rest| rest.split('\'').next().unwrap())
            .collect()
    }
}

fn answer(
    headers: &Headers,
    route: &RouteHeaders,
    scheme: Scheme,
    upstream: &[(&str, &str)],
) -> Answer {
    let mut response = http::Response::builder();
    for (name, value) in upstream {
        response = response.header(*name, *value);
    }
    let (mut head, ()) = response.body(()).unwrap().into_parts();
    let rewrite = headers
        .harden(route, scheme, Source::Upstream, &mut head, RequestId::new())
        .unwrap();
    Answer { head, rewrite }
}

fn plain(headers: &Headers) -> RouteHeaders {
    headers
        .for_route("route.0", None, &CspChoice::Gate)
        .unwrap()
}

const PAGE: (&str, &str) = ("content-type", "text/html; charset=utf-8");

#[test]
fn every_answer_bears_each_header_once_whatever_the_upstream_wrote() {
    let headers = compile("");
    let expected = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("x-xss-protection", "0"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
        (
            "permissions-policy",
            "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        (
            "strict-transport-security",
            "max-age=31536000; includeSubDomains",
        ),
    ];
    let lax: Vec<(&str, &str)> = expected
        .iter()
        .flat_map(|(name, _)| [(*name, "unsafe"), (*name, "other")])
        .chain([
            ("content-security-policy", "default-src *"),
            ("content-security-policy", "x"),
        ])
        .collect();
    for upstream in [Vec::new(), lax] {
        let answer = answer(&headers, &plain(&headers), Scheme::Https, &upstream);
        for (name, value) in expected {
            assert_eq!(answer.all(name), [value], "{name}");
        }
        assert_eq!(answer.all("content-security-policy").len(), 1);
        assert_eq!(answer.all("x-request-id").len(), 1);
    }
}

#[test]
fn what_tells_of_the_upstreams_make_is_removed() {
    let headers = compile("");
    let told = [
        ("server", "x/1"),
        ("x-powered-by", "y"),
        ("x-runtime", "1"),
        ("x-mine", "z"),
    ];
    let answer = answer(&headers, &plain(&headers), Scheme::Https, &told);
    assert_eq!(
        answer.all("server").len()
            + answer.all("x-powered-by").len()
            + answer.all("x-runtime").len(),
        0
    );
    assert_eq!(answer.all("x-mine"), ["z"]);
}

#[test]
fn hsts_goes_out_over_https_only() {
    let headers = compile("[hsts]\nmax-age = \"365d\"\npreload = true");
    let over = |scheme| {
        answer(
            &headers,
            &plain(&headers),
            scheme,
            &[("strict-transport-security", "max-age=0")],
        )
    };
    assert_eq!(
        over(Scheme::Https).all("strict-transport-security"),
        ["max-age=31536000; includeSubDomains; preload"]
    );
    assert!(
        over(Scheme::Http)
            .all("strict-transport-security")
            .is_empty()
    );
}

#[test]
fn framing_is_decided_per_route_in_both_headers() {
    let headers = compile("");
    let partner = Framing::Sources(vec!["https://partner.example".to_owned()]);
    for (framing, options, ancestors) in [
        (Framing::Deny, &["DENY"][..], "frame-ancestors 'none'"),
        (
            Framing::SameOrigin,
            &["SAMEORIGIN"][..],
            "frame-ancestors 'self'",
        ),
        (partner, &[][..], "frame-ancestors https://partner.example"),
    ] {
        let route = headers
            .for_route("route.0", Some(&framing), &CspChoice::Gate)
            .unwrap();
        let answer = answer(
            &headers,
            &route,
            Scheme::Https,
            &[PAGE, ("x-frame-options", "ALLOWALL")],
        );
        assert_eq!(answer.all("x-frame-options"), options);
        assert!(answer.all("content-security-policy")[0].ends_with(ancestors));
    }
}

#[test]
fn every_page_gets_another_nonce_of_128_bits() {
    let headers = compile("");
    let route = plain(&headers);
    let mut seen = HashSet::new();
    for _ in 0..100 {
        let answer = answer(&headers, &route, Scheme::Https, &[PAGE]);
        let nonces = answer.nonces();
        assert_eq!(nonces.len(), 2, "one for scripts, one for styles");
        assert_eq!(nonces[0], nonces[1]);
        assert_eq!(nonces[0].len(), 24, "16 bytes in base64");
        assert!(seen.insert(nonces[0].to_owned()));
    }
}

#[test]
fn what_is_no_page_gets_a_policy_without_inline_scripts() {
    let headers = compile("csp = \"script-src 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'\"");
    for kind in ["application/json", "image/svg+xml", "text/javascript"] {
        let answer = answer(
            &headers,
            &plain(&headers),
            Scheme::Https,
            &[("content-type", kind)],
        );
        assert_eq!(
            answer.all("content-security-policy"),
            ["script-src 'none'; style-src 'self'; frame-ancestors 'none'"]
        );
    }
}

#[test]
fn a_route_may_leave_the_policy_to_the_upstream_or_have_its_own() {
    let headers = compile("");
    let route = headers
        .for_route("route.0", None, &CspChoice::Upstream)
        .unwrap();
    let mine = [PAGE, ("content-security-policy", "default-src 'self'")];
    assert_eq!(
        answer(&headers, &route, Scheme::Https, &mine).all("content-security-policy"),
        ["default-src 'self'"]
    );
    let custom = CspChoice::Custom("default-src 'none'; ".to_owned());
    let route = headers.for_route("route.0", None, &custom).unwrap();
    assert_eq!(
        answer(&headers, &route, Scheme::Https, &mine).all("content-security-policy"),
        ["default-src 'none'; frame-ancestors 'none'"]
    );
}

#[test]
fn only_plain_ascii_compatible_html_is_rewritten_and_loses_its_length() {
    let headers = compile("placeholder = \"0123456789abcdef\"");
    let route = plain(&headers);
    assert!(headers.wants_identity(&route));
    let rewritten = [
        PAGE,
        ("content-length", "9"),
        ("etag", "\"x\""),
        ("cache-control", "public, max-age=60"),
    ];
    let good = answer(&headers, &route, Scheme::Https, &rewritten);
    assert!(good.rewrite.is_some());
    assert!(good.all("content-length").is_empty() && good.all("etag").is_empty());
    assert_eq!(good.all("cache-control"), ["private, no-cache"]);
    for untouched in [
        &[PAGE, ("content-encoding", "gzip")][..],
        &[PAGE, ("content-range", "bytes 0-1/2")],
        &[("content-type", "text/html; charset=utf-16")],
        &[("content-type", "text/html; Charset=\"ISO-2022-JP\"")],
        &[("content-type", "application/json")],
        &[],
    ] {
        let kept: Vec<_> = untouched
            .iter()
            .copied()
            .chain([("content-length", "9")])
            .collect();
        let answer = answer(&headers, &route, Scheme::Https, &kept);
        assert!(answer.rewrite.is_none(), "{untouched:?}");
        assert_eq!(answer.all("content-length"), ["9"]);
        assert_eq!(answer.all("content-security-policy").len(), 1);
    }
}

#[test]
fn without_a_placeholder_nothing_is_rewritten() {
    let headers = compile("");
    assert!(!headers.wants_identity(&plain(&headers)));
    assert!(
        answer(&headers, &plain(&headers), Scheme::Https, &[PAGE])
            .rewrite
            .is_none()
    );
}

#[test]
fn own_pages_bear_the_nonce_that_they_were_written_with() {
    let headers = compile("nonces = \"all\"");
    let route = headers.for_own_pages().unwrap();
    let nonce = Nonce::generate().unwrap();
    let (mut head, ()) = http::Response::builder()
        .header(PAGE.0, PAGE.1)
        .body(())
        .unwrap()
        .into_parts();
    let rewrite = headers
        .harden(
            &route,
            Scheme::Https,
            Source::Own(&nonce),
            &mut head,
            RequestId::new(),
        )
        .unwrap();
    let answer = Answer { head, rewrite };
    assert!(answer.rewrite.is_none());
    assert_eq!(answer.nonces(), [nonce.as_str(), nonce.as_str()]);
}

#[test]
fn mistakes_are_errors_and_lax_policies_are_warnings() {
    for wrong in [
        "csp = \"frame-ancestors *\"",
        "csp = \"script-src {nonce}\"",
        "csp = \"script-src 'nonce-{nonce}\"",
        "csp = \"a\\nb\"",
        "framing = []",
        "framing = [\"*\"]",
        "framing = [\"https://a.example; script-src *\"]",
        "placeholder = \"short\"",
        "placeholder = \"0123456789 abcdef\"",
        "referrer-policy = \"a\\nb\"",
        "remove = [\"a b\"]",
        "[hsts]\npreload = true\nmax-age = \"1d\"",
    ] {
        assert!(
            toml::from_str::<Config>(wrong).unwrap().compile().is_err(),
            "{wrong}"
        );
    }
    let advice = |text: &str| -> Vec<&'static str> {
        toml::from_str::<Config>(text)
            .unwrap()
            .advise()
            .iter()
            .map(|finding| finding.rule)
            .collect()
    };
    assert!(advice("").is_empty());
    assert_eq!(
        advice("csp = \"script-src 'self' 'unsafe-inline' 'unsafe-eval' https:\"").len(),
        3
    );
    assert_eq!(advice("csp = \"\""), ["headers-csp-open"]);
    assert_eq!(advice("nonces = \"all\""), ["headers-nonce-all"]);
    assert!(toml::from_str::<Config>("framing = \"maybe\"").is_err());
}
