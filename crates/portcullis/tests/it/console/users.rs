//! Accounts and their sessions, by hand.

use serde_json::{Value, json};

use super::{
    ANA, CONSOLE, HOSTILE, ROOT, account, assert_harmless, builder, done, gate, json as cli,
};
use crate::support::authenticator::{enrol, prove, sign_in};
use crate::support::mailbox::Mailbox;
use crate::support::{Gateway, PASSWORD, Upstream};

const ADMIN: &str = "/.portcullis/admin/v1";

async fn login(gateway: &Gateway, email: &str, password: &str) -> u16 {
    let browser = gateway.browser();
    let login = json!({ "email": email, "password": password });
    let answer = browser.post("/.portcullis/auth/login").json(&login);
    answer.send().await.status.as_u16()
}

#[tokio::test]
async fn an_account_is_created_with_a_password_that_is_shown_once() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let new = root.open(&format!("{CONSOLE}/users/new")).await;
    let bob = [
        ("email", "Bob@corp.test"),
        ("display_name", "Bob"),
        ("roles", "user"),
        ("roles", "premium"),
    ];
    let made = root.fill(&new, "/users", &bob).await;
    assert_eq!(made.answer.status, 201, "{}", made.text);
    let password = made.secret();
    assert_eq!(login(&gateway, "bob@corp.test", &password).await, 200);
    assert_eq!(
        cli(&gateway, &["users", "list"])[0]["roles"],
        json!(["premium", "user"])
    );

    // The page is loaded again: the browser sends the same form once more.
    let token = new.token("/users");
    let body = format!("csrf={token}&email=carl%40corp.test");
    let again = root.submit(&format!("{CONSOLE}/users"), &body).await;
    assert_eq!(again.status, 409, "{}", again.text());
    assert!(again.text().contains("This form was sent before"));
    assert_eq!(
        cli(&gateway, &["users", "list"]).as_array().unwrap().len(),
        4
    );

    // What is refused is said beside the form, with what was typed, and another form is there.
    let new = root.open(&format!("{CONSOLE}/users/new")).await;
    let refused = root.fill(&new, "/users", &bob).await;
    assert_eq!(refused.answer.status, 422);
    assert!(
        refused
            .text
            .contains("There is an account with this e-mail address.")
    );
    assert!(
        refused.text.contains("value=\"Bob@corp.test\"") && refused.text.contains("value=\"Bob\"")
    );
    assert!(refused.text.contains("value=\"premium\" checked"));
    let other = [("email", "no address"), ("roles", "king")];
    let refused = root.fill(&refused, "/users", &other).await;
    assert!(
        refused
            .text
            .contains("What is chosen as roles must be roles that are defined.")
    );
    let refused = root
        .fill(&refused, "/users", &[("email", "no address")])
        .await;
    assert!(
        refused
            .text
            .contains("The e-mail address must be an e-mail address.")
    );
    assert!(refused.text.contains("aria-invalid=\"true\""));
    let fixed = root
        .fill(&refused, "/users", &[("email", "dora@corp.test")])
        .await;
    assert_eq!(fixed.answer.status, 201, "{}", fixed.text);
}

