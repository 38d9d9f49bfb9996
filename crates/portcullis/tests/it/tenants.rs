//! Tenants over the wire (T1, T3-T5, J7): a caller reaches their own tenant by every way in which a
//! route can name one, and no other by any spelling; what changes counts on the next request.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::issuer::hs256;
use crate::support::signer;
use crate::support::{
    Answer, Browser, Client, Gateway, GatewayBuilder, Upstream, eventually_asked,
};

const ADMIN: &str = "/.portcullis/admin/v1";

/// The access matrix of T5, and every way to name a tenant.
const POLICY: &str = r#"
[hosts]
allow = ["127.0.0.1", "*.example.test"]

[limits.auth]
rate = "1000/minute"

[roles.user]
permissions = ["profile:own", "file:own", "integration:own"]

[roles.admin]
inherits = ["user"]
permissions = ["profile:all", "integration:all", "manage:users", "manage:keys"]

[roles.operator]
permissions = ["manage:users", "manage:keys", "manage:system"]

[[route]]
path = "/orgs/{org}"
allow = "user"
tenant = { path = "org" }

[[route]]
path = "/orgs/{org}/settings"
allow = { permission = "manage:users" }
tenant = { path = "org" }

[[route]]
path = "/profiles/{user}"
allow = { action = "profile", owner = "user" }

[[route]]
path = "/files/{user}"
allow = { action = "file", owner = "user" }

[[route]]
path = "/integrations/{user}"
allow = { action = "integration", owner = "user" }

[[route]]
path = "/by-host"
allow = "user"
tenant = { host = "{tenant}.example.test" }

[[route]]
path = "/by-header"
allow = "user"
tenant = { header = "X-Tenant" }

[[route]]
path = "/anywhere"
allow = "user"
tenant = "any"

[[route]]
path = "/home"
allow = "user"
"#;

const PEOPLE: [&str; 5] = ["ada", "bob", "eve", "root", "solo"];

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    let mut builder = Gateway::builder(upstream, POLICY).await;
    for name in PEOPLE {
        let roles: &[&str] = if name == "root" { &["operator"] } else { &[] };
        builder = builder.user(&format!("{name}@corp.test"), roles);
    }
    builder
}

/// Ada administers acme, Bob is a member of it, Eve administers globex, Root runs the gate, and Solo
/// belongs nowhere.
async fn gate(upstream: &Upstream) -> Gateway {
    let gateway = builder(upstream).await.start().await;
    for tenant in ["acme", "globex"] {
        done(&gateway, &["tenants", "create", tenant]);
    }
    for (tenant, name, role) in [
        ("acme", "ada", "admin"),
        ("acme", "bob", "user"),
        ("globex", "eve", "admin"),
    ] {
        let user = format!("{name}@corp.test");
        done(&gateway, &["tenants", "set-roles", tenant, &user, role]);
    }
    gateway
}

