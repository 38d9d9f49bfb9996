//! Another site may read or write with the user's cookie, because its origin looks like an allowed
//! one, is `null`, or is `*` together with credentials (CVE-2024-25124, CVE-2024-41657).

use http::Method;

use super::gate;
use crate::support::Upstream;

const ALLOWED: &str = "https://app.corp.test";

#[tokio::test]
async fn only_the_very_origin_is_answered() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .more(&format!(
            "\n[cors]\nallow-origins = [\"{ALLOWED}\"]\nallow-credentials = true\n"
        ))
        .start()
        .await;
    let granted = |answer: &crate::support::Answer| {
        answer
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("access-control-"))
    };
    for origin in [
        "null",
        "*",
        "",
        "https://evil.test",
        "http://app.corp.test",
        "https://app.corp.test:8443",
        "https://app.corp.test.evil.test",
        "https://evil-app.corp.test",
        "https://x.app.corp.test",
        "https://app.corp.testx",
        "https://app.corp.test/",
        "https://app.corp.test@evil.test",
        "https://APP.corp.test",
        "https://app.corp.test https://evil.test",
        "https://app.corp.test, https://evil.test",
        "https://app.corp.test%00.evil.test",
        "https://app_corp.test",
        "file://",
    ] {
        let preflight = gateway
            .client()
            .request(Method::OPTIONS, "/public")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .send()
            .await;
        assert_eq!(preflight.problem(), "origin-not-allowed", "{origin}");
        assert!(!granted(&preflight), "{origin}");
        let write = gateway
            .client()
            .post("/public")
            .header("origin", origin)
            .send()
            .await;
        assert_eq!(write.status, 403, "{origin}");
        assert_eq!(upstream.requests(), 0, "{origin}");
        assert!(!granted(&write), "{origin}");
        let read = gateway
            .client()
            .get("/closed")
            .header("origin", origin)
            .send()
            .await;
        assert!(!granted(&read), "{origin}");
    }
    let preflight = gateway
        .client()
        .request(Method::OPTIONS, "/public")
        .header("origin", ALLOWED)
        .header("access-control-request-method", "POST")
        .send()
        .await;
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some(ALLOWED)
    );
    let read = gateway
        .client()
        .get("/public")
        .header("origin", ALLOWED)
        .send()
        .await;
    assert_eq!(read.header("access-control-allow-origin"), Some(ALLOWED));
    assert!(
        read.header("vary")
            .unwrap()
            .to_lowercase()
            .contains("origin")
    );
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn every_origin_together_with_credentials_does_not_start() {
    let upstream = Upstream::start().await;
    for origins in [
        "[\"*\"]",
        "[\"https://app.corp.test\", \"*\"]",
        "[\"null\"]",
        "[\"https://*.corp.test\"]",
    ] {
        let builder = gate(&upstream).await.more(&format!(
            "\n[cors]\nallow-origins = {origins}\nallow-credentials = true\n"
        ));
        let output = builder.cli(&["check"]);
        assert_eq!(output.status.code(), Some(1), "{origins}");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            printed.contains("cors.allow-origins"),
            "{origins}: {printed}"
        );
    }
}
