//! Sign-ins at a provider under attack: codes and states that are another browser's, used or forged
//! (login CSRF, CVE-2024-23647, CVE-2025-46815), answers of another provider (mix-up, RFC 9207),
//! identity tokens that are not ours (RFC 8725, OpenID Connect Core section 3.1.3.7), and redirects
//! to elsewhere.

use serde_json::{Value, json};

use crate::support::issuer::hs256;
use crate::support::openid::{BEGIN, Liar, ORIGIN, come_back, location, parameter, tables};
use crate::support::signer::{encode, now};
use crate::support::{Answer, Browser, Gateway, Upstream};

const FAILED: &str = "openid-login-failed";

async fn gate(upstream: &Upstream, provider: &Liar, more: &str) -> Gateway {
    Gateway::builder_usual(upstream)
        .await
        .user("ana@corp.test", &["user"])
        .signing_in_at(&provider.url, "")
        .more(more)
        .start()
        .await
}

/// What a sign-in is known by, once the gate has sent the browser to the provider.
struct Begun {
    state: String,
    nonce: String,
}

async fn begin(browser: &Browser) -> Begun {
    let url = location(&browser.get(BEGIN).send().await);
    Begun {
        state: parameter(&url, "state").unwrap(),
        nonce: parameter(&url, "nonce").unwrap(),
    }
}

async fn assert_refused(browser: &Browser, answer: &Answer, what: &str) {
    assert_eq!(answer.status, 403, "{what}: {}", answer.text());
    assert_eq!(answer.problem(), FAILED, "{what}");
    assert!(answer.cookies().is_empty(), "{what}");
    assert_eq!(browser.get("/x").send().await.status, 401, "{what}");
}

async fn assert_signs_in(browser: &Browser, answer: &Answer) {
    assert_eq!(location(answer), "/");
    assert_eq!(browser.get("/x").send().await.status, 200);
}

#[tokio::test]
async fn a_way_back_works_in_the_browser_that_began_and_once() {
    let upstream = Upstream::start().await;
    let provider = Liar::start(21).await;
    let gateway = gate(&upstream, &provider, "").await;
    let (mallory, victim) = (gateway.browser(), gateway.browser());
    let begun = begin(&mallory).await;
    provider.grants(&begun.nonce, &json!({}));
    let back = provider.back(&begun.state);
    // Login CSRF: the victim is led to the attacker's way back, with or without a sign-in under way.
    assert_refused(&victim, &come_back(&victim, &back).await, "no cookie").await;
    begin(&victim).await;
    assert_refused(&victim, &come_back(&victim, &back).await, "another's").await;
    // With both cookies in one request neither counts.
    let own = victim.cookie("openid").unwrap();
    let both = format!("openid={own}; openid={}", mallory.cookie("openid").unwrap());
    let request = gateway.client().get(&crate::support::openid::target(&back));
    let answer = request.header("cookie", &both).send().await;
    assert_eq!(answer.problem(), FAILED);
    // A state that is cut, changed, empty or another's.
    let other = begin(&victim).await.state;
    let changed = format!("{}A", &begun.state[..begun.state.len() - 1]);
    for state in [
        "",
        "x",
        &begun.state[1..],
        &other,
        &changed,
        &"A".repeat(9000),
    ] {
        if *state == *begun.state {
            continue;
        }
        let answer = come_back(&mallory, &provider.back(state)).await;
        let slug = answer.problem();
        assert!(slug == FAILED || slug == "uri-too-long", "{slug}");
    }
    let twice = format!("{back}&state={}", begun.state);
    assert_eq!(come_back(&mallory, &twice).await.problem(), FAILED);
    assert_eq!(provider.exchanges(), 0, "no code left the house");
    assert_signs_in(&mallory, &come_back(&mallory, &back).await).await;
    let before = provider.exchanges();
    let replayed = come_back(&mallory, &back).await;
    assert_eq!(replayed.problem(), FAILED);
    assert_eq!(provider.exchanges(), before);
    assert_eq!(upstream.requests(), 1);
    assert!(!gateway.printed().contains("a-code-9f1c"));
}