fn done(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.cli(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

async fn person(gateway: &Gateway, name: &str) -> Browser {
    gateway.signed_in(&format!("{name}@corp.test")).await
}

async fn id_of(browser: &Browser) -> String {
    let me = browser.get("/.portcullis/auth/me").send().await.json();
    me["id"].as_str().unwrap().to_owned()
}

fn tenant_id(gateway: &Gateway, slug: &str) -> String {
    let list = done(gateway, &["tenants", "list", "--output", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let found = list
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["slug"] == slug);
    found.unwrap()["id"].as_str().unwrap().to_owned()
}

fn claims(upstream: &Upstream) -> Value {
    let last = upstream.last();
    let assertion = last.header("x-portcullis-assertion").unwrap().to_owned();
    let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap());
    serde_json::from_slice(&claims.unwrap()).unwrap()
}

/// Asks until the answer is the expected one: what is done on the command line is heard within a second.
async fn until(what: &str, expected: u16, ask: impl AsyncFn() -> Answer) -> Answer {
    for _ in 0..400 {
        let answer = ask().await;
        if answer.status == expected {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("{what} is not {expected}");
}

#[tokio::test]
async fn a_caller_reaches_their_own_tenant_by_every_name_and_no_other_by_any_spelling() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let bob = person(&gateway, "bob").await;
    let (acme, globex) = (tenant_id(&gateway, "acme"), tenant_id(&gateway, "globex"));
    let by_path = async |org: &str| bob.get(&format!("/orgs/{org}")).send().await;
    let by_host = async |host: &str| bob.get("/by-host").replace("host", host).send().await;
    for org in ["acme", acme.as_str(), &acme.to_uppercase(), "%61cme"] {
        assert_eq!(by_path(org).await.status, 200, "{org}");
    }
    for host in [
        "acme.example.test",
        "ACME.Example.TEST",
        "acme.example.test:8443",
        "acme.example.test.",
    ] {
        assert_eq!(by_host(host).await.status, 200, "{host}");
    }
    let by_header = bob
        .get("/by-header")
        .header("x-tenant", "acme")
        .send()
        .await;
    assert_eq!(by_header.status, 200);
    let reached = upstream.requests();
    assert_eq!(reached, 9);
    // The claim comes from the session, and what the client said of it does not come through.
    assert_eq!(claims(&upstream)["tenant"], acme);
    assert_eq!(upstream.last().header("x-tenant"), None);
    for org in [
        "globex",
        globex.as_str(),
        "Acme",
        "acme%2e",
        "acme%20",
        "acme%00",
        "%2561cme",
        "acme;globex",
        "a",
    ] {
        let answer = by_path(org).await;
        assert!(
            [400, 404].contains(&answer.status.as_u16()),
            "{org}: {}",
            answer.status
        );
    }
    assert_eq!(by_path("globex").await.problem(), "not-found");
    for host in [
        "globex.example.test",
        "GLOBEX.example.test:80",
        "globex.example.test.",
        "127.0.0.1",
    ] {
        assert_eq!(by_host(host).await.problem(), "not-found", "{host}");
    }
    for sent in [
        &[("x-tenant", "globex")][..],
        &[],
        &[("x-tenant", "acme"), ("x-tenant", "globex")],
        &[("x-tenant", "globex"), ("x-tenant", "acme")],
        &[("x-tenant", "acme"), ("x_tenant", "globex")],
        &[("x_tenant", "acme")],
        &[("x-tenant", "acme,globex")],
    ] {
        let mut request = bob.get("/by-header");
        for (name, value) in sent {
            request = request.header(name, value);
        }
        let problem = request.send().await.problem();
        // A name with `_` does not even pass the framing gate.
        assert!(
            ["not-found", "malformed-request"].contains(&problem.as_str()),
            "{sent:?}: {problem}"
        );
    }
    assert_eq!(upstream.requests(), reached, "the product saw none of it");
    let stranger = gateway.client().get("/orgs/acme").send().await;
    assert_eq!(stranger.problem(), "authentication-required");
    let solo = person(&gateway, "solo").await;
    for path in ["/orgs/acme", "/anywhere"] {
        let answer = solo.get(path).send().await;
        assert_eq!(answer.problem(), "tenant-required", "{path}");
    }
    assert_eq!(solo.get("/home").send().await.status, 200);
    assert_eq!(bob.get("/anywhere").send().await.status, 200);
}

#[tokio::test]
async fn the_access_matrix_is_what_the_policy_says() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let mut ids = std::collections::BTreeMap::new();
    let mut browsers = std::collections::BTreeMap::new();
    for name in ["ada", "bob", "eve", "solo"] {
        let browser = person(&gateway, name).await;
        ids.insert(name, id_of(&browser).await);
        browsers.insert(name, browser);
    }
    // Profiles and integrations: the user and administrators. Files: the user alone. The
    // organization: its members, and its settings its administrators.
    for (path, who, status) in [
        ("/profiles/bob", "bob", 200),
        ("/profiles/bob", "ada", 200),
        ("/profiles/ada", "bob", 404),
        ("/files/bob", "bob", 200),
        ("/files/bob", "ada", 404),
        ("/integrations/bob", "bob", 200),
        ("/integrations/bob", "ada", 200),
        ("/integrations/ada", "bob", 404),
        ("/orgs/acme", "ada", 200),
        ("/orgs/acme", "bob", 200),
        ("/orgs/acme", "eve", 404),
        ("/orgs/acme/settings", "ada", 200),
        ("/orgs/acme/settings", "bob", 403),
        ("/orgs/acme/settings", "eve", 404),
        ("/orgs/globex/settings", "eve", 200),
        ("/profiles/solo", "solo", 403),
    ] {
        let (_, owner) = path.rsplit_once('/').unwrap();
        let target = match ids.get(owner) {
            Some(id) => path.replace(owner, id),
            None => path.to_owned(),
        };
        let answer = browsers[who].get(&target).send().await;
        assert_eq!(answer.status, status, "{who} {path}");
    }
}

#[tokio::test]
async fn an_administrator_of_a_tenant_looks_after_it_and_after_nothing_else() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let (ada, bob, eve) = (
        person(&gateway, "ada").await,
        person(&gateway, "bob").await,
        person(&gateway, "eve").await,
    );
    let bob_id = id_of(&bob).await;
    let call = async |who: &Browser, method: Method, path: &str, body: Value| {
        let target = format!("{ADMIN}{path}");
        who.send(method, &target).json(&body).send().await
    };
    let members = ada
        .get(&format!("{ADMIN}/tenants/acme/members"))
        .send()
        .await;
    assert_eq!(members.status, 200, "{}", members.text());
    assert_eq!(members.json().as_array().unwrap().len(), 2);
    // What is held in a tenant is not held for the gate: accounts, other tenants.
    for path in ["/users", "/tenants", "/openapi.json"] {
        let answer = ada.get(&format!("{ADMIN}{path}")).send().await;
        assert_eq!(answer.problem(), "not-permitted", "{path}");
    }
    let suspend = call(&ada, Method::POST, "/tenants/globex/suspend", json!({})).await;
    assert_eq!(suspend.problem(), "not-permitted");
    let roles = format!("/tenants/acme/members/{bob_id}");
    assert_eq!(
        call(&eve, Method::PUT, &roles, json!({ "roles": ["admin"] }))
            .await
            .problem(),
        "not-found"
    );
    assert_eq!(
        call(&bob, Method::PUT, &roles, json!({ "roles": ["admin"] }))
            .await
            .problem(),
        "not-permitted"
    );
    // No more than held.
    let answer = call(&ada, Method::PUT, &roles, json!({ "roles": ["operator"] })).await;
    assert_eq!(answer.problem(), "not-permitted");
    assert_eq!(bob.get("/orgs/acme/settings").send().await.status, 403);
    let answer = call(&ada, Method::PUT, &roles, json!({ "roles": ["admin"] })).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text());
    assert_eq!(
        bob.get("/orgs/acme/settings").send().await.status,
        200,
        "on the next request"
    );
    let answer = call(&ada, Method::PUT, &roles, json!({ "roles": ["user"] })).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(bob.get("/orgs/acme/settings").send().await.status, 403);
    // A role of the tenant's own, and a permission that is lent.
    let role = json!({ "permissions": ["manage:users"] });
    assert_eq!(
        call(
            &ada,
            Method::PUT,
            "/tenants/acme/roles/deputy",
            role.clone()
        )
        .await
        .status,
        204
    );
    let too_much = json!({ "permissions": ["manage:system"] });
    assert_eq!(
        call(&ada, Method::PUT, "/tenants/acme/roles/king", too_much)
            .await
            .problem(),
        "not-permitted"
    );
    let answer = call(
        &ada,
        Method::PUT,
        &roles,
        json!({ "roles": ["user", "custom:deputy"] }),
    )
    .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(bob.get("/orgs/acme/settings").send().await.status, 200);
    assert_eq!(claims(&upstream)["roles"], json!(["custom:deputy", "user"]));
    assert_eq!(
        call(
            &ada,
            Method::DELETE,
            "/tenants/acme/roles/deputy",
            json!({})
        )
        .await
        .status,
        204
    );
    assert_eq!(bob.get("/orgs/acme/settings").send().await.status, 403);
    let loan = json!({ "user_id": bob_id, "permission": "manage:users", "expires_in": "1h" });
    let lent = call(&ada, Method::POST, "/tenants/acme/grants", loan).await;
    assert_eq!(lent.status, StatusCode::CREATED, "{}", lent.text());
    assert_eq!(bob.get("/orgs/acme/settings").send().await.status, 200);
    let grant = format!(
        "/tenants/acme/grants/{}",
        lent.json()["id"].as_str().unwrap()
    );
    assert_eq!(
        call(
            &eve,
            Method::DELETE,
            &grant.replace("acme", "globex"),
            json!({})
        )
        .await
        .problem(),
        "not-found"
    );
    assert_eq!(
        call(&ada, Method::DELETE, &grant, json!({})).await.status,
        204
    );
    assert_eq!(bob.get("/orgs/acme/settings").send().await.status, 403);
    let events = done(
        &gateway,
        &["audit", "list", "--limit", "200", "--output", "json"],
    );
    let acme = tenant_id(&gateway, "acme");
    for action in [
        "member.updated",
        "tenant-role.changed",
        "tenant-role.deleted",
        "permission.lent",
        "permission.taken-back",
    ] {
        let events: Value = serde_json::from_str(&events).unwrap();
        let is_there = |event: &Value| {
            event["action"] == action && event["tenant_id"] == acme && event["actor"] == "user"
        };
        assert!(events.as_array().unwrap().iter().any(is_there), "{action}");
    }
}

