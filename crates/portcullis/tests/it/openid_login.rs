//! Signing in at a certified OpenID provider (I5, I7, I8), over sockets. What hostile providers and
//! browsers try is in `attacks/openid_login.rs`.

use http::Method;
use serde_json::json;

use crate::support::authenticator::{ROUTES, enrol};
use crate::support::openid::{
    BEGIN, Certified, ORIGIN, come_back, location, parameter, sign_in, target,
};
use crate::support::{
    Answer, Browser, Gateway, GatewayBuilder, PASSWORD, Upstream, chromium, eventually_asked,
};

const AUTH: &str = "/.portcullis/auth";
const ANA: &str = "ana@corp.test";

async fn builder(upstream: &Upstream, provider: &Certified, more: &str) -> GatewayBuilder {
    Gateway::builder(upstream, ROUTES)
        .await
        .user(ANA, &["user"])
        .signing_in_at(&provider.url, more)
}

async fn status(browser: &Browser, path: &str) -> u16 {
    browser.get(path).send().await.status.as_u16()
}

async fn me(browser: &Browser) -> serde_json::Value {
    let answer = browser.get(&format!("{AUTH}/me")).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn assert_lands(answer: &Answer, at: &str) {
    assert_eq!(location(answer), at);
    assert!(answer.cookies().contains_key("session"));
}

#[tokio::test]
async fn somebody_signs_in_and_is_no_local_account_of_that_address() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let gateway = builder(&upstream, &provider, "label = \"Corp <SSO>\"")
        .await
        .start()
        .await;
    let (browser, at_provider) = (gateway.browser(), provider.browser());
    // A planted session cookie is not adopted.
    let planted = "A".repeat(43);
    browser.set_cookie("session", &planted);
    let page = browser
        .get(&format!("{AUTH}/sign-in?next=%2Forders%3Fx%3D1"))
        .send()
        .await
        .text();
    let button = format!("href=\"{BEGIN}?next=%2Forders%3Fx%3D1\">Sign in with Corp &lt;SSO&gt;<");
    assert!(page.contains(&button), "{page}");
    let begun = browser
        .get(&format!("{BEGIN}?next=%2Forders%3Fx%3D1"))
        .send()
        .await;
    let url = location(&begun);
    assert_eq!(parameter(&url, "code_challenge_method").unwrap(), "S256");
    assert_eq!(
        parameter(&url, "redirect_uri").unwrap(),
        format!("{ORIGIN}{BEGIN}/callback")
    );
    assert_eq!(parameter(&url, "prompt"), None);
    let cookie = begun.all("set-cookie")[0];
    assert!(
        cookie.starts_with("openid=") && cookie.contains("HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    assert!(begun.header("cache-control").unwrap().contains("no-store"));
    let back = provider.follow(&at_provider, &url, "login=ana").await;
    let code = parameter(&back, "code").unwrap();
    let answer = come_back(&browser, &back).await;
    assert_lands(&answer, "/orders?x=1");
    assert_ne!(browser.cookie("session").unwrap(), planted);
    assert_eq!(status(&browser, "/anything").await, 200);
    let first = me(&browser).await;
    assert_eq!(first["email"], ANA);
    assert_eq!(first["roles"], json!(["user"]));
    // The same person again, elsewhere: the same account, and one more device.
    let other = gateway.browser();
    let answer = sign_in(&other, &provider, &at_provider, "/", "").await;
    assert_lands(&answer, "/");
    assert_eq!(me(&other).await["id"], first["id"]);
    let devices = other.get(&format!("{AUTH}/sessions")).send().await.json();
    assert_eq!(devices.as_array().unwrap().len(), 2);
    // The local account of that address is somebody else, and signs in as before.
    let local = gateway.signed_in(ANA).await;
    assert_ne!(me(&local).await["id"], first["id"]);
    let trail = gateway.cli(&["--output", "json", "audit", "list"]);
    let trail = String::from_utf8_lossy(&trail.stdout).into_owned();
    assert!(trail.contains("\"provider\""), "{trail}");
    for text in [&trail, &gateway.printed()] {
        assert!(!text.contains(&code), "a code is written down");
    }
    let out = browser.post(&format!("{AUTH}/logout")).send().await;
    assert_eq!(out.status, 204);
    assert_eq!(status(&browser, "/anything").await, 401);
}

#[tokio::test]
async fn verified_addresses_name_administrators_for_as_long_as_the_configuration_does() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let gateway = builder(&upstream, &provider, "").await.start().await;
    let root = gateway.browser();
    for (name, expected) in [("root", 200), ("unverified-root", 403), ("ana", 403)] {
        let browser = gateway.browser();
        let form = format!("login={name}");
        let answer = sign_in(&browser, &provider, &provider.browser(), "/", &form).await;
        assert_lands(&answer, "/");
        assert_eq!(status(&browser, "/admin").await, expected, "{name}");
    }
    let answer = sign_in(&root, &provider, &provider.browser(), "/", "login=root").await;
    assert_lands(&answer, "/");
    assert_eq!(me(&root).await["roles"], json!(["admin", "user"]));
    // The provider did not say when it asked, and factors want a proof of the last quarter of an hour.
    let answer = sign_in(&root, &provider, &provider.browser(), "/", "login=root").await;
    assert_lands(&answer, "/");
    // What follows from a session keeps who vouched for it: a second factor of our own.
    let (app, _) = enrol(&root).await;
    assert_eq!(status(&root, "/admin").await, 200);
    assert_eq!(status(&root, "/payouts").await, 200);
    let again = gateway.browser();
    let answer = sign_in(
        &again,
        &provider,
        &provider.browser(),
        "/admin",
        "login=root",
    )
    .await;
    assert_eq!(
        location(&answer),
        format!("{AUTH}/second-factor?next=%2Fadmin")
    );
    assert!(!answer.cookies().contains_key("session"));
    assert_eq!(status(&again, "/anything").await, 401);
    let proved = again
        .post(&format!("{AUTH}/second-factor"))
        .json(&json!({ "code": app.code(1) }))
        .send()
        .await;
    assert_eq!(proved.status, 200, "{}", proved.text());
    assert_eq!(status(&again, "/admin").await, 200);
    // Taken out of the list, nobody is one any more; taken out itself, the provider's sessions end.
    let less = gateway.end().await.replace("\"root@corp.test\", ", "");
    let gateway = less.start().await;
    let again = moved(&again, &gateway);
    assert_eq!(status(&again, "/admin").await, 403);
    assert_eq!(status(&again, "/payouts").await, 200);
    let less = gateway.end().await;
    let gateway = less
        .replace(&provider.url, "http://127.0.0.1:1")
        .start()
        .await;
    assert_eq!(status(&moved(&again, &gateway), "/payouts").await, 401);
}

/// The same browser at another gate.
fn moved(browser: &Browser, gateway: &Gateway) -> Browser {
    let moved = gateway.browser();
    for (name, value) in browser.jar.lock().unwrap().iter() {
        moved.set_cookie(name, value);
    }
    moved
}

#[tokio::test]
async fn a_route_that_wants_a_recent_proof_gets_one_from_the_provider() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let gateway = builder(&upstream, &provider, "").await.start().await;
    let (browser, at_provider) = (gateway.browser(), provider.browser());
    let answer = sign_in(&browser, &provider, &at_provider, "/", "login=ana").await;
    assert_lands(&answer, "/");
    let before = browser.cookie("session");
    // The provider did not say when: that is long ago.
    let asked = browser.get("/recent").send().await;
    assert_eq!(asked.problem(), "reauthentication-required");
    let begun = browser.get(&format!("{BEGIN}?next=%2Frecent")).send().await;
    let url = location(&begun);
    assert_eq!(parameter(&url, "prompt").unwrap(), "login");
    assert_eq!(parameter(&url, "max_age").unwrap(), "0");
    // It knows the browser, and asks all the same: without a name in the form it does not lead back.
    let back = provider.follow(&at_provider, &url, "login=ana").await;
    let answer = come_back(&browser, &back).await;
    assert_lands(&answer, "/recent");
    assert_eq!(status(&browser, "/recent").await, 200);
    // In place of the old session, not beside it.
    assert_ne!(browser.cookie("session"), before);
    let devices = browser.get(&format!("{AUTH}/sessions")).send().await.json();
    assert_eq!(devices.as_array().unwrap().len(), 1);
    eventually_asked("the proof is too old again", async || {
        status(&browser, "/recent").await == 401
    })
    .await;
    assert_eq!(status(&browser, "/anything").await, 200);
}

