use std::time::Duration;

use portcullis_core::problem;

use super::lane::PROBLEMS;
use super::*;

#[test]
fn lanes_are_summed_under_their_labels() {
    let metrics = Metrics::new();
    let (one, two) = (metrics.lane(), metrics.lane());
    for lane in [&one, &two] {
        lane.opened();
        lane.started();
        lane.started();
        lane.refused(&problem::RATE_LIMITED, Stage::AddressLimit);
        lane.refused(&problem::CSRF_CROSS_SITE, Stage::Csrf);
        lane.upstream_took(Duration::from_millis(3));
        lane.finished(Exit::Refused, 429);
    }
    metrics.dependency(Dependency::Database, true);
    metrics.observe(Action::LoginFailed);
    let page = metrics.encode();
    for line in [
        "portcullis_requests_total{exit=\"refused\",status=\"429\"} 2",
        "portcullis_refusals_total{problem=\"rate-limited\",stage=\"address-limit\"} 2",
        "portcullis_requests_in_flight 2",
        "portcullis_connections 2",
        "portcullis_upstream_duration_seconds_bucket{le=\"0.005\"} 2",
        "portcullis_upstream_duration_seconds_bucket{le=\"0.0025\"} 0",
        "portcullis_upstream_duration_seconds_bucket{le=\"+Inf\"} 2",
        "portcullis_dependency_up{dependency=\"database\"} 1",
        "portcullis_failed_logins_total 1",
        "portcullis_rate_limit_violations_total 2",
        "portcullis_suspicious_activities_total{detector=\"refusal\"} 2",
        "# EOF",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
}

#[test]
fn what_has_no_source_is_absent() {
    let page = Metrics::new().encode();
    assert!(!page.contains("compliance_score"));
    assert!(!page.contains("dependency_up{"));
}

#[test]
fn there_is_room_for_every_problem() {
    assert!(problem::ALL.len() <= PROBLEMS);
}

#[test]
fn a_status_that_is_none_is_counted_and_harms_nothing() {
    let metrics = Metrics::new();
    let lane = metrics.lane();
    for status in [0, 99, 600, u16::MAX] {
        lane.finished(Exit::Failed, status);
    }
    assert!(
        metrics
            .encode()
            .contains("{exit=\"failed\",status=\"99\"} 4")
    );
}
