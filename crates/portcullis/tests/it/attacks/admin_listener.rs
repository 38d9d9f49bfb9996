//! The operator's listener is reached by a browser on the operator's machine, under a name of the
//! attacker's that points at it (DNS rebinding), or by a spelling of a path that a rule did not mean
//! (CVE-2026-27589, CVE-2026-45692, CVE-2018-5702).

use super::gate;
use crate::support::{Client, Upstream};

#[tokio::test]
async fn only_the_exact_routes_answer() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let admin = Client::to(gateway.admin);
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(admin.get(path).send().await.status, 200, "{path}");
        let written = admin.post(path).send().await;
        assert_eq!(written.status, 405, "{path}");
    }
    for path in [
        "/",
        "/METRICS",
        "/metrics/",
        "//metrics",
        "/./metrics",
        "/x/../metrics",
        "/%6detrics",
        "/metrics%2f",
        "/metrics;x",
        "/metricsx",
        "/debug",
        "/config",
        "/users",
        "/.portcullis/auth/me",
        "/admin",
        "/public",
    ] {
        assert_eq!(admin.get(path).send().await.status, 404, "{path}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn the_front_shows_nothing_of_it() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    for path in ["/metrics", "/METRICS", "/metrics/", "/debug"] {
        let answer = gateway.client().get(path).send().await;
        assert_eq!(answer.problem(), "authentication-required", "{path}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_strangers_name_for_it_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let admin = Client::to(gateway.admin);
    let port = gateway.admin.port();
    for host in [
        "evil.test".to_owned(),
        format!("evil.test:{port}"),
        "localhost.evil.test".to_owned(),
        "127.0.0.1.evil.test".to_owned(),
    ] {
        for path in ["/metrics", "/readyz"] {
            let answer = admin.get(path).replace("host", &host).send().await;
            assert_eq!(answer.status, 421, "{host}");
            assert!(!answer.text().contains("portcullis_"));
        }
    }
    for host in [
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
        "LOCALHOST".to_owned(),
    ] {
        assert_eq!(
            admin
                .get("/metrics")
                .replace("host", &host)
                .send()
                .await
                .status,
            200,
            "{host}"
        );
    }
}