#[tokio::test]
async fn the_providers_second_factor_counts_only_where_the_configuration_says_by_which_word() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let strict = builder(&upstream, &provider, "").await.start().await;
    let more = "second-factor-amr = [\"otp\"]";
    let trusting = builder(&upstream, &provider, more).await.start().await;
    for (gateway, form, expected) in [
        (&strict, "login=ana&amr=pwd+otp", 401),
        (&trusting, "login=ana&amr=pwd", 401),
        (&trusting, "login=ana", 401),
        (&trusting, "login=ana&amr=pwd+otp", 200),
    ] {
        let browser = gateway.browser();
        let answer = sign_in(&browser, &provider, &provider.browser(), "/", form).await;
        assert_lands(&answer, "/");
        assert_eq!(status(&browser, "/payouts").await, expected, "{form}");
    }
}

#[tokio::test]
async fn several_tabs_and_several_nodes_work_and_each_sign_in_counts_once() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let gateway = builder(&upstream, &provider, "").await.start().await;
    let twin = gateway.twin().await;
    let (browser, at_provider) = (gateway.browser(), provider.browser());
    let mut ways = Vec::new();
    for tab in ["/one", "/two"] {
        let begun = browser.get(&format!("{BEGIN}?next={tab}")).send().await;
        ways.push(
            provider
                .follow(&at_provider, &location(&begun), "login=ana")
                .await,
        );
    }
    // The second tab comes back first, and at another node.
    let elsewhere = moved(&browser, &twin);
    assert_lands(&come_back(&elsewhere, &ways[1]).await, "/two");
    assert_lands(&come_back(&browser, &ways[0]).await, "/one");
    for node in [&browser, &elsewhere] {
        let replayed = come_back(node, &ways[0]).await;
        assert_eq!(replayed.status, 403);
        assert_eq!(replayed.problem(), "openid-login-failed");
        assert!(!replayed.cookies().contains_key("session"));
    }
}