#[tokio::test]
async fn of_many_ways_back_at_once_one_counts() {
    let upstream = Upstream::start().await;
    let provider = Liar::start(22).await;
    let gateway = gate(&upstream, &provider, "").await;
    let twin = gateway.twin().await;
    let browser = gateway.browser();
    let begun = begin(&browser).await;
    provider.grants(&begun.nonce, &json!({}));
    let target = crate::support::openid::target(&provider.back(&begun.state));
    let cookie = format!("openid={}", browser.cookie("openid").unwrap());
    let calls: Vec<_> = (0..12)
        .map(|number| {
            let node = if number % 2 == 0 { &gateway } else { &twin };
            let request = node.client().get(&target).header("cookie", &cookie);
            tokio::spawn(async move { request.send().await.status.as_u16() })
        })
        .collect();
    let mut statuses = Vec::new();
    for call in calls {
        statuses.push(call.await.unwrap());
    }
    let signed_in = statuses.iter().filter(|status| **status == 303).count();
    assert_eq!(signed_in, 1, "{statuses:?}");
    assert_eq!(provider.exchanges(), 1);
}

#[tokio::test]
async fn the_verifier_goes_with_the_code_and_is_seen_nowhere_before() {
    let upstream = Upstream::start().await;
    let provider = Liar::start(23).await;
    let gateway = gate(&upstream, &provider, "").await;
    let browser = gateway.browser();
    let url = location(&browser.get(BEGIN).send().await);
    assert!(url.starts_with(&format!("{}/authorize?tenant=1&", provider.url)));
    let nonce = parameter(&url, "nonce").unwrap();
    provider.grants(&nonce, &json!({}));
    let back = provider.back(&parameter(&url, "state").unwrap());
    assert_signs_in(&browser, &come_back(&browser, &back).await).await;
    let received = provider.server.received();
    let asked = received
        .iter()
        .find(|request| request.target == "/token")
        .unwrap();
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&asked.body)
        .into_owned()
        .collect();
    let field = |name: &str| {
        form.iter()
            .find(|(known, _)| known == name)
            .unwrap()
            .1
            .clone()
    };
    let hash = portcullis_vault::TokenHash::of(field("code_verifier").as_bytes());
    assert_eq!(
        parameter(&url, "code_challenge").unwrap(),
        encode(hash.as_bytes())
    );
    assert!(!url.contains(&field("code_verifier")));
    assert_eq!(field("redirect_uri"), format!("{ORIGIN}{BEGIN}/callback"));
    assert_eq!(field("code"), "a-code-9f1c");
    let basic = asked.header("authorization").unwrap();
    assert!(basic.starts_with("Basic ") && form.iter().all(|(name, _)| name != "client_secret"));
}

#[tokio::test]
async fn an_answer_of_another_provider_is_refused_before_the_code_goes_anywhere() {
    let upstream = Upstream::start().await;
    let (honest, evil) = (Liar::start(24).await, Liar::start(25).await);
    let second = tables("evil", &evil.url, "");
    let gateway = gate(&upstream, &honest, &second).await;
    let browser = gateway.browser();
    let reach = async |change: &dyn Fn(String) -> String| {
        let begun = begin(&browser).await;
        honest.grants(&begun.nonce, &json!({}));
        evil.grants(&begun.nonce, &json!({}));
        come_back(&browser, &change(honest.back(&begun.state))).await
    };
    let without = |back: String| back.split("&iss=").next().unwrap().to_owned();
    let of_evil = |back: String| format!("{}&iss={}", without(back), evil.url);
    let longer = |back: String| format!("{back}%2F");
    // The honest provider's code at the place of the evil one: its state does not open there.
    let at_evil = |back: String| back.replace("/openid/company/", "/openid/evil/");
    let swapped = |back: String| of_evil(at_evil(back));
    for (what, change) in [
        ("no iss", &without as &dyn Fn(String) -> String),
        ("another iss", &of_evil),
        ("a longer iss", &longer),
        ("another place", &at_evil),
        ("another place and iss", &swapped),
        ("an error without iss", &|back| {
            without(back).replace("code=a-code-9f1c", "error=access_denied")
        }),
    ] {
        assert_refused(&browser, &reach(change).await, what).await;
    }
    assert_eq!(honest.exchanges() + evil.exchanges(), 0);
    assert_signs_in(&browser, &reach(&|back| back).await).await;
}

