//! A rule that sees more of a request target than its path: a query or a fragment that looks like an
//! open path opens a closed one (CVE-2025-54576, CVE-2026-41059).

use super::{first_answer, gate, request};
use crate::support::Upstream;

#[tokio::test]
async fn no_query_opens_a_closed_path() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let client = gateway.client();
    for query in [
        "x=/public",
        "/public",
        "?/public",
        "/../public",
        "..%2fpublic",
        "next=%2Fpublic",
        "path=/public&uri=/public",
        "%23/public",
        ";/public",
        "x=\\public",
    ] {
        for (path, slug) in [
            ("/admin", "authentication-required"),
            ("/anything", "authentication-required"),
            ("/closed", "route-closed"),
        ] {
            let answer = client.get(&format!("{path}?{query}")).send().await;
            assert_eq!(answer.problem(), slug, "{path}?{query}");
        }
    }
    assert_eq!(upstream.requests(), 0);
    assert_eq!(client.get("/public?x=/closed").send().await.status, 200);
    assert_eq!(upstream.last().target, "/public?x=/closed");
}

#[tokio::test]
async fn a_fragment_in_a_target_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let host = gateway.address;
    for target in [
        "/admin#/public".to_owned(),
        "/public#".to_owned(),
        "/public#/admin".to_owned(),
        "/#".to_owned(),
        "/public?x=1#y".to_owned(),
        format!("http://{host}/public#/admin"),
        "#/public".to_owned(),
    ] {
        let answer = first_answer(&gateway, &request("GET", &target, host, "")).await;
        assert_eq!(answer.status, 400, "{target}");
        assert_eq!(answer.problem(), "malformed-request", "{target}");
    }
    assert_eq!(upstream.requests(), 0);
}
