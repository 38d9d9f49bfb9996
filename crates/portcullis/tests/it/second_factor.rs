//! Codes of an authenticator app, and recovery codes (I5).

use std::fmt::Write as _;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::authenticator::{App, enrol, prove, sign_in};
use crate::support::mailbox::{Mailbox, files_with};
use crate::support::{Answer, Browser, Gateway, GatewayBuilder, PASSWORD, Upstream, database};

const ANA: &str = "ana@corp.test";
const AUTH: &str = "/.portcullis/auth";

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .user(ANA, &["user"])
        .more("\n[limits.auth]\nrate = \"1000/minute\"\n")
}

async fn gate() -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    (upstream, gateway)
}

/// A gate where Ana has an app, and ten recovery codes.
async fn enrolled() -> (Upstream, Gateway, App, Vec<String>) {
    let (upstream, gateway) = gate().await;
    let ana = gateway.signed_in(ANA).await;
    let (app, codes) = enrol(&ana).await;
    (upstream, gateway, app, codes)
}

/// A browser that knows the password and waits for the code.
async fn halfway(gateway: &Gateway) -> Browser {
    let browser = gateway.browser();
    let answer = sign_in(&browser, ANA, PASSWORD).await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!(answer.problem(), "second-factor-required");
    browser
}

#[tokio::test]
async fn one_password_opens_one_session_whatever_is_shown_at_once() {
    let (_upstream, gateway, app, codes) = enrolled().await;
    let ana = halfway(&gateway).await;
    let challenge = ana.cookie("challenge").unwrap();
    // Each of them right, and none of them used: it is the sign-in that there is once.
    let shown: Vec<String> = [app.code(1)].into_iter().chain(codes).take(6).collect();
    let tabs: Vec<Browser> = shown.iter().map(|_| gateway.browser()).collect();
    let tries = tabs.iter().zip(&shown).map(|(tab, code)| {
        tab.set_cookie("challenge", &challenge);
        prove(tab, code)
    });
    let answers = join_all(tries).await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(won, 1, "{answers:#?}");
    let with_session = tabs.iter().filter(|tab| tab.cookie("session").is_some());
    assert_eq!(with_session.count(), 1);
}

#[tokio::test]
async fn an_account_that_is_closed_between_password_and_code_stays_closed() {
    let (_upstream, gateway, app, codes) = enrolled().await;
    let ana = halfway(&gateway).await;
    // Beside the gate: then the sign-in that waits is still there, as in the moment of the act.
    let closed = "UPDATE users SET deactivated_at = 1";
    database::execute(&gateway.folder, closed).await;
    for code in [&app.code(1), &codes[0]] {
        let answer = prove(&ana, code).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert!(ana.cookie("session").is_none());
    }
}

#[tokio::test]
async fn a_password_alone_opens_no_session_and_the_code_does() {
    let (upstream, gateway, app, _) = enrolled().await;
    let before = upstream.requests();
    let ana = halfway(&gateway).await;
    assert!(ana.cookie("session").is_none());
    let challenge = ana.cookie("challenge").expect("a challenge");
    for planted in [None, Some(&challenge)] {
        if let Some(planted) = planted {
            ana.set_cookie("session", planted);
        }
        for path in [
            "/anything",
            "/users/1",
            &format!("{AUTH}/me"),
            &format!("{AUTH}/sessions"),
            &format!("{AUTH}/factors"),
        ] {
            let answer = ana.get(path).send().await;
            assert_eq!(answer.problem(), "authentication-required", "{path}");
        }
        let socket = ana
            .get("/socket")
            .header("origin", &ana.origin())
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .send()
            .await;
        assert_eq!(socket.status, 401);
        let bearer = ana
            .get("/anything")
            .header("authorization", &format!("Bearer {challenge}"))
            .send()
            .await;
        assert_eq!(bearer.status, 401);
    }
    assert_eq!(upstream.requests(), before, "the product saw nothing");
    ana.forget_cookie("session");

    assert_eq!(prove(&ana, "000000").await.problem(), "invalid-input");
    let answer = prove(&ana, &app.code(1)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["email"], ANA);
    assert!(ana.cookie("challenge").is_none(), "it is over");
    assert_eq!(ana.get("/anything").send().await.status, 200);
    let cookie = upstream
        .last()
        .header("cookie")
        .unwrap_or_default()
        .to_owned();
    assert!(!cookie.contains("challenge"), "{cookie}");
    assert!(!gateway.printed().contains(&challenge));
}

