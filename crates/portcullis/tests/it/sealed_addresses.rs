//! Addresses of the gate's own accounts, sealed (E3): no table has one in the clear after whatever was done,
//! and everything that goes by an address goes on. A database is moved while people sign in, and after a kill.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::kms::Bao;
use crate::support::mailbox::Mailbox;
use crate::support::openid::{Certified, sign_in};
use crate::support::{
    Answer, Browser, Gateway, GatewayBuilder, PASSWORD, Upstream, database, eventually_asked,
};

const ROUTES: &str = r#"
[roles.user]
permissions = ["read:own"]

[roles.admin]
inherits = ["user"]
permissions = ["manage:users", "manage:keys", "manage:system"]

[limits.auth]
rate = "10000/minute"

[[route]]
path = "/{*rest}"
allow = "user"
"#;
const AUTH: &str = "/.portcullis/auth";
const ADMIN: &str = "/.portcullis/admin/v1";
const ROOT: &str = "Root.Person@corp.test";
const ADA: &str = "Ada.Person@corp.test";
const NEWCOMER: &str = "New.Comer@elsewhere.test";
const GUEST: &str = "Guest.Person@elsewhere.test";
const OLD: &str = "Old.Customer@elsewhere.test";
const NEW_PASSWORD: &str = "vivid-gantry-58-lichen-orbit";

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    let builder = Gateway::builder(upstream, ROUTES).await;
    builder.user(ROOT, &["admin"]).user(ADA, &["user"])
}

