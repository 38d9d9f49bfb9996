//! Passkeys (I5): alone, and as a second factor. The real browser is in `passkeys/chromium.rs`.

mod chromium;

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::anomalies;
use crate::support::authenticator::{ROUTES, enrol, prove, sign_in};
use crate::support::mailbox::{Mailbox, ORIGIN};
use crate::support::passkey::{Authenticator, ask, encode, show};
use crate::support::sockets::NAME;
use crate::support::{Answer, Browser, Gateway, GatewayBuilder, PASSWORD, Upstream, database};

const AUTH: &str = "/.portcullis/auth";
const ANA: &str = "ana@corp.test";
const EVE: &str = "eve@corp.test";

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder(upstream, ROUTES)
        .await
        .more("\n[limits.auth]\nrate = \"1000/minute\"\n")
        .user(ANA, &["user"])
        .user(EVE, &["user"])
}

async fn gate() -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.with_origin(ORIGIN).start().await;
    (upstream, gateway)
}

/// Somebody signed in with a password, and the passkey that they have just made.
async fn with_passkey(gateway: &Gateway, email: &str) -> (Browser, Authenticator) {
    let browser = gateway.signed_in(email).await;
    let mut key = Authenticator::at(ORIGIN);
    let made = key.register(&browser, "Phone").await;
    assert_eq!(made.status, 201, "{}", made.text());
    (browser, key)
}

/// A browser that knows the password and waits for the passkey.
async fn halfway(gateway: &Gateway, email: &str) -> Browser {
    let browser = gateway.browser();
    let answer = sign_in(&browser, email, PASSWORD).await;
    assert_eq!(answer.problem(), "second-factor-required");
    browser
}

fn audit(gateway: &Gateway) -> String {
    let events = gateway.cli(&["audit", "list", "--output", "json"]);
    String::from_utf8(events.stdout).unwrap()
}

/// A refusal without what differs from request to request.
fn told(answer: &Answer) -> Value {
    let mut told = answer.json();
    told.as_object_mut().unwrap().remove("request_id");
    told
}

#[tokio::test]
async fn a_passkey_alone_signs_in_and_is_both_factors() {
    let (upstream, gateway) = gate().await;
    let (ana, mut key) = with_passkey(&gateway, ANA).await;
    assert_eq!(
        ana.get("/payouts").send().await.status,
        200,
        "proved by making it"
    );
    let browser = gateway.browser();
    assert_eq!(browser.get("/payouts").send().await.status, 401);
    let asked = ask(&browser, "passkeys/begin").await;
    assert_eq!(
        asked["publicKey"]["allowCredentials"],
        json!([]),
        "no account is named"
    );
    assert_eq!(asked["publicKey"]["userVerification"], "required");
    assert_eq!(asked["publicKey"]["rpId"], "shop.example");
    let ceremony = browser.cookie("passkey").unwrap();
    assert_eq!(browser.get("/public").send().await.status, 200);
    assert!(
        upstream.last().header("cookie").is_none(),
        "the product sees no ceremony"
    );
    let answer = show(&browser, "passkeys/sign-in", &key.get(&asked)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["email"], ANA);
    assert!(browser.cookie("passkey").is_none(), "it is over");
    for path in ["/anything", "/payouts", "/recent"] {
        assert_eq!(browser.get(path).send().await.status, 200, "{path}");
    }
    let listed = browser
        .get(&format!("{AUTH}/factors/passkeys"))
        .send()
        .await;
    assert!(
        listed.json()[0]["last_used_at"].is_string(),
        "{}",
        listed.text()
    );
    assert!(!gateway.printed().contains(&ceremony));
    assert!(audit(&gateway).contains("login.succeeded"));
}