#[tokio::test]
async fn the_challenge_cookie_never_reaches_the_product() {
    let (upstream, gateway, ..) = enrolled().await;
    let ana = halfway(&gateway).await;
    assert_eq!(ana.get("/public").send().await.status, 200);
    assert!(upstream.last().header("cookie").is_none());
}

#[tokio::test]
async fn a_code_counts_once_on_every_node_and_in_every_spelling() {
    let (_upstream, gateway, app, _) = enrolled().await;
    let code = app.code(1);
    let spaced = format!(" {} {}", &code[..3], &code[3..]);
    let first = halfway(&gateway).await;
    assert_eq!(prove(&first, &spaced).await.status, 200);
    let other_node = gateway.twin().await;
    for node in [&gateway, &other_node] {
        let again = halfway(node).await;
        for typed in [&code, &spaced] {
            assert_eq!(prove(&again, typed).await.problem(), "invalid-input");
        }
    }
    // The code of the step before is older than one that was used.
    let again = halfway(&gateway).await;
    assert_eq!(prove(&again, &app.code(0)).await.problem(), "invalid-input");
}

#[tokio::test]
async fn of_many_who_bring_one_code_at_once_one_gets_in() {
    let (_upstream, gateway, app, codes) = enrolled().await;
    for typed in [app.code(1), codes[0].clone()] {
        let mut browsers = Vec::new();
        for _ in 0..4 {
            browsers.push(halfway(&gateway).await);
        }
        let answers = join_all(browsers.iter().map(|browser| prove(browser, &typed))).await;
        let won = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(won, 1, "{answers:#?}");
    }
}

#[tokio::test]
async fn after_five_wrong_codes_the_right_one_has_to_wait() {
    let (_upstream, gateway, app, codes) = enrolled().await;
    let mut refused = 0;
    let throttled = loop {
        // A new challenge each time: tries are counted by account.
        let answer = prove(&halfway(&gateway).await, "000000").await;
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.problem(), "invalid-input");
        refused += 1;
        assert!(refused < 20);
    };
    assert_eq!(refused, 5);
    let wait: u64 = throttled.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait));
    let ana = halfway(&gateway).await;
    for typed in [app.code(1), codes[0].clone()] {
        assert_eq!(prove(&ana, &typed).await.problem(), "rate-limited");
    }
}