#[tokio::test]
async fn who_may_come_in_is_the_configurations_to_say() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let domain = "email-domains = [\"other.test\"]";
    let domain = builder(&upstream, &provider, domain).await.start().await;
    let known = "accounts = \"known\"";
    let known = builder(&upstream, &provider, known).await.start().await;
    for gateway in [&domain, &known] {
        let browser = gateway.browser();
        let answer = sign_in(&browser, &provider, &provider.browser(), "/", "login=eve").await;
        assert_eq!(answer.problem(), "openid-account-refused");
        assert!(!answer.cookies().contains_key("session"));
        let root = sign_in(&browser, &provider, &provider.browser(), "/", "login=root").await;
        assert_lands(&root, "/");
    }
    let users = known.cli(&["users", "list"]);
    assert!(!String::from_utf8_lossy(&users.stdout).contains("eve"));
    // The operator may say whose account it is; the address is no reason.
    let link = |user: &str, name: &str| {
        let arguments = [
            "users",
            "link",
            user,
            "--provider",
            name,
            "--subject",
            "eve",
        ];
        known.cli(&arguments)
    };
    assert!(!link(ANA, "nobody").status.success());
    assert!(!link("nobody@corp.test", "company").status.success());
    let output = link(ANA, "company");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!link(ANA, "company").status.success(), "once is enough");
    let eve = known.browser();
    let answer = sign_in(&eve, &provider, &provider.browser(), "/", "login=eve").await;
    assert_lands(&answer, "/");
    let local = known.signed_in(ANA).await;
    assert_eq!(me(&eve).await["id"], me(&local).await["id"]);
}

