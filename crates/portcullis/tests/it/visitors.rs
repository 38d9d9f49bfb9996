//! Visitors over the wire (W1, W2): a visit begins on a page of the tenant's and nowhere else, is
//! asked for on every route that admits visitors, and reaches what is the visitor's own.

mod looked_after;
mod where_it_is_at_home;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, Browser, Gateway, GatewayBuilder, RequestBuilder, Upstream, database,
};

pub(crate) const SHOP: &str = "https://shop.acme.test";
const GLOBEX: &str = "https://www.globex.test";
const OWN: &str = "/.portcullis/visitor";

const POLICY: &str = r#"
[visitors]

[limits.auth]
rate = "1000/minute"

[limits.visits]
rate = "1000/minute"

[limits.messages]
rate = "3/minute"
per = "session"

[[route]]
path = "/visits/{visitor}"
allow = { action = "read", owner = "visitor" }
callers = ["visitor"]

[[route]]
path = "/chat"
allow = "user"
callers = ["visitor", "user"]

[[route]]
path = "/messages"
allow = "user"
callers = ["visitor"]
limits = ["messages"]

[[route]]
path = "/orgs/{org}"
allow = "user"
callers = ["visitor"]
tenant = { path = "org" }

[[route]]
path = "/members"
allow = "user"

[[route]]
path = "/moderate"
allow = { permission = "moderate:content" }
callers = ["visitor", "user"]

[[route]]
path = "/staff"
allow = { role = ["user"] }
callers = ["visitor", "user"]

[[route]]
path = "/closed"
allow = "closed"
callers = ["visitor"]

[[route]]
path = "/public"
allow = "public"

[[route]]
path = "/widget/{tenant}"
allow = "public"
framing = { tenant = "tenant" }
"#;

pub(crate) async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder(upstream, POLICY)
        .await
        .user("ada@corp.test", &["user"])
}

/// Acme's widget opens on its shop, Globex's on its own page; Initech has none.
pub(crate) async fn gate(upstream: &Upstream) -> Gateway {
    furnished(builder(upstream).await.start().await)
}

pub(crate) fn furnished(gateway: Gateway) -> Gateway {
    for tenant in ["acme", "globex", "initech"] {
        done(&gateway, &["tenants", "create", tenant]);
    }
    done(&gateway, &["visitors", "set-origins", "acme", SHOP]);
    done(&gateway, &["visitors", "set-origins", "globex", GLOBEX]);
    gateway
}