fn done(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.cli(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

async fn login(gateway: &Gateway, email: &str, password: &str) -> Answer {
    let login = json!({ "email": email, "password": password });
    let browser = gateway.browser();
    let request = browser.post(&format!("{AUTH}/login"));
    request.json(&login).send().await
}

async fn post(browser: &Browser, path: &str, body: &Value) -> Answer {
    let answer = browser.post(path).json(body).send().await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text());
    answer
}

/// No address stands in what is stored, however it is written.
async fn assert_none_in_the_clear(gateway: &Gateway, addresses: &[&str]) {
    let everything = database::everything(&gateway.folder).await;
    let lower = everything.to_ascii_lowercase();
    for address in addresses {
        for text in [
            address.to_lowercase(),
            hex::encode(address),
            hex::encode(address.to_lowercase()),
        ] {
            assert!(!has(&lower, &text), "{address} as {text}");
        }
        for text in [
            STANDARD.encode(address),
            STANDARD.encode(address.to_lowercase()),
        ] {
            assert!(
                !has(&everything, text.trim_end_matches('=')),
                "{address} as {text}"
            );
        }
    }
}

fn has(all: &[u8], text: &str) -> bool {
    all.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn whatever_is_done_with_addresses_leaves_none_in_the_clear() {
    let upstream = Upstream::start().await;
    let mailbox = Mailbox::start().await;
    let gateway = builder(&upstream)
        .await
        .registering_by(mailbox.address)
        .sealing_addresses(true)
        .start()
        .await;
    letters(&gateway, &mailbox).await;
    let root = gateway.signed_in(ROOT).await;
    let guest = members(&gateway, &root).await;
    others(&gateway, &root, &guest).await;

    let all = [ROOT, ADA, NEWCOMER, GUEST, OLD];
    assert_none_in_the_clear(&gateway, &all).await;
    assert_none_in_the_clear(&gateway.twin().await, &all).await;
    assert!(!gateway.printed().to_lowercase().contains("guest.person"));
}

/// Registration, recovery and proof of an address.
async fn letters(gateway: &Gateway, mailbox: &Mailbox) {
    let stranger = gateway.browser();
    // Somebody registers by a letter; whoever asks again is told that there is an account.
    let ask = json!({ "email": NEWCOMER });
    let request = format!("{AUTH}/request-registration");
    post(&stranger, &request, &ask).await;
    let letter = mailbox.wait_for(1).await;
    assert_eq!(letter.header("To"), NEWCOMER);
    let open = json!({ "token": letter.token(), "password": PASSWORD });
    let opened = post(&stranger, &format!("{AUTH}/register"), &open).await;
    assert_eq!(opened.json()["email"], NEWCOMER);
    post(
        &stranger,
        &request,
        &json!({ "email": NEWCOMER.to_uppercase() }),
    )
    .await;
    assert!(!mailbox.wait_for(2).await.0.contains("?token="));

    // A link to a new password, taken under another spelling, works once; another one waits.
    let reset = json!({ "email": ADA.to_uppercase() });
    post(&stranger, &format!("{AUTH}/request-password-reset"), &reset).await;
    let link = mailbox.wait_for(3).await;
    assert_eq!(link.header("To"), ADA);
    let new = json!({ "token": link.token(), "new_password": NEW_PASSWORD });
    post(&stranger, &format!("{AUTH}/reset-password"), &new).await;
    mailbox.wait_for(4).await;
    assert_eq!(login(gateway, ADA, PASSWORD).await.status, 401);
    assert_eq!(
        login(gateway, &ADA.to_uppercase(), NEW_PASSWORD)
            .await
            .status,
        200
    );
    post(&stranger, &format!("{AUTH}/request-password-reset"), &reset).await;
    mailbox.wait_for(5).await;
    let root = gateway.signed_in(ROOT).await;
    post(
        &root,
        &format!("{AUTH}/request-email-verification"),
        &json!({}),
    )
    .await;
    let verify = mailbox.wait_for(6).await;
    let fields = format!("token={}", verify.token());
    let page = format!("{AUTH}/verify-email");
    let answer = stranger.form(&page, &fields).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// What administrators do, and invitations. The id of an account that was opened.
async fn members(gateway: &Gateway, root: &Browser) -> String {
    // An administrator lists, opens an account, and is refused a second one of the same address.
    let path = format!("{ADMIN}/users");
    let guest = json!({ "email": GUEST, "password": PASSWORD });
    let answer = post(root, &path, &guest).await;
    let guest_id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.json()["email"], GUEST);
    let again = json!({ "email": GUEST.to_lowercase(), "password": PASSWORD });
    let answer = root.post(&path).json(&again).send().await;
    assert_eq!(answer.problem(), "conflict");
    let list = root.get(&path).send().await.json();
    let listed = list.as_array().unwrap().iter();
    let mut listed: Vec<&str> = listed.map(|user| user["email"].as_str().unwrap()).collect();
    listed.sort_unstable();
    assert_eq!(listed, [ADA, GUEST, NEWCOMER, ROOT]);

    // Invitations: for whom it is, and for nobody else.
    done(gateway, &["tenants", "create", "acme"]);
    let written = done(
        gateway,
        &[
            "--output",
            "json",
            "tenants",
            "invite",
            "acme",
            &GUEST.to_uppercase(),
        ],
    );
    let written: Value = serde_json::from_str(&written).unwrap();
    let token = json!({ "token": written["token"] });
    let invitation = format!("{AUTH}/invitation");
    let answer = root.post(&invitation).json(&token).send().await;
    assert_eq!(answer.problem(), "not-found");
    let guest = gateway.signed_in(GUEST).await;
    post(&guest, &invitation, &token).await;
    // One that stays open.
    done(gateway, &["tenants", "invite", "acme", NEWCOMER]);
    assert!(done(gateway, &["tenants", "invitations", "acme"]).contains(NEWCOMER));
    assert!(done(gateway, &["tenants", "members", "acme"]).contains(GUEST));
    done(gateway, &["tenants", "set-roles", "acme", ROOT, "admin"]);

    guest_id
}

/// Lending, taking over from another product, and looking for somebody.
async fn others(gateway: &Gateway, root: &Browser, guest_id: &str) {
    // Lending shows both.
    let choose = json!({ "tenant": "acme" });
    root.post(&format!("{AUTH}/tenant"))
        .json(&choose)
        .send()
        .await;
    let lent = json!({ "user_id": guest_id, "permission": "manage:users", "expires_in": "1h" });
    let answer = root
        .post(&format!("{ADMIN}/tenants/acme/grants"))
        .json(&lent)
        .send()
        .await;
    assert!(answer.status.is_success(), "{}", answer.text());
    let page = root
        .get("/.portcullis/console/tenants/acme/grants")
        .send()
        .await;
    assert!(
        page.text().contains(GUEST) && page.text().contains(ROOT),
        "{}",
        page.text()
    );

    // Taken over from another product; twice is once.
    let csv = format!("id,email\n7,{OLD}\n");
    let file = gateway.folder.join("old.csv");
    std::fs::write(&file, csv).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let import = [
        "import", "users", "--source", "old", "--file", &file, "--apply",
    ];
    assert!(done(gateway, &import).contains("1 accounts read: 1 taken over"));
    assert!(done(gateway, &import).contains("1 there already"));
    std::fs::remove_file(&file).unwrap();
    let users = done(gateway, &["users", "list"]);
    for address in [ROOT, ADA, NEWCOMER, GUEST, OLD] {
        assert!(users.contains(address), "{address}: {users}");
    }
    done(gateway, &["users", "deactivate", &OLD.to_lowercase()]);

    // The console finds a whole address, and a part of none; it says so.
    let found = async |words: &str| {
        let target = format!("/.portcullis/console/users?find={words}");
        root.get(&target).send().await.text()
    };
    assert!(found("guest.PERSON%40elsewhere.test").await.contains(GUEST));
    let part = found("guest.person").await;
    assert!(
        !part.contains(GUEST) && part.contains("only a whole one is found"),
        "{part}"
    );
    // Nor is what stands in place of an address.
    assert!(!found("index").await.contains("@corp.test"));
}

#[tokio::test]
async fn who_signs_in_at_a_provider_is_known_by_an_index_and_administrators_by_theirs() {
    let upstream = Upstream::start().await;
    let provider = Certified::start().await;
    let gateway = Gateway::builder(&upstream, ROUTES)
        .await
        .signing_in_at(&provider.url, "")
        .replace(
            "[limits.auth]\nrate = \"10000/minute\"\n\n[[route]]",
            "[[route]]",
        )
        .sealing_addresses(true)
        .user(ROOT, &["admin"])
        .start()
        .await;
    let me = async |browser: &Browser| browser.get(&format!("{AUTH}/me")).send().await.json();
    let users = format!("{ADMIN}/users");
    let (root, at_root) = (gateway.browser(), provider.browser());
    sign_in(&root, &provider, &at_root, "/", "login=root").await;
    assert_eq!(me(&root).await["email"], "root@corp.test");
    assert_eq!(root.get(&users).send().await.status, 200);
    let (ana, at_ana) = (gateway.browser(), provider.browser());
    sign_in(&ana, &provider, &at_ana, "/", "login=ana").await;
    assert_eq!(me(&ana).await["email"], "ana@corp.test");
    assert_eq!(ana.get(&users).send().await.problem(), "not-permitted");
    // An invitation finds whom the provider verified.
    done(&gateway, &["tenants", "create", "acme"]);
    let invite = [
        "--output",
        "json",
        "tenants",
        "invite",
        "acme",
        "Ana@corp.test",
    ];
    let written: Value = serde_json::from_str(&done(&gateway, &invite)).unwrap();
    let token = json!({ "token": written["token"] });
    let invitation = format!("{AUTH}/invitation");
    let answer = root.post(&invitation).json(&token).send().await;
    assert_eq!(answer.problem(), "not-found");
    post(&ana, &invitation, &token).await;
    let all = ["ana@corp.test", "root@corp.test", ROOT];
    assert_none_in_the_clear(&gateway, &all).await;
    // What a session keeps counts in either form: the database goes back to the clear.
    let gateway = gateway.end().await.sealing_addresses(false).start().await;
    let again = gateway.browser();
    again.set_cookie("session", &root.cookie("session").unwrap());
    assert_eq!(again.get(&users).send().await.status, 200);
    eventually_asked("addresses are in the clear", async || {
        sealed(&gateway).await == "0"
    })
    .await;
    assert!(done(&gateway, &["users", "list"]).contains("ana@corp.test"));
}

const SEALED: &str = "email NOT LIKE '%@%' OR email_canonical LIKE 'index:%'";
const CLEAR: &str = "email LIKE '%@%' OR email_canonical LIKE '%@%'";

/// How many accounts are so.
async fn count_in(folder: &std::path::Path, what: &str) -> String {
    let sql = format!("SELECT CAST(count(*) AS TEXT) FROM users WHERE {what}");
    database::text(folder, &sql).await
}

async fn sealed(gateway: &Gateway) -> String {
    count_in(&gateway.folder, SEALED).await
}

#[tokio::test]
async fn a_database_is_moved_while_people_sign_in_and_goes_on_after_a_kill() {
    const MANY: usize = 2000;
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let rows = (0..MANY).map(|number| format!("{number},customer{number}@elsewhere.test"));
    let csv = format!("id,email\n{}\n", rows.collect::<Vec<_>>().join("\n"));
    let file = gateway.folder.join("old.csv");
    std::fs::write(&file, csv).unwrap();
    let file = file.to_str().unwrap().to_owned();
    done(
        &gateway,
        &[
            "import", "users", "--source", "old", "--file", &file, "--apply",
        ],
    );
    std::fs::remove_file(&file).unwrap();
    done(&gateway, &["tenants", "create", "acme"]);
    let invite = ["--output", "json", "tenants", "invite", "acme", ADA];
    let written: Value = serde_json::from_str(&done(&gateway, &invite)).unwrap();
    let token = json!({ "token": written["token"] });
    assert_eq!(sealed(&gateway).await, "0");

    let gateway = gateway.end().await.sealing_addresses(true).start().await;
    eventually_asked("the move has begun", async || sealed(&gateway).await != "0").await;
    let builder = gateway.kill();
    let left: usize = count_in(builder.folder(), CLEAR).await.parse().unwrap();
    assert!(
        (1..MANY + 2).contains(&left),
        "killed in the middle: {left}"
    );
    let doctor = String::from_utf8(builder.cli(&["doctor"]).stdout).unwrap();
    assert!(doctor.contains("are in the clear still"), "{doctor}");
    let gateway = builder.start().await;
    assert_eq!(login(&gateway, ADA, PASSWORD).await.status, 200);
    // Moved or not, an address has one account.
    for number in [0, MANY / 2, MANY - 1] {
        let email = format!("Customer{number}@elsewhere.test");
        let create = ["users", "create", "--email", &email, "--password-stdin"];
        let output = gateway.cli_with_input(&create, PASSWORD);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("There is an account"), "{said}");
    }
    gateway
        .wait_until_printed("addresses were brought into the form")
        .await;
    assert_eq!(count_in(&gateway.folder, CLEAR).await, "0");
    let moved = count_in(&gateway.folder, "1 = 1").await;
    assert_eq!(moved, (MANY + 2).to_string());
    assert_none_in_the_clear(&gateway, &[ADA, ROOT, "customer7@elsewhere.test"]).await;
    let doctor = String::from_utf8(gateway.cli(&["doctor"]).stdout).unwrap();
    assert!(doctor.contains("none is in the clear"), "{doctor}");
    // An invitation of before finds its account.
    let ada = gateway.signed_in(ADA).await;
    post(&ada, &format!("{AUTH}/invitation"), &token).await;

    // Back again, and everybody is there.
    let gateway = gateway.end().await.sealing_addresses(false).start().await;
    assert_eq!(login(&gateway, ADA, PASSWORD).await.status, 200);
    gateway
        .wait_until_printed("addresses were brought into the form")
        .await;
    assert_eq!(sealed(&gateway).await, "0");
    let doctor = String::from_utf8(gateway.cli(&["doctor"]).stdout).unwrap();
    assert!(!doctor.contains("accounts.seal-addresses"), "{doctor}");
    let list = done(&gateway, &["users", "list"]);
    assert!(list.contains(ADA) && list.contains("customer7@elsewhere.test"));
}

#[tokio::test]
async fn an_address_that_was_moved_to_another_row_signs_nobody_in() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .sealing_addresses(true)
        .start()
        .await;
    let root = gateway.signed_in(ROOT).await;
    let swap = async |column: &str| {
        let read = async |order: &str| {
            let sql = format!("SELECT {column} FROM users ORDER BY id {order} LIMIT 1");
            database::text(&gateway.folder, &sql).await
        };
        let (first, second) = (read("ASC").await, read("DESC").await);
        assert_ne!(first, second);
        for (from, to) in [
            (&first, "index:between"),
            (&second, &*first),
            (&"index:between".to_owned(), &*second),
        ] {
            let sql = format!("UPDATE users SET {column} = '{to}' WHERE {column} = '{from}'");
            database::execute(&gateway.folder, &sql).await;
        }
    };
    for column in ["email", "email_canonical"] {
        swap(column).await;
        for email in [ROOT, ADA] {
            let answer = login(&gateway, email, PASSWORD).await;
            assert_eq!(answer.problem(), "internal-error", "{}", answer.text());
            assert!(!answer.cookies().contains_key("session"));
            assert!(!answer.text().contains("users"), "{}", answer.text());
        }
        let list = root.get(&format!("{ADMIN}/users")).send().await;
        assert_eq!(list.status, 200, "{}", list.text());
        assert!(list.text().contains("(does not open)") && !list.text().contains('@'));
        swap(column).await;
        assert_eq!(login(&gateway, ADA, PASSWORD).await.status, 200);
    }
    assert!(gateway.printed().contains("does not open there"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_kek_is_away_signing_in_is_closed_and_who_is_signed_in_goes_on() {
    let upstream = Upstream::start().await;
    let mut bao = Bao::start().await;
    let quick = "timeout = \"500ms\"\nremember-for = \"2s\"\n";
    let sealing = builder(&upstream).await.sealing_addresses(true);
    let gateway = bao.under(sealing, quick).await.start().await;
    let ada = gateway.signed_in(ADA).await;
    bao.relay.stop().await;
    eventually_asked("the vault is sealed", async || {
        // Each makes a session, and the oldest of too many ends.
        login(&gateway, ROOT, PASSWORD).await.status == 503
    })
    .await;
    for email in [ADA, "nobody@elsewhere.test"] {
        let answer = login(&gateway, email, PASSWORD).await;
        assert_eq!(answer.problem(), "temporarily-unavailable");
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(ada.get("/anything").send().await.status, 200);
    bao.relay.start_again().await;
    eventually_asked("it opens again", async || {
        login(&gateway, ADA, PASSWORD).await.status == 200
    })
    .await;
}
