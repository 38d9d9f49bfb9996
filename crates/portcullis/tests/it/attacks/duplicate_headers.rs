//! A header that a rule reads stands twice, or holds a list, and gate and product each take another
//! one (CVE-2026-31838).

use super::{first_answer, gate, request};
use crate::support::Upstream;

#[tokio::test]
async fn what_decides_stands_once_or_the_request_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let host = gateway.address;
    for (twice, expected) in [
        (format!("host: {host}\r\n"), 400),
        ("host: evil.test\r\n".to_owned(), 400),
        ("content-length: 0\r\ncontent-length: 0\r\n".to_owned(), 400),
        ("content-length: 0, 0\r\n".to_owned(), 400),
        (
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n".to_owned(),
            400,
        ),
        (
            format!("origin: http://{host}\r\norigin: http://evil.test\r\n"),
            400,
        ),
        (format!("origin: http://{host}, http://evil.test\r\n"), 403),
        (
            "content-type: text/plain\r\nContent-Type: application/json\r\n".to_owned(),
            400,
        ),
        (
            "sec-fetch-site: same-origin\r\nsec-fetch-site: cross-site\r\n".to_owned(),
            403,
        ),
        (
            "sec-fetch-site: same-origin, cross-site\r\n".to_owned(),
            403,
        ),
    ] {
        let bytes = request("POST", "/public", host, &twice);
        let answer = first_answer(&gateway, &bytes).await;
        assert_eq!(answer.status, expected, "{twice:?}: {}", answer.text());
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn two_session_cookies_are_no_session() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let session = ana.cookie("session").unwrap();
    for lines in [
        vec![format!("session={session}; session={session}")],
        vec![format!("session={session}"), "session=x".to_owned()],
        vec!["session=".to_owned(), format!("session={session}")],
        vec![format!("a=b; session=x; session={session}")],
    ] {
        let mut ask = gateway.client().get("/anything");
        for line in &lines {
            ask = ask.header("cookie", line);
        }
        assert_eq!(
            ask.send().await.problem(),
            "authentication-required",
            "{lines:?}"
        );
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn two_csrf_headers_are_no_token() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let token = ana.cookie("csrf_token").unwrap();
    let twice = ana
        .post("/anything")
        .header("x-csrf-token", &token)
        .send()
        .await;
    assert_eq!(twice.problem(), "csrf-token-missing");
    let listed = ana
        .post("/anything")
        .replace("x-csrf-token", &format!("{token}, {token}"))
        .send()
        .await;
    assert_eq!(listed.problem(), "csrf-token-invalid");
    assert_eq!(upstream.requests(), 0);
}
