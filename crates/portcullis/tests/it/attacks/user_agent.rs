//! A `User-Agent` that a rule takes for a health check skips authentication (CVE-2026-34457).

use super::gate;
use crate::support::Upstream;

#[tokio::test]
async fn no_user_agent_changes_a_decision() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    for agent in [
        "GoogleHC/1.0",
        "kube-probe/1.31",
        "ELB-HealthChecker/2.0",
        "Amazon-Route53-Health-Check-Service",
        "Consul Health Check",
        "curl/8.0",
        "Prometheus/3.0",
        "portcullis",
        "portcullis-health",
        "",
    ] {
        for (path, slug) in [
            ("/admin", "authentication-required"),
            ("/closed", "route-closed"),
        ] {
            let answer = gateway.client().get(path).header("user-agent", agent);
            assert_eq!(answer.send().await.problem(), slug, "{agent}");
        }
    }
    assert_eq!(upstream.requests(), 0);
}
