//! Opening an account (I1): closed unless the operator opens it, to anybody or to whoever receives a
//! letter.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::mailbox::{Letter, Mailbox, ORIGIN};
use crate::support::{Answer, Browser, Gateway, PASSWORD, Upstream};

const AUTH: &str = "/.portcullis/auth";

async fn register(browser: &Browser, body: &Value) -> Answer {
    let request = browser.post("/.portcullis/auth/register");
    request.json(body).send().await
}

#[tokio::test]
async fn registration_is_closed_unless_opened() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let body = json!({ "email": "eve@corp.test", "password": PASSWORD });
    let answer = register(&gateway.browser(), &body).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (403, "registration-closed")
    );
    let listed = gateway.cli(&["users", "list", "--output", "json"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), "[]");
}

#[tokio::test]
async fn open_registration_gives_the_configured_roles_and_nothing_that_was_asked_for() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .more("\n[accounts]\nregistration = \"open\"\nregistration-roles = [\"user\"]\n[limits.auth]\nrate = \"1000/minute\"\n")
        .start()
        .await;
    let eve = gateway.browser();
    let with = |key: &str, value: Value| {
        let mut body = json!({ "email": "eve@corp.test", "password": PASSWORD });
        body[key] = value;
        body
    };
    for (body, field) in [
        (with("roles", json!(["admin"])), None),
        (
            with("tenant_id", json!("0191d3a0-0000-7000-8000-000000000000")),
            None,
        ),
        (with("email", json!("not an address")), Some("email")),
        (with("password", json!("short")), Some("password")),
        (with("display_name", json!("a\u{7}b")), Some("display_name")),
    ] {
        let answer = register(&eve, &body).await;
        assert_eq!(answer.problem(), "invalid-input", "{body}");
        if let Some(field) = field {
            assert_eq!(answer.json()["errors"][0]["field"], field);
        }
    }
    let good = with("display_name", json!("Eve"));
    let answer = register(&eve, &good).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["roles"], json!(["user"]));
    assert!(eve.cookie("session").is_none(), "it does not sign in");
    let again = with("email", json!("EVE@corp.test"));
    assert_eq!(register(&eve, &again).await.problem(), "conflict");
    let eve = gateway.signed_in("eve@corp.test").await;
    assert_eq!(eve.get("/anything").send().await.status, 200);
    assert_eq!(eve.get("/admin").send().await.problem(), "not-permitted");
}

async fn by_letter(mailbox: &Mailbox) -> Gateway {
    let upstream = Upstream::start().await;
    Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .more("\n[limits.auth]\nrate = \"1000/minute\"\n")
        .registering_by(mailbox.address)
        .start()
        .await
}

async fn ask(browser: &Browser, email: &str) -> Answer {
    browser
        .post(&format!("{AUTH}/request-registration"))
        .json(&json!({ "email": email }))
        .send()
        .await
}

async fn send_form(browser: &Browser, page: &str, fields: &str) -> Answer {
    browser.submit(&format!("{AUTH}/{page}"), fields).await
}

#[tokio::test]
async fn asking_for_an_account_answers_alike_whether_or_not_there_is_one() {
    let mailbox = Mailbox::start().await;
    let gateway = by_letter(&mailbox).await;
    for arguments in [
        ["users", "create", "--email", "old@corp.test"].as_slice(),
        &["users", "deactivate", "old@corp.test"],
    ] {
        assert!(gateway.cli(arguments).status.success());
    }
    let mut seen = Vec::new();
    for email in ["old@corp.test", "ANA@corp.test", "eve@corp.test"] {
        let answer = ask(&gateway.browser(), email).await;
        let names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
        let fields = format!("email={}", email.replace('@', "%40"));
        let page = send_form(&gateway.browser(), "create-account", &fields).await;
        assert_eq!(page.status, 202, "{}", page.text());
        let said = page.text().contains("A letter is on its way");
        seen.push((answer.status, names, answer.text(), said));
    }
    assert_eq!(seen[0].0, 202);
    assert!(seen.iter().all(|answer| *answer == seen[0]), "{seen:#?}");

    // Letters leave in their order: those to a closed account were never written.
    mailbox.wait_for(4).await;
    let letters = mailbox.letters();
    let told: Vec<(String, String)> = letters
        .iter()
        .map(|letter| (letter.header("To"), letter.header("Subject")))
        .collect();
    let expected = [
        ("ANA@corp.test", "You have an account already"),
        ("ANA@corp.test", "You have an account already"),
        ("eve@corp.test", "Open your account"),
        ("eve@corp.test", "Open your account"),
    ];
    assert_eq!(
        told,
        expected.map(|(to, what)| (to.to_owned(), what.to_owned()))
    );
    assert!(
        !letters[0].text().contains("token"),
        "{}",
        letters[0].text()
    );
    let events = gateway.cli(&["audit", "list", "--output", "json"]);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    assert_eq!(events.matches("registration.asked").count(), 6);
    assert!(!events.contains("eve"));
}

