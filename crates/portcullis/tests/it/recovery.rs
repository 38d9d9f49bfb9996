//! A new password and a proven address by a link in a letter (I9), through a real SMTP server.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::mailbox::{Letter, Mailbox, ORIGIN, files_with, nobody};
use crate::support::sockets::Certificate;
use crate::support::{Answer, Browser, Gateway, GatewayBuilder, PASSWORD, Upstream, eventually};

const ANA: &str = "ana@corp.test";
const NEW: &str = "vivid-gantry-58-lichen-orbit";
const AUTH: &str = "/.portcullis/auth";

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .user(ANA, &["user"])
        .more("\n[limits.auth]\nrate = \"1000/minute\"\n")
}

async fn gate(mailbox: &Mailbox) -> Gateway {
    let upstream = Upstream::start().await;
    let builder = builder(&upstream).await;
    builder.mailing(mailbox.address).start().await
}

async fn ask(browser: &Browser, email: &str) -> Answer {
    browser
        .post(&format!("{AUTH}/request-password-reset"))
        .json(&json!({ "email": email }))
        .send()
        .await
}

async fn reset(browser: &Browser, token: &str, password: &str) -> Answer {
    browser
        .post(&format!("{AUTH}/reset-password"))
        .json(&json!({ "token": token, "new_password": password }))
        .send()
        .await
}

async fn login(gateway: &Gateway, password: &str) -> u16 {
    let login = json!({ "email": ANA, "password": password });
    let browser = gateway.browser();
    let answer = browser.post(&format!("{AUTH}/login")).json(&login);
    answer.send().await.status.as_u16()
}

fn form(browser: &Browser, page: &str, fields: &str) -> crate::support::RequestBuilder {
    browser.form(&format!("{AUTH}/{page}"), fields)
}

#[tokio::test]
async fn a_link_sets_a_new_password_once_and_ends_all_sessions() {
    let mailbox = Mailbox::start().await;
    let gateway = gate(&mailbox).await;
    let ana = gateway.signed_in(ANA).await;
    let stranger = gateway.browser();
    let asked = stranger
        .post(&format!("{AUTH}/request-password-reset"))
        .header("x-forwarded-host", "evil.example")
        .header("x-forwarded-proto", "http")
        .header("forwarded", "host=evil.example")
        .json(&json!({ "email": "ANA@corp.test" }))
        .send()
        .await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let letter = mailbox.wait_for(1).await;
    assert_eq!(letter.header("To"), ANA);
    assert_eq!(letter.header("Auto-Submitted"), "auto-generated");
    let start = format!("{ORIGIN}{AUTH}/new-password?token=");
    assert!(letter.link().starts_with(&start), "{}", letter.link());
    assert!(!letter.0.contains("evil"));
    let token = letter.token();

    // Mail programs open links; nothing comes of it. A password that is too weak costs nothing.
    let page = stranger
        .get(&format!("{AUTH}/new-password?token={token}"))
        .send()
        .await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let weak = reset(&stranger, &token, "password").await;
    assert_eq!(weak.problem(), "invalid-input");
    assert_eq!(ana.get("/anything").send().await.status, 200);

    assert_eq!(reset(&stranger, &token, NEW).await.status, 204);
    assert!(stranger.cookie("session").is_none(), "nobody is signed in");
    let answer = ana.get("/anything").send().await;
    assert_eq!(answer.problem(), "authentication-required");
    assert_eq!(login(&gateway, PASSWORD).await, 401);
    assert_eq!(login(&gateway, NEW).await, 200);
    let told = mailbox.wait_for(2).await;
    assert_eq!(told.header("Subject"), "Your password was changed");
    assert!(!told.text().contains("token"));

    let again = reset(&stranger, &token, PASSWORD).await;
    assert_eq!(again.problem(), "link-not-valid");
    assert_eq!(login(&gateway, NEW).await, 200);
    assert!(!gateway.printed().contains(&token), "tokens are not logged");
    assert_eq!(
        files_with(&gateway.folder, &token),
        [] as [std::path::PathBuf; 0]
    );
}