#[tokio::test]
async fn an_invitation_makes_a_member_of_whom_it_is_addressed_to_and_choosing_a_tenant_rotates_the_token()
 {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let (ada, bob, solo) = (
        person(&gateway, "ada").await,
        person(&gateway, "bob").await,
        person(&gateway, "solo").await,
    );
    let invite = json!({ "email": "solo@corp.test", "roles": ["user"] });
    let path = format!("{ADMIN}/tenants/acme/invitations");
    let written = ada.post(&path).json(&invite).send().await;
    assert_eq!(written.status, StatusCode::CREATED, "{}", written.text());
    let token = json!({ "token": written.json()["token"] });
    let redeem = async |who: &Browser| {
        who.post("/.portcullis/auth/invitation")
            .json(&token)
            .send()
            .await
    };
    assert_eq!(redeem(&bob).await.problem(), "not-found");
    let (first, second) = tokio::join!(redeem(&solo), redeem(&solo));
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 404], "once, also at the same moment");
    assert_eq!(solo.get("/orgs/acme").send().await.status, 200);

    done(
        &gateway,
        &["tenants", "set-roles", "globex", "solo@corp.test", "admin"],
    );
    let old = solo.jar.lock().unwrap().clone();
    let choose = async |tenant: &str| {
        let body = json!({ "tenant": tenant });
        solo.post("/.portcullis/auth/tenant")
            .json(&body)
            .send()
            .await
    };
    assert_eq!(choose("initech").await.problem(), "not-found");
    let chosen = until("choosing globex", 200, async || choose("globex").await).await;
    assert_eq!(chosen.json()["tenant_id"], tenant_id(&gateway, "globex"));
    assert_eq!(solo.get("/orgs/globex/settings").send().await.status, 200);
    assert_eq!(solo.get("/orgs/acme").send().await.problem(), "not-found");
    let thief = gateway.browser();
    for (name, value) in &old {
        thief.set_cookie(name, value);
    }
    let answer = thief.get("/home").send().await;
    assert_eq!(
        answer.problem(),
        "authentication-required",
        "the old token is dead"
    );
    let unsafe_call = solo.post("/home").send().await;
    assert_eq!(
        unsafe_call.status,
        200,
        "the page has a token that fits: {}",
        unsafe_call.text()
    );
}

