//! Where a visit is at home: the origin of its requests, who frames the widget's page, and how many
//! visits an address begins.

use http::Method;
use serde_json::json;

use super::{GLOBEX, SHOP, begin, beginning, builder, done, furnished, gate, until};
use crate::support::{Gateway, Upstream};

#[tokio::test]
async fn a_visit_does_not_leave_the_page_that_it_began_on() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    done(
        &gateway,
        &[
            "visitors",
            "set-origins",
            "acme",
            SHOP,
            "https://www.acme.test",
        ],
    );
    let visit = begin(&gateway, "acme", SHOP).await;
    let own = format!("http://{}", gateway.address);
    let ask = async |method: &str, origin: Option<&str>, site: Option<&str>| {
        let request = gateway
            .client()
            .request(method.parse().unwrap(), "/chat")
            .header("authorization", &format!("Bearer {}", visit.token));
        let request = match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        };
        let request = match site {
            Some(site) => request.header("sec-fetch-site", site),
            None => request,
        };
        request.send().await
    };
    for (method, origin, site) in [
        ("GET", None, Some("same-origin")),
        ("GET", None, None),
        ("GET", Some(SHOP), Some("cross-site")),
        ("POST", Some(own.as_str()), Some("same-origin")),
    ] {
        let answer = ask(method, origin, site).await;
        assert_eq!(answer.status, 200, "{method} {origin:?}: {}", answer.text());
    }
    let seen = upstream.requests();
    for (method, origin, site) in [
        ("GET", Some("https://evil.test"), Some("cross-site")),
        ("GET", Some("https://www.acme.test"), Some("cross-site")),
        ("GET", Some(GLOBEX), Some("cross-site")),
        ("GET", Some("null"), Some("cross-site")),
        ("GET", Some(""), None),
        ("GET", None, Some("cross-site")),
        ("GET", None, Some("same-site")),
        ("POST", None, None),
        ("POST", None, Some("same-origin")),
        ("POST", Some("null"), Some("cross-site")),
        ("POST", Some("https://evil.test"), Some("cross-site")),
        ("DELETE", Some("https://www.acme.test"), Some("cross-site")),
    ] {
        let answer = ask(method, origin, site).await;
        assert_eq!(
            answer.problem(),
            "origin-not-allowed",
            "{method} {origin:?} {site:?}"
        );
    }
    // A handshake is a `GET`, and opens a channel for writing.
    let handshake = gateway
        .client()
        .get("/chat")
        .header("authorization", &format!("Bearer {}", visit.token))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(handshake.send().await.problem(), "origin-not-allowed");
    assert_eq!(upstream.requests(), seen, "the product saw none of it");
}

#[tokio::test]
async fn the_widgets_page_is_framed_by_the_tenants_pages_and_by_no_others() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let framed = async |target: &str| {
        let answer = gateway.client().get(target).send().await;
        assert_eq!(answer.status, 200, "{target}");
        let policy = answer.header("content-security-policy").unwrap();
        let (_, ancestors) = policy.rsplit_once("frame-ancestors ").unwrap();
        (
            ancestors.to_owned(),
            answer.header("x-frame-options").map(str::to_owned),
        )
    };
    assert_eq!(framed("/widget/acme").await, (SHOP.to_owned(), None));
    assert_eq!(framed("/widget/globex").await, (GLOBEX.to_owned(), None));
    let shut = ("'none'".to_owned(), Some("DENY".to_owned()));
    for target in [
        "/widget/initech",
        "/widget/nobody",
        "/widget/acme%20",
        "/public",
    ] {
        assert_eq!(framed(target).await, shut, "{target}");
    }
    // Two pages more, and then none; both nodes hear of it.
    let twin = gateway.twin().await;
    let asked = twin.client().get("/widget/acme").send().await;
    assert_eq!(asked.header("x-frame-options"), None);
    let (one, other) = ("https://a.acme.test", "https://b.acme.test");
    done(&gateway, &["visitors", "set-origins", "acme", other, one]);
    for node in [&gateway, &twin] {
        crate::support::eventually_asked("the new origins stand", async || {
            let answer = node.client().get("/widget/acme").send().await;
            let policy = answer.header("content-security-policy").unwrap();
            policy.ends_with(&format!("frame-ancestors {one} {other}"))
        })
        .await;
    }
    done(&gateway, &["visitors", "set-origins", "acme"]);
    crate::support::eventually_asked("the widget opens nowhere", async || {
        let answer = twin.client().get("/widget/acme").send().await;
        answer.header("x-frame-options") == Some("DENY")
    })
    .await;
}