#[tokio::test]
async fn asking_answers_alike_whether_or_not_there_is_an_account() {
    let mailbox = Mailbox::start().await;
    let gateway = gate(&mailbox).await;
    let closed = gateway.cli(&["users", "create", "--email", "old@corp.test"]);
    assert!(closed.status.success());
    let closed = gateway.cli(&["users", "deactivate", "old@corp.test"]);
    assert!(closed.status.success());
    let mut seen = Vec::new();
    for email in ["nobody@corp.test", "old@corp.test", ANA] {
        let answer = ask(&gateway.browser(), email).await;
        let names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
        seen.push((answer.status, names, answer.text()));
    }
    assert!(seen.iter().all(|answer| *answer == seen[0]), "{seen:#?}");
    // Letters leave in their order: that Ana's came says that the others were never written.
    assert_eq!(mailbox.wait_for(1).await.header("To"), ANA);
    let events = gateway.cli(&["audit", "list", "--output", "json"]);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    assert_eq!(events.matches("password-reset.asked").count(), 3);
    assert!(!events.contains("nobody"));
}

#[tokio::test]
async fn of_many_who_use_one_link_at_once_one_sets_the_password() {
    let mailbox = Mailbox::start().await;
    let gateway = gate(&mailbox).await;
    ask(&gateway.browser(), ANA).await;
    let token = mailbox.wait_for(1).await.token();
    let passwords: Vec<String> = (0..6).map(|n| format!("{NEW}-{n}")).collect();
    let answers = join_all(passwords.iter().map(|password| {
        let (browser, token) = (gateway.browser(), token.clone());
        async move { reset(&browser, &token, password).await }
    }))
    .await;
    let won: Vec<&String> = answers
        .iter()
        .zip(&passwords)
        .filter(|(answer, _)| answer.status == 204)
        .map(|(_, password)| password)
        .collect();
    assert_eq!(won.len(), 1, "{answers:#?}");
    for (answer, password) in answers.iter().zip(&passwords) {
        if password != won[0] {
            assert_eq!(answer.problem(), "link-not-valid");
        }
    }
    assert_eq!(login(&gateway, won[0]).await, 200);
}

#[tokio::test]
async fn an_account_gets_a_few_letters_and_no_more() {
    let mailbox = Mailbox::start().await;
    let gateway = gate(&mailbox).await;
    for _ in 0..6 {
        assert_eq!(ask(&gateway.browser(), "Ana@corp.test").await.status, 202);
    }
    let other = gateway.cli(&["users", "create", "--email", "ben@corp.test"]);
    assert!(other.status.success());
    assert_eq!(ask(&gateway.browser(), "ben@corp.test").await.status, 202);
    let last = mailbox.wait_for(4).await;
    assert_eq!(last.header("To"), "ben@corp.test");
}

#[tokio::test]
async fn letters_wait_for_a_mail_server_that_is_away_and_nobody_waits_with_them() {
    let upstream = Upstream::start().await;
    let address = nobody();
    let gateway = builder(&upstream).await.mailing(address).start().await;
    assert_eq!(ask(&gateway.browser(), ANA).await.status, 202);
    gateway.wait_until_printed("could not be handed over").await;
    let mailbox = Mailbox::start_with(Some(address), &[]).await;
    let token = mailbox.wait_for(1).await.token();
    assert_eq!(reset(&gateway.browser(), &token, NEW).await.status, 204);
}

#[tokio::test]
async fn letters_wait_through_a_restart_and_are_sealed_meanwhile() {
    let upstream = Upstream::start().await;
    let address = nobody();
    let builder = builder(&upstream).await.mailing(address);
    let gateway = builder.clone().start().await;
    assert_eq!(ask(&gateway.browser(), ANA).await.status, 202);
    gateway.wait_until_printed("could not be handed over").await;
    drop(gateway);
    let mailbox = Mailbox::start_with(Some(address), &[]).await;
    let _gateway = builder.without_users().start().await;
    assert_eq!(mailbox.wait_for(1).await.header("To"), ANA);
}

