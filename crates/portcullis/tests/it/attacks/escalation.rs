//! Whoever may manage accounts makes an administrator of themselves, or takes an administrator's
//! account over (CWE-269, OWASP API5:2023).

use http::Method;
use serde_json::{Value, json};

use super::UNLIMITED;
use crate::support::{Answer, Browser, Gateway, PASSWORD, Upstream};

const ADMIN: &str = "/.portcullis/admin/v1";
const CONSOLE: &str = "/.portcullis/console";

/// Support manages accounts, holds what users hold, and may give the role `premium`.
const POLICY: &str = r#"
[roles.user]
permissions = ["read:own"]

[roles.premium]

[roles.support]
inherits = ["user"]
permissions = ["manage:users"]
may-give = ["premium"]

[roles.keymaster]
inherits = ["user"]
permissions = ["manage:keys"]

[roles.admin]
inherits = ["support"]
permissions = ["manage:keys", "manage:system"]

[[route]]
path = "/{*rest}"
allow = "user"
"#;

async fn gate(upstream: &Upstream) -> Gateway {
    let mut builder = Gateway::builder(upstream, POLICY).await.more(UNLIMITED);
    for (name, role) in [
        ("sue", "support"),
        ("kim", "keymaster"),
        ("root", "admin"),
        ("ana", "user"),
    ] {
        builder = builder.user(&format!("{name}@corp.test"), &[role]);
    }
    builder.start().await
}

fn accounts(gateway: &Gateway) -> Value {
    let output = gateway.cli(&["users", "list", "--output", "json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn account<'a>(all: &'a Value, name: &str) -> &'a Value {
    let address = format!("{name}@corp.test");
    let mut all = all.as_array().unwrap().iter();
    all.find(|one| one["email"] == address.as_str()).unwrap()
}

fn id(all: &Value, name: &str) -> String {
    account(all, name)["id"].as_str().unwrap().to_owned()
}

async fn call(browser: &Browser, method: Method, path: &str, body: &Value) -> Answer {
    let request = browser.send(method, &format!("{ADMIN}{path}"));
    request.json(body).send().await
}

#[tokio::test]
async fn nobody_gives_more_than_they_hold_or_rules_over_who_does() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let before = accounts(&gateway);
    let [sue, root, ana] = ["sue", "root", "ana"].map(|name| id(&before, name));
    let support = gateway.signed_in("sue@corp.test").await;
    let password = json!({ "password": "violet-kettle-4471-marsh" });
    let roles = |roles: &[&str]| json!({ "roles": roles });
    let new =
        |roles: &[&str]| json!({ "email": "eve@corp.test", "password": PASSWORD, "roles": roles });
    for (method, path, body) in [
        (
            Method::PUT,
            format!("/users/{sue}/roles"),
            roles(&["admin"]),
        ),
        (
            Method::PUT,
            format!("/users/{ana}/roles"),
            roles(&["user", "admin"]),
        ),
        (Method::PUT, format!("/users/{root}/roles"), roles(&[])),
        (
            Method::PUT,
            format!("/users/{root}/roles"),
            roles(&["user"]),
        ),
        (Method::POST, "/users".to_owned(), new(&["admin"])),
        (
            Method::PUT,
            format!("/users/{root}/password"),
            password.clone(),
        ),
        (
            Method::POST,
            format!("/users/{root}/reset-factors"),
            json!({}),
        ),
        (Method::POST, format!("/users/{root}/deactivate"), json!({})),
    ] {
        let answer = call(&support, method, &path, &body).await;
        assert_eq!(answer.problem(), "not-permitted", "{path} {body}");
        assert!(answer.text().contains("`admin`"), "{}", answer.text());
    }
    // By the console's forms as well.
    let page = support.open(&format!("{CONSOLE}/users/{sue}")).await;
    let made = support.fill(&page, "/roles", &[("roles", "admin")]).await;
    assert_eq!(made.answer.status, 403, "{}", made.text);
    let page = support.open(&format!("{CONSOLE}/users/{root}")).await;
    let taken = support.fill(&page, "/password", &[]).await;
    assert_eq!(taken.answer.status, 403, "{}", taken.text);
    assert_eq!(accounts(&gateway), before);
    gateway.signed_in("root@corp.test").await;

    // What they hold, and what a role of theirs may give, is theirs to give and to take.
    for (method, path, body, status) in [
        (Method::POST, "/users".to_owned(), new(&["user"]), 201),
        (
            Method::PUT,
            format!("/users/{ana}/roles"),
            roles(&["user", "premium"]),
            204,
        ),
        (
            Method::PUT,
            format!("/users/{ana}/password"),
            password.clone(),
            204,
        ),
        (
            Method::POST,
            format!("/users/{ana}/deactivate"),
            json!({}),
            204,
        ),
        (
            Method::POST,
            format!("/users/{ana}/activate"),
            json!({}),
            204,
        ),
        (Method::PUT, format!("/users/{ana}/roles"), roles(&[]), 204),
    ] {
        let answer = call(&support, method, &path, &body).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text());
    }
    // The command line is whoever runs the gate.
    let made = gateway.cli(&["users", "set-roles", "ana@corp.test", "admin"]);
    assert!(made.status.success());
    let path = format!("/users/{ana}/password");
    let answer = call(&support, Method::PUT, &path, &password).await;
    assert_eq!(answer.problem(), "not-permitted");
}

