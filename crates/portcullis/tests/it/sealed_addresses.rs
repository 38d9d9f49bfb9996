//! Addresses of the gate's own accounts, sealed (E3): no table has one in the clear after whatever was done,
//! and everything that goes by an address goes on. A database is moved while people sign in, and after a kill.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::console::Page;
use crate::support::kms::Bao;
use crate::support::mailbox::{Letter, Mailbox};
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
        let (local, _) = address.split_once('@').unwrap();
        for text in [local.to_lowercase(), hex::encode(address), hex::encode(address.to_lowercase())] {
            assert!(!has(&lower, &text), "{address} as {text}");
        }
        for text in [STANDARD.encode(address), STANDARD.encode(address.to_lowercase())] {
            assert!(!has(&everything, text.trim_end_matches('=')), "{address} as {text}");
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
    post(&stranger, &request, &json!({ "email": NEWCOMER.to_uppercase() })).await;
    assert!(!mailbox.wait_for(2).await.0.contains("?token="));

    // A link to a new password, taken under another spelling, works once; another one waits.
    let reset = json!({ "email": ADA.to_uppercase() });
    post(&stranger, &format!("{AUTH}/request-password-reset"), &reset).await;
    let link = mailbox.wait_for(3).await;
    assert_eq!(link.header("To"), ADA);
    let new = json!({ "token": link.token(), "new_password": NEW_PASSWORD });
    post(&stranger, &format!("{AUTH}/reset-password"), &new).await;
    mailbox.wait_for(4).await;
    assert_eq!(login(&gateway, ADA, PASSWORD).await.status, 401);
    assert_eq!(login(&gateway, &ADA.to_uppercase(), NEW_PASSWORD).await.status, 200);
    post(&stranger, &format!("{AUTH}/request-password-reset"), &reset).await;
    mailbox.wait_for(5).await;
    let root = gateway.signed_in(ROOT).await;
    post(&root, &format!("{AUTH}/request-email-verification"), &json!({})).await;
    let verify = mailbox.wait_for(6).await;
    post(&stranger, &format!("{AUTH}/verify-email"), &json!({ "token": verify.token() })).await;

    // An administrator lists, opens an account, and is refused a second one of the same address.
    let path = format!("{ADMIN}/users");
    let guest = json!({ "email": GUEST, "password": PASSWORD });
    let answer = post(&root, &path, &guest).await;
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
    done(&gateway, &["tenants", "create", "acme"]);
    let written = done(
        &gateway,
        &["--output", "json", "tenants", "invite", "acme", &GUEST.to_uppercase()],
    );
    let written: Value = serde_json::from_str(&written).unwrap();
    let token = json!({ "token": written["token"] });
    let invitation = format!("{AUTH}/invitation");
    let answer = root.post(&invitation).json(&token).send().await;
    assert_eq!(answer.problem(), "not-found");
    let guest = gateway.signed_in(GUEST).await;
    post(&guest, &invitation, &token).await;
    // One that stays open.
    done(&gateway, &["tenants", "invite", "acme", NEWCOMER]);
    assert!(done(&gateway, &["tenants", "invitations", "acme"]).contains(NEWCOMER));
    assert!(done(&gateway, &["tenants", "members", "acme"]).contains(GUEST));
    done(&gateway, &["tenants", "set-roles", "acme", ROOT, "admin"]);

    // Lending shows both.
    let choose = json!({ "tenant": "acme" });
    root.post(&format!("{AUTH}/tenant")).json(&choose).send().await;
    let lent = json!({ "user_id": guest_id, "permission": "manage:users", "expires_in": "1h" });
    let answer = root.post(&format!("{ADMIN}/tenants/acme/grants")).json(&lent).send().await;
    assert!(answer.status.is_success(), "{}", answer.text());
    let page = root.get("/.portcullis/console/tenants/acme/grants").send().await;
    assert!(page.text().contains(GUEST) && page.text().contains(ROOT), "{}", page.text());

    // Taken over from another product; twice is once.
    let csv = format!("id,email\n7,{OLD}\n");
    let file = gateway.folder.join("old.csv");
    std::fs::write(&file, csv).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let import = ["import", "users", "--source", "old", "--file", &file, "--apply"];
    assert!(done(&gateway, &import).contains("1 accounts read: 1 taken over"));
    assert!(done(&gateway, &import).contains("1 there already"));
    std::fs::remove_file(&file).unwrap();
    let users = done(&gateway, &["users", "list"]);
    for address in [ROOT, ADA, NEWCOMER, GUEST, OLD] {
        assert!(users.contains(address), "{address}: {users}");
    }
    done(&gateway, &["users", "deactivate", &OLD.to_lowercase()]);

    // The console finds a whole address, and a part of none; it says so.
    let found = async |words: &str| {
        let target = format!("/.portcullis/console/users?find={words}");
        root.get(&target).send().await.text()
    };
    assert!(found("guest.PERSON%40elsewhere.test").await.contains(GUEST));
    let part = found("guest.person").await;
    assert!(!part.contains(GUEST) && part.contains("only a whole one is found"), "{part}");
    // Nor is what stands in place of an address.
    assert!(!found("index").await.contains("@corp.test"));

    let all = [ROOT, ADA, NEWCOMER, GUEST, OLD];
    assert_none_in_the_clear(&gateway, &all).await;
    assert_none_in_the_clear(&gateway.twin().await, &all).await;
    assert!(!gateway.printed().to_lowercase().contains("guest.person"));
}
