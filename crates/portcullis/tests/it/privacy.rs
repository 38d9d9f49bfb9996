//! What a request brings that must stay nowhere (A4, A5, A8, S4, I2): canaries are planted wherever a
//! client can write, then everything that the gate wrote is searched for them.

use serde_json::json;

use crate::support::{Client, Gateway, Upstream, database};

const PASSWORD: &str = "canary-password-7731-plover";
const WRONG: &str = "canary-mistyped-5528-plover";
const QUERY: &str = "canary-query-9920";
const COOKIE: &str = "canary-cookie-1147";
const BEARER: &str = "canary-bearer-6604";
const BODY: &str = "canary-body-3382";
/// Stands in `users.email` and `users.email_canonical` by design, and nowhere else.
const EMAIL: &str = "canary-address-4410@corp.test";
const UNKNOWN_EMAIL: &str = "canary-unknown-8815@corp.test";

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|part| part == needle.as_bytes())
}

#[tokio::test]
async fn no_secret_of_a_request_is_printed_stored_or_counted() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .more("\n[accounts]\nregistration = \"open\"\n[limits.auth]\nrate = \"30/minute\"\n[log]\nlevel = \"trace\"\n")
        .start()
        .await;
    let browser = gateway.browser();
    let post = async |path: &str, body: serde_json::Value| {
        let request = browser
            .post(&format!("{path}?token={QUERY}"))
            .header("authorization", &format!("Bearer {BEARER}"));
        request.json(&body).send().await
    };
    let registered = post(
        "/.portcullis/auth/register",
        json!({ "email": EMAIL, "password": PASSWORD }),
    )
    .await;
    assert_eq!(registered.status, 201, "{}", registered.text());
    for (email, password, status) in [
        (UNKNOWN_EMAIL, WRONG, 401),
        (EMAIL, WRONG, 401),
        (EMAIL, PASSWORD, 200),
    ] {
        let answer = post(
            "/.portcullis/auth/login",
            json!({ "email": email, "password": password }),
        )
        .await;
        assert_eq!(answer.status, status);
    }
    let (session, csrf, device) = (
        browser.cookie("session").unwrap(),
        browser.cookie("csrf_token").unwrap(),
        browser.cookie("device").unwrap(),
    );
    // Allowed, denied, forged, malformed, unreadable: whatever a line is written about.
    assert_eq!(post("/anything", json!({ "text": BODY })).await.status, 200);
    let assertion = upstream
        .last()
        .header("x-portcullis-assertion")
        .unwrap()
        .to_owned();
    browser.set_cookie("other", COOKIE);
    for path in ["/admin", "/closed", "/users/7", "/anything"] {
        let request = browser.get(&format!("{path}?q={QUERY}"));
        request
            .header("referer", &format!("http://x/?{QUERY}"))
            .send()
            .await;
        let request = browser.post(&format!("{path}?q={QUERY}"));
        request
            .replace("x-csrf-token", &format!("{csrf}x"))
            .body(BODY)
            .send()
            .await;
    }
    let raw = format!(
        "GET /{QUERY} HTTP/1.1\r\nHost: {}\r\nCookie: session={COOKIE}\r\nAuthorization: Bearer {BEARER}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        gateway.address
    );
    gateway.client().raw(raw.as_bytes()).await;
    let raw = format!(
        "POST /.portcullis/auth/login HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 200\r\nConnection: close\r\n\r\n{{\"password\":\"{PASSWORD}",
        gateway.address
    );
    gateway
        .client()
        .raw(format!("{raw}{}", " ".repeat(200)).as_bytes())
        .await;
    let metrics = Client::to(gateway.admin)
        .get("/metrics")
        .send()
        .await
        .text();
    gateway.wait_until_printed("/closed").await;

    let printed = gateway.printed();
    let stored = database::everything(&gateway.folder).await;
    assert!(contains(&stored, EMAIL), "the search finds what is there");
    // `/{QUERY}` of the malformed request is a path; as a query it stands nowhere.
    let secrets = [
        PASSWORD,
        WRONG,
        QUERY,
        COOKIE,
        BEARER,
        BODY,
        UNKNOWN_EMAIL,
        &session,
        &csrf,
        &device,
        &assertion,
    ];
    for secret in secrets {
        let start = &secret[..secret.len().min(16)];
        for (place, found) in [
            ("printed", contains(printed.as_bytes(), secret)),
            ("stored", contains(&stored, secret)),
            ("metrics", contains(metrics.as_bytes(), secret)),
        ] {
            assert!(!found, "{start} is {place}");
        }
    }
    assert!(!printed.contains(EMAIL) && !metrics.contains(EMAIL));
    // Nor in the trail, which is read by more people than the table of users.
    let trail = gateway.cli(&["audit", "list", "--limit", "500", "--output", "json"]);
    let trail = String::from_utf8_lossy(&trail.stdout).into_owned();
    assert!(
        trail.contains("login.failed") && !trail.contains("canary"),
        "{trail}"
    );
    assert_eq!(
        database::text(&gateway.folder, "SELECT email FROM users").await,
        EMAIL
    );
}