#[tokio::test]
async fn an_invitation_is_for_the_address_that_the_provider_verified() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let gateway = builder(&upstream, &provider, "").await.start().await;
    assert!(gateway.cli(&["tenants", "create", "acme"]).status.success());
    let invite = |email: &str| {
        let arguments = ["--output", "json", "tenants", "invite", "acme", email];
        let output = gateway.cli(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let invited: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        json!({ "token": invited["token"] })
    };
    let redeem = async |browser: &Browser, token: &serde_json::Value| {
        let call = browser.post(&format!("{AUTH}/invitation")).json(token);
        call.send().await
    };
    let person = async |name: &str| {
        let (browser, form) = (gateway.browser(), format!("login={name}"));
        let answer = sign_in(&browser, &provider, &provider.browser(), "/", &form).await;
        assert_lands(&answer, "/");
        browser
    };
    let for_bob = invite("Bob@corp.test");
    let (bob, eve) = (person("bob").await, person("eve").await);
    assert_eq!(redeem(&eve, &for_bob).await.problem(), "not-found");
    // An address that the provider does not vouch for is nobody's.
    let unverified = person("unverified-root").await;
    let for_them = invite("unverified-root@corp.test");
    assert_eq!(redeem(&unverified, &for_them).await.problem(), "not-found");
    let joined = redeem(&bob, &for_bob).await;
    assert_eq!(joined.status, 200, "{}", joined.text());
    let tenants = bob.get(&format!("{AUTH}/tenants")).send().await.json();
    assert_eq!(tenants[0]["slug"], "acme");
    assert_eq!(redeem(&bob, &for_bob).await.problem(), "not-found", "once");
    // A session whose second factor was proved later is still the one that the provider vouched for.
    let answer = sign_in(&eve, &provider, &provider.browser(), "/", "login=eve").await;
    assert_lands(&answer, "/");
    enrol(&eve).await;
    let joined = redeem(&eve, &invite("eve@corp.test")).await;
    assert_eq!(joined.status, 200, "{}", joined.text());
}

#[tokio::test]
async fn a_closed_account_stays_closed_whatever_the_provider_says() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let gateway = builder(&upstream, &provider, "").await.start().await;
    let (browser, at_provider) = (gateway.browser(), provider.browser());
    let answer = sign_in(&browser, &provider, &at_provider, "/", "login=bob").await;
    assert_lands(&answer, "/");
    let id = me(&browser).await["id"].as_str().unwrap().to_owned();
    // On the way while it is closed.
    let fresh = gateway.browser();
    let begun = fresh.get(BEGIN).send().await;
    let back = provider.follow(&at_provider, &location(&begun), "").await;
    assert!(gateway.cli(&["users", "deactivate", &id]).status.success());
    assert_eq!(
        come_back(&fresh, &back).await.problem(),
        "openid-account-refused"
    );
    eventually_asked("the session ends", async || {
        status(&browser, "/anything").await == 401
    })
    .await;
}

#[tokio::test]
async fn who_is_refused_at_the_provider_gets_a_plain_page() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let gateway = builder(&upstream, &provider, "").await.start().await;
    let browser = gateway.browser();
    let begun = browser.get(BEGIN).send().await;
    let back = provider
        .follow(&provider.browser(), &location(&begun), "deny=1")
        .await;
    assert!(back.contains("error=access_denied"), "{back}");
    let page = browser
        .get(&target(&back))
        .header("accept", "text/html")
        .send()
        .await;
    assert_eq!(page.status, 403);
    let text = page.text();
    assert!(text.contains("The provider did not sign you in"), "{text}");
    assert!(text.contains(&format!("href=\"{AUTH}/sign-in\"")), "{text}");
    // The product must not learn the address of this page, which bears the state, from a link on it.
    assert!(text.contains("<meta name=\"referrer\" content=\"strict-origin\">"));
    assert!(
        !text.contains("alert(1)") && !text.contains("state="),
        "{text}"
    );
}

#[tokio::test]
async fn with_strict_cookies_a_page_of_our_own_leads_on() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let gateway = builder(&upstream, &provider, "")
        .await
        .more("\n[sessions]\nsame-site = \"strict\"\n")
        .start()
        .await;
    let browser = gateway.browser();
    let begun = browser
        .get(&format!("{BEGIN}?next=%2Fx%3Fa%3Db"))
        .send()
        .await;
    assert!(begun.all("set-cookie")[0].contains("SameSite=Lax"));
    let back = provider
        .follow(&provider.browser(), &location(&begun), "login=ana")
        .await;
    let answer = come_back(&browser, &back).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("refresh"), Some("0; url=/x?a=b"));
    assert_eq!(status(&browser, "/anything").await, 200);
}

