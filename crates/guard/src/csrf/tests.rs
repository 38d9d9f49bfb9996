use portcullis_core::Secret;
use portcullis_vault::Keys;
use portcullis_vault::keys::Purpose;
use proptest::prelude::*;

use crate::Authority;

use super::*;

const SESSION: TokenHash = TokenHash([7; 32]);

fn keys(current: &str, previous: &[&str]) -> Mac {
    let secret = |text: &&str| Secret::new((*text).repeat(32));
    Keys::new(secret(&current), previous.iter().map(secret).collect())
        .mac(Purpose::Csrf)
        .unwrap()
}

fn csrf_of(config: &Config) -> Csrf {
    match config.compile(keys("a", &[])) {
        Ok(csrf) => csrf,
        Err(findings) => panic!("{findings:?}"),
    }
}

fn csrf() -> Csrf {
    csrf_of(&Config {
        trusted_origins: vec!["https://admin.example.com".to_owned()],
        ..Config::default()
    })
}

fn own() -> Own<'static> {
    Own {
        scheme: Scheme::Https,
        authority: Authority::parse("app.example.com").unwrap(),
    }
}

fn head(method: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().method(method).uri("/transfer");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// An unsafe request with a good token and more headers.
fn with_token(csrf: &Csrf, more: &[(&str, &str)]) -> Parts {
    let token = csrf.issue(&SESSION).unwrap();
    let cookie = format!("session=s; csrf_token={token}; other=1");
    let mut headers = vec![
        ("cookie", cookie.as_str()),
        ("x-csrf-token", token.as_str()),
    ];
    headers.extend_from_slice(more);
    head("POST", &headers)
}

#[test]
fn where_a_request_comes_from_decides_first() {
    let csrf = csrf();
    let pass: &[&[(&str, &str)]] = &[
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "none")],
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://admin.example.com"),
        ],
        &[
            ("sec-fetch-site", "same-site"),
            ("origin", "https://admin.example.com"),
        ],
        &[("origin", "https://app.example.com")],
        &[("origin", "https://admin.example.com")],
        &[],
    ];
    for headers in pass {
        let head = with_token(&csrf, headers);
        assert_eq!(csrf.check(&head, own(), &SESSION), Ok(()), "{headers:?}");
        assert_eq!(
            csrf.check_unauthenticated(&head, own()),
            Ok(()),
            "{headers:?}"
        );
    }
    let refused: &[&[(&str, &str)]] = &[
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "Same-Origin")],
        &[("sec-fetch-site", "")],
        &[("sec-fetch-site", "new-word")],
        &[
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "cross-site"),
        ],
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://app.example.com"),
        ],
        &[
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example.com"),
        ],
        &[("origin", "null")],
        &[("origin", "")],
        &[("origin", "https://evil.example")],
        &[("origin", "http://app.example.com")],
        &[("origin", "https://app.example.com:8443")],
        &[("origin", "https://app.example.com.evil.example")],
        &[("origin", "https://evil.example/app.example.com")],
        &[("origin", "https://admin.example.com:444")],
        &[
            ("origin", "https://app.example.com"),
            ("origin", "https://evil.example"),
        ],
    ];
    for headers in refused {
        let head = with_token(&csrf, headers);
        let outcome = csrf.check(&head, own(), &SESSION);
        assert_eq!(outcome, Err(Error::CrossSite), "{headers:?}");
        let outcome = csrf.check_unauthenticated(&head, own());
        assert_eq!(outcome, Err(Error::CrossSite), "{headers:?}");
    }
}

#[test]
fn safe_methods_pass_and_every_other_method_is_checked() {
    let csrf = csrf();
    let site = [("sec-fetch-site", "cross-site")];
    for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
        assert_eq!(csrf.check(&head(method, &site), own(), &SESSION), Ok(()));
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "QUERY", "PURGE", "get"] {
        let outcome = csrf.check(&head(method, &site), own(), &SESSION);
        assert_eq!(outcome, Err(Error::CrossSite), "{method}");
    }
    let handshake = head("GET", &[("origin", "https://evil.example")]);
    assert_eq!(csrf.check_origin(&handshake, own()), Err(Error::CrossSite));
}

