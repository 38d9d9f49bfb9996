//! The exposition format: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use portcullis_core::problem::{self, Kind};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::lane::{BOUNDS, BUCKETS, CLASSES, FIRST_STATUS, PROBLEMS, STATUSES};
use super::{
    AlertMark, Dependency, Exit, Lane, Metrics, SUSPICIOUS, SpanMark, Stage, UploadMark,
    WebhookMark,
};
use crate::anomalies::DETECTORS;
use crate::audit::Action;
use crate::incidents::Severity;

/// The type of what [`Metrics::encode`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Metrics {
    /// Everything, as one text.
    pub fn encode(self: &Arc<Self>) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut out = String::with_capacity(8192);
        // Writing into a String cannot fail.
        let _always_ok = text::encode(&mut out, &registry);
        out
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lanes: Vec<Arc<Lane>> = lanes.clone();
        let mut page = Page {
            encoder: &mut encoder,
        };
        requests(&mut page, &lanes)?;
        routes(&mut page, &lanes)?;
        refusals(&mut page, &lanes)?;
        latency(&mut page, &lanes)?;
        page.gauge(
            "portcullis_requests_in_flight",
            "Requests under way",
            difference(&lanes, |lane| (&lane.started, &lane.finished)),
        )?;
        page.gauge(
            "portcullis_connections",
            "Open client connections",
            difference(&lanes, |lane| (&lane.opened, &lane.closed)),
        )?;
        self.dependencies(&mut page)?;
        self.trail(&mut page)?;
        page.counter(
            "portcullis_access_log_dropped_lines",
            "Lines of the access log that its writer had no room for",
            self.access_log_dropped.load(Ordering::Relaxed),
        )?;
        self.spans(&mut page)?;
        self.webhooks(&mut page)?;
        self.secret_store(&mut page)?;
        self.uploads(&mut page)?;
        self.alerts(&mut page)?;
        self.incidents(&mut page)?;
        self.wanted_scans(&mut page)?;
        self.security(&mut page, &lanes)
    }
}

impl Metrics {
    /// Nothing where there never was a span.
    fn spans(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let rows = outcomes(SpanMark::ALL.map(SpanMark::as_str), &self.spans);
        page.counters(
            "portcullis_trace_spans",
            "Spans of traces by what became of them",
            rows,
        )
    }

    /// Nothing where there never was a message.
    fn webhooks(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let rows = outcomes(WebhookMark::ALL.map(WebhookMark::as_str), &self.webhooks);
        page.counters(
            "portcullis_webhooks",
            "Messages of webhooks by what became of them",
            rows,
        )?;
        page.gauge(
            "portcullis_webhooks_waiting",
            "Messages of webhooks that wait to be delivered, of all nodes, a minute ago at most",
            self.webhooks_waiting.load(Ordering::Relaxed),
        )?;
        page.gauge(
            "portcullis_webhooks_dead",
            "Messages of webhooks that were given up, of all nodes, a minute ago at most",
            self.webhooks_dead.load(Ordering::Relaxed),
        )
    }

    fn secret_store(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        page.gauge(
            "portcullis_secrets_overdue",
            "Secrets of the store whose value should have been replaced, a minute ago at most",
            self.secrets_overdue.load(Ordering::Relaxed),
        )?;
        page.gauge(
            "portcullis_secret_oldest_age_seconds",
            "Age of the oldest value in use in the store of secrets, a minute ago at most",
            self.oldest_secret.load(Ordering::Relaxed),
        )?;
        page.gauge(
            "portcullis_secret_files_age_seconds",
            "Since when some file of `secret-store.files` is gone or wrong: its last good value is served",
            self.secret_files.load(Ordering::Relaxed),
        )?;
        page.gauge(
            "portcullis_secrets_to_carry",
            "Secrets whose newest version is not in the store of `secret-store.remote` yet",
            self.secrets_to_carry.load(Ordering::Relaxed),
        )?;
        page.gauge(
            "portcullis_secrets_drifted",
            "Secrets that somebody else changed in the store of `secret-store.remote`",
            self.secrets_drifted.load(Ordering::Relaxed),
        )
    }