#[tokio::test]
async fn an_invitation_falls_with_the_membership_of_whoever_wrote_it() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let (ada, solo) = (
        person(&gateway, "ada").await,
        person(&gateway, "solo").await,
    );
    // Without roles there is nothing that the inviter may have lost, but the membership itself.
    let invite = json!({ "email": "solo@corp.test", "roles": [] });
    let path = format!("{ADMIN}/tenants/acme/invitations");
    let write = async || {
        let written = ada.post(&path).json(&invite).send().await;
        assert_eq!(written.status, StatusCode::CREATED, "{}", written.text());
        json!({ "token": written.json()["token"] })
    };
    let redeem = async |token: &Value| {
        let asked = solo.post("/.portcullis/auth/invitation");
        asked.json(token).send().await
    };
    let (before, after) = (write().await, write().await);
    assert_eq!(redeem(&before).await.status, 200);
    for member in ["solo@corp.test", "ada@corp.test"] {
        done(&gateway, &["tenants", "remove", "acme", member]);
    }
    assert_eq!(redeem(&after).await.problem(), "not-found");
    let answer = solo.get("/orgs/acme").send().await;
    assert_eq!(answer.problem(), "tenant-required");
}

/// It gives what its writer can give when it is used, and not what they could when they wrote it.
#[tokio::test]
async fn an_invitation_falls_with_what_its_writer_may_give() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let ada = person(&gateway, "ada").await;
    let solo = person(&gateway, "solo").await;
    let path = format!("{ADMIN}/tenants/acme/invitations");
    let invite = json!({ "email": "solo@corp.test", "roles": ["admin"] });
    let written = ada.post(&path).json(&invite).send().await;
    assert_eq!(written.status, StatusCode::CREATED, "{}", written.text());
    let token = json!({ "token": written.json()["token"] });
    let redeem = async || {
        let asked = solo.post("/.portcullis/auth/invitation");
        asked.json(&token).send().await
    };
    let roles = |role: &str| {
        let arguments = ["tenants", "set-roles", "acme", "ada@corp.test", role];
        done(&gateway, &arguments);
    };
    roles("user");
    assert_eq!(redeem().await.problem(), "not-found");
    // What was refused is not used up.
    roles("admin");
    assert_eq!(redeem().await.status, 200);
    assert_eq!(solo.get("/orgs/acme/settings").send().await.status, 200);
}