#[tokio::test]
async fn a_provider_that_does_not_name_itself_is_held_to_what_it_says_if_it_does() {
    let upstream = Upstream::start().await;
    let provider = Liar::start(26).await;
    *provider.discovery.lock().unwrap() =
        json!({ "authorization_response_iss_parameter_supported": false });
    let gateway = gate(&upstream, &provider, "").await;
    let browser = gateway.browser();
    let begun = begin(&browser).await;
    let back = provider
        .back(&begun.state)
        .replace("&iss=http", "&iss=https");
    assert_refused(&browser, &come_back(&browser, &back).await, "another").await;
    let begun = begin(&browser).await;
    provider.grants(&begun.nonce, &json!({}));
    let back = provider.back(&begun.state);
    let back = back.split("&iss=").next().unwrap();
    assert_signs_in(&browser, &come_back(&browser, back).await).await;
}

/// The claims of a token with what is wrong with them.
fn bad_claims(provider: &Liar) -> Vec<(&'static str, Value)> {
    vec![
        ("another nonce", json!({ "nonce": "x" })),
        ("no nonce", json!({ "nonce": null })),
        ("a nonce that is no text", json!({ "nonce": ["x"] })),
        ("another audience", json!({ "aud": "another-product" })),
        ("no audience", json!({ "aud": null })),
        (
            "an audience more",
            json!({ "aud": ["the-product", "other"], "azp": "the-product" }),
        ),
        ("another party", json!({ "azp": "other" })),
        ("a party that is no text", json!({ "azp": ["the-product"] })),
        ("another issuer", json!({ "iss": "https://id.example" })),
        (
            "a longer issuer",
            json!({ "iss": format!("{}/", provider.url) }),
        ),
        ("no issuer", json!({ "iss": null })),
        ("expired", json!({ "iat": now() - 900, "exp": now() - 300 })),
        ("no expiry", json!({ "exp": null })),
        ("not yet", json!({ "iat": now() + 300, "exp": now() + 900 })),
        ("for years", json!({ "exp": now() + 100_000_000 })),
        ("no subject", json!({ "sub": null })),
        ("an empty subject", json!({ "sub": "" })),
        (
            "a hash of another access token",
            json!({ "at_hash": "AAAAAAAAAAAAAAAAAAAAAA" }),
        ),
        ("an auth_time to come", json!({ "auth_time": now() + 3600 })),
        ("an auth_time in words", json!({ "auth_time": "today" })),
    ]
}