pub(crate) fn done(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.cli(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The call that begins a visit, as a page of `origin` sends it.
pub(crate) fn beginning(gateway: &Gateway, tenant: &str, origin: &str) -> RequestBuilder {
    gateway
        .client()
        .post(&format!("/.portcullis/visitors/{tenant}"))
        .header("origin", origin)
        .header("sec-fetch-site", "cross-site")
        .json(&json!({}))
}

/// A visit that has begun.
pub(crate) struct Visit {
    pub(crate) id: String,
    pub(crate) token: String,
}

pub(crate) async fn begin(gateway: &Gateway, tenant: &str, origin: &str) -> Visit {
    let answer = beginning(gateway, tenant, origin).send().await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let body = answer.json();
    Visit {
        id: body["id"].as_str().unwrap().to_owned(),
        token: body["token"].as_str().unwrap().to_owned(),
    }
}

impl Visit {
    /// A request of the frame, which lies on the gate's own origin.
    pub(crate) fn ask(&self, gateway: &Gateway, method: &Method, target: &str) -> RequestBuilder {
        let request = gateway
            .client()
            .request(method.clone(), target)
            .header("authorization", &format!("Bearer {}", self.token))
            .header("sec-fetch-site", "same-origin");
        if *method == Method::GET {
            request
        } else {
            request.header("origin", &format!("http://{}", gateway.address))
        }
    }

    pub(crate) async fn get(&self, gateway: &Gateway, target: &str) -> Answer {
        self.ask(gateway, &Method::GET, target).send().await
    }
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
async fn a_visit_begins_on_a_page_that_the_tenant_named_and_on_no_other() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let own = format!("http://{}", gateway.address);
    for (tenant, origin) in [
        ("acme", GLOBEX),
        ("globex", SHOP),
        ("initech", SHOP),
        ("nobody", SHOP),
        ("acme'--", SHOP),
        ("ACME", SHOP),
        ("acme", "https://evil.test"),
        ("acme", "null"),
        ("acme", ""),
        ("acme", "*"),
        ("acme", own.as_str()),
        ("acme", "http://shop.acme.test"),
        ("acme", "https://shop.acme.test/"),
        ("acme", "https://shop.acme.test:443"),
        ("acme", "https://SHOP.acme.test"),
        ("acme", "https://shop.acme.test.evil.test"),
        ("acme", "https://evil.test#https://shop.acme.test"),
    ] {
        let answer = beginning(&gateway, tenant, origin).send().await;
        let what = format!("{tenant} {origin}");
        assert_eq!(answer.problem(), "origin-not-allowed", "{what}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{what}");
        assert!(!answer.text().contains("pcv_"), "{what}");
    }
    let no_origin = beginning(&gateway, "acme", SHOP).without("origin");
    assert_eq!(no_origin.send().await.problem(), "origin-not-allowed");
    let two = beginning(&gateway, "acme", SHOP).header("origin", SHOP);
    assert_eq!(two.send().await.problem(), "malformed-request");
    let tenant = |name| format!("/.portcullis/visitors/{name}");
    let get = gateway.client().get(&tenant("acme")).header("origin", SHOP);
    assert_eq!(get.send().await.problem(), "method-not-allowed");
    let answer = beginning(&gateway, "acme", SHOP).send().await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("access-control-allow-origin"), Some(SHOP));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("vary"), Some("Origin"));
    assert!(answer.cookies().is_empty());
    for (origin, expected) in [(SHOP, 204), ("https://evil.test", 403), ("null", 403)] {
        let preflight = gateway
            .client()
            .request(Method::OPTIONS, &tenant("acme"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        let answer = preflight.send().await;
        assert_eq!(answer.status, expected, "{origin}");
        let granted = answer.header("access-control-allow-origin");
        assert_eq!(granted, (expected == 204).then_some(SHOP), "{origin}");
    }
    done(&gateway, &["tenants", "suspend", "acme"]);
    until("a visit of a suspended tenant", 403, async || {
        beginning(&gateway, "acme", SHOP).send().await
    })
    .await;
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn every_route_for_visitors_asks_for_a_visit_that_goes_on_and_says_one_thing_where_it_does_not()
 {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let anonymous = gateway.client().get("/chat").send().await;
    assert_eq!(anonymous.problem(), "authentication-required");
    let good = begin(&gateway, "acme", SHOP).await;
    // A token in an address is none, and no log keeps it.
    for target in ["/chat?access_token=", "/chat?token=", "/chat#"] {
        let target = format!("{target}{}", good.token);
        let request = gateway.client().get(&target).send();
        if let Some(answer) = request.await.header("content-type") {
            assert_eq!(answer, "application/problem+json");
        }
    }
    assert!(!gateway.printed().contains(&good.token));
    let mut dead = Vec::new();
    for what in ["ended", "revoked", "expired", "unheard of"] {
        let mut visit = begin(&gateway, "acme", SHOP).await;
        match what {
            "ended" => {
                assert_eq!(visit.get(&gateway, "/chat").await.status, 200);
                let end = visit.ask(&gateway, &Method::DELETE, OWN).send().await;
                assert_eq!(end.status, 204, "{}", end.text());
            }
            "revoked" => {
                assert_eq!(visit.get(&gateway, "/chat").await.status, 200);
                done(&gateway, &["visitors", "revoke", "acme", &visit.id]);
                until("a revoked visit", 401, async || {
                    visit.get(&gateway, "/chat").await
                })
                .await;
            }
            "expired" => {
                let sql = "UPDATE visitor SET expires_at = created_at + 1 WHERE expires_at = (SELECT max(expires_at) FROM visitor)";
                database::execute(&gateway.folder, sql).await;
            }
            _ => visit.token = format!("pcv_{}", "A".repeat(43)),
        }
        dead.push((what, visit));
    }
    let seen = upstream.requests();
    let without_id = |answer: &Answer| {
        let mut body = answer.json();
        body.as_object_mut().unwrap().remove("request_id").unwrap();
        (answer.status, body)
    };
    let mut answers = Vec::new();
    for (what, visit) in &dead {
        for target in [
            "/chat",
            "/public",
            "/members",
            "/widget/acme",
            OWN,
            &format!("/visits/{}", visit.id),
        ] {
            let answer = visit.get(&gateway, target).await;
            assert_eq!(answer.problem(), "invalid-token", "{what} {target}");
            let challenge = answer.header("www-authenticate").unwrap();
            assert_eq!(challenge, "Bearer error=\"invalid_token\"");
            answers.push(without_id(&answer));
        }
    }
    for broken in [
        "pcv_",
        "pcv_short",
        &format!("{}A", good.token),
        &good.token[..46],
    ] {
        let visit = Visit {
            id: good.id.clone(),
            token: broken.to_owned(),
        };
        let answer = visit.get(&gateway, "/chat").await;
        assert_eq!(answer.problem(), "invalid-token", "{broken}");
        answers.push(without_id(&answer));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one answer for all of them: {answers:?}");
    assert_eq!(upstream.requests(), seen, "the product saw none of it");
    assert_eq!(good.get(&gateway, "/chat").await.status, 200);
}

/// Every route of the gate's own that `[visitors]` brings, and what it answers to a stranger.
const STRANGERS: &[(&str, &str, u16)] = &[
    ("GET", "/.portcullis/widget.js", 200),
    ("GET", "/.portcullis/widget/{tenant}/frame.js", 404),
    ("POST", "/.portcullis/visitors/{tenant}", 403),
    ("GET", "/.portcullis/visitor", 401),
    ("DELETE", "/.portcullis/visitor", 401),
];

#[tokio::test]
async fn strangers_begin_nothing_at_the_routes_of_visitors() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let listed = done(&gateway, &["routes", "list", "--own", "--output", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let paths: std::collections::BTreeSet<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["route"].as_str()?.split_once(' '))
        .map(|(_, path)| path)
        .filter(|path| path.contains("visitor") || path.contains("widget"))
        .filter(|path| path.starts_with("/.portcullis/") && !path.contains("/admin/"))
        .collect();
    let known = STRANGERS.iter().map(|(_, path, _)| *path).collect();
    assert_eq!(paths, known, "say what strangers may");
    for (method, path, expected) in STRANGERS {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let path = path.replace("{tenant}", "nobody");
        let answer = gateway.browser().send(method, &path).send().await;
        assert_eq!(answer.status, *expected, "{path}: {}", answer.text());
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_visitor_reaches_what_is_theirs_and_nothing_else() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let ana = begin(&gateway, "acme", SHOP).await;
    let bob = begin(&gateway, "acme", SHOP).await;
    let mine = format!("/visits/{}", ana.id);
    assert_eq!(ana.get(&gateway, &mine).await.status, 200);
    let told = claims(&upstream);
    assert_eq!(told["kind"], "visitor");
    assert_eq!(told["sub"], ana.id.as_str());
    assert_eq!(told["roles"], json!([]));
    assert!(told["tenant"].is_string());
    assert_eq!(upstream.last().header("authorization"), None);
    assert_eq!(ana.get(&gateway, "/orgs/acme").await.status, 200);
    let seen = upstream.requests();
    for (target, problem) in [
        (format!("/visits/{}", bob.id), "not-found"),
        ("/visits/everybody".to_owned(), "not-found"),
        ("/orgs/globex".to_owned(), "not-found"),
        ("/members".to_owned(), "not-permitted"),
        ("/moderate".to_owned(), "not-permitted"),
        ("/staff".to_owned(), "not-permitted"),
        ("/closed".to_owned(), "route-closed"),
        ("/.portcullis/auth/me".to_owned(), "not-permitted"),
        ("/.portcullis/admin/v1/users".to_owned(), "not-permitted"),
        (
            "/.portcullis/admin/v1/tenants/acme/visitors".to_owned(),
            "not-permitted",
        ),
        (
            "/.portcullis/admin/v1/tenants/globex/visitors".to_owned(),
            "not-found",
        ),
    ] {
        let answer = ana.get(&gateway, &target).await;
        assert_eq!(answer.problem(), problem, "{target}");
    }
    assert_eq!(upstream.requests(), seen, "the product saw none of it");
    let answer = ana.get(&gateway, OWN).await.json();
    assert_eq!(answer["id"], ana.id.as_str());
    for (id, is_allowed) in [(&ana.id, true), (&bob.id, false)] {
        let explain = ["explain", "GET", &mine, "--as", "visitor", "--user-id", id];
        assert_eq!(gateway.cli(&explain).status.success(), is_allowed);
    }
    done(&gateway, &["tenants", "suspend", "acme"]);
    until("a visit of a suspended tenant", 403, async || {
        ana.get(&gateway, "/chat").await
    })
    .await;
}

#[tokio::test]
async fn a_visitors_token_never_stands_above_a_session() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let visit = begin(&gateway, "acme", SHOP).await;
    let bearer = format!("Bearer {}", visit.token);
    let ada = gateway.signed_in("ada@corp.test").await;
    let as_both = async |browser: &Browser, target: &str| {
        browser
            .get(target)
            .header("authorization", &bearer)
            .send()
            .await
    };
    assert_eq!(as_both(&ada, "/members").await.status, 200);
    assert_eq!(claims(&upstream)["kind"], "user");
    assert_eq!(upstream.last().header("authorization"), None);
    assert_eq!(as_both(&ada, "/chat").await.status, 200);
    assert_eq!(claims(&upstream)["kind"], "user");
    // What is the visitor's is not the user's, whatever else they bear.
    let theirs = format!("/visits/{}", visit.id);
    assert_eq!(as_both(&ada, &theirs).await.problem(), "not-permitted");
    // In the session's name the session's rules hold: no token of CSRF, no change.
    let forged = ada.post("/members").without("x-csrf-token");
    let forged = forged.header("authorization", &bearer).send().await;
    assert_eq!(forged.problem(), "csrf-token-missing");
    let dead = gateway.browser();
    dead.set_cookie("session", &"A".repeat(43));
    assert_eq!(as_both(&dead, "/members").await.problem(), "not-permitted");
    let two = visit.ask(&gateway, &Method::GET, "/chat");
    let key = done(
        &gateway,
        &["keys", "create", "--name", "ci", "--output", "json"],
    );
    let key: Value = serde_json::from_str(&key).unwrap();
    let two = two.header("x-api-key", key["key"].as_str().unwrap());
    assert_eq!(two.send().await.problem(), "malformed-request");
}
