//! The admin API: every route of its document refuses whom it must refuse, and the routes of accounts
//! do what they say.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Browser, Gateway, PASSWORD, Upstream};

const BASE: &str = "/.portcullis/admin/v1";

/// A segment of a path, with an id in place of a parameter.
pub(crate) fn filled(part: &str) -> &str {
    if part == "{tenant}" {
        "acme"
    } else if part.starts_with('{') {
        "01890a5d-ac96-774b-bcce-b302099a8057"
    } else {
        part
    }
}

/// Every operation of the document, with an id in place of each parameter.
///
/// True where it is about the caller's own tenant: then it is acme that the path names.
async fn operations(admin: &Browser) -> Vec<(Method, String, bool)> {
    let answer = admin.get(&format!("{BASE}/openapi.json")).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let document = answer.json();
    let mut all = vec![(Method::GET, format!("{BASE}/openapi.json"), false)];
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let is_bound = path.contains("{tenant}");
            let path: Vec<&str> = path.split('/').map(filled).collect();
            all.push((
                method.to_uppercase().parse().unwrap(),
                path.join("/"),
                is_bound,
            ));
        }
    }
    all
}

/// The built-in roles, and what no built-in role gives: to export and to erase what is held of a person.
pub(crate) const ROLES: &str = r#"
[roles.user]
permissions = ["read:own", "write:own", "delete:own"]
[roles.premium]
inherits = ["user"]
permissions = ["export:own"]
[roles.moderator]
permissions = ["read:all", "write:own", "delete:reported", "moderate:content"]
[roles.admin]
permissions = ["read:all", "write:all", "delete:all", "manage:users", "manage:keys", "manage:secrets", "manage:uploads", "manage:audit", "manage:system", "record:scans", "export:users", "erase:users"]
may-give = ["user", "premium", "moderator"]
"#;

async fn gate() -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("root@corp.test", &["admin"])
        .user("ana@corp.test", &["user", "premium", "moderator"])
        .user("eve@corp.test", &[])
        .more(ROLES)
        .start()
        .await;
    (gateway, upstream)
}

