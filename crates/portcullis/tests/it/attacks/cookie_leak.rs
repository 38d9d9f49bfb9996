//! The gate's own credentials leave for the product, or for whoever writes its logs (CVE-2026-41181).

use super::gate;
use crate::support::Upstream;

#[tokio::test]
async fn no_cookie_of_ours_reaches_the_product_however_it_is_sent() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let (session, csrf, device) = (
        ana.cookie("session").unwrap(),
        ana.cookie("csrf_token").unwrap(),
        ana.cookie("device").unwrap(),
    );
    for (lines, kept) in [
        (vec![format!("session={session}")], None),
        (
            vec![format!("a=1; session={session}; b=2")],
            Some("a=1; b=2"),
        ),
        (
            vec![format!(
                "session={session};csrf_token={csrf};device={device};a=1"
            )],
            Some("a=1"),
        ),
        (
            vec![
                format!("session={session}"),
                format!("device={device}"),
                "a=1".to_owned(),
            ],
            Some("a=1"),
        ),
        (vec![format!("  session={session} ;; a=1")], Some("a=1")),
        (
            vec![format!(
                "csrf_token={csrf}; csrf_token={csrf}; session={session}"
            )],
            None,
        ),
    ] {
        let mut ask = gateway
            .client()
            .get("/anything")
            .header("authorization", "Bearer the-products");
        for line in &lines {
            ask = ask.header("cookie", line);
        }
        assert_eq!(ask.send().await.status, 200, "{lines:?}");
        let received = upstream.last();
        assert_eq!(received.header("cookie"), kept, "{lines:?}");
        // What the client sends for the product itself is the product's.
        assert_eq!(
            received.header("authorization"),
            Some("Bearer the-products")
        );
        for value in received.headers.values() {
            let value = value.to_str().unwrap();
            assert!(
                ![&session, &csrf, &device]
                    .iter()
                    .any(|own| value.contains(*own))
            );
        }
    }
}