#[tokio::test]
async fn a_recovery_code_works_once_however_it_is_typed_and_new_ones_end_the_old() {
    let (_upstream, gateway, _, codes) = enrolled().await;
    assert_eq!(codes.len(), 10);
    let typed = codes[0].to_uppercase().replace('-', " ");
    let ana = halfway(&gateway).await;
    assert_eq!(prove(&ana, &typed).await.status, 200);
    for spelled in [&codes[0], &typed] {
        let again = halfway(&gateway).await;
        assert_eq!(prove(&again, spelled).await.problem(), "invalid-input");
    }
    let left = ana.get(&format!("{AUTH}/factors")).send().await.json();
    assert_eq!(
        left,
        json!({ "totp": true, "passkeys": 0, "recovery_codes_left": 9 })
    );
    let made = ana.post(&format!("{AUTH}/factors/recovery-codes"));
    let made = made.send().await;
    assert_eq!(made.status, 201, "{}", made.text());
    let new = made.json()["recovery_codes"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let again = halfway(&gateway).await;
    assert_eq!(prove(&again, &codes[1]).await.problem(), "invalid-input");
    assert_eq!(prove(&again, &new).await.status, 200);
    assert_eq!(files_with(&gateway.folder, &new.replace('-', "")).len(), 0);
}

#[tokio::test]
async fn each_proof_makes_a_new_session_and_ends_the_one_before() {
    let (_upstream, gateway) = gate().await;
    let ana = gateway.signed_in(ANA).await;
    let elsewhere = gateway.signed_in(ANA).await;
    let one = ana.cookie("session").unwrap();
    let (app, _) = enrol(&ana).await;
    let two = ana.cookie("session").unwrap();
    assert_ne!(one, two);
    assert_eq!(ana.get("/anything").send().await.status, 200);
    let old = format!("session={one}");
    let dead = gateway.client().get("/anything").header("cookie", &old);
    assert_eq!(dead.send().await.problem(), "authentication-required");
    // What a password alone had opened is closed.
    assert_eq!(elsewhere.get("/anything").send().await.status, 401);
    // Once more in the same session.
    assert_eq!(prove(&ana, &app.code(1)).await.status, 200);
    let three = ana.cookie("session").unwrap();
    assert_ne!(two, three);
    assert_eq!(ana.get("/anything").send().await.status, 200);
    let old = format!("session={two}");
    let dead = gateway.client().get("/anything").header("cookie", &old);
    assert_eq!(dead.send().await.problem(), "authentication-required");
}

#[tokio::test]
async fn what_changed_between_the_two_factors_is_seen_at_the_last_step() {
    let (_upstream, gateway, app, _) = enrolled().await;
    let ana = halfway(&gateway).await;
    let set = gateway.cli(&["--output", "json", "users", "set-password", ANA]);
    let set: Value = serde_json::from_slice(&set.stdout).unwrap();
    let password = set["password"].as_str().unwrap();
    let answer = prove(&ana, &app.code(1)).await;
    assert_eq!(
        answer.problem(),
        "authentication-required",
        "the password changed"
    );
    let browser = gateway.browser();
    let answer = sign_in(&browser, ANA, password).await;
    assert_eq!(answer.problem(), "second-factor-required");
    assert!(gateway.cli(&["users", "deactivate", ANA]).status.success());
    let answer = prove(&browser, &app.code(1)).await;
    assert_eq!(
        answer.problem(),
        "authentication-required",
        "the account was closed"
    );
    assert!(browser.cookie("session").is_none());
}

#[tokio::test]
async fn nobody_proves_a_factor_for_somebody_else_or_without_a_first() {
    let (_upstream, gateway, app, _) = enrolled().await;
    let nobody = gateway.browser();
    let answer = prove(&nobody, &app.code(1)).await;
    assert_eq!(answer.problem(), "authentication-required");
    nobody.set_cookie("challenge", &"A".repeat(43));
    let answer = prove(&nobody, &app.code(1)).await;
    assert_eq!(answer.problem(), "authentication-required");
    for (method, path) in [
        ("GET", "factors"),
        ("POST", "factors/totp"),
        ("POST", "factors/totp/confirm"),
        ("DELETE", "factors/totp"),
        ("POST", "factors/recovery-codes"),
        ("GET", "security"),
    ] {
        let answer = gateway
            .browser()
            .send(method.parse().unwrap(), &format!("{AUTH}/{path}"));
        let answer = answer.json(&json!({ "code": "000000" })).send().await;
        assert_eq!(
            answer.problem(),
            "authentication-required",
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn the_secret_is_sealed_and_neither_logged_nor_shown_again() {
    let (_upstream, gateway, app, _) = enrolled().await;
    let bytes = app.secret();
    for text in [app.base32(), hex(&bytes)] {
        assert!(!gateway.printed().contains(&text));
        assert_eq!(files_with(&gateway.folder, &text).len(), 0);
    }
    let ana = halfway(&gateway).await;
    assert_eq!(prove(&ana, &app.code(1)).await.status, 200);
    let again = ana.post(&format!("{AUTH}/factors/totp")).send().await;
    assert_eq!(again.problem(), "conflict");
    let page = ana.get(&format!("{AUTH}/security")).send().await.text();
    assert!(!page.contains(&app.base32()));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[tokio::test]
async fn a_removed_app_is_asked_for_no_more_and_the_owner_is_told_of_each_change() {
    let mailbox = Mailbox::start().await;
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .mailing(mailbox.address)
        .start()
        .await;
    let ana = gateway.signed_in(ANA).await;
    enrol(&ana).await;
    let letter = mailbox.wait_for(1).await;
    assert_eq!(letter.header("Subject"), "A second factor was added");
    let removed = ana.send("DELETE".parse().unwrap(), &format!("{AUTH}/factors/totp"));
    assert_eq!(removed.send().await.status, 204);
    let letter = mailbox.wait_for(2).await;
    assert_eq!(letter.header("Subject"), "A second factor was removed");
    gateway.signed_in(ANA).await;
    let left = ana.get(&format!("{AUTH}/factors")).send().await.json();
    assert_eq!(
        left,
        json!({ "totp": false, "passkeys": 0, "recovery_codes_left": 0 })
    );
}

#[tokio::test]
async fn an_operator_helps_whoever_lost_everything() {
    let (_upstream, gateway, ..) = enrolled().await;
    let reset = gateway.cli(&["users", "reset-factors", ANA]);
    assert!(
        reset.status.success(),
        "{}",
        String::from_utf8_lossy(&reset.stderr)
    );
    gateway.signed_in(ANA).await;
    let events = gateway.cli(&["audit", "list", "--output", "json"]);
    let events: Value = serde_json::from_slice(&events.stdout).unwrap();
    let events = events.to_string();
    for action in ["factor.added", "factors.reset"] {
        assert!(events.contains(action), "{action}");
    }
    assert!(
        !gateway
            .cli(&["users", "reset-factors", "no@corp.test"])
            .status
            .success()
    );
}

#[tokio::test]
async fn the_pages_need_no_script() {
    let (_upstream, gateway) = gate().await;
    let ana = gateway.signed_in(ANA).await;
    let page = ana.get(&format!("{AUTH}/security")).send().await;
    assert!(page.text().contains("/security/totp") && !page.text().contains("<script"));
    let page = form(&ana, "security/totp", "").await;
    assert_eq!(page.status, 200, "{}", page.text());
    let text = page.text();
    assert!(text.contains("<svg role=\"img\"") && !text.contains("<script"));
    let secret = text
        .split("<code>")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    let app = App::of(secret);
    let wrong = form(&ana, "security/totp/confirm", "code=000000").await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.text().contains("role=\"alert\""));
    let fields = format!("code={}", app.code(0));
    let done = form(&ana, "security/totp/confirm", &fields).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(done.text().matches("<li>").count(), 10);

    let browser = gateway.browser();
    let fields = format!("email=ana%40corp.test&password={PASSWORD}&next=%2Fanything");
    let asked = form(&browser, "sign-in", &fields).await;
    assert_eq!(asked.status, 303);
    let to = asked.header("location").unwrap().to_owned();
    assert_eq!(to, format!("{AUTH}/second-factor?next=%2Fanything"));
    let page = browser.get(&to).send().await;
    assert!(page.text().contains("one-time-code"), "{}", page.text());
    let wrong = form(&browser, "second-factor/prove", "code=1&next=%2Fanything").await;
    assert_eq!(wrong.status, 422);
    let fields = format!("code={}&next=%2Fanything", app.code(1));
    let done = form(&browser, "second-factor/prove", &fields).await;
    assert_eq!(
        (done.status.as_u16(), done.header("location")),
        (303, Some("/anything"))
    );
    assert_eq!(browser.get("/anything").send().await.status, 200);
    // Devices are signed out one by one, or all the others.
    let page = browser.get(&format!("{AUTH}/security")).send().await.text();
    assert!(page.contains("(this one)"));
    assert_eq!(
        form(&browser, "security/sessions/end-others", "")
            .await
            .status,
        303
    );
    assert_eq!(ana.get("/anything").send().await.status, 401);
    let forged = browser
        .post(&format!("{AUTH}/security/totp/remove"))
        .replace("sec-fetch-site", "cross-site")
        .send()
        .await;
    assert_eq!(forged.status, 403);
}

async fn form(browser: &Browser, page: &str, fields: &str) -> Answer {
    browser.submit(&format!("{AUTH}/{page}"), fields).await
}
