//! Cross-site request forgery, over the wire (H5, S6).

use axum::response::{Html, IntoResponse as _};
use http::Method;

use crate::support::{Gateway, GatewayBuilder, Upstream};

const ROUTES: &str = r#"
[[route]]
path = "/hook"
allow = "public"
csrf = false

[[route]]
path = "/contact"
allow = "public"

[[route]]
path = "/{*rest}"
allow = "user"
"#;

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder(upstream, ROUTES)
        .await
        .user("ana@corp.test", &["user"])
        .more("\n[csrf]\ntrusted-origins = [\"https://admin.corp.test\"]\n")
}

/// What the page behind a request is, as the browser says it: `Sec-Fetch-Site`, `Origin`, and
/// whether an unsafe request of that page may pass at all.
const PAGES: &[(Option<&str>, Option<&str>, bool)] = &[
    (Some("same-origin"), Some("OWN"), true),
    (Some("none"), None, true),
    (None, Some("OWN"), true),
    (None, None, true),
    (Some("same-origin"), None, true),
    (Some("cross-site"), Some("https://evil.test"), false),
    (Some("cross-site"), Some("OWN"), false),
    (Some("cross-site"), None, false),
    (Some("same-site"), Some("https://sister.corp.test"), false),
    (Some("same-site"), None, false),
    (Some("sideways"), Some("OWN"), false),
    (Some("SAME-ORIGIN"), Some("OWN"), false),
    (Some(""), Some("OWN"), false),
    (None, Some("null"), false),
    (None, Some("https://evil.test"), false),
    (None, Some("OWN.evil.test"), false),
    (None, Some("https://admin.corp.test.evil.test"), false),
];

#[tokio::test]
async fn an_unsafe_request_needs_an_own_page_and_the_sessions_token() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let good = ana.cookie("csrf_token").unwrap();
    let session = ana.cookie("session").unwrap();
    let other = if good.starts_with('A') { 'B' } else { 'A' };
    let swapped = format!("{other}{}", &good[1..]);
    // Cookie and header, and whether they prove anything.
    let tokens: &[(Option<&str>, Option<&str>, Option<&str>)] = &[
        (Some(&good), Some(&good), None),
        (None, None, Some("csrf-token-missing")),
        (Some(&good), None, Some("csrf-token-missing")),
        (None, Some(&good), Some("csrf-token-missing")),
        (Some(&good), Some(""), Some("csrf-token-invalid")),
        (Some("x"), Some("x"), Some("csrf-token-invalid")),
        (Some(&good), Some(&swapped), Some("csrf-token-invalid")),
        (Some(""), Some(""), Some("csrf-token-invalid")),
    ];
    let mut passed = 0;
    for method in [
        "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PURGE",
    ] {
        let is_safe = matches!(method, "GET" | "HEAD" | "OPTIONS");
        for (site, origin, is_own) in PAGES {
            // All tokens with one page, and the good and no token with each of the others.
            let some = if *site == Some("same-origin") && method == "POST" {
                8
            } else {
                2
            };
            for (cookie, header, fault) in &tokens[..some] {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let cookies = match cookie {
                    Some(cookie) => format!("session={session}; csrf_token={cookie}"),
                    None => format!("session={session}"),
                };
                let mut request = gateway.client().request(method.clone(), "/notes");
                request = request.header("cookie", &cookies);
                if let Some(site) = site {
                    request = request.header("sec-fetch-site", site);
                }
                if let Some(origin) = origin {
                    let own = format!("http://{}", gateway.address);
                    request = request.header("origin", &origin.replace("OWN", &own));
                }
                if let Some(header) = header {
                    request = request.header("x-csrf-token", header);
                }
                let answer = request.send().await;
                let what = format!("{method} {site:?} {origin:?} {cookie:?} {header:?}");
                if is_safe {
                    assert_eq!(answer.status, 200, "{what}");
                } else if !is_own {
                    assert_eq!(answer.status, 403, "{what}");
                    let problem = answer.problem();
                    assert!(
                        problem == "csrf-cross-site" || problem == "origin-not-allowed",
                        "{what}: {problem}"
                    );
                } else if let Some(fault) = fault {
                    assert_eq!(&answer.problem(), fault, "{what}");
                } else {
                    assert_eq!(answer.status, 200, "{what}: {}", answer.text());
                    passed += 1;
                }
            }
        }
    }
    let unsafe_ones = upstream
        .received()
        .iter()
        .filter(|received| !matches!(received.method.as_str(), "GET" | "HEAD" | "OPTIONS"))
        .count();
    assert_eq!(unsafe_ones, passed, "the product saw no refused request");
    assert!(passed >= 20);
}