#[tokio::test]
async fn the_scripts_are_for_the_pages_that_load_them() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let embed = gateway.client().get("/.portcullis/widget.js").send().await;
    assert_eq!(embed.status, 200);
    let header = |name| embed.header(name).unwrap();
    assert_eq!(header("content-type"), "text/javascript; charset=utf-8");
    assert_eq!(header("cross-origin-resource-policy"), "cross-origin");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert!(!embed.text().contains("shop.acme.test"));
    let frame = async |tenant: &str| {
        let target = format!("/.portcullis/widget/{tenant}/frame.js");
        gateway.client().get(&target).send().await
    };
    let own = frame("acme").await;
    assert_eq!(own.status, 200);
    assert_eq!(
        own.header("cross-origin-resource-policy"),
        Some("same-origin")
    );
    assert!(
        own.text().contains("[\"https://shop.acme.test\"]"),
        "{}",
        own.text()
    );
    for tenant in ["initech", "nobody", "%22alert(1)"] {
        assert_eq!(frame(tenant).await.problem(), "not-found", "{tenant}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn one_who_floods_closes_nobody_elses_widget() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .replace("[limits.visits]\nrate = \"1000/minute\"\n", "")
        .replace(
            "address = \"127.0.0.1:0\"\n\n[admin]",
            "address = \"127.0.0.1:0\"\ntrusted-proxies = [\"127.0.0.1/32\"]\n\n[admin]",
        )
        .start()
        .await;
    let gateway = furnished(gateway);
    let from = async |address: &str| {
        // As browsers do it: they ask first whether they may.
        let preflight = gateway
            .client()
            .request(Method::OPTIONS, "/.portcullis/visitors/acme")
            .header("origin", SHOP)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
            .header("x-forwarded-for", address);
        assert_eq!(preflight.send().await.status, 204, "asking costs no visit");
        let request = beginning(&gateway, "acme", SHOP).header("x-forwarded-for", address);
        request.send().await
    };
    for _ in 0..10 {
        assert_eq!(from("198.51.100.7").await.status, 201);
    }
    let refused = from("198.51.100.7").await;
    assert_eq!(refused.problem(), "rate-limited");
    assert!(refused.header("retry-after").is_some());
    // The page is told, and reads when to come back.
    assert_eq!(refused.header("access-control-allow-origin"), Some(SHOP));
    // One network of IPv6 is one subscriber, however many addresses it takes.
    for host in 0..10 {
        let address = format!("2001:db8:1:1::{host:x}");
        assert_eq!(from(&address).await.status, 201, "{address}");
    }
    assert_eq!(from("2001:db8:1:1:ffff::1").await.status, 429);
    for other in ["198.51.100.8", "2001:db8:1:2::1"] {
        assert_eq!(from(other).await.status, 201, "{other}");
    }
    // A visit has a budget of its own, and so has the next one from the same address.
    let (loud, quiet) = (
        begin_from(&gateway, "203.0.113.5").await,
        begin_from(&gateway, "203.0.113.5").await,
    );
    let message = async |visit: &super::Visit| {
        let request = visit.ask(&gateway, &Method::POST, "/messages");
        let request = request.header("x-forwarded-for", "203.0.113.5");
        request.json(&json!({})).send().await.status
    };
    for expected in [200, 200, 200, 429, 429] {
        assert_eq!(message(&loud).await, expected);
    }
    assert_eq!(message(&quiet).await, 200);
}

async fn begin_from(gateway: &Gateway, address: &str) -> super::Visit {
    let request = beginning(gateway, "acme", SHOP).header("x-forwarded-for", address);
    let body = request.send().await.json();
    super::Visit {
        id: body["id"].as_str().unwrap().to_owned(),
        token: body["token"].as_str().unwrap().to_owned(),
    }
}

#[tokio::test]
async fn without_its_table_nobody_is_a_visitor() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .replace("[visitors]\n", "")
        .start()
        .await;
    let gateway = furnished(gateway);
    let answer = beginning(&gateway, "acme", SHOP).send().await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    let script = gateway.client().get("/.portcullis/widget.js").send().await;
    assert_eq!(script.problem(), "no-route");
    // Whatever bears the look of a token is the product's own business then.
    let bearer = format!("Bearer pcv_{}", "A".repeat(43));
    let asks = async |target: &str| {
        let request = gateway.client().get(target);
        request.header("authorization", &bearer).send().await
    };
    assert_eq!(asks("/chat").await.problem(), "authentication-required");
    assert_eq!(asks("/public").await.status, 200);
    let checked = gateway.cli(&["check", "--output", "json"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(said.contains("no-visitors"), "{said}");
    let ended = until("a route that is not there", 404, async || {
        gateway.client().get("/.portcullis/visitor").send().await
    });
    assert_eq!(ended.await.problem(), "no-route");
}