#[tokio::test]
async fn identity_tokens_that_are_not_for_this_sign_in_open_nothing() {
    let upstream = Upstream::start().await;
    let provider = Liar::start(27).await;
    let gateway = gate(&upstream, &provider, "").await;
    let browser = gateway.browser();
    let before = async |make: &dyn Fn(&str) -> String| {
        let begun = begin(&browser).await;
        provider.grants_token(&make(&begun.nonce));
        come_back(&browser, &provider.back(&begun.state)).await
    };
    for (what, claims) in bad_claims(&provider) {
        let answer = before(&|nonce| provider.token(nonce, &claims)).await;
        assert_refused(&browser, &answer, what).await;
    }
    let issuer = &provider.issuer;
    let header = issuer.header();
    let unsigned = |nonce: &str, alg: &str| {
        let header = json!({ "alg": alg, "typ": "JWT" });
        let claims = provider.claims(nonce, &json!({}));
        format!(
            "{}.{}.",
            encode(header.to_string()),
            encode(claims.to_string())
        )
    };
    let key = issuer.published().lock().unwrap()[0]["x"]
        .as_str()
        .unwrap()
        .to_owned();
    let with_public_key = |nonce: &str| hs256(&key, &provider.claims(nonce, &json!({})));
    let foreign = |nonce: &str| {
        let mut other = issuer.clone_with(99);
        other.url.clone_from(&provider.url);
        other.signed(&header, &provider.claims(nonce, &json!({})))
    };
    let access = |nonce: &str| {
        let mut header = header.clone();
        header["typ"] = json!("at+jwt");
        issuer.signed(&header, &provider.claims(nonce, &json!({})))
    };
    for (what, make) in [
        (
            "alg none",
            &(|nonce: &str| unsigned(nonce, "none")) as &dyn Fn(&str) -> String,
        ),
        ("alg None", &|nonce: &str| unsigned(nonce, "None")),
        ("the public key as a secret", &with_public_key),
        ("the client's secret", &|nonce: &str| {
            hs256(
                "a-secret-of-the-client-4f7c1e9b2d8a6053",
                &provider.claims(nonce, &json!({})),
            )
        }),
        ("another key", &foreign),
        ("an access token", &access),
        ("nothing", &|_| String::new()),
        ("no token", &|_| "a.b.c".to_owned()),
    ] {
        assert_refused(&browser, &before(make).await, what).await;
    }
    assert_eq!(upstream.requests(), 0);
    // The hash of the access token, as it should be (SHA-512 for Ed25519), and everything else.
    let good =
        json!({ "at_hash": "nM_8k04LoVPQDh1346b6eHC5pCiIJeMDBg3Dhz6Pbt4", "azp": "the-product" });
    let answer = before(&|nonce| provider.token(nonce, &good)).await;
    assert_signs_in(&browser, &answer).await;
    // Whoever is signed in and asks for a proof of now is not content with one of yesterday, or none.
    for old in [json!({}), json!({ "auth_time": now() - 600 })] {
        let answer = before(&|nonce| provider.token(nonce, &old)).await;
        assert_eq!(answer.problem(), FAILED);
    }
    let fresh = json!({ "auth_time": now() });
    let answer = before(&|nonce| provider.token(nonce, &fresh)).await;
    assert_signs_in(&browser, &answer).await;
}

#[tokio::test]
async fn a_token_for_several_says_that_it_was_asked_for_by_us() {
    let upstream = Upstream::start().await;
    let provider = Liar::start(33).await;
    let trusting = "loopback = true\naudience = [\"partner\"]\nadministrators";
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .signing_in_at(&provider.url, "")
        .replace("loopback = true\nadministrators", trusting)
        .start()
        .await;
    let browser = gateway.browser();
    let both = json!(["the-product", "partner"]);
    for (what, party) in [("nobody", json!(null)), ("the other", json!("partner"))] {
        let begun = begin(&browser).await;
        provider.grants(&begun.nonce, &json!({ "aud": both, "azp": party }));
        let answer = come_back(&browser, &provider.back(&begun.state)).await;
        assert_refused(&browser, &answer, what).await;
    }
    let begun = begin(&browser).await;
    provider.grants(&begun.nonce, &json!({ "aud": both, "azp": "the-product" }));
    let answer = come_back(&browser, &provider.back(&begun.state)).await;
    assert_signs_in(&browser, &answer).await;
}

#[tokio::test]
async fn an_address_takes_nobodys_account_over() {
    let upstream = Upstream::start().await;
    let provider = Liar::start(28).await;
    let gateway = gate(&upstream, &provider, "").await;
    let local = gateway.signed_in("ana@corp.test").await;
    let id = |browser: Browser| async move {
        browser.get("/.portcullis/auth/me").send().await.json()["id"].clone()
    };
    let local = id(local).await;
    let mut seen = Vec::new();
    for claims in [
        json!({ "sub": "mallory" }),
        json!({ "sub": "mallory", "email": "ANA@corp.test" }),
        json!({ "sub": "eve", "email": "ana@corp.test" }),
        json!({ "sub": "ana@corp.test" }),
    ] {
        let browser = gateway.browser();
        let begun = begin(&browser).await;
        provider.grants(&begun.nonce, &claims);
        let answer = come_back(&browser, &provider.back(&begun.state)).await;
        assert_signs_in(&browser, &answer).await;
        seen.push(id(browser).await);
    }
    assert!(seen.iter().all(|account| *account != local));
    assert_eq!(seen[0], seen[1], "one subject is one person");
    assert_ne!(seen[0], seen[2], "and one address is not");
}

