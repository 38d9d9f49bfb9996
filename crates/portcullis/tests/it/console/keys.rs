//! API keys, by hand.

use serde_json::Value;

use super::{ANA, CONSOLE, HOSTILE, ROOT, account, assert_harmless, done, gate, json};
use crate::support::{Answer, Browser, Gateway};

/// A call of the admin API, which admits keys.
async fn call(gateway: &Gateway, key: &str) -> Answer {
    let request = gateway.client().get("/.portcullis/admin/v1/users");
    let request = request.header("authorization", &format!("Bearer {key}"));
    request.send().await
}

fn keys(gateway: &Gateway) -> Vec<Value> {
    json(gateway, &["keys", "list"]).as_array().unwrap().clone()
}

async fn make(root: &Browser, fields: &[(&str, &str)]) -> crate::support::forms::Page {
    let new = root.open(&format!("{CONSOLE}/keys/new")).await;
    root.fill(&new, "/keys", fields).await
}

#[tokio::test]
async fn a_key_is_shown_once_and_a_page_that_is_loaded_again_makes_none() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let new = root.open(&format!("{CONSOLE}/keys/new")).await;
    let token = new.token("/keys");
    let body = format!("csrf={token}&name=export&permissions=manage%3Ausers&expires_at=30");
    let made = root.submit(&format!("{CONSOLE}/keys"), &body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let text = made.text();
    let key = text.split("class=\"shown\">").nth(1).unwrap();
    let key = key.split('<').next().unwrap().to_owned();
    assert_eq!(call(&gateway, &key).await.status, 200);
    for _ in 0..3 {
        let again = root.submit(&format!("{CONSOLE}/keys"), &body).await;
        assert_eq!(again.status, 409);
        assert!(!again.text().contains(&key));
    }
    assert_eq!(keys(&gateway).len(), 1);
    // The form is spent on every node, not on this one alone.
    let twin = gateway.twin().await;
    let there = Browser::at(twin.address);
    *there.jar.lock().unwrap() = root.jar.lock().unwrap().clone();
    let again = there.submit(&format!("{CONSOLE}/keys"), &body).await;
    assert_eq!(again.status, 409, "{}", again.text());
    assert_eq!(keys(&gateway).len(), 1);
    let secret = key.split('_').nth(1).unwrap();
    let list = root.open(&format!("{CONSOLE}/keys")).await;
    let [id] = &list.ids_below(&format!("{CONSOLE}/keys"))[..] else {
        panic!("{}", list.text);
    };
    for page in [&list, &root.open(&format!("{CONSOLE}/keys/{id}")).await] {
        assert!(page.text.contains("export") && !page.text.contains(secret));
    }
}

#[tokio::test]
async fn a_key_is_rotated_and_revoked() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let made = make(&root, &[("name", "a"), ("permissions", "manage:users")]).await;
    let first = made.secret();
    let below = format!("{CONSOLE}/keys");
    let id = made.ids_below(&below).remove(0);
    let page = root.open(&format!("{below}/{id}")).await;
    let rotated = root.fill(&page, "/rotate", &[("overlap", "1h")]).await;
    assert_eq!(rotated.answer.status, 201, "{}", rotated.text);
    let second = rotated.secret();
    assert_eq!(call(&gateway, &first).await.status, 200, "for an hour");
    assert_eq!(call(&gateway, &second).await.status, 200);
    let again = root.fill(&page, "/rotate", &[("overlap", "1h")]).await;
    assert_eq!(again.answer.status, 409);
    assert_eq!(keys(&gateway).len(), 2);
    let page = root.open(&format!("{below}/{id}")).await;
    assert!(!page.text.contains("/rotate\"") && page.text.contains("rotated"));
    let gone = root.fill(&page, "/revoke", &[]).await;
    let page = root.follow(&gone).await;
    assert!(page.text.contains("revoked") && !page.text.contains("/revoke\""));
    assert_eq!(call(&gateway, &first).await.problem(), "invalid-token");
    assert_eq!(call(&gateway, &second).await.status, 200);
}