#[tokio::test]
async fn a_provider_that_is_away_closes_its_own_door_and_no_other() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let gateway = builder(&upstream, &provider, "").await.start().await;
    let (browser, at_provider) = (gateway.browser(), provider.browser());
    let answer = sign_in(&browser, &provider, &at_provider, "/", "login=ana").await;
    assert_lands(&answer, "/");
    // Somebody is on the way back while it goes.
    let fresh = gateway.browser();
    let begun = fresh.get(BEGIN).send().await;
    let back = provider.follow(&at_provider, &location(&begun), "").await;
    let stopped = provider.stop();
    let answer = come_back(&fresh, &back).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.problem(), "temporarily-unavailable");
    assert!(answer.header("retry-after").is_some());
    assert!(!answer.cookies().contains_key("session"));
    // A node that never had its discovery document cannot even begin.
    let twin = gateway.twin().await;
    let answer = twin.browser().get(BEGIN).send().await;
    assert_eq!(answer.problem(), "temporarily-unavailable");
    // Sessions live on, and local people sign in.
    assert_eq!(status(&browser, "/anything").await, 200);
    assert_eq!(
        gateway.signed_in(ANA).await.get("/x").send().await.status,
        200
    );
    let local = twin.browser();
    let page = local.get(&format!("{AUTH}/sign-in")).send().await;
    assert!(page.text().contains("type=\"password\""));
    let login = local.post(&format!("{AUTH}/login"));
    let login = login.json(&json!({ "email": ANA, "password": PASSWORD }));
    assert_eq!(login.send().await.status, 200);
    let provider = stopped.start().await;
    let (back, at_provider) = (gateway.browser(), provider.browser());
    let answer = sign_in(&back, &provider, &at_provider, "/", "login=ana").await;
    assert_lands(&answer, "/");
}

#[tokio::test]
async fn an_account_without_an_address_has_second_factors_too() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let more = "scopes = [\"openid\"]";
    let gateway = builder(&upstream, &provider, more).await.start().await;
    let browser = gateway.browser();
    let at_provider = provider.browser();
    let answer = sign_in(&browser, &provider, &at_provider, "/", "login=ana").await;
    assert_lands(&answer, "/");
    assert_eq!(me(&browser).await["email"], "");
    // Factors want a proof of the last quarter of an hour, and the provider did not say when.
    let begun = browser.send(Method::POST, &format!("{AUTH}/factors/totp"));
    assert_eq!(begun.send().await.problem(), "reauthentication-required");
    let answer = sign_in(&browser, &provider, &at_provider, "/", "login=ana").await;
    assert_lands(&answer, "/");
    enrol(&browser).await;
    assert_eq!(status(&browser, "/payouts").await, 200);
}

#[tokio::test]
async fn doctor_asks_the_provider_and_check_names_the_key_to_mend() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let good = builder(&upstream, &provider, "").await;
    let doctor = good.cli(&["doctor"]);
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        text.contains("ok    issuer `company`: gives its keys, and people can sign in there"),
        "{text}"
    );
    let away = good.clone().replace(&provider.url, "http://127.0.0.1:1");
    let doctor = away.cli(&["doctor"]);
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        text.contains("FAIL  issuer `company`") && text.contains("see issuer.company.issuer"),
        "{text}"
    );
    let origin = format!("\n[accounts]\norigin = \"{ORIGIN}\"\n");
    let secret = "client-secret = { file = \"client-secret\" }\n";
    for (from, to, key) in [
        (origin.as_str(), "", "accounts.origin"),
        (
            secret,
            "client-secret = { file = \"nothing\" }\n",
            "issuer.company.login.client-secret",
        ),
        (
            secret,
            "client-secret = \"in the file\"\n",
            "issuer.company.login.client-secret",
        ),
        (
            "client-id = \"the-product\"",
            "client-id = \"\"",
            "issuer.company.login.client-id",
        ),
        (
            secret,
            "client-secret = { file = \"client-secret\" }\nscopes = [\"email\"]\n",
            "issuer.company.login.scopes",
        ),
        (
            secret,
            "client-secret = { file = \"client-secret\" }\nsecond-factor-amr = [\"pwd\"]\n",
            "issuer.company.login.second-factor-amr",
        ),
        (
            secret,
            "client-secret = { file = \"client-secret\" }\nemail-domains = [\"@corp\"]\n",
            "issuer.company.login.email-domains",
        ),
        (
            "profile = \"oidc\"",
            "profile = \"clerk\"\naudience = [\"x\"]",
            "issuer.company.login",
        ),
        ("loopback = true\n", "", "issuer.company.issuer"),
        (
            "mode = \"development\"",
            "mode = \"production\"",
            "issuer.company.loopback",
        ),
        (
            "mode = \"development\"",
            "mode = \"production\"",
            "accounts.origin",
        ),
    ] {
        let output = good
            .clone()
            .replace(from, to)
            .cli(&["--output", "json", "check"]);
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success(), "{from} -> {to}: {report}");
        assert!(report.contains(&format!("\"{key}\"")), "{key}: {report}");
    }
}

