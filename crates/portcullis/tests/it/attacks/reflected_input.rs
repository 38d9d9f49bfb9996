//! What a request says comes back in a page of the gate's own, as markup or script (CVE-2026-33525,
//! CVE-2026-33758, CWE-79).

use super::{gate, request};
use crate::support::{Answer, Upstream, answers};

const NAUGHTY: [&str; 12] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg onload=alert(1)>",
    "\" onfocus=alert(1) autofocus x=\"",
    "' onfocus=alert(1) autofocus x='",
    "</title><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{constructor.constructor('alert(1)')()}}",
    "<!--<script>",
    "\u{2028}</script><script>alert(1)//",
    "&lt;script&gt;alert(1)",
    "%3Cscript%3Ealert(1)%3C/script%3E",
];

/// No naughty piece stands in the page as markup, and the page lets no inline script run.
fn is_harmless(answer: &Answer, naughty: &str) {
    let page = answer.text();
    let markup = naughty.contains(['<', '"']);
    assert!(!markup || !page.contains(naughty), "{naughty}: {page}");
    for piece in ["<script>alert", "<img", "<svg", "\" onfocus"] {
        assert!(!page.contains(piece), "{piece} of {naughty}: {page}");
    }
    assert!(!page.contains("href=\"javascript:") && !page.contains("value=\"javascript:"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        !policy.contains("unsafe-inline") && policy.contains("base-uri 'none'"),
        "{policy}"
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn nothing_naughty_comes_back_as_markup() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    for naughty in NAUGHTY {
        let query = encoded(naughty).replace('+', "%20");
        let path = query.replace("%2F", "%E2%88%95").replace("%25", "%20");
        for target in [
            format!("/{path}"),
            format!("/admin?error={query}&error_description={query}&state={query}"),
            format!("/.portcullis/{path}"),
            format!("/.portcullis/problems/{path}"),
            format!(
                "/.portcullis/auth/sign-in?next={query}&email={query}&error={query}&redirect_uri={query}"
            ),
        ] {
            let answer = gateway
                .client()
                .get(&target)
                .header("accept", "text/html")
                .send()
                .await;
            assert!(
                answer
                    .header("content-type")
                    .unwrap()
                    .starts_with("text/html"),
                "{target}"
            );
            is_harmless(&answer, naughty);
        }
        let form = gateway
            .browser()
            .post("/.portcullis/auth/sign-in")
            .header("accept", "text/html")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("email={query}&next={query}"));
        is_harmless(&form.send().await, naughty);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_refused_sign_in_shows_the_address_as_text() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    for naughty in [NAUGHTY[0], NAUGHTY[1], NAUGHTY[4]] {
        let form = gateway
            .browser()
            .post("/.portcullis/auth/sign-in")
            .header("accept", "text/html")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!(
                "email={0}&password=wrong-wrong-wrong&next={0}",
                encoded(naughty)
            ));
        let answer = form.send().await;
        assert_eq!(answer.status, 401);
        is_harmless(&answer, naughty);
    }
}

#[tokio::test]
async fn raw_markup_in_a_target_or_host_is_refused_without_repeating_it() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    for bytes in [
        request(
            "GET",
            "/<script>alert(1)</script>",
            gateway.address,
            "accept: text/html\r\n",
        ),
        b"GET / HTTP/1.1\r\nhost: <script>alert(1)</script>\r\naccept: text/html\r\n\r\n".to_vec(),
        b"<SCRIPT> / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
    ] {
        let raw = gateway.client().raw(&bytes).await;
        assert_eq!(answers(&raw)[0].status, 400);
        assert!(
            !String::from_utf8_lossy(&raw)
                .to_lowercase()
                .contains("<script")
        );
    }
    assert_eq!(upstream.requests(), 0);
}