    fn incidents(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let mut metric = page.encoder.encode_descriptor(
            "portcullis_security_incidents",
            "Incidents that are open, of all nodes",
            None,
            MetricType::Gauge,
        )?;
        for (severity, open) in Severity::ALL.iter().zip(&self.incidents) {
            let labels = [("severity", severity.as_str())];
            let open = open.load(Ordering::Relaxed);
            metric.encode_family(&labels)?.encode_gauge(&open)?;
        }
        let means = super::Answer::ALL.iter().zip(&self.incident_answers);
        let means = means.filter_map(|(answer, mean)| Some((answer, mean.get()?)));
        let means: Vec<_> = means.collect();
        if means.is_empty() {
            return Ok(());
        }
        let mut metric = page.encoder.encode_descriptor(
            "portcullis_incident_response_seconds",
            "From the opening of an incident to what was done, the mean of those opened within 90 days",
            None,
            MetricType::Gauge,
        )?;
        for (answer, mean) in means {
            let labels = [("done", answer.as_str())];
            metric.encode_family(&labels)?.encode_gauge(&mean)?;
        }
        Ok(())
    }

    /// No score where the policy wants no proof.
    fn wanted_scans(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        page.gauge(
            "portcullis_scans_wanted",
            "Scans that the policy wants",
            self.scans_wanted.load(Ordering::Relaxed),
        )?;
        page.gauge(
            "portcullis_scans_alarming",
            "Scans that are missing, overdue or failing, a minute ago at most",
            self.scans_alarming.load(Ordering::Relaxed),
        )?;
        let Some(score) = self.compliance_score.get() else {
            return Ok(());
        };
        let mut metric = page.encoder.encode_descriptor(
            "portcullis_compliance_score",
            "Of the checks of the latest proof on record, how many of a hundred held; 0 where it is overdue",
            None,
            MetricType::Gauge,
        )?;
        let score = f64::from(u32::try_from(score).unwrap_or(u32::MAX)) / 10.0;
        metric.encode_gauge(&score)
    }

    /// Nothing where there never was an upload.
    fn uploads(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let rows = outcomes(UploadMark::ALL.map(UploadMark::as_str), &self.uploads);
        page.counters("portcullis_uploads", "Uploads by what became of them", rows)?;
        page.counter(
            "portcullis_uploaded_bytes",
            "Bytes of files that were screened and went on to the product",
            self.uploaded_bytes.load(Ordering::Relaxed),
        )
    }

    fn dependencies(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let known = Dependency::ALL.iter().zip(&self.dependencies);
        let known = known.filter(|(_, health)| health.known.load(Ordering::Relaxed));
        let rows = known.map(|(dependency, health)| {
            let up = i64::from(health.up.load(Ordering::Relaxed));
            ([("dependency", dependency.as_str())], up)
        });
        let help = "Whether a dependency answered when it was last asked";
        let mut metric = page.encoder.encode_descriptor(
            "portcullis_dependency_up",
            help,
            None,
            MetricType::Gauge,
        )?;
        for (labels, up) in rows {
            metric.encode_family(&labels)?.encode_gauge(&up)?;
        }
        let age = self.feed_age.load(Ordering::Relaxed).checked_div(1000);
        page.gauge(
            "portcullis_revocation_feed_age_milliseconds",
            "Age of the newest answer of the revocation feed",
            age.unwrap_or(0),
        )
    }

    fn trail(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let by_action = |counters: &[AtomicU64]| -> Vec<([(&'static str, &'static str); 1], u64)> {
            let counts = counters
                .iter()
                .map(|counter| counter.load(Ordering::Relaxed));
            let rows = Action::ALL
                .iter()
                .zip(counts)
                .filter(|(_, count)| *count > 0);
            rows.map(|(action, count)| ([("action", action.as_str())], count))
                .collect()
        };
        page.counters(
            "portcullis_audit_events",
            "Security events by action, before repeats are folded",
            by_action(&self.audit.events),
        )?;
        page.counters(
            "portcullis_audit_lost_events",
            "Security events that no record holds one by one: counted in an audit.overflow event",
            by_action(&self.audit.lost),
        )?;
        page.counter(
            "portcullis_audit_written_events",
            "Records written to the audit trail by the writer",
            self.audit.written.load(Ordering::Relaxed),
        )?;
        page.counter(
            "portcullis_audit_write_failures",
            "Batches of the audit trail that the database did not take",
            self.audit.failures.load(Ordering::Relaxed),
        )?;
        page.counter(
            "portcullis_audit_anchor_failures",
            "Checkpoints of the audit log that could not be kept in `audit.anchor-file`",
            self.audit.anchor_failures.load(Ordering::Relaxed),
        )?;
        page.counter(
            "portcullis_audit_cosignatures",
            "Checkpoints of the audit log that a witness signed for this node",
            self.audit.cosignatures.load(Ordering::Relaxed),
        )?;
        page.counter(
            "portcullis_audit_witness_failures",
            "Times that a witness of the audit log was asked by this node and did not sign",
            self.audit.witness_failures.load(Ordering::Relaxed),
        )?;
        page.gauge(
            "portcullis_audit_witnesses_late",
            "Witnesses that have not signed the audit log for `audit.witness-alert-after`",
            self.audit.witnesses_late.load(Ordering::Relaxed),
        )?;
        page.gauge(
            "portcullis_audit_witnesses_contradicting",
            "Witnesses that have seen another history of the audit log, or more of it",
            self.audit.witnesses_contradicting.load(Ordering::Relaxed),
        )?;
        let depth = self.audit.depth.load(Ordering::Relaxed);
        page.gauge(
            "portcullis_audit_queue_events",
            "Security events that wait to be written",
            i64::try_from(depth).unwrap_or(i64::MAX),
        )
    }