#[tokio::test]
async fn what_is_wrong_with_a_key_is_said_beside_the_form_and_what_was_typed_stays() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    for (name, value, said) in [
        ("name", "", "The name must be 1 to 100 characters"),
        (
            "permissions",
            "rule:all",
            "permissions that are defined and that you hold yourself",
        ),
        (
            "routes",
            "no-path",
            "must be at most 64 paths that begin with",
        ),
        (
            "rate",
            "often",
            "The limit must be a rate such as 60/minute.",
        ),
        ("expires_at", "soon", "The days must be a whole number."),
        (
            "user_id",
            "nobody@corp.test",
            "There is no account with this address.",
        ),
        (
            "tenant_id",
            "nowhere",
            "There is no tenant with this short name.",
        ),
    ] {
        let mut fields = vec![("name", "typed-before"), ("routes", "/typed-routes")];
        fields.retain(|(known, _)| *known != name);
        fields.push((name, value));
        let refused = make(&root, &fields).await;
        assert_eq!(refused.answer.status, 422, "{name}: {}", refused.text);
        assert!(refused.text.contains(said), "{name}: {}", refused.text);
        assert!(refused.text.contains("typed-before") || name == "name");
        assert!(refused.text.contains("/typed-routes") || name == "routes");
    }
    assert!(keys(&gateway).is_empty());
    // Whoever has been suspended is no owner.
    done(&gateway, &["users", "deactivate", ANA]);
    let refused = make(&root, &[("name", "a"), ("user_id", ANA)]).await;
    assert!(
        refused.text.contains("account is suspended"),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn keys_belong_to_accounts_and_tenants_and_are_found_with_their_owner() {
    let gateway = gate().await;
    done(&gateway, &["tenants", "create", "acme"]);
    let root = gateway.signed_in(ROOT).await;
    let fields = [
        ("name", "hers"),
        ("user_id", ANA),
        ("routes", "/api\r\n/board\r\n"),
        ("rate", "60/minute"),
    ];
    assert_eq!(make(&root, &fields).await.answer.status, 201);
    let of_tenant = make(&root, &[("name", "theirs"), ("tenant_id", "acme")]).await;
    assert_eq!(of_tenant.answer.status, 201, "{}", of_tenant.text);
    let ana = account(&gateway, ANA);
    let list = root.open(&format!("{CONSOLE}/keys?user={ana}")).await;
    assert!(list.text.contains("hers") && !list.text.contains("theirs"));
    let id = list.ids_below(&format!("{CONSOLE}/keys")).remove(0);
    let page = root.open(&format!("{CONSOLE}/keys/{id}")).await.text;
    for told in [ANA, "/api, /board", "60/minute"] {
        assert!(page.contains(told), "{told}: {page}");
    }
    let listed = keys(&gateway);
    let theirs = listed.iter().find(|key| key["name"] == "theirs").unwrap();
    assert!(theirs["tenant_id"].is_string());
}

#[tokio::test]
async fn keys_are_listed_to_the_last() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    for number in 0..53 {
        let new = serde_json::json!({ "name": format!("key {number}") });
        let made = root
            .post("/.portcullis/admin/v1/keys")
            .json(&new)
            .send()
            .await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    let below = format!("{CONSOLE}/keys");
    let first = root.open(&below).await;
    let mut seen = first.ids_below(&below);
    assert_eq!(seen.len(), 50);
    let next = first.next().unwrap();
    seen.extend(root.open(&next).await.ids_below(&below));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 53);
}

#[tokio::test]
async fn a_name_of_a_key_does_nothing_on_a_page() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let made = make(
        &root,
        &[("name", HOSTILE), ("routes", &format!("/{HOSTILE}"))],
    )
    .await;
    assert_eq!(made.answer.status, 201, "{}", made.text);
    assert_harmless(&made);
    let below = format!("{CONSOLE}/keys");
    let list = root.open(&below).await;
    assert_harmless(&list);
    let id = list.ids_below(&below).remove(0);
    assert_harmless(&root.open(&format!("{below}/{id}")).await);
    assert_harmless(&make(&root, &[("name", "a"), ("rate", HOSTILE)]).await);
}
