//! The console: administrators' pages, used as a browser without script uses them.

mod commands;
mod glance;
mod keys;
mod live;
mod tenants;
mod users;
mod watch;

use http::Method;
use serde_json::Value;

use crate::support::authenticator::sign_in;
use crate::support::forms::Page;
use crate::support::sockets::NAME;
use crate::support::{Browser, Gateway, GatewayBuilder, PASSWORD, Upstream};

const CONSOLE: &str = "/.portcullis/console";
const ROOT: &str = "root@corp.test";
const ANA: &str = "ana@corp.test";
const EVE: &str = "eve@corp.test";
/// What must never come out of a page as it went in.
const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>";

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .more("\n[limits.auth]\nrate = \"1000/minute\"\n[limits.default]\nrate = \"5000/minute\"\n")
        .user(ROOT, &["admin"])
        .user(ANA, &["user"])
        .user(EVE, &[])
}

async fn gate() -> Gateway {
    builder(&Upstream::start().await).await.start().await
}

fn done(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.cli(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(gateway: &Gateway, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    serde_json::from_str(&done(gateway, &arguments)).unwrap()
}

/// The id of an account.
fn account(gateway: &Gateway, email: &str) -> String {
    let list = json(gateway, &["users", "list"]);
    let mut rows = list.as_array().unwrap().iter();
    let found = rows.find(|row| row["email"] == email);
    found.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Every route of the console, with something in place of each parameter. True where it is about the
/// caller's own tenant: then it is acme that the path names.
fn routes(gateway: &Gateway) -> Vec<(Method, String, bool)> {
    let listed = json(gateway, &["routes", "list", "--own"]);
    let mut routes = Vec::new();
    for row in listed.as_array().unwrap() {
        let Some((method, path)) = row["route"].as_str().unwrap().split_once(' ') else {
            continue;
        };
        if path == CONSOLE || path.starts_with(&format!("{CONSOLE}/")) {
            let parts = path.split('/').map(crate::admin_api::filled);
            let is_bound = path.contains("{tenant}");
            let path = parts.collect::<Vec<_>>().join("/");
            routes.push((method.parse().unwrap(), path, is_bound));
        }
    }
    assert!(routes.len() >= 12, "{routes:?}");
    routes
}

#[tokio::test]
async fn every_page_refuses_whom_it_must_refuse() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    for tenant in ["acme", "globex"] {
        done(&gateway, &["tenants", "create", tenant]);
    }
    // She administers a tenant, and it is another one.
    done(&gateway, &["tenants", "set-roles", "globex", EVE, "admin"]);
    let [root, ana, eve] = [ROOT, ANA, EVE].map(|email| gateway.signed_in(email));
    let (root, ana, eve) = (root.await, ana.await, eve.await);
    let key = json(
        &gateway,
        &[
            "keys",
            "create",
            "--name",
            "a",
            "--permission",
            "manage:users",
        ],
    );
    let key = format!("Bearer {}", key["key"].as_str().unwrap());
    let foreign_token = eve.open(CONSOLE).await;
    assert_eq!(foreign_token.answer.status, 200, "whoever is signed in");
    for (method, path, is_bound) in routes(&gateway) {
        let what = format!("{method} {path}");
        let anonymous = gateway.client().request(method.clone(), &path).send().await;
        assert_eq!(anonymous.problem(), "authentication-required", "{what}");
        let program = gateway.client().request(method.clone(), &path);
        let program = program.header("authorization", &key).send().await;
        let refused = ["not-permitted", "not-found"];
        assert!(refused.contains(&&*program.problem()), "{what}");
        // The first page and what keeps it fresh are for whoever is signed in.
        if path == CONSOLE || path.starts_with(&format!("{CONSOLE}/live")) {
            continue;
        }
        // Who works in no tenant is told so; to whom works in another, nothing of this one is there.
        let expected = if is_bound {
            ["tenant-required", "not-found"]
        } else {
            ["not-permitted"; 2]
        };
        for (browser, expected) in [&ana, &eve].into_iter().zip(expected) {
            let answer = browser.send(method.clone(), &path).send().await;
            assert_eq!(answer.problem(), expected, "{what}");
        }
        if method == Method::GET {
            let page = gateway.browser().open(&path).await;
            assert_eq!(page.answer.status, 303, "{what}");
            let to = page.answer.header("location").unwrap();
            assert!(to.starts_with("/.portcullis/auth/sign-in?next=%2F.portcullis%2Fconsole"));
            continue;
        }
        let by = if is_bound { &eve } else { &root };
        let path = path.replace("/tenants/acme/", "/tenants/globex/");
        let foreign = root.post(&path).replace("sec-fetch-site", "cross-site");
        let foreign = foreign.replace("origin", "https://evil.test").send().await;
        assert_eq!(foreign.status, 403, "{what}");
        // The header that the product's own scripts send is not what is asked for here.
        let headed = by.post(&path).header("content-type", FORM).body("a=b");
        assert_eq!(
            headed.send().await.problem(),
            "csrf-token-missing",
            "{what}"
        );
        let of_nobody = by.post(&path).header("content-type", FORM);
        let of_nobody = of_nobody.body(format!("csrf={}", "A".repeat(66)));
        assert_eq!(
            of_nobody.send().await.problem(),
            "csrf-token-invalid",
            "{what}"
        );
        // A token of another session is none, even beside this session's own cookie.
        let other = if is_bound { &root } else { &eve };
        let other = other.cookie("csrf_token").unwrap();
        let planted = by.post(&path).header("content-type", FORM);
        let planted = planted.body(format!("csrf={other}")).send().await;
        assert_eq!(planted.problem(), "csrf-token-invalid", "{what}");
    }
    assert_eq!(upstream.requests(), 0);
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn in_production_every_page_asks_for_a_second_factor() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .more("\n[mfa]\nrequired-for = []\n")
        .in_production()
        .start()
        .await;
    done(&gateway, &["tenants", "create", "acme"]);
    done(&gateway, &["tenants", "set-roles", "acme", ROOT, "admin"]);
    let root = Browser::behind_proxy(gateway.address, NAME);
    assert_eq!(sign_in(&root, ROOT, PASSWORD).await.status, 200);
    assert_eq!(root.get("/admin").send().await.status, 200);
    for (method, path, _) in routes(&gateway) {
        let answer = root.send(method.clone(), &path).send().await;
        assert_eq!(
            answer.problem(),
            "second-factor-required",
            "{method} {path}"
        );
    }
    let page = root.open(CONSOLE).await;
    let way = "/second-factor?next=%2F.portcullis%2Fconsole";
    assert!(page.text.contains(way), "{}", page.text);
    crate::support::authenticator::enrol(&root).await;
    assert_eq!(
        root.open(&format!("{CONSOLE}/users")).await.answer.status,
        200
    );
}

#[tokio::test]
async fn whoever_is_nobody_signs_in_and_comes_back_and_sees_what_they_may() {
    let gateway = gate().await;
    let root = gateway.browser();
    let users = format!("{CONSOLE}/users");
    let page = root.open(&users).await;
    let sign_in = root.follow(&page).await;
    let fields = [("email", ROOT), ("password", PASSWORD)];
    let back = root.fill(&sign_in, "/sign-in", &fields).await;
    assert_eq!(back.answer.header("location"), Some(&*users));
    let page = root.follow(&back).await;
    assert!(page.text.contains("<h1>Users</h1>") && page.text.contains(ANA));
    assert!(!page.text.contains("<script") && !page.text.contains(" style=\""));
    let policy = page.answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.answer.header("cache-control"), Some("no-store"));
    let overview = root.open(CONSOLE).await.text;
    assert!(
        overview.contains(&format!("href=\"{users}\"")),
        "{overview}"
    );

    let ana = gateway.signed_in(ANA).await;
    let overview = ana.open(CONSOLE).await;
    assert_eq!(overview.answer.status, 200);
    assert!(!overview.text.contains(&users) && overview.text.contains("None of your roles"));
    let refused = ana.open(&users).await;
    assert_eq!(refused.answer.status, 403);
    assert!(refused.text.contains("You may not do this"));
}

#[tokio::test]
async fn where_no_role_may_the_pages_are_shut() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user(ROOT, &["admin"])
        .more("\n[roles.admin]\npermissions = [\"read:own\", \"read:all\"]\n")
        .start()
        .await;
    let root = gateway.signed_in(ROOT).await;
    let page = root.get(&format!("{CONSOLE}/users")).send().await;
    assert_eq!(page.problem(), "route-closed");
}

/// Whether a page shows no piece of [`HOSTILE`] as it was typed, and shows it escaped.
fn assert_harmless(page: &Page) {
    for piece in ["<script>", "<img", "\"'>"] {
        assert!(!page.text.contains(piece), "{piece}: {}", page.text);
    }
    assert!(page.text.contains("&lt;script&gt;"), "{}", page.text);
}