#[tokio::test]
async fn a_passkey_gets_tokens_that_have_both_factors() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .with_origin(ORIGIN)
        .more("\n[tokens]\n")
        .start()
        .await;
    let (_, mut key) = with_passkey(&gateway, ANA).await;
    let browser = gateway.browser();
    let asked = ask(&browser, "passkeys/begin").await;
    let body = json!({ "credential": key.get(&asked), "grant": "tokens" });
    let sign_in = browser
        .post(&format!("{AUTH}/passkeys/sign-in"))
        .json(&body);
    let pair = sign_in.send().await;
    assert_eq!(pair.status, 200, "{}", pair.text());
    let bearer = format!("Bearer {}", pair.json()["access_token"].as_str().unwrap());
    let request = gateway.client().get("/payouts");
    let answer = request.header("authorization", &bearer).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn after_the_password_a_passkey_opens_the_session_and_nothing_less_does() {
    let (_upstream, gateway) = gate().await;
    let (_, mut key) = with_passkey(&gateway, ANA).await;
    let ana = halfway(&gateway, ANA).await;
    assert!(ana.cookie("session").is_none());
    assert_eq!(ana.get("/anything").send().await.status, 401);
    assert_eq!(prove(&ana, "000000").await.problem(), "invalid-input");
    let asked = ask(&ana, "second-factor/passkey/begin").await;
    let ids = asked["publicKey"]["allowCredentials"].as_array().unwrap();
    assert_eq!(ids.len(), 1);
    assert_eq!(ids[0]["id"], encode(&key.id));
    let answer = show(&ana, "second-factor/passkey", &key.get(&asked)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(ana.get("/payouts").send().await.status, 200);
    assert!(ana.cookie("challenge").is_none() && ana.cookie("passkey").is_none());
    // Without a first factor nobody is asked for a second.
    let nobody = gateway.browser();
    let begun = nobody.post(&format!("{AUTH}/second-factor/passkey/begin"));
    assert_eq!(begun.send().await.problem(), "authentication-required");
}

#[tokio::test]
async fn an_app_a_passkey_and_a_recovery_code_stand_beside_each_other() {
    let (_upstream, gateway) = gate().await;
    let ana = gateway.signed_in(ANA).await;
    let (app, codes) = enrol(&ana).await;
    let mut key = Authenticator::at(ORIGIN);
    let made = key.register(&ana, "Phone").await;
    assert_eq!(
        made.json(),
        json!({ "recovery_codes": [] }),
        "the codes stay"
    );
    let has = ana.get(&format!("{AUTH}/factors")).send().await.json();
    assert_eq!(
        has,
        json!({ "totp": true, "passkeys": 1, "recovery_codes_left": 10 })
    );
    let one = halfway(&gateway, ANA).await;
    assert_eq!(key.prove(&one).await.status, 200);
    let two = halfway(&gateway, ANA).await;
    assert_eq!(prove(&two, &app.code(1)).await.status, 200);
    let three = halfway(&gateway, ANA).await;
    assert_eq!(prove(&three, &codes[0]).await.status, 200);
}

#[tokio::test]
async fn a_passkey_in_a_session_makes_the_sign_in_recent_again() {
    let (_upstream, gateway) = gate().await;
    let (ana, mut key) = with_passkey(&gateway, ANA).await;
    let old = ana.cookie("session").unwrap();
    let mut answer = ana.get("/recent").send().await;
    for _ in 0..1000 {
        if answer.status != 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        answer = ana.get("/recent").send().await;
    }
    assert_eq!(answer.problem(), "reauthentication-required");
    assert_eq!(key.prove(&ana).await.status, 200);
    assert_eq!(ana.get("/recent").send().await.status, 200);
    let dead = gateway.client().get("/anything");
    let dead = dead
        .header("cookie", &format!("session={old}"))
        .send()
        .await;
    assert_eq!(dead.status, 401, "the old token is over");
}

#[tokio::test]
async fn an_answer_counts_once_on_every_node_and_for_the_browser_that_was_asked() {
    let (_upstream, gateway) = gate().await;
    let (_, mut key) = with_passkey(&gateway, ANA).await;
    let twin = gateway.twin().await;
    // Asked here, answered there: the nodes share the question.
    let browser = gateway.browser();
    let asked = ask(&browser, "passkeys/begin").await;
    let question = browser.cookie("passkey").unwrap();
    let credential = key.get(&asked);
    let there = twin.browser();
    let refused = show(&there, "passkeys/sign-in", &credential).await;
    assert_eq!(refused.problem(), "credentials-refused", "another browser");
    there.set_cookie("passkey", &question);
    let answer = show(&there, "passkeys/sign-in", &credential).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for node in [&gateway, &twin] {
        let thief = node.browser();
        thief.set_cookie("passkey", &question);
        let replayed = show(&thief, "passkeys/sign-in", &credential).await;
        assert_eq!(replayed.problem(), "credentials-refused");
        assert!(thief.cookie("session").is_none());
    }
    // A refused answer uses the question up as well.
    let browser = gateway.browser();
    let asked = ask(&browser, "passkeys/begin").await;
    let question = browser.cookie("passkey").unwrap();
    let credential = key.get(&asked);
    let mut broken = credential.clone();
    broken["response"]["signature"] = json!(encode(&[0x30, 0x00]));
    let refused = show(&browser, "passkeys/sign-in", &broken).await;
    assert_eq!(refused.problem(), "credentials-refused");
    browser.set_cookie("passkey", &question);
    let refused = show(&browser, "passkeys/sign-in", &credential).await;
    assert_eq!(refused.problem(), "credentials-refused");
    // An answer to the question of a sign-in is no second factor, and the other way round.
    let halfway = halfway(&gateway, ANA).await;
    let asked = ask(&halfway, "passkeys/begin").await;
    let refused = show(&halfway, "second-factor/passkey", &key.get(&asked)).await;
    assert_eq!(refused.problem(), "invalid-input");
    let asked = ask(&halfway, "second-factor/passkey/begin").await;
    let refused = show(&halfway, "passkeys/sign-in", &key.get(&asked)).await;
    assert_eq!(refused.problem(), "credentials-refused");
    assert!(halfway.cookie("session").is_none());
}

#[tokio::test]
async fn a_question_that_is_too_old_is_answered_by_nobody() {
    let (_upstream, gateway) = gate().await;
    let (_, mut key) = with_passkey(&gateway, ANA).await;
    let (alone, halfway) = (gateway.browser(), halfway(&gateway, ANA).await);
    let asked = ask(&alone, "passkeys/begin").await;
    let asked_as_well = ask(&halfway, "second-factor/passkey/begin").await;
    // As if five minutes had passed.
    let passed = "UPDATE passkey_ceremony SET expires_at = expires_at - 300000000";
    database::execute(&gateway.folder, passed).await;
    let late = show(&alone, "passkeys/sign-in", &key.get(&asked)).await;
    assert_eq!(late.problem(), "credentials-refused");
    let late = show(&halfway, "second-factor/passkey", &key.get(&asked_as_well)).await;
    assert_eq!(late.problem(), "invalid-input");
    assert!(alone.cookie("session").is_none() && halfway.cookie("session").is_none());
    assert_eq!(key.prove(&halfway).await.status, 200, "another one in time");
}

#[tokio::test]
async fn of_many_who_bring_one_answer_at_once_one_gets_in() {
    let (_upstream, gateway) = gate().await;
    let (_, mut key) = with_passkey(&gateway, ANA).await;
    let browser = gateway.browser();
    let asked = ask(&browser, "passkeys/begin").await;
    let question = browser.cookie("passkey").unwrap();
    let credential = key.get(&asked);
    let thieves: Vec<Browser> = (0..6).map(|_| gateway.browser()).collect();
    let tries = thieves.iter().map(|thief| {
        thief.set_cookie("passkey", &question);
        show(thief, "passkeys/sign-in", &credential)
    });
    let answers = join_all(tries).await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(won, 1, "{answers:#?}");
}

#[tokio::test]
async fn whatever_is_wrong_with_an_answer_it_is_refused_alike() {
    let (_upstream, gateway) = gate().await;
    let (_, key) = with_passkey(&gateway, ANA).await;
    let (_, eves) = with_passkey(&gateway, EVE).await;
    let unknown = Authenticator {
        handle: key.handle.clone(),
        ..Authenticator::at(ORIGIN)
    };
    let wrong: [(&str, Authenticator); 8] = [
        ("an unknown key", unknown),
        (
            "another origin",
            Authenticator {
                origin: "https://shop.example.evil.test".to_owned(),
                ..key.clone()
            },
        ),
        (
            "a host below",
            Authenticator {
                origin: "https://x.shop.example".to_owned(),
                ..key.clone()
            },
        ),
        (
            "another scheme",
            Authenticator {
                origin: "http://shop.example".to_owned(),
                ..key.clone()
            },
        ),
        (
            "another domain",
            Authenticator {
                rp_id: "evil.test".to_owned(),
                ..key.clone()
            },
        ),
        (
            "nobody checked",
            Authenticator {
                verifies: false,
                ..key.clone()
            },
        ),
        (
            "an answer to another question",
            Authenticator {
                kind_of_get: "webauthn.create",
                ..key.clone()
            },
        ),
        (
            "Eve's key with Ana's name",
            Authenticator {
                handle: key.handle.clone(),
                ..eves.clone()
            },
        ),
    ];
    let mut answers = Vec::new();
    for (what, mut key) in wrong {
        let browser = gateway.browser();
        let answer = key.sign_in(&browser).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        assert!(browser.cookie("session").is_none(), "{what}");
        answers.push((what, told(&answer)));
    }
    for (what, answer) in &answers {
        assert_eq!(answer, &answers[0].1, "{what}");
    }
    // Eve's key is no factor of Ana's, and a stranger's is none either.
    for mut key in [
        eves.clone(),
        Authenticator {
            handle: key.handle.clone(),
            ..eves
        },
    ] {
        let ana = halfway(&gateway, ANA).await;
        assert_eq!(key.prove(&ana).await.problem(), "invalid-input");
        assert!(ana.cookie("session").is_none());
    }
    for mut key in [
        Authenticator {
            origin: "https://evil.test".to_owned(),
            ..key.clone()
        },
        Authenticator {
            verifies: false,
            ..key.clone()
        },
    ] {
        let ana = halfway(&gateway, ANA).await;
        assert_eq!(key.prove(&ana).await.problem(), "invalid-input");
    }
    assert!(audit(&gateway).contains("login.failed"));
    // All that was wrong was wrong with the answers: the key itself is good.
    let mut key = key;
    assert_eq!(key.sign_in(&gateway.browser()).await.status, 200);
}

#[tokio::test]
async fn a_copied_passkey_is_refused_and_recorded_and_its_owner_is_told() {
    let mailbox = Mailbox::start().await;
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .mailing(mailbox.address)
        .more("\n[anomalies]\ndelay = \"1s\"\n")
        .start()
        .await;
    let (browser, mut key) = with_passkey(&gateway, ANA).await;
    let mut copy = key.clone();
    for _ in 0..3 {
        assert_eq!(key.sign_in(&gateway.browser()).await.status, 200);
    }
    let refused = copy.sign_in(&gateway.browser()).await;
    assert_eq!(refused.problem(), "credentials-refused");
    let ana = halfway(&gateway, ANA).await;
    assert_eq!(copy.prove(&ana).await.problem(), "invalid-input");
    assert_eq!(audit(&gateway).matches("passkey.cloned").count(), 2);
    let found = anomalies::found(&gateway, "stolen-credential", 1).await;
    let me = browser.get(&format!("{AUTH}/me")).send().await.json();
    let account = format!("account:{}", me["id"].as_str().unwrap());
    assert_eq!(found[0]["subject"], account);
    let letter = mailbox.wait_for(3).await;
    assert_eq!(
        letter.header("Subject"),
        "A passkey of yours seems to exist twice"
    );
    assert_eq!(key.sign_in(&gateway.browser()).await.status, 200);
}

#[tokio::test]
async fn a_removed_passkey_and_one_of_a_closed_account_open_nothing() {
    let (_upstream, gateway) = gate().await;
    let (ana, mut key) = with_passkey(&gateway, ANA).await;
    let (_, mut eves) = with_passkey(&gateway, EVE).await;
    let list = ana.get(&format!("{AUTH}/factors/passkeys")).send().await;
    let id = list.json()[0]["id"].as_str().unwrap().to_owned();
    let browser = gateway.browser();
    let asked = ask(&browser, "passkeys/begin").await;
    let removed = ana.send(Method::DELETE, &format!("{AUTH}/factors/passkeys/{id}"));
    assert_eq!(removed.send().await.status, 204);
    let refused = show(&browser, "passkeys/sign-in", &key.get(&asked)).await;
    assert_eq!(
        refused.problem(),
        "credentials-refused",
        "also where the question was asked before"
    );
    assert_eq!(
        ana.get("/payouts").send().await.status,
        401,
        "no factor is left"
    );
    gateway.signed_in(ANA).await;
    assert!(gateway.cli(&["users", "deactivate", EVE]).status.success());
    let refused = eves.sign_in(&gateway.browser()).await;
    assert_eq!(refused.problem(), "credentials-refused");
    assert!(audit(&gateway).contains("factor.removed"));
}

#[tokio::test]
async fn a_reset_by_the_operator_takes_passkeys_away_too() {
    let (_upstream, gateway) = gate().await;
    let (_, mut key) = with_passkey(&gateway, ANA).await;
    assert!(
        gateway
            .cli(&["users", "reset-factors", ANA])
            .status
            .success()
    );
    let refused = key.sign_in(&gateway.browser()).await;
    assert_eq!(refused.problem(), "credentials-refused");
    gateway.signed_in(ANA).await;
}

#[tokio::test]
async fn a_new_passkey_wants_a_proof_a_name_and_an_id_that_nobody_has() {
    let (_upstream, gateway) = gate().await;
    let (ana, key) = with_passkey(&gateway, ANA).await;
    let eve = gateway.signed_in(EVE).await;
    // Ana's id, in Eve's hands, with Eve's own key behind it.
    let mut thief = Authenticator {
        id: key.id.clone(),
        ..Authenticator::at(ORIGIN)
    };
    let refused = thief.register(&eve, "Phone").await;
    assert_eq!(refused.problem(), "invalid-input", "{}", refused.text());
    let mut mine = Authenticator {
        verifies: false,
        ..Authenticator::at(ORIGIN)
    };
    assert_eq!(
        mine.register(&eve, "Phone").await.problem(),
        "invalid-input"
    );
    let mut mine = Authenticator {
        origin: "https://evil.test".to_owned(),
        ..Authenticator::at(ORIGIN)
    };
    assert_eq!(
        mine.register(&eve, "Phone").await.problem(),
        "invalid-input"
    );
    let mut mine = Authenticator::at(ORIGIN);
    for name in ["", "  ", "a\u{0}b", &"n".repeat(101)] {
        assert_eq!(
            mine.register(&eve, name).await.problem(),
            "invalid-input",
            "{name:?}"
        );
    }
    // An answer counts once here as well.
    let asked = ask(&eve, "factors/passkeys/begin").await;
    let question = eve.cookie("passkey").unwrap();
    let credential = mine.create(&asked);
    let body = json!({ "credential": credential, "name": "Phone" });
    let send = async || {
        eve.post(&format!("{AUTH}/factors/passkeys"))
            .json(&body)
            .send()
            .await
    };
    assert_eq!(send().await.status, 201);
    eve.set_cookie("passkey", &question);
    assert_eq!(send().await.problem(), "invalid-input");
    // What was asked of Ana is not answered by Eve.
    let asked = ask(&ana, "factors/passkeys/begin").await;
    eve.set_cookie("passkey", &ana.cookie("passkey").unwrap());
    let credential = Authenticator::at(ORIGIN).create(&asked);
    let body = json!({ "credential": credential, "name": "Phone" });
    let taken = eve
        .post(&format!("{AUTH}/factors/passkeys"))
        .json(&body)
        .send()
        .await;
    assert_eq!(taken.problem(), "invalid-input");
    // The names are the owner's, and nobody else's business.
    let list = ana
        .get(&format!("{AUTH}/factors/passkeys"))
        .send()
        .await
        .json();
    let one = format!(
        "{AUTH}/factors/passkeys/{}",
        list[0]["id"].as_str().unwrap()
    );
    let name = json!({ "name": " Work phone " });
    for (browser, status) in [(&eve, 404), (&ana, 204)] {
        let renamed = browser.send(Method::PATCH, &one).json(&name).send().await;
        assert_eq!(renamed.status, status);
    }
    assert_eq!(eve.send(Method::DELETE, &one).send().await.status, 404);
    let list = ana
        .get(&format!("{AUTH}/factors/passkeys"))
        .send()
        .await
        .json();
    assert_eq!(list[0]["name"], "Work phone");
    assert!(list[0]["created_at"].is_string() && list[0]["last_used_at"].is_null());
    // Without the token of the session, nothing; nor for whoever is half way.
    let bare = eve
        .post(&format!("{AUTH}/factors/passkeys"))
        .without("x-csrf-token")
        .json(&body);
    assert_eq!(bare.send().await.problem(), "csrf-token-missing");
    let half = halfway(&gateway, ANA).await;
    let begun = half
        .post(&format!("{AUTH}/factors/passkeys/begin"))
        .send()
        .await;
    assert_eq!(begun.problem(), "authentication-required");
}

#[tokio::test]
async fn nobody_has_more_than_twenty_passkeys_also_by_questions_asked_before() {
    let (_upstream, gateway) = gate().await;
    let (ana, _) = with_passkey(&gateway, ANA).await;
    for number in 2..=19 {
        let made = Authenticator::at(ORIGIN).register(&ana, "Key").await;
        assert_eq!(made.status, 201, "{number}: {}", made.text());
    }
    let mut keys = [Authenticator::at(ORIGIN), Authenticator::at(ORIGIN)];
    let mut asked = Vec::new();
    for key in &mut keys {
        let credential = key.create(&ask(&ana, "factors/passkeys/begin").await);
        asked.push((ana.cookie("passkey").unwrap(), credential));
    }
    for ((question, credential), status) in asked.into_iter().zip([201, 409]) {
        ana.set_cookie("passkey", &question);
        let body = json!({ "credential": credential, "name": "Key" });
        let finish = ana.post(&format!("{AUTH}/factors/passkeys")).json(&body);
        let answer = finish.send().await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let begun = ana.post(&format!("{AUTH}/factors/passkeys/begin"));
    assert_eq!(begun.send().await.problem(), "conflict");
    let has = ana.get(&format!("{AUTH}/factors")).send().await.json();
    assert_eq!(has["passkeys"], 20);
}

#[tokio::test]
async fn the_first_passkey_ends_what_a_password_alone_had_opened() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .with_origin(ORIGIN)
        .more("\n[tokens]\n")
        .start()
        .await;
    let elsewhere = gateway.signed_in(ANA).await;
    let login = json!({ "email": ANA, "password": PASSWORD, "grant": "tokens" });
    let login = gateway.client().post(&format!("{AUTH}/login")).json(&login);
    let tokens = login.send().await.json();
    let by_token = async || {
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        let request = gateway.client().get("/anything");
        request.header("authorization", &bearer).send().await.status
    };
    assert_eq!(by_token().await, 200);
    let (ana, _) = with_passkey(&gateway, ANA).await;
    assert_eq!(elsewhere.get("/anything").send().await.status, 401);
    assert_eq!(by_token().await, 401);
    let refresh = gateway.client().post(&format!("{AUTH}/refresh"));
    let refresh = refresh.json(&json!({ "refresh_token": tokens["refresh_token"] }));
    assert_eq!(refresh.send().await.status, 401);
    let has = ana.get(&format!("{AUTH}/factors")).send().await.json();
    assert_eq!(
        has,
        json!({ "totp": false, "passkeys": 1, "recovery_codes_left": 10 })
    );
}

#[tokio::test]
async fn in_production_an_administrator_keeps_the_last_factor() {
    const ROOT: &str = "root@corp.test";
    let upstream = Upstream::start().await;
    let origin = format!("https://{NAME}");
    let gateway = builder(&upstream)
        .await
        .user(ROOT, &["admin"])
        .in_production()
        .with_origin(&origin)
        .start()
        .await;
    let root = Browser::behind_proxy(gateway.address, NAME);
    assert_eq!(sign_in(&root, ROOT, PASSWORD).await.status, 200);
    assert_eq!(
        root.get("/admin").send().await.problem(),
        "second-factor-required"
    );
    let mut key = Authenticator::at(&origin);
    let made = key.register(&root, "Key").await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(
        root.get("/admin").send().await.status,
        200,
        "the way there was open"
    );
    let list = root
        .get(&format!("{AUTH}/factors/passkeys"))
        .send()
        .await
        .json();
    let one = format!(
        "{AUTH}/factors/passkeys/{}",
        list[0]["id"].as_str().unwrap()
    );
    let kept = root.send(Method::DELETE, &one).send().await;
    assert_eq!(kept.problem(), "conflict");
    assert_eq!(root.get("/admin").send().await.status, 200);
    enrol(&root).await;
    assert_eq!(root.send(Method::DELETE, &one).send().await.status, 204);
    let app = root.send(Method::DELETE, &format!("{AUTH}/factors/totp"));
    assert_eq!(
        app.send().await.problem(),
        "conflict",
        "the app is the last now"
    );
}

#[tokio::test]
async fn hostile_answers_are_refused_and_never_break_anything() {
    let (_upstream, gateway) = gate().await;
    let (ana, mut key) = with_passkey(&gateway, ANA).await;
    let browser = gateway.browser();
    let asked = ask(&browser, "passkeys/begin").await;
    let good = key.get(&asked);
    let deep = format!("{}{}", "[".repeat(7000), "]".repeat(7000));
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "{\"credential\":null}",
        "{\"credential\":{}}",
        &deep,
    ] {
        let answer = browser
            .post(&format!("{AUTH}/passkeys/sign-in"))
            .header("content-type", "application/json")
            .body(body.to_owned())
            .send()
            .await;
        assert!(answer.status.is_client_error(), "{body}: {}", answer.text());
    }
    let bytes: [&[u8]; 6] = [
        &[],
        &[0],
        &[0xff; 37],
        &[0xa1; 400],
        &[0x9f; 4000],
        &[0x5b, 255, 255, 255, 255, 255, 255, 255, 255],
    ];
    for part in [
        "authenticatorData",
        "clientDataJSON",
        "signature",
        "userHandle",
    ] {
        for bytes in bytes {
            let asked = ask(&browser, "passkeys/begin").await;
            let mut credential = key.get(&asked);
            credential["response"][part] = json!(encode(bytes));
            let answer = show(&browser, "passkeys/sign-in", &credential).await;
            assert!(answer.status.is_client_error(), "{part}: {}", answer.text());
        }
    }
    for part in ["attestationObject", "clientDataJSON"] {
        for bytes in bytes {
            let asked = ask(&ana, "factors/passkeys/begin").await;
            let mut credential = Authenticator::at(ORIGIN).create(&asked);
            credential["response"][part] = json!(encode(bytes));
            let body = json!({ "credential": credential, "name": "x" });
            let answer = ana
                .post(&format!("{AUTH}/factors/passkeys"))
                .json(&body)
                .send()
                .await;
            assert!(answer.status.is_client_error(), "{part}: {}", answer.text());
        }
    }
    // Every flag of the authenticator, every length: cut short or with a bit turned.
    let data = good["response"]["authenticatorData"].as_str().unwrap();
    for cut in (0..data.len()).step_by(7) {
        let asked = ask(&browser, "passkeys/begin").await;
        let mut credential = key.get(&asked);
        credential["response"]["authenticatorData"] = json!(&data[..cut]);
        let answer = show(&browser, "passkeys/sign-in", &credential).await;
        assert!(answer.status.is_client_error(), "{cut}: {}", answer.text());
    }
    for form in [
        "credential=",
        "credential=%7B%7D",
        "credential=null&next=%2F",
        "x=1",
    ] {
        for path in [
            "sign-in/passkey",
            "second-factor/prove-passkey",
            "security/passkeys",
            "security/passkeys/remove",
            "security/passkeys/rename",
        ] {
            let answer = ana
                .post(&format!("{AUTH}/{path}"))
                .without("x-csrf-token")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form)
                .send()
                .await;
            assert!(
                answer.status.is_client_error(),
                "{path} {form}: {}",
                answer.status
            );
        }
    }
    assert!(!gateway.printed().contains("panicked"));
    assert_eq!(key.sign_in(&gateway.browser()).await.status, 200);
}