#[tokio::test]
async fn what_changes_about_a_tenant_or_a_member_counts_on_every_node() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let twin = gateway.twin().await;
    let bob = person(&gateway, "bob").await;
    let there = twin.browser();
    for (name, value) in bob.jar.lock().unwrap().iter() {
        there.set_cookie(name, value);
    }
    for node in [&bob, &there] {
        assert_eq!(node.get("/orgs/acme").send().await.status, 200);
    }
    done(&gateway, &["tenants", "suspend", "acme"]);
    for node in [&bob, &there] {
        let answer = until("a suspended tenant", 403, async || {
            node.get("/orgs/acme").send().await
        })
        .await;
        assert_eq!(answer.problem(), "tenant-suspended");
        assert_eq!(node.get("/home").send().await.problem(), "tenant-suspended");
    }
    // Signing out and choosing another tenant are still theirs.
    assert_eq!(
        bob.get("/.portcullis/auth/tenants").send().await.status,
        200
    );
    done(&gateway, &["tenants", "resume", "acme"]);
    for node in [&bob, &there] {
        until("a resumed tenant", 200, async || {
            node.get("/orgs/acme").send().await
        })
        .await;
    }
    done(
        &gateway,
        &["tenants", "set-roles", "acme", "bob@corp.test", "admin"],
    );
    for node in [&bob, &there] {
        until("another role", 200, async || {
            node.get("/orgs/acme/settings").send().await
        })
        .await;
    }
    done(&gateway, &["tenants", "remove", "acme", "bob@corp.test"]);
    for node in [&bob, &there] {
        // Of none at all now.
        until("no member", 403, async || {
            node.get("/orgs/acme").send().await
        })
        .await;
    }
}