    fn security(&self, page: &mut Page<'_, '_>, lanes: &[Arc<Lane>]) -> fmt::Result {
        let failed = self.audit.events.get(Action::LoginFailed.index());
        page.counter(
            "portcullis_failed_logins",
            "Sign-ins that were refused for their credentials",
            failed.map_or(0, |counter| counter.load(Ordering::Relaxed)),
        )?;
        page.counter(
            "portcullis_rate_limit_violations",
            "Requests over a limit",
            refused_as(lanes, &[&problem::RATE_LIMITED]),
        )?;
        let found = DETECTORS.iter().zip(&self.anomalies);
        let found = found.map(|(detector, count)| (*detector, count.load(Ordering::Relaxed)));
        let refused = std::iter::once(("refusal", refused_as(lanes, SUSPICIOUS)));
        let rows = refused.chain(found);
        page.counters(
            "portcullis_suspicious_activities",
            "What detectors found (counted by the node that looks), and as `refusal` requests that bear the marks of an attack: forged origins and tokens, ambiguous or malformed",
            rows.map(|(detector, count)| ([("detector", detector)], count)).collect(),
        )?;
        let places = ["unknown", "known"].into_iter().zip(&self.places);
        let places = places.map(|(answer, count)| (answer, count.load(Ordering::Relaxed)));
        page.counters(
            "portcullis_sign_in_places",
            "Sign-ins that `impossible-travel` looked at, by whether the database of `[places]` knows where their address is",
            places
                .filter(|(_, count)| *count > 0)
                .map(|(answer, count)| ([("answer", answer)], count))
                .collect(),
        )
    }

    fn alerts(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let counts = AlertMark::ALL.iter().zip(&self.alerts);
        let rows = counts
            .map(|(mark, count)| ([("outcome", mark.as_str())], count.load(Ordering::Relaxed)));
        page.counters(
            "portcullis_alerts",
            "Attempts to tell somebody, by what became of them",
            rows.collect(),
        )?;
        page.gauge(
            "portcullis_alerts_waiting",
            "Alerts that wait to be sent, of all nodes, as the node that looks knows it",
            self.alerts_waiting.load(Ordering::Relaxed),
        )?;
        page.gauge(
            "portcullis_alerts_dead",
            "Alerts that were given up in the last 30 days, of all nodes, as the node that looks knows it",
            self.alerts_dead.load(Ordering::Relaxed),
        )
    }
}

/// Of each outcome how many, without those that there never was.
fn outcomes<const N: usize>(
    names: [&'static str; N],
    counts: &[AtomicU64; N],
) -> Vec<([(&'static str, &'static str); 1], u64)> {
    let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
    let outcomes = names.into_iter().zip(counts);
    outcomes
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| ([("outcome", name)], count))
        .collect()
}

fn requests(page: &mut Page<'_, '_>, lanes: &[Arc<Lane>]) -> fmt::Result {
    let mut rows = Vec::new();
    for exit in Exit::ALL {
        for status in 0..STATUSES {
            let index = (exit as usize)
                .saturating_mul(STATUSES)
                .saturating_add(status);
            let count = sum(lanes.iter().filter_map(|lane| lane.requests.get(index)));
            if count > 0 {
                let status = status.saturating_add(FIRST_STATUS).to_string();
                rows.push((
                    [("exit", exit.as_str().to_owned()), ("status", status)],
                    count,
                ));
            }
        }
    }
    page.counters(
        "portcullis_requests",
        "Requests by who answered, and how",
        rows,
    )
}