#[tokio::test]
async fn without_a_domain_there_are_no_passkeys_and_no_script() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let browser = gateway.browser();
    let begun = browser.post(&format!("{AUTH}/passkeys/begin")).send().await;
    assert_eq!(begun.problem(), "not-found");
    let page = browser.get(&format!("{AUTH}/sign-in")).send().await.text();
    assert!(
        !page.contains("<script") && !page.contains("passkey"),
        "{page}"
    );
    let ana = gateway.signed_in(ANA).await;
    let page = ana.get(&format!("{AUTH}/security")).send().await.text();
    assert!(
        !page.contains("<script") && !page.contains("passkey"),
        "{page}"
    );
}

#[tokio::test]
async fn a_mistake_in_the_configuration_names_the_key() {
    let upstream = Upstream::start().await;
    for (origin, table, key) in [
        (None, "rp-id = \"shop.example\"", "accounts.origin"),
        (
            Some("http://127.0.0.1:8080"),
            "rp-id = \"shop.example\"",
            "accounts.origin",
        ),
        (Some(ORIGIN), "rp-id = \"evil.example\"", "passkeys.rp-id"),
        (Some(ORIGIN), "rp-id = \"example\"", "passkeys.rp-id"),
        (Some(ORIGIN), "rp-id = \"hop.example\"", "passkeys.rp-id"),
        (
            Some(ORIGIN),
            "origins = [\"https://evil.example\"]",
            "passkeys.origins",
        ),
        (
            Some(ORIGIN),
            "origins = [\"https://app.shop.example/x\"]",
            "passkeys.origins",
        ),
        (Some(ORIGIN), "rpid = \"shop.example\"", "passkeys.rpid"),
    ] {
        let mut gate = builder(&upstream)
            .await
            .more(&format!("\n[passkeys]\n{table}\n"));
        if let Some(origin) = origin {
            gate = gate.with_origin(origin);
        }
        let checked = gate.cli(&["check"]);
        let said = String::from_utf8_lossy(&checked.stdout).into_owned()
            + &String::from_utf8_lossy(&checked.stderr);
        assert!(!checked.status.success(), "{table}");
        assert!(said.contains(key), "{table}: {said}");
    }
}

#[tokio::test]
async fn other_origins_of_the_domain_may_be_named() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .with_origin("https://app.shop.example")
        .more(
            "\n[passkeys]\nrp-id = \"shop.example\"\norigins = [\"https://admin.shop.example\"]\n",
        )
        .start()
        .await;
    let ana = gateway.signed_in(ANA).await;
    let mut key = Authenticator {
        rp_id: "shop.example".to_owned(),
        ..Authenticator::at("https://admin.shop.example")
    };
    assert_eq!(key.register(&ana, "Phone").await.status, 201);
    key.origin = "https://app.shop.example".to_owned();
    assert_eq!(key.sign_in(&gateway.browser()).await.status, 200);
    key.origin = "https://other.shop.example".to_owned();
    assert_eq!(key.sign_in(&gateway.browser()).await.status, 401);
}
