//! Who may do what (T1, T2, I10), over the wire.

use std::collections::BTreeMap;

use http::Method;

use crate::support::{Browser, Gateway, GatewayBuilder, Upstream};

const ROUTES: &str = r#"
[[route]]
path = "/notes/{owner}"
methods = ["GET"]
allow = { action = "read", owner = "owner" }

[[route]]
path = "/notes/{owner}"
methods = ["PUT"]
allow = { action = "write", owner = "owner" }

[[route]]
path = "/notes/{owner}"
methods = ["DELETE"]
allow = { action = "delete", owner = "owner" }

[[route]]
path = "/export/{owner}"
methods = ["GET"]
allow = { action = "export", owner = "owner" }

[[route]]
path = "/moderate"
allow = { permission = "moderate:content" }

[[route]]
path = "/reported"
allow = { permission = "delete:reported" }

[[route]]
path = "/users"
allow = { permission = "manage:users" }

[[route]]
path = "/system"
allow = { permission = "manage:system" }

[[route]]
path = "/staff"
allow = { role = ["moderator", "admin"] }
"#;

const ROLES: [&str; 4] = ["user", "premium", "moderator", "admin"];

/// One line: what is asked, and which of the four roles may. `OWN` and `OTHER` are whose it is.
const MATRIX: &[(&str, &str, [bool; 4])] = &[
    ("GET", "/notes/OWN", [true, true, true, true]),
    ("GET", "/notes/OTHER", [false, false, true, true]),
    ("PUT", "/notes/OWN", [true, true, true, true]),
    ("PUT", "/notes/OTHER", [false, false, false, true]),
    ("DELETE", "/notes/OWN", [true, true, false, true]),
    ("DELETE", "/notes/OTHER", [false, false, false, true]),
    ("GET", "/export/OWN", [false, true, false, false]),
    ("GET", "/export/OTHER", [false, false, false, false]),
    ("POST", "/moderate", [false, false, true, false]),
    ("POST", "/reported", [false, false, true, true]),
    ("GET", "/users", [false, false, false, true]),
    ("POST", "/system", [false, false, false, true]),
    ("GET", "/staff", [false, false, true, true]),
];

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    let mut builder = Gateway::builder(upstream, ROUTES)
        .await
        .more("\n[limits.auth]\nrate = \"1000/minute\"\n");
    for role in ROLES {
        builder = builder.user(&format!("{role}@corp.test"), &[role]);
    }
    builder
}