#[tokio::test]
async fn an_account_is_looked_after_by_hand_and_each_act_is_recorded() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let ana = gateway.signed_in(ANA).await;
    let id = account(&gateway, ANA);
    let at = format!("{CONSOLE}/users/{id}");
    assert_eq!(ana.get("/admin").send().await.problem(), "not-permitted");
    let page = root.open(&at).await;
    let saved = root.fill(&page, "/roles", &[("roles", "admin")]).await;
    assert!(root.follow(&saved).await.text.contains("Saved."));
    assert_eq!(ana.get("/admin").send().await.status, 200);
    let unknown = root
        .fill(&page, "/roles", &[("roles", "king"), ("roles", "user")])
        .await;
    assert_eq!(unknown.answer.status, 422);
    assert!(
        unknown.text.contains("value=\"king\" checked"),
        "{}",
        unknown.text
    );
    let none = root.fill(&page, "/roles", &[]).await;
    assert_eq!(none.answer.status, 303);
    assert_eq!(ana.get("/admin").send().await.problem(), "not-permitted");

    let off = root.fill(&page, "/deactivate", &[]).await;
    let page = root.follow(&off).await;
    assert!(page.text.contains("suspended"));
    assert_eq!(ana.get("/anything").send().await.status, 401);
    assert_eq!(login(&gateway, ANA, PASSWORD).await, 401);
    let on = root.fill(&page, "/activate", &[]).await;
    let page = root.follow(&on).await;
    assert_eq!(
        ana.get("/anything").send().await.status,
        401,
        "what has ended has ended"
    );
    assert_eq!(login(&gateway, ANA, PASSWORD).await, 200);

    let ana = gateway.signed_in(ANA).await;
    let set = root.fill(&page, "/password", &[]).await;
    assert_eq!(set.answer.status, 200, "{}", set.text);
    let password = set.secret();
    assert_eq!(ana.get("/anything").send().await.status, 401);
    assert_eq!(login(&gateway, ANA, PASSWORD).await, 401);
    let again = root.fill(&page, "/password", &[]).await;
    assert_eq!(again.answer.status, 409);
    assert_eq!(
        login(&gateway, ANA, &password).await,
        200,
        "and nothing changed"
    );

    let events = cli(&gateway, &["audit", "list", "--limit", "200"]);
    for action in [
        "user.updated",
        "user.deactivated",
        "user.reactivated",
        "password.changed",
    ] {
        let by_root = events.as_array().unwrap().iter().any(|event| {
            event["action"] == action
                && event["actor"] == "user"
                && event["target"] == format!("user:{id}")
                && event["client_address"].is_string()
        });
        assert!(by_root, "{action}: {events}");
    }
}

#[tokio::test]
async fn whoever_lost_all_second_factors_signs_in_by_the_password_alone_again() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let at = format!("{CONSOLE}/users/{}", account(&gateway, ANA));
    let button = "Reset the second factors";
    assert!(
        !root.open(&at).await.text.contains(button),
        "there are none"
    );
    let ana = gateway.signed_in(ANA).await;
    let (app, codes) = enrol(&ana).await;
    let halfway = gateway.browser();
    let asked = sign_in(&halfway, ANA, PASSWORD).await;
    assert_eq!(asked.problem(), "second-factor-required");

    let page = root.open(&at).await;
    assert!(page.text.contains(button), "{}", page.text);
    let reset = root.fill(&page, "/reset-factors", &[]).await;
    let page = root.follow(&reset).await;
    let told = "The second factors are gone, and the sessions have ended.";
    assert!(page.text.contains(told), "{}", page.text);
    assert!(!page.text.contains(button));
    assert_eq!(ana.get("/anything").send().await.status, 401);
    // Neither what was under way nor what was written down opens anything now.
    for code in [&app.code(1), &codes[0]] {
        let proved = prove(&halfway, code).await;
        assert!(proved.status.is_client_error(), "{}", proved.text());
        assert!(halfway.cookie("session").is_none());
    }
    let again = gateway.signed_in(ANA).await;
    let has = again.get("/.portcullis/auth/factors").send().await.json();
    assert_eq!(
        has,
        json!({ "totp": false, "passkeys": 0, "recovery_codes_left": 0 })
    );
    assert_eq!(root.get("/anything").send().await.status, 200);
    let events = cli(&gateway, &["audit", "list", "--limit", "200"]);
    let target = format!("user:{}", account(&gateway, ANA));
    let is_there = |event: &Value| {
        event["action"] == "factors.reset" && event["actor"] == "user" && event["target"] == target
    };
    assert!(events.as_array().unwrap().iter().any(is_there), "{events}");
}