#[tokio::test]
async fn a_letter_opens_an_account_once_and_nothing_else_opens_one() {
    let mailbox = Mailbox::start().await;
    let gateway = by_letter(&mailbox).await;
    let eve = gateway.browser();
    let without = json!({ "email": "eve@corp.test", "password": PASSWORD });
    let answer = register(&eve, &without).await;
    assert_eq!(answer.problem(), "registration-closed");
    let both = json!({ "email": "eve@corp.test", "token": "A", "password": PASSWORD });
    assert_eq!(register(&eve, &both).await.problem(), "invalid-input");

    ask(&eve, "Eve@corp.test").await;
    let letter = mailbox.wait_for(1).await;
    let start = format!("{ORIGIN}{AUTH}/open-account?token=");
    assert!(letter.link().starts_with(&start), "{}", letter.link());
    let token = letter.token();
    // Mail programs open links; nothing comes of it. A password that is too weak costs nothing.
    let page = eve.get(&format!("{AUTH}/open-account?token={token}"));
    assert_eq!(page.send().await.status, 200);
    let with =
        |password: &str| json!({ "token": token, "password": password, "display_name": "Eve" });
    let weak = register(&eve, &with("password")).await;
    assert_eq!(weak.json()["errors"][0]["field"], "password");
    let listed = gateway.cli(&["users", "list", "--output", "json"]);
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("Eve"));

    let opened = register(&eve, &with(PASSWORD)).await;
    assert_eq!(opened.status, 201, "{}", opened.text());
    assert_eq!(opened.json()["roles"], json!(["user"]));
    assert_eq!(opened.json()["email"], "Eve@corp.test");
    assert!(eve.cookie("session").is_none(), "it does not sign in");
    let again = register(&eve, &with(PASSWORD)).await;
    assert_eq!(again.problem(), "link-not-valid");
    let eve = gateway.signed_in("eve@corp.test").await;
    assert_eq!(eve.get("/anything").send().await.status, 200);
    assert!(!gateway.printed().contains(&token), "tokens are not logged");

    // The address is proven by the letter.
    let shown = gateway.cli(&["users", "list", "--output", "json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let shown = shown.as_array().unwrap();
    let account = shown.iter().find(|user| user["email"] == "Eve@corp.test");
    assert_ne!(account.unwrap()["email_verified_at"], Value::Null);
}

#[tokio::test]
async fn of_many_who_open_one_account_at_once_one_does() {
    let mailbox = Mailbox::start().await;
    let gateway = by_letter(&mailbox).await;
    // Two letters, and each link used by several.
    ask(&gateway.browser(), "eve@corp.test").await;
    ask(&gateway.browser(), "eve@corp.test").await;
    mailbox.wait_for(2).await;
    let letters = mailbox.letters();
    let tokens: Vec<String> = letters.iter().map(Letter::token).collect();
    let opened = join_all((0..6).map(|number| {
        let (browser, token) = (gateway.browser(), &tokens[number % 2]);
        async move {
            let body = json!({ "token": token, "password": PASSWORD });
            register(&browser, &body).await
        }
    }))
    .await;
    let mut answers: Vec<u16> = opened.iter().map(|answer| answer.status.as_u16()).collect();
    answers.sort_unstable();
    assert_eq!(answers, [201, 410, 410, 410, 410, 410]);
}

#[tokio::test]
async fn the_pages_open_an_account_without_a_script() {
    let mailbox = Mailbox::start().await;
    let gateway = by_letter(&mailbox).await;
    let eve = gateway.browser();
    let page = eve
        .get(&format!("{AUTH}/sign-in"))
        .header("accept", "text/html");
    assert!(page.send().await.text().contains("create-account"));
    let refused = send_form(&eve, "create-account", "email=nobody").await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("not an e-mail address"));
    send_form(&eve, "create-account", "email=eve%40corp.test").await;
    let token = mailbox.wait_for(1).await.token();
    let fields = format!("token={token}&display_name=Eve&password=");
    let weak = send_form(&eve, "open-account", &format!("{fields}short")).await;
    assert_eq!(weak.status, 422);
    assert!(weak.text().contains("The password "), "{}", weak.text());
    assert!(
        !weak.text().contains("short\""),
        "a password is not shown again"
    );
    let opened = send_form(&eve, "open-account", &format!("{fields}{PASSWORD}")).await;
    assert_eq!(opened.status, 201, "{}", opened.text());
    let spent = send_form(&eve, "open-account", &format!("{fields}{PASSWORD}")).await;
    assert_eq!(spent.status, 410);
    gateway.signed_in("eve@corp.test").await;
}