#[tokio::test]
async fn the_pages_need_no_script_and_only_the_products_own_forms_count() {
    let mailbox = Mailbox::start().await;
    let gateway = gate(&mailbox).await;
    let browser = gateway.browser();
    let sign_in = browser.get(&format!("{AUTH}/sign-in")).send().await;
    assert!(sign_in.text().contains("/forgot-password"));
    let page = browser.get(&format!("{AUTH}/forgot-password")).send().await;
    assert!(page.text().contains("<form") && !page.text().contains("<script"));
    let forged = form(&browser, "forgot-password", "email=ana%40corp.test")
        .replace("sec-fetch-site", "cross-site");
    assert_eq!(forged.send().await.status, 403);
    let asked = form(&browser, "forgot-password", "email=ana%40corp.test");
    assert_eq!(asked.send().await.status, 202);
    let token = mailbox.wait_for(1).await.token();
    let page = browser.get(&format!("{AUTH}/new-password?token={token}"));
    let page = page.send().await;
    assert!(page.text().contains(&token) && !page.text().contains("<script"));
    let weak = form(
        &browser,
        "new-password",
        &format!("token={token}&new_password=short"),
    );
    let weak = weak.send().await;
    assert_eq!(weak.status, 422);
    assert!(weak.text().contains("role=\"alert\""));
    let fields = format!("token={token}&new_password={NEW}");
    let set = form(&browser, "new-password", &fields).send().await;
    assert_eq!(set.status, 200, "{}", set.text());
    assert_eq!(
        form(&browser, "new-password", &fields).send().await.status,
        410
    );
    assert_eq!(login(&gateway, NEW).await, 200);
}

#[tokio::test]
async fn an_address_is_proven_by_its_link() {
    let mailbox = Mailbox::start().await;
    let gateway = gate(&mailbox).await;
    let ana = gateway.signed_in(ANA).await;
    let path = format!("{AUTH}/request-email-verification");
    let nobody = gateway.browser().post(&path).send().await;
    assert_eq!(nobody.problem(), "authentication-required");
    assert_eq!(ana.post(&path).send().await.status, 202);
    let letter = mailbox.wait_for(1).await;
    assert!(letter.link().contains("/verify-email?token="));
    // A link is good for one thing.
    let wrong = reset(&gateway.browser(), &letter.token(), NEW).await;
    assert_eq!(wrong.problem(), "link-not-valid");
    let fields = format!("token={}", letter.token());
    let browser = gateway.browser();
    assert_eq!(
        form(&browser, "verify-email", &fields).send().await.status,
        200
    );
    assert_eq!(
        form(&browser, "verify-email", &fields).send().await.status,
        410
    );
    assert_eq!(ana.get("/anything").send().await.status, 200);
    let events = gateway.cli(&["audit", "list", "--action", "email.verified"]);
    assert!(String::from_utf8_lossy(&events.stdout).contains("email.verified"));
}

#[tokio::test]
async fn a_closed_account_stays_closed() {
    let mailbox = Mailbox::start().await;
    let gateway = gate(&mailbox).await;
    ask(&gateway.browser(), ANA).await;
    let token = mailbox.wait_for(1).await.token();
    assert!(gateway.cli(&["users", "deactivate", ANA]).status.success());
    let answer = reset(&gateway.browser(), &token, NEW).await;
    assert_eq!(answer.problem(), "link-not-valid");
    assert_eq!(login(&gateway, NEW).await, 401);
}

#[tokio::test]
async fn letters_go_through_tls_to_a_server_that_proves_its_name() {
    let certificate = Certificate::new("localhost");
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
    std::fs::write(&cert, &certificate.cert).unwrap();
    std::fs::write(&key, &certificate.key).unwrap();
    let arguments = [
        "--smtpscert",
        cert.to_str().unwrap(),
        "--smtpskey",
        key.to_str().unwrap(),
    ];
    let mailbox = Mailbox::start_with(None, &arguments).await;
    let upstream = Upstream::start().await;
    let tables = |ca: &str| {
        format!(
            "\n[mail]\nserver = \"smtps://localhost:{}\"\nfrom = \"no-reply@shop.example\"\n{ca}\n",
            mailbox.address.port()
        )
    };
    let builder = builder(&upstream).await.with_origin(ORIGIN);
    let believing = builder
        .clone()
        .file("ca.pem", &certificate.cert)
        .more(&tables("ca = \"ca.pem\""))
        .start()
        .await;
    ask(&believing.browser(), ANA).await;
    mailbox.wait_for(1).await;
    drop(believing);
    let doubting = builder.without_users().more(&tables("")).start().await;
    ask(&doubting.browser(), ANA).await;
    doubting
        .wait_until_printed("could not be handed over")
        .await;
    assert_eq!(mailbox.letters().len(), 1, "nothing was said to a stranger");
}