/// How much each route is used. One row for each pattern of the policy and kind of status at most.
fn routes(page: &mut Page<'_, '_>, lanes: &[Arc<Lane>]) -> fmt::Result {
    let mut all: BTreeMap<Box<str>, [u64; CLASSES]> = BTreeMap::new();
    for lane in lanes {
        let routes = lane.routes.lock().unwrap_or_else(PoisonError::into_inner);
        for (route, counts) in &*routes {
            let sums = all.entry(route.clone()).or_default();
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum = sum.saturating_add(*count);
            }
        }
    }
    let mut rows = Vec::new();
    for (route, counts) in all {
        let named = ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(counts);
        for (status, count) in named.filter(|(_, count)| *count > 0) {
            let labels = [("route", route.to_string()), ("status", status.to_owned())];
            rows.push((labels, count));
        }
    }
    page.counters(
        "portcullis_route_requests",
        "Requests by the pattern of their route, and the kind of status",
        rows,
    )
}

fn refusals(page: &mut Page<'_, '_>, lanes: &[Arc<Lane>]) -> fmt::Result {
    let mut rows = Vec::new();
    for stage in Stage::ALL {
        for (position, kind) in problem::ALL.iter().enumerate() {
            let count = refused_at(lanes, stage, position);
            if count > 0 {
                rows.push(([("problem", kind.slug), ("stage", stage.as_str())], count));
            }
        }
    }
    page.counters("portcullis_refusals", "Refusals by problem and stage", rows)
}

fn refused_as(lanes: &[Arc<Lane>], kinds: &[&Kind]) -> u64 {
    let positions = problem::ALL
        .iter()
        .enumerate()
        .filter(|(_, kind)| kinds.contains(kind));
    let positions: Vec<usize> = positions.map(|(position, _)| position).collect();
    let cells = Stage::ALL.iter().flat_map(|stage| {
        positions
            .iter()
            .map(|position| refused_at(lanes, *stage, *position))
    });
    cells.sum()
}

fn refused_at(lanes: &[Arc<Lane>], stage: Stage, position: usize) -> u64 {
    let index = (stage as usize)
        .saturating_mul(PROBLEMS)
        .saturating_add(position);
    sum(lanes.iter().filter_map(|lane| lane.refusals.get(index)))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a sum for a graph; exact up to 285 years of waiting"
)]
fn latency(page: &mut Page<'_, '_>, lanes: &[Arc<Lane>]) -> fmt::Result {
    let count = |bucket: usize| sum(lanes.iter().filter_map(|lane| lane.latency.get(bucket)));
    let bounds = BOUNDS.iter().map(|micros| *micros as f64 / 1e6);
    let buckets: Vec<(f64, u64)> = bounds
        .chain([f64::INFINITY])
        .zip((0..BUCKETS).map(count))
        .collect();
    let seconds = sum(lanes.iter().map(|lane| &lane.latency_micros)) as f64 / 1e6;
    let total = buckets.iter().map(|(_, count)| count).sum();
    let help = "Time from forwarding a request to the head of the upstream's response";
    page.encoder
        .encode_descriptor(
            "portcullis_upstream_duration_seconds",
            help,
            None,
            MetricType::Histogram,
        )?
        .encode_histogram::<NoLabelSet>(seconds, total, &buckets, None)
}

fn difference(lanes: &[Arc<Lane>], pair: impl Fn(&Lane) -> (&AtomicU64, &AtomicU64)) -> i64 {
    // What is over is read first: what began meanwhile can only make the difference larger.
    let over = sum(lanes.iter().map(|lane| pair(lane).1));
    let begun = sum(lanes.iter().map(|lane| pair(lane).0));
    i64::try_from(begun.saturating_sub(over)).unwrap_or(i64::MAX)
}

fn sum<'a>(counters: impl Iterator<Item = &'a AtomicU64>) -> u64 {
    counters
        .map(|counter| counter.load(Ordering::Relaxed))
        .sum()
}

struct Page<'p, 'e> {
    encoder: &'p mut DescriptorEncoder<'e>,
}

impl Page<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        self.encoder
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    /// The format appends `_total` to the name.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn counters<L>(&mut self, name: &str, help: &str, rows: Vec<(L, u64)>) -> fmt::Result
    where
        L: prometheus_client::encoding::EncodeLabelSet,
    {
        let mut metric = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            metric
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}
