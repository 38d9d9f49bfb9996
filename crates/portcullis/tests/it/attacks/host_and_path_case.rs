//! Host or path are compared with regard to case in one place and without in another, so that
//! another case falls out of a rule (CVE-2026-27587, CVE-2026-27588).

use super::gate;
use crate::support::Upstream;

async fn the_same_in_every_case(hosts: usize) {
    let upstream = Upstream::start().await;
    let mut list = vec!["\"localhost\"".to_owned(), "\"127.0.0.1\"".to_owned()];
    list.extend((2..hosts).map(|number| format!("\"h{number}.corp.test\"")));
    let gateway = gate(&upstream)
        .await
        .more(&format!("\n[hosts]\nallow = [{}]\n", list.join(", ")))
        .start()
        .await;
    let port = gateway.address.port();
    for host in ["localhost", "LOCALHOST", "LocalHost", "localhost."] {
        for (path, slug) in [
            ("/admin", "authentication-required"),
            ("/ADMIN", "authentication-required"),
            ("/%41dmin", "authentication-required"),
            ("/closed", "route-closed"),
            ("/CLOSED", "route-closed"),
            ("/cLoSeD/", "route-closed"),
        ] {
            let answer = gateway
                .client()
                .get(path)
                .replace("host", &format!("{host}:{port}"));
            assert_eq!(answer.send().await.problem(), slug, "{host}{path}");
        }
    }
    for stranger in [
        "evil.test",
        "localhost.evil.test",
        "evil.localhost",
        "xn--lcalhost-n4a",
    ] {
        let answer = gateway
            .client()
            .get("/public")
            .replace("host", stranger)
            .send()
            .await;
        assert_eq!(answer.problem(), "unknown-host", "{stranger}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn case_changes_no_decision_with_one_host() {
    the_same_in_every_case(2).await;
}

#[tokio::test]
async fn case_changes_no_decision_with_two_hundred_hosts() {
    the_same_in_every_case(200).await;
}