#[tokio::test]
async fn what_a_provider_or_a_link_says_leads_nowhere_and_is_not_repeated() {
    let upstream = Upstream::start().await;
    let provider = Liar::start(29).await;
    let gateway = gate(&upstream, &provider, "").await;
    let browser = gateway.browser();
    for next in [
        "https://evil.example",
        "//evil.example",
        "/%5Cevil.example",
        "/%09/evil.example",
        "/..//evil.example",
    ] {
        let begun = browser.get(&format!("{BEGIN}?next={next}")).send().await;
        let url = location(&begun);
        provider.grants(
            &parameter(&url, "nonce").unwrap(),
            &json!({ "auth_time": now() }),
        );
        let back = provider.back(&parameter(&url, "state").unwrap());
        let answer = come_back(&browser, &back).await;
        assert_eq!(location(&answer), "/", "{next}");
    }
    for error in [
        "access_denied",
        "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "%0d%0aX-Evil:1",
    ] {
        let begun = begin(&browser).await;
        let back = provider.back(&begun.state).replace(
            "code=a-code-9f1c",
            &format!("error={error}&error_description={error}"),
        );
        let target = crate::support::openid::target(&back);
        let page = browser
            .get(&target)
            .header("accept", "text/html")
            .send()
            .await;
        assert_eq!(page.status, 403);
        assert!(!page.text().contains("alert(1)"), "{}", page.text());
        assert!(page.header("x-evil").is_none());
    }
    assert!(!gateway.printed().contains("alert(1)"));
}

