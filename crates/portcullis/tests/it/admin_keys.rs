//! Signing keys, and who somebody is at a provider, in the admin API (J6, I7): what the command line
//! does, under the rules of that API.

use http::Method;
use serde_json::{Value, json};

use crate::support::openid::Liar;
use crate::support::signer::read;
use crate::support::{Answer, Browser, Gateway, Upstream, tokens};

const ADMIN: &str = "/.portcullis/admin/v1";
const ANA: &str = "ana@corp.test";
const ROOT: &str = "root@corp.test";

async fn call(browser: &Browser, method: Method, path: &str, body: &Value) -> Answer {
    let request = browser.send(method, &format!("{ADMIN}{path}"));
    request.json(body).send().await
}

fn audited(gateway: &Gateway, action: &str) -> Value {
    let output = gateway.cli(&["audit", "list", "--action", action, "--output", "json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn signing_keys_are_listed_replaced_and_taken_out() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user(ROOT, &["admin"]);
    let gateway = gateway
        .user(ANA, &["user"])
        .more("\n[tokens]\n")
        .start()
        .await;
    let root = gateway.signed_in(ROOT).await;
    let client = gateway.client();
    let login = async || tokens::sign_in(&client, ANA).await.0;
    let get = async |token: &str| {
        let answer = tokens::get(&client, "/anything", token).await;
        answer.status.as_u16()
    };
    let kid_of = |token: &str| read(token).0["kid"].as_str().unwrap().to_owned();
    let list = async || {
        call(&root, Method::GET, "/signing-keys", &json!({}))
            .await
            .json()
    };
    let before = login().await;
    assert_eq!(list().await[0]["kid"], kid_of(&before));
    assert_eq!(list().await[0]["state"], "signing");
    let wrong = call(
        &root,
        Method::POST,
        "/signing-keys",
        &json!({ "now": true }),
    )
    .await;
    assert_eq!(wrong.problem(), "invalid-input");
    let made = call(&root, Method::POST, "/signing-keys", &json!({})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let next = made.json()["kid"].as_str().unwrap().to_owned();
    assert_eq!(
        kid_of(&login().await),
        kid_of(&before),
        "it signs in ten minutes"
    );
    let made = call(
        &root,
        Method::POST,
        "/signing-keys",
        &json!({ "at_once": true }),
    )
    .await;
    let now = made.json()["kid"].as_str().unwrap().to_owned();
    let after = login().await;
    assert_eq!(kid_of(&after), now);
    assert_eq!((get(&before).await, get(&after).await), (200, 200));
    let old = format!("/signing-keys/{}", kid_of(&before));
    assert_eq!(
        call(&root, Method::DELETE, &old, &json!({})).await.status,
        204
    );
    assert_eq!(
        (get(&before).await, get(&after).await),
        (401, 200),
        "on the next request"
    );
    assert_eq!(
        call(&root, Method::DELETE, &old, &json!({}))
            .await
            .problem(),
        "not-found"
    );
    let text = list().await.to_string();
    assert!(text.contains(&next) && text.contains("revoked"), "{text}");
    assert!(!text.contains("salt"), "{text}");
    for (action, least) in [("signing-key.rotated", 2), ("signing-key.revoked", 1)] {
        let events = audited(&gateway, action);
        let events = events.as_array().unwrap();
        assert!(events.len() >= least, "{action}");
        assert!(
            events.iter().all(|event| event["actor"] == "user"),
            "{events:?}"
        );
    }
}

#[tokio::test]
async fn an_administrator_links_a_person_of_a_provider_and_nobody_who_outranks_them() {
    let upstream = Upstream::start().await;
    let provider = Liar::start(71).await;
    let deputies = "\n[roles.user]\npermissions = [\"read:own\"]\n\n[roles.admin]\ninherits = [\"user\"]\npermissions = [\"manage:users\", \"manage:system\"]\n\n[roles.deputy]\npermissions = [\"manage:users\"]\nmay-give = [\"user\"]\n";
    let gateway = Gateway::builder_usual(&upstream).await;
    let gateway = gateway
        .user(ROOT, &["admin"])
        .user(ANA, &["user"])
        .user("deputy@corp.test", &["deputy"])
        .more(deputies)
        .signing_in_at(&provider.issuer.url, "accounts = \"known\"")
        .start()
        .await;
    let root = gateway.signed_in(ROOT).await;
    let deputy = gateway.signed_in("deputy@corp.test").await;
    let id_of = async |email: &str| {
        let me = gateway.signed_in(email).await;
        let me = me.get("/.portcullis/auth/me").send().await.json();
        me["id"].as_str().unwrap().to_owned()
    };
    let link = async |by: &Browser, user: &str, provider: &str, subject: &str| {
        let body = json!({ "provider": provider, "subject": subject });
        call(
            by,
            Method::POST,
            &format!("/users/{user}/identities"),
            &body,
        )
        .await
    };
    let (ana, boss) = (id_of(ANA).await, id_of(ROOT).await);
    // Whoever could link the administrator's account to a person of theirs would be the administrator.
    assert_eq!(
        link(&deputy, &boss, "company", "mine").await.problem(),
        "not-permitted"
    );
    assert_eq!(
        link(&deputy, &ana, "company", "248289761001").await.status,
        204
    );
    assert_eq!(
        link(&root, &boss, "company", "248289761001")
            .await
            .problem(),
        "conflict"
    );
    for (provider, subject) in [("other", "x"), ("company", ""), ("company", "a\u{0}b")] {
        assert_eq!(
            link(&root, &ana, provider, subject).await.problem(),
            "invalid-input"
        );
    }
    let nobody = "01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(
        link(&root, nobody, "company", "y").await.problem(),
        "not-found"
    );
    let events = audited(&gateway, "user.updated");
    let linked = events.as_array().unwrap().iter();
    let linked: Vec<_> = linked
        .filter(|event| event.to_string().contains("company"))
        .collect();
    assert_eq!(linked.len(), 1, "{events}");
    assert_eq!(linked[0]["actor"], "user");
}