#[tokio::test]
async fn a_token_is_good_for_its_own_session_alone_and_in_all_of_its_tabs() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .user("eve@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let eve = gateway.signed_in("eve@corp.test").await;
    // Eve plants her own cookie from a sibling host: it is doubled, and still not Ana's.
    let own = ana.cookie("csrf_token").unwrap();
    ana.set_cookie("csrf_token", &eve.cookie("csrf_token").unwrap());
    let answer = ana.post("/notes").send().await;
    assert_eq!(answer.problem(), "csrf-token-invalid");
    ana.set_cookie("csrf_token", &own);
    // A second tab hydrates; the first still holds its token in memory.
    let second = ana.get("/.portcullis/auth/me").send().await.json();
    for token in [own.as_str(), second["csrf_token"].as_str().unwrap()] {
        let request = ana.post("/notes").replace("x-csrf-token", token);
        assert_eq!(request.send().await.status, 200);
    }
    // A planted cookie of the same name beside the real one neither helps nor locks out.
    let cookies = format!(
        "csrf_token=planted; session={}; csrf_token={own}",
        ana.cookie("session").unwrap()
    );
    let request = ana.post("/notes").replace("cookie", &cookies);
    assert_eq!(request.send().await.status, 200);
}

#[tokio::test]
async fn an_exempt_route_and_a_public_one_and_a_trusted_origin() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let from = |path: &str, site: &str, origin: &str| {
        ana.post(path)
            .replace("sec-fetch-site", site)
            .replace("origin", origin)
    };
    let hook = from("/hook", "cross-site", "https://pay.test").without("x-csrf-token");
    assert_eq!(hook.send().await.status, 200, "exempt by its route");
    let admin = from("/notes", "cross-site", "https://admin.corp.test");
    assert_eq!(admin.send().await.status, 200, "trusted, with the token");
    let admin = from("/notes", "cross-site", "https://admin.corp.test").without("x-csrf-token");
    assert_eq!(admin.send().await.problem(), "csrf-token-missing");
    // Without a session there is nothing to ride on, and still no other site may post.
    let stranger = gateway.browser();
    assert_eq!(stranger.post("/contact").send().await.status, 200);
    let forged = stranger
        .post("/contact")
        .replace("sec-fetch-site", "cross-site");
    assert_eq!(forged.send().await.problem(), "csrf-cross-site");
}

#[tokio::test]
async fn names_are_the_products_own_and_a_page_without_a_token_gets_one() {
    let upstream = Upstream::answering(|received| match received.target.as_str() {
        "/data" => ([("content-type", "application/json")], "{}").into_response(),
        "/cached" => (
            [("cache-control", "public, max-age=60")],
            Html("<p>kept</p>"),
        )
            .into_response(),
        _ => (
            [("set-cookie", "xsrf=mine; Path=/"), ("set-cookie", "a=b")],
            Html("<p>page</p>"),
        )
            .into_response(),
    })
    .await;
    let gateway = Gateway::builder(&upstream, ROUTES)
        .await
        .user("ana@corp.test", &["user"])
        .more("\n[csrf]\ncookie = \"xsrf\"\nheader = \"X-XSRF\"\nsame-site = \"strict\"\n")
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let first = ana.cookie("xsrf").expect("the configured name");
    let page = async |path: &str| ana.get(path).header("accept", "text/html").send().await;
    assert!(
        !page("/page").await.cookies().contains_key("xsrf"),
        "a good one is left alone, and the product cannot set it"
    );
    ana.forget_cookie("xsrf");
    assert!(!ana.get("/page").send().await.cookies().contains_key("xsrf"));
    assert!(!page("/data").await.cookies().contains_key("xsrf"));
    assert!(!page("/cached").await.cookies().contains_key("xsrf"));
    let answer = page("/page").await;
    let fresh = &answer.cookies()["xsrf"];
    assert_ne!(*fresh, first);
    assert!(
        answer
            .all("set-cookie")
            .contains(&format!("xsrf={fresh}; Path=/; SameSite=Strict").as_str())
    );
    let post = async || ana.post("/notes").header("x-xsrf", fresh).send().await;
    assert_eq!(post().await.status, 200);
    // One of another session is replaced as well; nobody's page gets none.
    ana.set_cookie("xsrf", &first.replace(&first[..4], "AAAA"));
    assert!(page("/page").await.cookies().contains_key("xsrf"));
    let stranger = gateway.browser();
    let answer = stranger.get("/contact").header("accept", "text/html");
    assert!(!answer.send().await.cookies().contains_key("xsrf"));
}