/// The gate takes a name for this machine by its spelling: in capitals it is some other host, and
/// resolves to this one all the same.
const ELSEWHERE: &str = "LOCALHOST";

#[tokio::test]
async fn a_server_elsewhere_has_to_offer_starttls_and_to_prove_its_name() {
    let certificate = Certificate::new("localhost");
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
    std::fs::write(&cert, &certificate.cert).unwrap();
    std::fs::write(&key, &certificate.key).unwrap();
    let [cert, key] = [&cert, &key].map(|path| path.to_str().unwrap());
    let arguments = ["--tlscert", cert, "--tlskey", key];
    let mailbox = Mailbox::start_with(None, &arguments).await;
    let plain = Mailbox::start().await;
    let upstream = Upstream::start().await;
    let tables = |mailbox: &Mailbox, ca: &str| {
        format!(
            "\n[mail]\nserver = \"smtp://{ELSEWHERE}:{}\"\nfrom = \"no-reply@shop.example\"\n{ca}\n",
            mailbox.address.port()
        )
    };
    let builder = builder(&upstream).await.with_origin(ORIGIN);
    let builder = builder.file("ca.pem", &certificate.cert);
    let believing = builder.clone().more(&tables(&mailbox, "ca = \"ca.pem\""));
    let believing = believing.start().await;
    ask(&believing.browser(), ANA).await;
    mailbox.wait_for(1).await;
    drop(believing);
    for (server, ca) in [(&mailbox, ""), (&plain, "ca = \"ca.pem\"")] {
        let builder = builder.clone().without_users();
        let gateway = builder.more(&tables(server, ca)).start().await;
        ask(&gateway.browser(), ANA).await;
        gateway.wait_until_printed("could not be handed over").await;
    }
    assert_eq!(mailbox.letters().len(), 1, "nothing was said to a stranger");
    assert_eq!(plain.letters().len(), 0, "nothing was said in the clear");
}

#[tokio::test]
async fn while_one_develops_letters_become_files() {
    use std::os::unix::fs::PermissionsExt as _;

    let upstream = Upstream::start().await;
    let mail = "\n[mail]\nfolder = \"letters\"\nfrom = \"no-reply@shop.example\"\n";
    let builder = builder(&upstream).await.with_origin(ORIGIN).more(mail);
    let gateway = builder.start().await;
    ask(&gateway.browser(), ANA).await;
    let folder = gateway.folder.join("letters");
    let letters = || -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(&folder).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        let is_letter =
            |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "eml");
        paths.filter(is_letter).collect()
    };
    eventually("a letter is written", || letters().len() == 1).await;
    let letter = letters().remove(0);
    let mode = letter.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "whoever reads it can set the password");
    // As a mailbox keeps it: with the line ends of this system.
    let text = std::fs::read_to_string(&letter).unwrap();
    let letter = Letter(text.replace("\r\n", "\n"));
    assert!(
        letter.link().contains("new-password?token="),
        "{}",
        letter.0
    );
}

#[tokio::test]
async fn without_mail_nothing_is_offered_and_the_page_that_changes_a_password_is_found() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let browser = gateway.browser();
    assert_eq!(ask(&browser, ANA).await.problem(), "not-found");
    let page = browser.get(&format!("{AUTH}/sign-in")).send().await;
    assert!(!page.text().contains("forgot-password"));
    let found = browser.get("/.well-known/change-password").send().await;
    assert_eq!(found.status, 307);
    assert_eq!(found.header("location"), Some("/.portcullis/auth/password"));

    let ana = gateway.signed_in(ANA).await;
    let page = ana.get(&format!("{AUTH}/password")).send().await;
    assert!(page.text().contains("current-password"));
    let wrong = format!("old_password=wrong&new_password={NEW}");
    let wrong = form(&ana, "password", &wrong).send().await;
    assert_eq!(wrong.status, 422);
    assert!(
        wrong.text().contains("present password is not right"),
        "{}",
        wrong.text()
    );
    let right = format!("old_password={PASSWORD}&new_password={NEW}");
    assert_eq!(form(&ana, "password", &right).send().await.status, 303);
    assert_eq!(ana.get("/anything").send().await.status, 200);
    assert_eq!(login(&gateway, NEW).await, 200);
}
