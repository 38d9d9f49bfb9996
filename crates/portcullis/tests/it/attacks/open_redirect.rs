//! A sign-in page sends its user to another site, because the target is checked by another reader
//! than the browser, with user information, several `@`, `\`, or control characters in it
//! (CVE-2026-7504, CVE-2026-40574, CWE-601).

use url::Url;

use super::gate;
use crate::support::{PASSWORD, Upstream};

const HOSTILE: [&str; 20] = [
    "//evil.test",
    "///evil.test",
    "/\\evil.test",
    "\\\\evil.test",
    "/\t/evil.test",
    "/\n/evil.test",
    " //evil.test",
    "https://evil.test",
    "https:evil.test",
    "http:///evil.test",
    "//127.0.0.1@evil.test",
    "http://127.0.0.1@evil.test/",
    "/.//evil.test",
    "/a/..//evil.test",
    "/%2e%2e//evil.test",
    "javascript:alert(1)",
    "data:text/html,x",
    "/x\r\nlocation: //evil.test",
    "@evil.test",
    ".evil.test",
];

#[tokio::test]
async fn nobody_is_sent_to_another_site_after_signing_in() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let base = Url::parse(&format!(
        "http://{}/.portcullis/auth/sign-in",
        gateway.address
    ))
    .unwrap();
    let form = |next: &str| {
        url::form_urlencoded::Serializer::new(String::new())
            .append_pair("email", "ana@corp.test")
            .append_pair("password", PASSWORD)
            .append_pair("next", next)
            .finish()
    };
    let browser = gateway.browser();
    // Each costs a password hash, so a few stand for the rest; the page below is asked about all.
    for next in HOSTILE.into_iter().step_by(4).chain(["/home?a=b"]) {
        let answer = browser
            .post("/.portcullis/auth/sign-in")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form(next))
            .send()
            .await;
        assert_eq!(answer.status, 303, "{next:?}");
        let target = base.join(answer.header("location").unwrap()).unwrap();
        assert_eq!(target.origin(), base.origin(), "{next:?} led to {target}");
        assert_eq!(target.path() == "/home", next == "/home?a=b");
    }
}

#[tokio::test]
async fn the_sign_in_page_keeps_no_target_on_another_site() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    for next in HOSTILE {
        let query: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        for target in [
            format!("/.portcullis/auth/sign-in?next={query}"),
            format!("/.portcullis/auth/sign-in?next=%2Fhome&next={query}"),
        ] {
            let answer = gateway.client().get(&target).send().await;
            let page = answer.text();
            assert!(
                !page.contains("evil.test") && !page.contains("alert("),
                "{next:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_address_with_several_ats_is_no_address() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .more("\n[accounts]\nregistration = \"open\"\n")
        .start()
        .await;
    for email in [
        "ana@evil.test@corp.test",
        "\"ana@evil.test\"@corp.test",
        "ana@@corp.test",
        "ana@evil.test,@corp.test",
    ] {
        let answer = gateway
            .browser()
            .post("/.portcullis/auth/register")
            .json(&super::credentials(email))
            .send()
            .await;
        assert_eq!(answer.problem(), "invalid-input", "{email}");
    }
}