#[tokio::test]
async fn who_holds_a_role_in_a_tenant_is_ruled_over_by_nobody_below_it() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    for arguments in [
        ["tenants", "create", "acme"].as_slice(),
        &["tenants", "set-roles", "acme", "ana@corp.test", "admin"],
    ] {
        assert!(gateway.cli(arguments).status.success());
    }
    let ana = id(&accounts(&gateway), "ana");
    let support = gateway.signed_in("sue@corp.test").await;
    let body = json!({ "password": "violet-kettle-4471-marsh" });
    let answer = call(
        &support,
        Method::PUT,
        &format!("/users/{ana}/password"),
        &body,
    )
    .await;
    assert_eq!(answer.problem(), "not-permitted");
    gateway.signed_in("ana@corp.test").await;
}

#[tokio::test]
async fn a_key_gives_the_roles_whose_permissions_it_holds() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let root = id(&accounts(&gateway), "root");
    let ana = id(&accounts(&gateway), "ana");
    let make = |permissions: &[&str]| {
        let mut arguments = vec!["keys", "create", "--name", "k", "--output", "json"];
        for permission in permissions {
            arguments.extend(["--permission", permission]);
        }
        let output = gateway.cli(&arguments);
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        made["key"].as_str().unwrap().to_owned()
    };
    let (narrow, wide) = (make(&["manage:users"]), make(&["manage:users", "read:own"]));
    let put = async |key: &str, user: &str, roles: &[&str]| {
        let request = gateway
            .client()
            .request(Method::PUT, &format!("{ADMIN}/users/{user}/roles"));
        let request = request
            .header("x-api-key", key)
            .json(&json!({ "roles": roles }));
        request.send().await
    };
    for (key, user, roles) in [
        (&narrow, &ana, ["user", "admin"].as_slice()),
        (&narrow, &ana, &["support"]),
        (&narrow, &root, &["user"]),
        (&wide, &ana, &["user", "admin"]),
        // It stands for what only roles open.
        (&wide, &ana, &["user", "premium"]),
    ] {
        let answer = put(key, user, roles).await;
        assert_eq!(answer.problem(), "not-permitted", "{roles:?}");
    }
    let answer = put(&wide, &ana, &["user", "support"]).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// What an operator does concerns all tenants: a key that belongs to one does none of it.
#[tokio::test]
async fn a_tenants_key_does_nothing_that_is_the_operators() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    assert!(gateway.cli(&["tenants", "create", "acme"]).status.success());
    let permissions = [
        "--permission",
        "manage:users",
        "--permission",
        "manage:keys",
    ];
    let (_, everywhere) = crate::api_keys::make(&gateway, &permissions);
    let at_acme = [permissions.as_slice(), &["--tenant", "acme"]].concat();
    let (_, at_acme) = crate::api_keys::make(&gateway, &at_acme);
    for path in ["/users", "/keys"] {
        let path = format!("{ADMIN}{path}");
        let get = |key: &str| gateway.client().get(&path).header("x-api-key", key).send();
        assert_eq!(get(&everywhere).await.status, 200, "{path}");
        let refused = get(&at_acme).await;
        assert_eq!(refused.problem(), "not-permitted", "{path}");
    }
}

#[tokio::test]
async fn nobody_makes_a_key_in_the_name_of_who_holds_more() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let all = accounts(&gateway);
    let kim = gateway.signed_in("kim@corp.test").await;
    let key = |user: &str| json!({ "name": "x", "permissions": ["read:own"], "user_id": user });
    let made = call(&kim, Method::POST, "/keys", &key(&id(&all, "root"))).await;
    assert_eq!(made.problem(), "not-permitted", "{}", made.text());
    let made = call(&kim, Method::POST, "/keys", &key(&id(&all, "ana"))).await;
    assert_eq!(made.status, 201, "{}", made.text());
    // Nor its successor.
    let arguments = ["--permission", "read:own", "--user", "root@corp.test"];
    let (theirs, _) = crate::api_keys::make(&gateway, &arguments);
    let rotate = format!("/keys/{theirs}/rotate");
    let rotated = call(&kim, Method::POST, &rotate, &json!({})).await;
    assert_eq!(rotated.problem(), "not-permitted", "{}", rotated.text());
}