#[tokio::test]
async fn in_a_browser_the_button_leads_to_the_provider_and_back() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let gateway = builder(&upstream, &provider, "")
        .await
        .replace(
            "path = \"/recent\"\nallow = \"user\"\nmax-age = \"4s\"",
            "path = \"/recent\"\nallow = \"user\"\nmax-age = \"1h\"",
        )
        .more("\n[hosts]\nallow = [\"gate.test\"]\n")
        .start()
        .await;
    let port = gateway.address.port().to_string();
    let seen = chromium::drive("openid_login.cjs", &[ORIGIN, &port]).await;
    let again = "You have to prove again who you are";
    let expected = json!(["provider", "/anything", again, "provider", "/recent"]);
    assert_eq!(seen["places"], expected, "{seen:#}");
    assert_eq!(seen["text"], "hello from the product");
    assert_eq!(seen["complaints"], json!([]));
    assert_eq!(seen["violations"], json!([]));
    let cookies = seen["cookies"].as_array().unwrap();
    assert!(cookies.contains(&json!("session true Lax")), "{seen:#}");
    assert!(cookies.contains(&json!("openid true Lax")), "{seen:#}");
}

/// A provider that is no longer trusted takes along what its sign-ins led to, tokens as well.
#[tokio::test]
async fn a_provider_that_is_taken_out_takes_its_tokens_along() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let gateway = builder(&upstream, &provider, "").await;
    let gateway = gateway.more("\n[tokens]\n").start().await;
    let browser = gateway.browser();
    let answer = sign_in(&browser, &provider, &provider.browser(), "/", "login=bob").await;
    assert_lands(&answer, "/");
    let theirs = browser.post(&format!("{AUTH}/token")).send().await;
    assert_eq!(theirs.status, 200, "{}", theirs.text());
    let local = gateway.signed_in(ANA).await;
    let ours = local.post(&format!("{AUTH}/token")).send().await;
    let text = |answer: &Answer, name: &str| answer.json()[name].as_str().unwrap().to_owned();
    let get = async |gateway: &Gateway, answer: &Answer| {
        let bearer = format!("Bearer {}", text(answer, "access_token"));
        let request = gateway.client().get("/anything");
        request.header("authorization", &bearer).send().await
    };
    let refresh = async |gateway: &Gateway, answer: &Answer| {
        let body = json!({ "refresh_token": text(answer, "refresh_token") });
        let request = gateway.client().post(&format!("{AUTH}/refresh"));
        request.json(&body).send().await
    };
    // A restart alone ends nobody.
    let gateway = gateway.end().await.start().await;
    for answer in [&theirs, &ours] {
        assert_eq!(get(&gateway, answer).await.status, 200);
    }
    let table = crate::support::openid::tables("company", &provider.url, "");
    let gateway = gateway.end().await.replace(&table, "").start().await;
    assert_eq!(get(&gateway, &theirs).await.problem(), "invalid-token");
    assert_eq!(refresh(&gateway, &theirs).await.problem(), "invalid-token");
    assert_eq!(get(&gateway, &ours).await.status, 200);
    assert_eq!(refresh(&gateway, &ours).await.status, 200);
}