#[test]
fn cookie_and_header_must_hold_one_token_of_this_session() {
    let csrf = csrf();
    let mine = csrf.issue(&SESSION).unwrap();
    let tab = csrf.issue(&SESSION).unwrap();
    let theirs = csrf.issue(&TokenHash([8; 32])).unwrap();
    let foreign = token::issue(&keys("b", &[]), &SESSION).unwrap();
    let run = |cookie: Option<&str>, sent: Option<&str>| {
        let cookie = cookie.map(|cookie| format!("csrf_token={cookie}"));
        let mut headers = vec![("sec-fetch-site", "same-origin")];
        headers.extend(cookie.as_deref().map(|cookie| ("cookie", cookie)));
        headers.extend(sent.map(|sent| ("x-csrf-token", sent)));
        csrf.check(&head("POST", &headers), own(), &SESSION)
    };
    assert_eq!(run(Some(&mine), Some(&mine)), Ok(()));
    assert_eq!(run(Some(&tab), Some(&tab)), Ok(()));
    let planted = format!("{theirs}; csrf_token={mine}");
    assert_eq!(run(Some(&planted), Some(&mine)), Ok(()));
    assert_eq!(run(None, None), Err(Error::TokenMissing));
    assert_eq!(run(Some(&mine), None), Err(Error::TokenMissing));
    assert_eq!(run(None, Some(&mine)), Err(Error::TokenMissing));
    for (cookie, sent) in [
        (mine.as_str(), tab.as_str()),
        (&theirs, &theirs),
        (&foreign, &foreign),
        ("", ""),
        ("x", "x"),
        (".", "."),
    ] {
        assert_eq!(run(Some(cookie), Some(sent)), Err(Error::TokenInvalid));
    }
}

#[test]
fn a_request_that_says_nothing_needs_the_token_even_where_tokens_are_off() {
    let csrf = csrf_of(&Config {
        require_token: false,
        ..Config::default()
    });
    let says = head("POST", &[("sec-fetch-site", "same-origin")]);
    assert_eq!(csrf.check(&says, own(), &SESSION), Ok(()));
    let silent = head("POST", &[]);
    assert_eq!(
        csrf.check(&silent, own(), &SESSION),
        Err(Error::TokenMissing)
    );
}

#[test]
fn tokens_outlive_a_change_of_the_master_secret_during_the_overlap() {
    let token = token::issue(&keys("a", &[]), &SESSION).unwrap();
    assert!(token::verify(&keys("b", &["a"]), &token, &SESSION));
    assert!(!token::verify(&keys("b", &[]), &token, &SESSION));
}

#[test]
fn the_cookie_can_be_read_by_the_page_and_by_no_other_site() {
    let csrf = csrf();
    let cookie = csrf.set_cookie("t", Scheme::Https).unwrap();
    assert_eq!(cookie, "csrf_token=t; Path=/; SameSite=Lax; Secure");
    let cookie = csrf.clear_cookie(Scheme::Http).unwrap();
    assert_eq!(cookie, "csrf_token=; Path=/; SameSite=Lax; Max-Age=0");
}

#[test]
fn every_mistake_in_the_configuration_is_reported_at_once() {
    let config = Config {
        trusted_origins: [
            "https://ok.example",
            "https://*.example",
            "null",
            "https://a.example/",
        ]
        .map(str::to_owned)
        .to_vec(),
        cookie: "a;b".to_owned(),
        header: "a b".to_owned(),
        ..Config::default()
    };
    let Err(findings) = config.compile(keys("a", &[])) else {
        panic!("it was accepted");
    };
    let keys: Vec<&str> = findings
        .iter()
        .map(|finding| finding.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "csrf.trusted-origins.1",
            "csrf.trusted-origins.2",
            "csrf.trusted-origins.3",
            "csrf.cookie",
            "csrf.header"
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For every single change of a token's text: another spelling is another token.
    #[test]
    fn no_other_spelling_of_a_token_is_valid(at in 0_usize..66, to in "[A-Za-z0-9_.=-]") {
        let csrf = csrf();
        let token = csrf.issue(&SESSION).unwrap();
        prop_assert_eq!(token.len(), 66);
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        prop_assume!(changed != token);
        prop_assert!(!token::verify(&csrf.mac, &changed, &SESSION));
        let longer = token + &to;
        prop_assert!(!token::verify(&csrf.mac, &longer, &SESSION));
    }

    #[test]
    fn nothing_made_up_is_valid(text in ".{0,80}") {
        prop_assert!(!token::verify(&csrf().mac, &text, &SESSION));
    }
}
