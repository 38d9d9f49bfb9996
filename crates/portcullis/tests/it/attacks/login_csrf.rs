//! A page of another site signs its visitor in as somebody else, so that what the visitor does next
//! lands in the attacker's account; or signs the visitor out (CVE-2025-12390, CWE-352).

use super::{credentials, gate, set_cookies};
use crate::support::{PASSWORD, Upstream};

#[tokio::test]
async fn another_site_can_neither_sign_in_nor_out() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let form = format!("email=ana%40corp.test&password={PASSWORD}");
    for (site, origin) in [
        (Some("cross-site"), Some("https://evil.test")),
        (Some("same-site"), Some("http://sibling.127.0.0.1")),
        (Some("cross-site"), None),
        (Some("nonsense"), None),
        (None, Some("https://evil.test")),
        (None, Some("null")),
        (None, Some("http://127.0.0.1:1")),
        (None, Some("https://127.0.0.1")),
    ] {
        for (name, body, kind) in [
            (
                "login",
                credentials("ana@corp.test").to_string(),
                "application/json",
            ),
            (
                "login",
                credentials("ana@corp.test").to_string(),
                "text/plain",
            ),
            (
                "register",
                credentials("eve@corp.test").to_string(),
                "application/json",
            ),
            ("sign-in", form.clone(), "application/x-www-form-urlencoded"),
            ("logout", String::new(), "text/plain"),
            (
                "sign-out",
                String::new(),
                "application/x-www-form-urlencoded",
            ),
        ] {
            let mut ask = ana
                .post(&format!("/.portcullis/auth/{name}"))
                .without("origin")
                .without("sec-fetch-site")
                .header("content-type", kind)
                .body(body);
            if let Some(site) = site {
                ask = ask.header("sec-fetch-site", site);
            }
            if let Some(origin) = origin {
                ask = ask.header("origin", origin);
            }
            let answer = ask.send().await;
            assert_eq!(
                answer.status,
                403,
                "{name} {site:?} {origin:?}: {}",
                answer.text()
            );
            assert_eq!(set_cookies(&answer), [""; 0]);
        }
    }
    assert_eq!(ana.get("/anything").send().await.status, 200);
}