#[tokio::test]
async fn what_a_route_says_of_tenants_is_checked_before_the_gate_starts() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder(
        &upstream,
        r#"
[[route]]
path = "/a/{org}"
allow = "public"
tenant = { path = "org" }

[[route]]
path = "/b/{org}"
allow = "user"
tenant = { path = "tenant" }

[[route]]
path = "/c"
allow = "user"
tenant = { host = "example.test" }

[[route]]
path = "/d"
allow = "user"
tenant = { header = "Cookie" }
"#,
    )
    .await;
    let report = builder.cli(&["check", "--output", "json"]);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let found = report["findings"].as_array().unwrap();
    let keys: Vec<&str> = found
        .iter()
        .filter(|finding| finding["rule"] == "route-tenant")
        .map(|finding| finding["key"].as_str().unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "route.0.allow",
            "route.1.tenant.path",
            "route.2.tenant.host",
            "route.3.tenant.header"
        ]
    );
}

#[tokio::test]
async fn explain_knows_tenants() {
    let upstream = Upstream::start().await;
    let builder = builder(&upstream).await;
    let explain = |rest: &[&str]| {
        let mut arguments = vec!["explain", "GET", "--output", "json"];
        arguments.extend(rest);
        let output = builder.cli(&arguments);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["allowed"].as_bool().unwrap()
    };
    assert!(explain(&["/orgs/acme", "--as", "user", "--tenant", "acme"]));
    assert!(!explain(&[
        "/orgs/acme",
        "--as",
        "user",
        "--tenant",
        "globex"
    ]));
    assert!(!explain(&["/orgs/acme", "--as", "user"]));
    assert!(explain(&[
        "/by-header",
        "--as",
        "user",
        "--tenant",
        "acme",
        "--header",
        "X-Tenant: acme"
    ]));
}