#[tokio::test]
async fn every_route_of_the_admin_api_refuses_whom_it_must_refuse() {
    let (gateway, upstream) = gate().await;
    let admin = gateway.signed_in("root@corp.test").await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let operations = operations(&admin).await;
    assert!(operations.len() >= 6, "{operations:?}");
    for tenant in ["acme", "globex"] {
        assert!(gateway.cli(&["tenants", "create", tenant]).status.success());
    }
    let join = ["tenants", "set-roles", "globex", "eve@corp.test", "admin"];
    assert!(gateway.cli(&join).status.success());
    let eve = gateway.signed_in("eve@corp.test").await;
    for (method, path, is_bound) in &operations {
        let what = format!("{method} {path}");
        let refused = |answer: &Answer, status: u16, slug: &str| {
            assert_eq!(answer.status, status, "{what}: {}", answer.text());
            assert_eq!(answer.problem(), slug, "{what}");
        };
        let anonymous = gateway.client().request(method.clone(), path).send().await;
        refused(&anonymous, 401, "authentication-required");
        let wrong_role = ana.send(method.clone(), path).json(&json!({})).send().await;
        // Who works in no tenant is told so; to whom works in another, nothing of this one is there.
        let (status, slug) = if *is_bound {
            (404, "not-found")
        } else {
            (403, "not-permitted")
        };
        if *is_bound {
            refused(&wrong_role, 403, "tenant-required");
        } else {
            refused(&wrong_role, status, slug);
        }
        let other_tenant = eve.send(method.clone(), path).json(&json!({})).send().await;
        refused(&other_tenant, status, slug);
        if *method != Method::GET {
            let no_token = admin
                .send(method.clone(), path)
                .without("x-csrf-token")
                .send()
                .await;
            refused(&no_token, 403, "csrf-token-missing");
            let foreign = admin
                .send(method.clone(), path)
                .replace("origin", "https://evil.test")
                .replace("sec-fetch-site", "cross-site")
                .send()
                .await;
            assert_eq!(foreign.status, 403, "{what}");
        }
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn no_route_below_the_admin_api_is_missing_in_its_document() {
    let (gateway, _upstream) = gate().await;
    let admin = gateway.signed_in("root@corp.test").await;
    let mut documented: Vec<String> = operations(&admin)
        .await
        .into_iter()
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    let listed = gateway.cli(&["routes", "list", "--own", "--output", "json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let mut routes: Vec<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["route"].as_str().unwrap().contains(BASE))
        .map(|row| {
            assert!(
                row["allow"].as_str().unwrap().contains("permission"),
                "{row}"
            );
            let route = row["route"].as_str().unwrap();
            let parts = route.split('/').map(filled);
            parts.collect::<Vec<_>>().join("/")
        })
        .collect();
    documented.sort();
    routes.sort();
    assert_eq!(routes, documented);
}

#[tokio::test]
async fn an_administrator_looks_after_accounts_and_each_act_is_recorded() {
    let (gateway, _upstream) = gate().await;
    let admin = gateway.signed_in("root@corp.test").await;
    let call = async |method: Method, path: &str, body: Value| {
        let target = format!("{BASE}{path}");
        admin.send(method, &target).json(&body).send().await
    };
    let bob = json!({ "email": "bob@corp.test", "password": PASSWORD, "roles": ["user"] });
    let made = call(Method::POST, "/users", bob.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let again = call(Method::POST, "/users", bob).await;
    assert_eq!(again.problem(), "conflict");

    let browser = gateway.signed_in("bob@corp.test").await;
    assert_eq!(
        browser.get("/admin").send().await.problem(),
        "not-permitted"
    );
    let granted = call(
        Method::PUT,
        &format!("/users/{id}/roles"),
        json!({ "roles": ["admin"] }),
    )
    .await;
    assert_eq!(granted.status, StatusCode::NO_CONTENT, "{}", granted.text());
    assert_eq!(browser.get("/admin").send().await.status, StatusCode::OK);
    let unknown = call(
        Method::PUT,
        &format!("/users/{id}/roles"),
        json!({ "roles": ["king"] }),
    )
    .await;
    assert_eq!(unknown.problem(), "invalid-input");

    let off = call(Method::POST, &format!("/users/{id}/deactivate"), json!({})).await;
    assert_eq!(off.status, StatusCode::NO_CONTENT, "{}", off.text());
    assert_eq!(browser.get("/anything").send().await.status, 401);

    let list = admin
        .get(&format!("{BASE}/users?limit=2"))
        .send()
        .await
        .json();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(list[0]["email"], "bob@corp.test");
    assert!(list[0]["deactivated_at"].is_string());
    assert!(list[0].get("password_hash").is_none());
    // Page by page, everybody comes once.
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let page = admin.get(&format!("{BASE}/users?limit=1{after}")).send();
        let page = page.await.json();
        let Some(account) = page.as_array().unwrap().first() else {
            break;
        };
        after = format!("&after={}", account["id"].as_str().unwrap());
        all.push(account["email"].as_str().unwrap().to_owned());
    }
    assert!(all.len() >= 2, "{all:?}");
    assert_eq!(all[0], "bob@corp.test");
    let mut once = all.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), all.len(), "{all:?}");
    for unknown in ["x", "019c0000-0000-7000-8000-000000000000"] {
        let answer = admin.get(&format!("{BASE}/users?after={unknown}")).send();
        assert_eq!(answer.await.problem(), "invalid-input", "{unknown}");
    }

    let events = gateway.cli(&["audit", "list", "--limit", "200", "--output", "json"]);
    let events: Value = serde_json::from_slice(&events.stdout).unwrap();
    for action in ["user.created", "user.updated", "user.deactivated"] {
        let by_root = events.as_array().unwrap().iter().any(|event| {
            event["action"] == action
                && event["actor"] == "user"
                && event["target"] == format!("user:{id}")
                && event["client_address"].is_string()
        });
        assert!(by_root, "{action}");
    }
}

#[tokio::test]
async fn without_a_role_that_may_the_admin_api_is_shut() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .more("\n[roles.admin]\npermissions = [\"read:own\", \"read:all\"]\n")
        .user("root@corp.test", &["admin"])
        .start()
        .await;
    let admin = gateway.signed_in("root@corp.test").await;
    for path in ["/users", "/openapi.json"] {
        let answer = admin.get(&format!("{BASE}{path}")).send().await;
        assert_eq!(answer.problem(), "route-closed", "{path}");
    }
}