#[tokio::test]
async fn a_provider_that_answers_with_errors_signs_nobody_in() {
    let upstream = Upstream::start().await;
    let provider = Liar::start(30).await;
    let gateway = gate(&upstream, &provider, "").await;
    let browser = gateway.browser();
    for (status, answer, expected) in [
        (400, json!({ "error": "invalid_grant" }), 403),
        (401, json!({ "error": "invalid_client" }), 403),
        (400, json!("no"), 503),
        (500, json!({}), 503),
        (302, json!({}), 503),
        (200, json!({}), 503),
        (
            200,
            json!({ "token_type": "Bearer", "access_token": "x" }),
            503,
        ),
        (200, json!({ "token_type": "mac", "id_token": "GOOD" }), 503),
        (
            201,
            json!({ "token_type": "Bearer", "id_token": "GOOD" }),
            503,
        ),
    ] {
        let begun = begin(&browser).await;
        let good = provider.token(&begun.nonce, &json!({}));
        let answer: Value =
            serde_json::from_str(&answer.to_string().replace("GOOD", &good)).unwrap();
        *provider.answer.lock().unwrap() = (status, answer.clone());
        let came = come_back(&browser, &provider.back(&begun.state)).await;
        assert_eq!(came.status, expected, "{status} {answer}");
        assert!(came.cookies().is_empty());
        assert_eq!(browser.get("/x").send().await.status, 401);
    }
    assert!(
        gateway.printed().contains("client-secret"),
        "what to mend is said"
    );
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_or_without_https_is_none() {
    let upstream = Upstream::start().await;
    for document in [
        json!({ "issuer": "https://id.example" }),
        json!({ "authorization_endpoint": "ftp://id.example/" }),
        json!({ "authorization_endpoint": "javascript:alert(1)" }),
        json!({ "token_endpoint": null }),
    ] {
        let provider = Liar::start(31).await;
        *provider.discovery.lock().unwrap() = document.clone();
        let gateway = gate(&upstream, &provider, "").await;
        let answer = gateway.browser().get(BEGIN).send().await;
        assert_eq!(answer.status, 503, "{document}");
        assert_eq!(answer.problem(), "temporarily-unavailable");
        let local = gateway.signed_in("ana@corp.test").await;
        assert_eq!(local.get("/x").send().await.status, 200);
    }
}

#[tokio::test]
async fn userinfo_about_somebody_else_is_refused_and_a_word_is_no_proof_of_an_address() {
    let upstream = Upstream::start().await;
    let provider = Liar::start(32).await;
    let gateway = gate(&upstream, &provider, "").await;
    for (said, admin) in [
        (json!({ "sub": "eve" }), None),
        (json!({}), None),
        (json!([]), None),
        (json!({ "sub": "ana", "email_verified": "true" }), Some(403)),
        (json!({ "sub": "ana", "email_verified": false }), Some(403)),
        (json!({ "sub": "ana" }), Some(403)),
        (json!({ "sub": "ana", "email_verified": true }), Some(200)),
    ] {
        let mut said = said;
        if said.is_object() {
            said["email"] = json!("root@corp.test");
        }
        *provider.userinfo.lock().unwrap() = said.clone();
        let browser = gateway.browser();
        let begun = begin(&browser).await;
        provider.grants(
            &begun.nonce,
            &json!({ "email": null, "email_verified": null }),
        );
        let answer = come_back(&browser, &provider.back(&begun.state)).await;
        match admin {
            None => {
                assert!(answer.status == 403 || answer.status == 503, "{said}");
                assert!(answer.cookies().is_empty(), "{said}");
            }
            Some(expected) => {
                assert_eq!(location(&answer), "/", "{said}");
                let status = browser.get("/admin").send().await.status;
                assert_eq!(status, expected, "{said}");
            }
        }
    }
    // What the token says of no address is said of none, also not of the one that userinfo tells.
    *provider.userinfo.lock().unwrap() = json!({ "sub": "ana", "email": "root@corp.test" });
    let browser = gateway.browser();
    let begun = begin(&browser).await;
    let of_none = json!({ "email": null, "email_verified": true });
    provider.grants(&begun.nonce, &of_none);
    assert_signs_in(
        &browser,
        &come_back(&browser, &provider.back(&begun.state)).await,
    )
    .await;
    assert_eq!(browser.get("/admin").send().await.status, 403);
}

#[tokio::test]
async fn an_address_that_was_verified_once_redeems_no_invitation_today() {
    let upstream = Upstream::start().await;
    let provider = Liar::start(34).await;
    let gateway = gate(&upstream, &provider, "").await;
    assert!(gateway.cli(&["tenants", "create", "acme"]).status.success());
    let arguments = ["--output", "json", "tenants", "invite", "acme"];
    let invited = gateway.cli(&[&arguments[..], &["ana@corp.test"]].concat());
    let invited: Value = serde_json::from_slice(&invited.stdout).unwrap();
    let token = json!({ "token": invited["token"] });
    let person = async |claims: Value| {
        let browser = gateway.browser();
        let begun = begin(&browser).await;
        provider.grants(&begun.nonce, &claims);
        let answer = come_back(&browser, &provider.back(&begun.state)).await;
        assert_signs_in(&browser, &answer).await;
        browser
    };
    let redeem = async |browser: &Browser| {
        let call = browser.post("/.portcullis/auth/invitation").json(&token);
        call.send().await
    };
    // The account shows the address; the provider does not say any more that it is theirs.
    let before = person(json!({})).await;
    for lost in [
        json!({ "email_verified": false }),
        json!({ "email": "other@corp.test" }),
        json!({ "sub": "mallory", "email_verified": false }),
    ] {
        let answer = redeem(&person(lost.clone()).await).await;
        assert_eq!(answer.problem(), "not-found", "{lost}");
    }
    let joined = redeem(&before).await;
    assert_eq!(joined.status, 200, "{}", joined.text());
}