#[tokio::test]
async fn tokens_stand_in_a_tenant_as_sessions_do() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.more("\n[tokens]\n").start().await;
    for tenant in ["acme", "globex"] {
        done(&gateway, &["tenants", "create", tenant]);
    }
    let ada = "ada@corp.test";
    done(&gateway, &["tenants", "set-roles", "acme", ada, "admin"]);
    done(&gateway, &["tenants", "set-roles", "globex", ada, "user"]);
    let twin = gateway.twin().await;
    // The tenant is the one that the session had chosen.
    let browser = person(&gateway, "ada").await;
    let chosen = browser.post("/.portcullis/auth/tenant");
    let chosen = chosen.json(&json!({ "tenant": "globex" })).send().await;
    assert_eq!(chosen.status, 200, "{}", chosen.text());
    let exchanged = browser.post("/.portcullis/auth/token").send().await;
    let access = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        format!("Bearer {}", answer.json()["access_token"].as_str().unwrap())
    };
    let in_globex = access(&exchanged);
    let nodes = [gateway.client(), twin.client()];
    let get = async |node: &Client, path: &str, bearer: &str| {
        node.get(path).header("authorization", bearer).send().await
    };
    // Another person's sign-in of the same account works at home: where it chose to be last.
    let switched = person(&gateway, "ada").await;
    let home = switched.post("/.portcullis/auth/tenant");
    let home = home.json(&json!({ "tenant": "acme" })).send().await;
    assert_eq!(home.status, 200);
    let in_acme = access(&switched.post("/.portcullis/auth/token").send().await);
    for node in &nodes {
        assert_eq!(get(node, "/orgs/globex", &in_globex).await.status, 200);
        assert_eq!(get(node, "/orgs/acme", &in_globex).await.status, 404);
        let settings = get(node, "/orgs/globex/settings", &in_globex).await;
        assert_eq!(settings.status, 403, "a member is no administrator");
        assert_eq!(get(node, "/orgs/acme/settings", &in_acme).await.status, 200);
        assert_eq!(get(node, "/orgs/globex", &in_acme).await.status, 404);
    }
    assert_eq!(claims(&upstream)["roles"], json!(["admin"]));
    // What a tenant's own role gives, and when it no longer gives it.
    done(
        &gateway,
        &[
            "roles",
            "make",
            "acme",
            "boss",
            "--permission",
            "manage:users",
        ],
    );
    done(
        &gateway,
        &["tenants", "set-roles", "acme", ada, "custom:boss"],
    );
    // Each node has heard that it is this role alone, so that what comes next is about the role.
    for node in &nodes {
        eventually_asked("a role of the tenant's own", async || {
            let answer = get(node, "/orgs/acme/settings", &in_acme).await;
            answer.status == 200 && claims(&upstream)["roles"] == json!(["custom:boss"])
        })
        .await;
    }
    done(
        &gateway,
        &[
            "roles",
            "make",
            "acme",
            "boss",
            "--permission",
            "profile:own",
        ],
    );
    for node in &nodes {
        until("a role that gives less", 403, async || {
            get(node, "/orgs/acme/settings", &in_acme).await
        })
        .await;
    }
    done(&gateway, &["tenants", "remove", "acme", ada]);
    for node in &nodes {
        // Of the other one still, and in none with this token.
        until("no member", 403, async || {
            get(node, "/orgs/acme", &in_acme).await
        })
        .await;
        assert_eq!(get(node, "/orgs/globex", &in_globex).await.status, 200);
    }
}

