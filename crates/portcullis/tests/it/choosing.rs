//! The organization that somebody works in is chosen before a route needs one (I6), over sockets.

use serde_json::json;

use crate::support::issuer::Issuer;
use crate::support::signer::read;
use crate::support::{Answer, Browser, Gateway, Upstream};

const PAGE: &str = "/.portcullis/auth/choose-tenant";
const ANA: &str = "ana@corp.test";
const POLICY: &str = "\n[limits.auth]\nrate = \"1000/minute\"\n\n[[route]]\npath = \"/board\"\nallow = \"user\"\ntenant = \"any\"\n\n[[route]]\npath = \"/t/{tenant}\"\nallow = \"user\"\ntenant = { path = \"tenant\" }\n\n[[route]]\npath = \"/home\"\nallow = \"user\"\n";

async fn gate(upstream: &Upstream, more: &str) -> Gateway {
    let gateway = Gateway::builder(upstream, &format!("{POLICY}{more}")).await;
    let gateway = gateway
        .user(ANA, &["user"])
        .user("bob@corp.test", &["user"])
        .user("eve@corp.test", &["user"])
        .start()
        .await;
    for arguments in [
        &["tenants", "create", "acme", "--name", "Acme <Ltd>"][..],
        &["tenants", "create", "globex"],
        &["tenants", "create", "gone"],
        &["tenants", "set-roles", "acme", ANA],
        &["tenants", "set-roles", "globex", ANA],
        &["tenants", "set-roles", "gone", ANA],
        &["tenants", "suspend", "gone"],
        &["tenants", "set-roles", "acme", "bob@corp.test"],
    ] {
        let done = gateway.cli(arguments);
        assert!(done.status.success(), "{arguments:?} {done:?}");
    }
    gateway
}

async fn open(browser: &Browser, path: &str) -> Answer {
    browser.get(path).header("accept", "text/html").send().await
}

/// What the product was told of the last caller's tenant.
fn told(upstream: &Upstream) -> serde_json::Value {
    read(upstream.last().header("x-portcullis-assertion").unwrap()).1["tenant"].clone()
}

/// The hidden values of the form for a tenant, by the name on its button.
fn form_of(page: &str, name: &str) -> String {
    let form = page
        .split("<form")
        .find(|form| form.contains(name))
        .unwrap();
    let value = |field: &str| {
        let from = form.split(&format!("name=\"{field}\" value=\"")).nth(1);
        from.unwrap().split('"').next().unwrap().to_owned()
    };
    format!("tenant={}&next={}", value("tenant"), value("next"))
}

async fn choose(browser: &Browser, form: &str) -> Answer {
    let post = browser.post(PAGE).without("x-csrf-token");
    let post = post.header("content-type", "application/x-www-form-urlencoded");
    post.body(form.to_owned()).send().await
}

#[tokio::test]
async fn whoever_has_several_chooses_after_each_sign_in_before_a_route_that_needs_one() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream, "\n[sessions]\ntenant-at-sign-in = \"ask\"\n").await;
    let ana = gateway.signed_in(ANA).await;
    assert_eq!(ana.get("/home").send().await.status, 200, "none is needed");
    let reached = upstream.requests();
    for path in ["/board", "/t/acme"] {
        assert_eq!(
            ana.get(path).send().await.problem(),
            "tenant-required",
            "{path}"
        );
        let sent = open(&ana, path).await;
        let to = format!("{PAGE}?next={}", path.replace('/', "%2F"));
        assert_eq!(
            (sent.status.as_u16(), sent.header("location")),
            (303, Some(to.as_str()))
        );
    }
    assert_eq!(upstream.requests(), reached, "the product saw nothing");
    let page = open(&ana, &format!("{PAGE}?next=%2Fboard")).await;
    assert_eq!(page.status, 200);
    let page = page.text();
    assert!(
        page.contains("Acme &lt;Ltd&gt;") && page.contains("globex"),
        "{page}"
    );
    assert!(!page.contains(">gone<"), "a suspended one is no choice");
    // From another site nobody chooses for her, and what she is no member of is no choice.
    let form = form_of(&page, "globex");
    let foreign = ana
        .post(PAGE)
        .replace("origin", "https://evil.test")
        .replace("sec-fetch-site", "cross-site")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.clone());
    assert_eq!(foreign.send().await.status, 403);
    let eve = gateway.signed_in("eve@corp.test").await;
    assert_eq!(choose(&eve, &form).await.problem(), "not-found");
    assert!(
        open(&eve, PAGE)
            .await
            .text()
            .contains("member of no organization")
    );
    assert_eq!(eve.get("/board").send().await.problem(), "tenant-required");

    let before = ana.cookie("session").unwrap();
    let chosen = choose(&ana, &form).await;
    assert_eq!(
        (chosen.status.as_u16(), chosen.header("location")),
        (303, Some("/board"))
    );
    assert_ne!(
        ana.cookie("session").unwrap(),
        before,
        "under another token"
    );
    assert_eq!(ana.get("/board").send().await.status, 200);
    assert!(told(&upstream).is_string());
    assert_eq!(ana.get("/t/globex").send().await.status, 200);
    assert_eq!(ana.get("/t/acme").send().await.problem(), "not-found");
    let elsewhere = choose(
        &ana,
        &form
            .replace("%2Fboard", "")
            .replace("/board", "//evil.test"),
    )
    .await;
    assert_eq!(elsewhere.header("location"), Some("/"), "and nowhere else");
    // At the next sign-in she is asked again; who has one only is not.
    let again = gateway.signed_in(ANA).await;
    assert_eq!(
        again.get("/board").send().await.problem(),
        "tenant-required"
    );
    let bob = gateway.signed_in("bob@corp.test").await;
    assert_eq!(bob.get("/board").send().await.status, 200);
    let nobody = gateway.client().get(PAGE).send().await;
    assert_eq!(nobody.problem(), "authentication-required");
}

/// By default the last choice counts, and whoever has none is asked all the same.
#[tokio::test]
async fn without_a_tenant_nobody_reaches_what_needs_one_and_is_told_so() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(61).await;
    let table = format!(
        "\n[issuer.clerk]\nprofile = \"clerk\"\nissuer = \"{}\"\naudience = [\"product\"]\nloopback = true\n",
        issuer.url
    );
    let gateway = gate(&upstream, &table).await;
    let ana = gateway.signed_in(ANA).await;
    assert_eq!(ana.get("/board").send().await.status, 200, "in the first");
    let left = gateway.cli(&["tenants", "remove", "acme", ANA]);
    assert!(left.status.success(), "{left:?}");
    crate::support::eventually_asked("she left it", async || {
        ana.get("/board").send().await.status == 403
    })
    .await;
    assert_eq!(open(&ana, "/board").await.status, 303);
    let page = open(&ana, PAGE).await.text();
    choose(&ana, &form_of(&page, "globex")).await;
    assert_eq!(ana.get("/board").send().await.status, 200);
    // A token of another issuer that names no organization, and one that names one nobody knows.
    for (claims, slug) in [
        (json!({}), "tenant-required"),
        (json!({ "orgId": "org_1" }), "not-found"),
    ] {
        let token = issuer.token("user_2x", &claims);
        let request = gateway.client().get("/board");
        let request = request.header("authorization", &format!("Bearer {token}"));
        assert_eq!(request.send().await.problem(), slug);
    }
}
