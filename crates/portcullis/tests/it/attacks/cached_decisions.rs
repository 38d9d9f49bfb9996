//! What was decided for one route, method or user is remembered and used for another (CVE-2026-33496).

use http::Method;

use super::gate;
use crate::support::Upstream;

#[tokio::test]
async fn a_session_that_was_just_good_for_one_route_is_refused_on_the_next() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .user("root@corp.test", &["admin"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let root = gateway.signed_in("root@corp.test").await;
    for round in 1..=3 {
        assert_eq!(ana.get("/anything").send().await.status, 200);
        assert_eq!(root.get("/admin").send().await.status, 200);
        assert_eq!(ana.get("/admin").send().await.problem(), "not-permitted");
        assert_eq!(ana.post("/admin").send().await.problem(), "not-permitted");
        assert_eq!(ana.get("/closed").send().await.problem(), "route-closed");
        let elsewhere = ana.send(Method::DELETE, "/public").send().await;
        assert_eq!(elsewhere.problem(), "method-not-allowed");
        let nobody = gateway.client().get("/anything").send().await;
        assert_eq!(nobody.problem(), "authentication-required");
        assert_eq!(upstream.requests(), 2 * round);
    }
}