#[tokio::test]
async fn people_of_another_issuer_hold_in_a_tenant_what_it_gives_them() {
    const SECRET: &str = "a-project-secret-that-is-long-enough-9f3a71c0";
    let issuers = ["https://one.test/auth/v1", "https://two.test/auth/v1"];
    let tables = format!(
        "\n[issuer.one]\nprofile = \"supabase\"\nissuer = \"{}\"\nsecret = {{ file = \"jwt\" }}\njwks = \"\"\nroles = []\n\
         \n[issuer.two]\nprofile = \"supabase\"\nissuer = \"{}\"\nsecret = {{ file = \"jwt2\" }}\njwks = \"\"\nroles = []\ntenant-claim = \"org\"\n",
        issuers[0], issuers[1]
    );
    let upstream = Upstream::start().await;
    let other = SECRET.replace("9f", "8e");
    let gateway = builder(&upstream).await.more(&tables);
    let gateway = gateway
        .file("jwt", SECRET)
        .file("jwt2", &other)
        .start()
        .await;
    let acme = done(&gateway, &["--output", "json", "tenants", "create", "acme"]);
    let acme: Value = serde_json::from_str(&acme).unwrap();
    let acme = acme["id"].as_str().unwrap();
    done(&gateway, &["tenants", "create", "globex"]);
    let twin = gateway.twin().await;
    let nodes = [gateway.client(), twin.client()];
    let get = async |node: &Client, path: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        node.get(path).header("authorization", &bearer).send().await
    };
    let token = |which: usize, more: Value| {
        let mut claims = json!({
            "iss": issuers[which], "aud": "authenticated", "role": "authenticated", "sub": "5f0c",
            "iat": signer::now(), "exp": signer::now() + 3600,
        });
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        hs256([SECRET, &other][which], &claims)
    };
    let (plain, named) = (token(0, json!({})), token(1, json!({ "org": acme })));
    let nowhere = token(1, json!({}));
    // Of nobody who is a member: the tenant that an issuer names is theirs to enter, with no role in it.
    for node in &nodes {
        let answer = get(node, "/orgs/acme", &plain).await;
        assert_eq!(answer.problem(), "tenant-required");
        assert_eq!(get(node, "/orgs/acme", &named).await.status, 200);
        assert_eq!(get(node, "/orgs/acme/settings", &named).await.status, 403);
    }
    let mut people = Vec::new();
    for token in [&plain, &named] {
        let me = get(&nodes[0], "/.portcullis/auth/me", token).await.json();
        people.push(me["id"].as_str().unwrap().to_owned());
    }
    for person in &people {
        done(&gateway, &["tenants", "set-roles", "acme", person, "admin"]);
        done(
            &gateway,
            &["tenants", "set-roles", "globex", person, "user"],
        );
    }
    for node in &nodes {
        for token in [&plain, &named] {
            until("the role in the tenant", 200, async || {
                get(node, "/orgs/acme/settings", token).await
            })
            .await;
            assert_eq!(claims(&upstream)["roles"], json!(["admin"]));
            assert_eq!(claims(&upstream)["tenant"], acme);
            assert_eq!(get(node, "/orgs/globex", token).await.status, 404);
        }
        // The issuer says who works where: this one works nowhere, whatever its person holds.
        for path in ["/orgs/acme", "/orgs/acme/settings", "/anywhere"] {
            let answer = get(node, path, &nowhere).await;
            assert_eq!(answer.problem(), "tenant-required", "{path}");
        }
    }
    // What it takes back counts on every node, and so does that somebody is no member any more.
    for person in &people {
        done(&gateway, &["tenants", "set-roles", "acme", person, "user"]);
    }
    for node in &nodes {
        for token in [&plain, &named] {
            until("the role that was taken back", 403, async || {
                get(node, "/orgs/acme/settings", token).await
            })
            .await;
        }
    }
    for person in &people {
        done(&gateway, &["tenants", "remove", "acme", person]);
    }
    for node in &nodes {
        until("no member", 403, async || {
            get(node, "/orgs/acme", &plain).await
        })
        .await;
        eventually_asked("no member's role", async || {
            let answer = get(node, "/orgs/acme", &named).await;
            answer.status == 200 && claims(&upstream)["roles"] == json!([])
        })
        .await;
    }
}

#[tokio::test]
async fn a_key_of_somebody_who_left_the_tenant_opens_nothing_of_it() {
    let upstream = Upstream::start().await;
    let keyed = "\n[[route]]\npath = \"/keyed/{org}\"\nallow = \"user\"\ncallers = [\"user\", \"api-key\"]\ntenant = { path = \"org\" }\n";
    let gateway = builder(&upstream).await.more(keyed).start().await;
    done(&gateway, &["tenants", "create", "acme"]);
    let bob = "bob@corp.test";
    done(&gateway, &["tenants", "set-roles", "acme", bob, "user"]);
    let twin = gateway.twin().await;
    let arguments = ["--user", bob, "--permission", "profile:own"];
    let (_, key) = crate::api_keys::make(&gateway, &arguments);
    let nodes = [gateway.client(), twin.client()];
    let get = async |node: &Client| {
        let request = node.get("/keyed/acme").header("x-api-key", &key);
        request.send().await
    };
    for node in &nodes {
        assert_eq!(get(node).await.status, 200);
    }
    done(&gateway, &["tenants", "remove", "acme", bob]);
    for node in &nodes {
        until("the key of a former member", 401, async || get(node).await).await;
    }
    // A member again: the key is good again, as their session is.
    done(&gateway, &["tenants", "set-roles", "acme", bob, "user"]);
    for node in &nodes {
        until("the key of a member", 200, async || get(node).await).await;
    }
}