#[tokio::test]
async fn sessions_are_seen_and_ended_one_by_one_and_all_at_once() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let (phone, desk) = (gateway.signed_in(ANA).await, gateway.signed_in(ANA).await);
    let id = account(&gateway, ANA);
    let at = format!("{CONSOLE}/users/{id}/sessions");
    let page = root.open(&at).await;
    assert_eq!(page.text.matches("Last seen").count(), 2, "{}", page.text);
    // The newest stands first.
    let ended = root.fill(&page, "/sessions/end", &[]).await;
    let page = root.follow(&ended).await;
    assert_eq!(page.text.matches("Last seen").count(), 1);
    assert_eq!(desk.get("/anything").send().await.status, 401);
    assert_eq!(phone.get("/anything").send().await.status, 200);
    let desk = gateway.signed_in(ANA).await;
    let ended = root.fill(&page, "/sessions/end-all", &[]).await;
    assert!(
        root.follow(&ended)
            .await
            .text
            .contains("Nobody is signed in")
    );
    for browser in [&desk, &phone] {
        assert_eq!(browser.get("/anything").send().await.status, 401);
    }
    assert_eq!(
        root.get("/anything").send().await.status,
        200,
        "nobody else's"
    );
}

#[tokio::test]
async fn the_admin_api_has_the_same_acts() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let (phone, desk) = (gateway.signed_in(ANA).await, gateway.signed_in(ANA).await);
    let users = format!("{ADMIN}/users/{}", account(&gateway, ANA));
    let list = async || root.get(&format!("{users}/sessions")).send().await.json();
    let sessions = list().await;
    assert_eq!(sessions.as_array().unwrap().len(), 2);
    assert!(sessions[0].get("token").is_none() && sessions[0]["name"].is_string());
    let newest = sessions[0]["id"].as_str().unwrap();
    let delete = async |path: String| root.send(http::Method::DELETE, &path).send().await;
    let one = delete(format!("{users}/sessions/{newest}")).await;
    assert_eq!(one.status, 204, "{}", one.text());
    assert_eq!(
        delete(format!("{users}/sessions/{newest}")).await.problem(),
        "not-found"
    );
    assert_eq!(desk.get("/anything").send().await.status, 401);
    assert_eq!(phone.get("/anything").send().await.status, 200);
    // Somebody else's session is not found below this account.
    let other = account(&gateway, ROOT);
    let others = root
        .get(&format!("{ADMIN}/users/{other}/sessions"))
        .send()
        .await
        .json();
    let others = others[0]["id"].as_str().unwrap();
    assert_eq!(
        delete(format!("{users}/sessions/{others}")).await.problem(),
        "not-found"
    );
    assert_eq!(delete(format!("{users}/sessions")).await.status, 204);
    assert_eq!(phone.get("/anything").send().await.status, 401);
    assert_eq!(list().await, Value::Array(vec![]));
    let act = async |name: &str| {
        root.post(&format!("{users}/{name}"))
            .json(&json!({}))
            .send()
            .await
    };
    assert_eq!(act("activate").await.problem(), "not-found", "it is active");
    assert_eq!(act("deactivate").await.status, 204);
    assert_eq!(act("activate").await.status, 204);
    assert_eq!(login(&gateway, ANA, PASSWORD).await, 200);
    // Without a mail server there is no such letter.
    assert_eq!(act("send-reset").await.problem(), "not-found");
}