async fn id(browser: &Browser) -> String {
    let me = browser.get("/.portcullis/auth/me").send().await.json();
    me["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_four_roles_may_exactly_what_they_say() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let other = "0191d3a0-0000-7000-8000-000000000000";
    let mut allowed = 0;
    for (column, role) in ROLES.into_iter().enumerate() {
        let browser = gateway.signed_in(&format!("{role}@corp.test")).await;
        let id = id(&browser).await;
        for (method, path, expected) in MATRIX {
            let path = path.replace("OWN", &id).replace("OTHER", other);
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = browser.send(method.clone(), &path).send().await;
            let what = format!("{role} {method} {path}");
            if expected[column] {
                assert_eq!(answer.status, 200, "{what}");
                allowed += 1;
            } else {
                let problem = answer.problem();
                assert!(
                    problem == "not-permitted" || problem == "not-found",
                    "{what}: {problem}"
                );
            }
        }
        // Another one's id by any other spelling is still another one's.
        for spelling in [id.to_uppercase(), id.replace('-', ""), format!("{id}%20")] {
            let answer = browser.get(&format!("/export/{spelling}")).send().await;
            assert!(
                !answer.status.is_success() || role == "premium",
                "{role} {spelling}"
            );
        }
    }
    assert_eq!(upstream.requests() - extra(&upstream), allowed);
    for (method, path, _) in MATRIX {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let path = path.replace("OWN", other).replace("OTHER", other);
        let answer = gateway.browser().send(method, &path).send().await;
        assert_eq!(answer.problem(), "authentication-required", "{path}");
    }
}

/// Requests of the spellings above that reached the product.
fn extra(upstream: &Upstream) -> usize {
    let is_other_spelling = |target: &str| {
        let id = target.trim_start_matches("/export/");
        target.starts_with("/export/")
            && (id.len() != 36 || id.bytes().any(|byte| byte.is_ascii_uppercase()))
    };
    upstream
        .received()
        .iter()
        .filter(|received| is_other_spelling(&received.target))
        .count()
}

#[tokio::test]
async fn another_role_counts_from_the_next_request_on_and_so_does_none() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let browser = gateway.signed_in("user@corp.test").await;
    let id = id(&browser).await;
    let problem = async || {
        let answer = browser.get("/users").send().await;
        (!answer.status.is_success()).then(|| answer.problem())
    };
    assert_eq!(problem().await.as_deref(), Some("not-permitted"));
    for (roles, expected) in [
        (vec!["admin"], None),
        (vec!["user", "premium"], Some("not-permitted")),
        (vec![], Some("not-permitted")),
    ] {
        let mut arguments = vec!["users", "set-roles", id.as_str()];
        arguments.extend(&roles);
        assert!(gateway.cli(&arguments).status.success());
        // The running gate hears of it from the feed, twice a second.
        let mut last = problem().await;
        for _ in 0..200 {
            if last.as_deref() == expected {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
            last = problem().await;
        }
        assert_eq!(last.as_deref(), expected, "{roles:?}");
        // Once the new roles count they count everywhere: in the assertion too.
        if expected.is_none() {
            let assertion = upstream
                .last()
                .header("x-portcullis-assertion")
                .unwrap()
                .to_owned();
            let claims = assertion.split('.').nth(1).unwrap().to_owned();
            let claims =
                base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims)
                    .unwrap();
            let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
            assert_eq!(claims["roles"], serde_json::json!(["admin"]), "{claims}");
        }
        let mut me = Vec::new();
        for _ in 0..200 {
            let answer = browser.get("/.portcullis/auth/me").send().await.json();
            answer["roles"].as_array().unwrap().clone_into(&mut me);
            if me.len() == roles.len() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        assert_eq!(me.len(), roles.len(), "{me:?}");
    }
    assert!(
        !gateway
            .cli(&["users", "set-roles", &id, "emperor"])
            .status
            .success()
    );
    assert!(gateway.cli(&["users", "deactivate", &id]).status.success());
    let mut last = problem().await;
    for _ in 0..200 {
        if last.as_deref() == Some("authentication-required") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        last = problem().await;
    }
    assert_eq!(last.as_deref(), Some("authentication-required"));
}

/// What a stranger is told by each route of the gate itself. A route that is added without a line
/// here fails the test below: somebody has to say what strangers may.
const STRANGERS: &[(&str, u16)] = &[
    ("GET /healthz", 200),
    ("GET /readyz", 200),
    ("GET /health", 200),
    ("GET /.portcullis/jwks.json", 200),
    ("GET /.portcullis/problems/{slug}", 404),
    ("POST /.portcullis/auth/login", 415),
    ("POST /.portcullis/auth/register", 415),
    ("POST /.portcullis/auth/logout", 204),
    // Not there unless tokens are configured.
    ("POST /.portcullis/auth/refresh", 404),
    ("POST /.portcullis/auth/token", 401),
    ("POST /.portcullis/auth/sign-out", 303),
    ("GET /.portcullis/auth/sign-in", 200),
    ("POST /.portcullis/auth/sign-in", 415),
    ("GET /.portcullis/auth/account", 401),
    ("POST /.portcullis/auth/account/sessions", 401),
    ("POST /.portcullis/auth/account/notices", 401),
    ("GET /.portcullis/auth/notices", 401),
    ("DELETE /.portcullis/auth/notices", 401),
    ("GET /.portcullis/auth/me", 401),
    ("POST /.portcullis/auth/change-password", 401),
    ("POST /.portcullis/auth/revoke-key", 415),
    ("GET /.portcullis/auth/keys", 401),
    ("POST /.portcullis/auth/keys", 401),
    ("DELETE /.portcullis/auth/keys/{id}", 401),
    ("GET /.portcullis/auth/choose-tenant", 401),
    ("POST /.portcullis/auth/choose-tenant", 401),
    ("GET /.portcullis/auth/tenants", 401),
    ("POST /.portcullis/auth/tenant", 401),
    ("POST /.portcullis/auth/invitation", 401),
    ("GET /.portcullis/auth/sessions", 401),
    ("DELETE /.portcullis/auth/sessions", 401),
    ("DELETE /.portcullis/auth/sessions/{id}", 401),
    // Not there unless mail is configured.
    ("GET /.portcullis/auth/forgot-password", 404),
    ("POST /.portcullis/auth/forgot-password", 415),
    ("GET /.portcullis/auth/new-password", 410),
    ("POST /.portcullis/auth/new-password", 415),
    ("GET /.portcullis/auth/verify-email", 410),
    ("POST /.portcullis/auth/verify-email", 415),
    // Not there unless registration is by letter.
    ("GET /.portcullis/auth/create-account", 403),
    ("POST /.portcullis/auth/create-account", 415),
    ("GET /.portcullis/auth/open-account", 410),
    ("POST /.portcullis/auth/open-account", 415),
    ("POST /.portcullis/auth/request-registration", 415),
    ("POST /.portcullis/auth/request-password-reset", 415),
    ("POST /.portcullis/auth/reset-password", 415),
    ("POST /.portcullis/auth/request-email-verification", 401),
    ("GET /.portcullis/auth/password", 401),
    ("POST /.portcullis/auth/password", 401),
    ("GET /.portcullis/auth/second-factor", 303),
    ("POST /.portcullis/auth/second-factor", 415),
    ("POST /.portcullis/auth/second-factor/prove", 415),
    ("GET /.portcullis/auth/factors", 401),
    ("POST /.portcullis/auth/factors/totp", 401),
    ("DELETE /.portcullis/auth/factors/totp", 401),
    ("POST /.portcullis/auth/factors/totp/confirm", 401),
    ("POST /.portcullis/auth/factors/recovery-codes", 401),
    ("GET /.portcullis/auth/security", 401),
    ("POST /.portcullis/auth/security/totp", 401),
    ("POST /.portcullis/auth/security/totp/confirm", 401),
    ("POST /.portcullis/auth/security/totp/remove", 401),
    ("POST /.portcullis/auth/security/recovery-codes", 401),
    ("POST /.portcullis/auth/security/sessions/end", 401),
    ("POST /.portcullis/auth/security/sessions/end-others", 401),
    // Not there unless a provider is configured.
    ("GET /.portcullis/auth/openid/{provider}", 404),
    ("GET /.portcullis/auth/openid/{provider}/callback", 404),
    ("GET /.portcullis/auth/passkeys.js", 200),
    // Not there unless the gate has a domain name.
    ("POST /.portcullis/auth/passkeys/begin", 404),
    ("POST /.portcullis/auth/passkeys/sign-in", 415),
    ("POST /.portcullis/auth/sign-in/passkey", 415),
    ("POST /.portcullis/auth/second-factor/passkey/begin", 401),
    ("POST /.portcullis/auth/second-factor/passkey", 415),
    ("POST /.portcullis/auth/second-factor/prove-passkey", 415),
    ("GET /.portcullis/auth/factors/passkeys", 401),
    ("POST /.portcullis/auth/factors/passkeys", 401),
    ("PATCH /.portcullis/auth/factors/passkeys/{id}", 401),
    ("DELETE /.portcullis/auth/factors/passkeys/{id}", 401),
    ("POST /.portcullis/auth/factors/passkeys/begin", 401),
    ("POST /.portcullis/auth/security/passkeys", 401),
    ("POST /.portcullis/auth/security/passkeys/rename", 401),
    ("POST /.portcullis/auth/security/passkeys/remove", 401),
    ("GET /.well-known/change-password", 307),
    ("GET /.portcullis/console", 401),
    ("GET /.portcullis/console/live", 401),
    ("GET /.portcullis/console/live/figures", 401),
    ("GET /.portcullis/console/live.js", 401),
    ("GET /.portcullis/console/users", 401),
    ("POST /.portcullis/console/users", 401),
    ("GET /.portcullis/console/users/new", 401),
    ("GET /.portcullis/console/users/{id}", 401),
    ("POST /.portcullis/console/users/{id}/roles", 401),
    ("POST /.portcullis/console/users/{id}/password", 401),
    ("POST /.portcullis/console/users/{id}/send-reset", 401),
    ("POST /.portcullis/console/users/{id}/reset-factors", 401),
    ("POST /.portcullis/console/users/{id}/deactivate", 401),
    ("POST /.portcullis/console/users/{id}/activate", 401),
    ("GET /.portcullis/console/users/{id}/sessions", 401),
    ("POST /.portcullis/console/users/{id}/sessions/end", 401),
    ("POST /.portcullis/console/users/{id}/sessions/end-all", 401),
    ("GET /.portcullis/console/keys", 401),
    ("POST /.portcullis/console/keys", 401),
    ("GET /.portcullis/console/keys/new", 401),
    ("GET /.portcullis/console/keys/{id}", 401),
    ("POST /.portcullis/console/keys/{id}/rotate", 401),
    ("POST /.portcullis/console/keys/{id}/revoke", 401),
    ("GET /.portcullis/console/tenants", 401),
    ("POST /.portcullis/console/tenants", 401),
    ("GET /.portcullis/console/tenants/new", 401),
    ("GET /.portcullis/console/tenants/{id}", 401),
    ("POST /.portcullis/console/tenants/{id}/suspend", 401),
    ("POST /.portcullis/console/tenants/{id}/resume", 401),
    ("GET /.portcullis/console/tenants/{tenant}/members", 401),
    (
        "GET /.portcullis/console/tenants/{tenant}/members/{user}",
        401,
    ),
    (
        "POST /.portcullis/console/tenants/{tenant}/members/{user}",
        401,
    ),
    (
        "POST /.portcullis/console/tenants/{tenant}/members/{user}/remove",
        401,
    ),
    ("GET /.portcullis/console/tenants/{tenant}/invitations", 401),
    (
        "POST /.portcullis/console/tenants/{tenant}/invitations",
        401,
    ),
    (
        "POST /.portcullis/console/tenants/{tenant}/invitations/{invitation}/revoke",
        401,
    ),
    ("GET /.portcullis/console/tenants/{tenant}/roles", 401),
    ("POST /.portcullis/console/tenants/{tenant}/roles", 401),
    (
        "GET /.portcullis/console/tenants/{tenant}/roles/{role}",
        401,
    ),
    (
        "POST /.portcullis/console/tenants/{tenant}/roles/{role}",
        401,
    ),
    (
        "POST /.portcullis/console/tenants/{tenant}/roles/{role}/delete",
        401,
    ),
    ("GET /.portcullis/console/tenants/{tenant}/grants", 401),
    ("POST /.portcullis/console/tenants/{tenant}/grants", 401),
    (
        "POST /.portcullis/console/tenants/{tenant}/grants/{grant}/take-back",
        401,
    ),
    ("POST /.portcullis/personal-data/export", 403),
    ("POST /.portcullis/personal-data/erase", 403),
    ("GET /.portcullis/auth/personal-data", 401),
    ("GET /.portcullis/auth/consents", 401),
    ("POST /.portcullis/auth/consents", 401),
    ("GET /.portcullis/console/audit", 401),
    ("GET /.portcullis/console/audit/{id}", 401),
    ("GET /.portcullis/console/tenants/{tenant}/audit", 401),
    ("GET /.portcullis/console/tenants/{tenant}/audit/{id}", 401),
    ("GET /.portcullis/console/tenants/{tenant}/secrets", 401),
    (
        "GET /.portcullis/console/tenants/{tenant}/secrets/{name}",
        401,
    ),
    ("GET /.portcullis/console/tenants/{tenant}/uploads", 401),
    (
        "GET /.portcullis/console/tenants/{tenant}/uploads/{id}",
        401,
    ),
    ("GET /.portcullis/console/alerts", 401),
    ("GET /.portcullis/console/alerts/sent", 401),
    ("GET /.portcullis/console/alerts/silences/new", 401),
    ("POST /.portcullis/console/alerts/silences", 401),
    ("POST /.portcullis/console/alerts/silences/{id}/lift", 401),
    ("GET /.portcullis/console/incidents", 401),
    ("GET /.portcullis/console/incidents/{id}", 401),
    ("GET /.portcullis/console/webhooks", 401),
    ("GET /.portcullis/console/webhooks/{id}", 401),
    ("POST /.portcullis/console/webhooks/{id}/replay", 401),
    ("GET /.portcullis/console/uploads", 401),
    ("GET /.portcullis/console/uploads/{id}", 401),
    ("POST /.portcullis/console/uploads/{id}/release", 401),
    ("POST /.portcullis/console/uploads/{id}/delete", 401),
    ("GET /.portcullis/console/secrets", 401),
];

#[tokio::test]
async fn every_route_of_the_gate_itself_has_its_answer_for_strangers() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let listed = gateway.cli(&["routes", "list", "--own", "--output", "json"]);
    let listed: Vec<BTreeMap<String, serde_json::Value>> =
        serde_json::from_slice(&listed.stdout).unwrap();
    let mut own = Vec::new();
    for row in &listed {
        if row["upstream"] != "portcullis" {
            continue;
        }
        let route = row["route"].as_str().unwrap();
        let (methods, path) = route.split_once(' ').unwrap();
        // All alike, and walked in `admin_api.rs`.
        if path.starts_with("/.portcullis/admin/v1/") {
            continue;
        }
        own.extend(
            methods
                .split([',', '|'])
                .map(|method| format!("{method} {path}")),
        );
    }
    let known: Vec<&str> = STRANGERS.iter().map(|(route, _)| *route).collect();
    for route in &own {
        assert!(
            known.contains(&route.as_str()),
            "say what strangers may: {route}"
        );
    }
    assert_eq!(own.len(), known.len(), "{own:?}");
    for (route, expected) in STRANGERS {
        let (method, path) = route.split_once(' ').unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let path = path
            .replace("{slug}", "nothing")
            .replace("{provider}", "none");
        let path: Vec<&str> = path.split('/').map(crate::admin_api::filled).collect();
        let path = path.join("/");
        let answer = gateway.browser().send(method, &path).send().await;
        assert_eq!(answer.status, *expected, "{route}: {}", answer.text());
    }
    assert_eq!(upstream.requests(), 0);
}
