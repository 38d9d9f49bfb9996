//! Headers of every answer (H6, H8-H10, H12, H13), over the wire.

use axum::response::{Html, IntoResponse as _};

use crate::support::{Answer, Gateway, Upstream};

const ROUTES: &str = r#"
[[route]]
path = "/framed"
allow = "public"
framing = "same-origin"

[[route]]
path = "/me"
allow = "user"

[[route]]
path = "/{*rest}"
allow = "public"
"#;

/// A product that says the opposite of everything.
async fn contrary() -> Upstream {
    Upstream::answering(|_| {
        (
            [
                ("server", "Apache/2.2 (leaky)"),
                ("x-powered-by", "Express"),
                ("x-frame-options", "ALLOWALL"),
                ("content-security-policy", "default-src *"),
                ("x-content-type-options", "sniff"),
                ("referrer-policy", "unsafe-url"),
                ("permissions-policy", "camera=*"),
                ("x-xss-protection", "1"),
                ("strict-transport-security", "max-age=1"),
                ("cross-origin-opener-policy", "unsafe-none"),
                ("cross-origin-resource-policy", "cross-origin"),
                ("x-request-id", "from-the-product"),
            ],
            Html("<p>page</p>"),
        )
            .into_response()
    })
    .await
}

const ALWAYS: &[(&str, &str)] = &[
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    (
        "permissions-policy",
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    ("x-xss-protection", "0"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

fn assert_hardened(answer: &Answer, frame_options: &str, ancestors: &str, what: &str) {
    for (name, value) in ALWAYS {
        assert_eq!(answer.all(name), [*value], "{what}: {name}");
    }
    assert_eq!(answer.all("x-frame-options"), [frame_options], "{what}");
    let policies = answer.all("content-security-policy");
    assert_eq!(policies.len(), 1, "{what}");
    let policy = policies[0];
    assert!(
        policy.contains(&format!("frame-ancestors {ancestors}")),
        "{what}: {policy}"
    );
    assert!(
        !policy.contains("unsafe-") && !policy.contains('*'),
        "{what}: {policy}"
    );
    for gone in ["server", "x-powered-by", "strict-transport-security"] {
        assert!(answer.header(gone).is_none(), "{what}: {gone}");
    }
    assert_eq!(answer.all("x-request-id").len(), 1, "{what}");
    assert_ne!(answer.header("x-request-id"), Some("from-the-product"));
}

#[tokio::test]
async fn every_answer_bears_each_header_once_and_as_the_gate_says() {
    let upstream = contrary().await;
    let gateway = Gateway::builder(&upstream, ROUTES).await.start().await;
    let client = gateway.client();
    let page = client.get("/page").send().await;
    assert_hardened(&page, "DENY", "'none'", "a page of the product");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'self'") && policy.contains("'nonce-"));
    assert!(policy.contains("object-src 'none'") && policy.contains("base-uri 'none'"));
    let framed = client.get("/framed").send().await;
    assert_hardened(&framed, "SAMEORIGIN", "'self'", "a page that may be framed");
    for (path, status) in [
        ("/me", 401),
        ("/.portcullis/auth/me", 401),
        ("/.portcullis/auth/sign-in", 200),
        ("/.portcullis/nothing", 404),
        ("/healthz", 200),
        ("/a/%2e%2e/b", 400),
    ] {
        let answer = client.get(path).send().await;
        if path != "/a/%2e%2e/b" {
            assert_eq!(answer.status, status, "{path}");
        }
        let (options, ancestors) = ("DENY", "'none'");
        assert_hardened(&answer, options, ancestors, path);
    }
    // A request that is no HTTP is answered with the same headers.
    let raw = client
        .raw(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        .await;
    let raw = String::from_utf8_lossy(&raw).to_ascii_lowercase();
    assert!(raw.starts_with("http/1.1 400"), "{raw}");
    assert!(
        raw.contains("x-content-type-options: nosniff") && !raw.contains("server:"),
        "{raw}"
    );
}

#[tokio::test]
async fn an_audits_own_figures_can_be_configured_exactly() {
    let upstream = contrary().await;
    let policy = "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; img-src 'self' data: https:; base-uri 'self'; form-action 'self'; upgrade-insecure-requests";
    let gateway = Gateway::builder(&upstream, ROUTES)
        .await
        .more(&format!(
            "\n[headers]\ncsp = \"{policy}\"\nxss-protection = \"1; mode=block\"\nframing = \"same-origin\"\npermissions-policy = \"\"\n"
        ))
        .start()
        .await;
    let answer = gateway.client().get("/page").send().await;
    assert_eq!(answer.all("x-xss-protection"), ["1; mode=block"]);
    assert_eq!(answer.all("x-frame-options"), ["SAMEORIGIN"]);
    let sent = answer.all("content-security-policy");
    assert_eq!(sent.len(), 1);
    assert!(
        sent[0].starts_with(policy) && sent[0].contains("frame-ancestors 'self'"),
        "{sent:?}"
    );
    // The gate's own pages keep the strict policy of their own.
    let own = gateway
        .client()
        .get("/.portcullis/auth/sign-in")
        .send()
        .await;
    let own = own.header("content-security-policy").unwrap();
    assert!(
        own.starts_with("default-src 'none'") && !own.contains("unsafe-inline"),
        "{own}"
    );
}

#[tokio::test]
async fn only_known_hosts_are_served() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(&upstream, ROUTES)
        .await
        .more("\n[hosts]\nallow = [\"app.corp.test\"]\n")
        .start()
        .await;
    let client = gateway.client();
    for (host, status) in [
        ("app.corp.test", 200),
        ("APP.corp.test", 200),
        ("evil.test", 421),
        ("app.corp.test.evil.test", 421),
        ("xapp.corp.test", 421),
    ] {
        let answer = client.get("/page").replace("host", host).send().await;
        assert_eq!(answer.status, status, "{host}");
    }
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn an_error_names_no_cause_but_the_request_by_which_the_log_has_it() {
    let upstream = Upstream::start().await;
    // A port that nobody listens on.
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let gateway = Gateway::builder(&upstream, ROUTES)
        .await
        .replace(&upstream.url(), &format!("http://127.0.0.1:{closed}"))
        .start()
        .await;
    for accept in ["*/*", "text/html"] {
        let answer = gateway
            .client()
            .get("/page?q='%20OR%201=1--")
            .header("accept", accept)
            .send()
            .await;
        assert_eq!(answer.status, 502);
        let id = answer.header("x-request-id").unwrap().to_owned();
        let text = answer.text();
        assert!(text.contains(&id), "{text}");
        for secret in [
            "127.0.0.1",
            &closed.to_string(),
            "refused",
            "os error",
            ".rs",
            "OR%201",
        ] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        gateway.wait_until_printed(&id).await;
    }
    // What would be SQL in an address is an address that has no account.
    let login = serde_json::json!({ "email": "x'; DROP TABLE users; --@corp.test", "password": "a-password-77-long" });
    let answer = gateway
        .browser()
        .post("/.portcullis/auth/login")
        .json(&login)
        .send()
        .await;
    assert_eq!(answer.problem(), "credentials-refused");
    assert!(gateway.cli(&["users", "list"]).status.success());
}