#[tokio::test]
async fn a_reset_link_is_sent_a_few_times_and_then_it_is_said_that_it_is_not() {
    let mailbox = Mailbox::start().await;
    let gateway = builder(&Upstream::start().await).await;
    let gateway = gateway.mailing(mailbox.address).start().await;
    let root = gateway.signed_in(ROOT).await;
    let page = root
        .open(&format!("{CONSOLE}/users/{}", account(&gateway, ANA)))
        .await;
    for count in 1..=3 {
        let sent = root.fill(&page, "/send-reset", &[]).await;
        assert!(root.follow(&sent).await.text.contains("on its way"));
        let letter = mailbox.wait_for(count).await;
        assert!(letter.header("To").contains(ANA) && !letter.token().is_empty());
    }
    let refused = root.fill(&page, "/send-reset", &[]).await;
    assert_eq!(refused.answer.status, 429);
    assert!(refused.text.contains("role=\"alert\""), "{}", refused.text);
    assert!(
        refused.text.contains("Send a reset link"),
        "the page is there again"
    );
}

/// More accounts than a page has room for, made in one go.
fn crowd(gateway: &Gateway) {
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    let row = |number| {
        format!(
            "{number},guest{number:03}@corp.test,{hash},Guest_{number},,2024-05-01 10:{:02}:00,\n",
            number % 60
        )
    };
    let rows: String = (0..120).map(row).collect();
    let csv = format!("id,email,password_hash,display_name,roles,created_at,deleted_at\n{rows}");
    std::fs::write(gateway.folder.join("users.csv"), csv).unwrap();
    done(
        gateway,
        &["import", "users", "--file", "users.csv", "--apply"],
    );
}

#[tokio::test]
async fn accounts_are_listed_to_the_last_and_found_by_a_part_of_address_or_name() {
    let gateway = gate().await;
    crowd(&gateway);
    let root = gateway.signed_in(ROOT).await;
    let below = format!("{CONSOLE}/users");
    let mut seen = Vec::new();
    let mut at = Some(below.clone());
    let mut pages = 0;
    while let Some(target) = at {
        let page = root.open(&target).await;
        assert_eq!(page.answer.status, 200, "{}", page.text);
        seen.extend(page.ids_below(&below));
        pages += 1;
        at = page.next();
        assert!(pages < 10);
    }
    assert_eq!((seen.len(), pages), (123, 3));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 123, "nobody twice");
    let found = async |words: &str| {
        let page = root.open(&format!("{below}?find={words}")).await;
        page.ids_below(&below).len()
    };
    assert_eq!(found("guest007%40corp.test").await, 1);
    assert_eq!(found("GUEST01").await, 10);
    // An underscore is an underscore.
    assert_eq!(found("guest_11").await, 11);
    assert_eq!(found("t_11%25").await, 0);
    assert_eq!(found("nobody").await, 0);
    let unknown = root.open(&format!("{below}?after=nonsense")).await;
    assert_eq!(unknown.answer.status, 404);
}

#[tokio::test]
async fn what_people_call_themselves_does_nothing_on_a_page() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let new = root.open(&format!("{CONSOLE}/users/new")).await;
    let fields = [("email", "x@corp.test"), ("display_name", HOSTILE)];
    let made = root.fill(&new, "/users", &fields).await;
    assert_eq!(made.answer.status, 201, "{}", made.text);
    let list = root.open(&format!("{CONSOLE}/users")).await;
    assert_harmless(&list);
    assert_harmless(
        &root
            .open(&format!(
                "{CONSOLE}/users/{}",
                account(&gateway, "x@corp.test")
            ))
            .await,
    );
    let new = root.open(&format!("{CONSOLE}/users/new")).await;
    let refused = root
        .fill(
            &new,
            "/users",
            &[("email", HOSTILE), ("display_name", HOSTILE)],
        )
        .await;
    assert_eq!(refused.answer.status, 422);
    assert_harmless(&refused);
    let query: String = url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    assert_harmless(&root.open(&format!("{CONSOLE}/users?find={query}")).await);
    let told = root.open(&format!("{CONSOLE}/users?done={query}")).await;
    assert!(
        !told.text.contains("alert(1)") || told.text.contains("&lt;script"),
        "{}",
        told.text
    );
    assert!(!told.text.contains("role=\"status\""));
}
