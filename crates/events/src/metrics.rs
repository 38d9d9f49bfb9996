//! Numbers for Prometheus, on the admin listener.
//!
//! Each lane counts in a [`Lane`] of its own, cache lines apart from the others: a count is one
//! relaxed addition that nobody contends for, and no label is hashed while a request waits. Lanes
//! are summed when they are asked for ([`Metrics::encode`]). Labels are closed sets (status, problem,
//! stage): no client can make a new series.
//!
//! The five counters of M1 are `portcullis_failed_logins_total`, `portcullis_rate_limit_violations_total`,
//! `portcullis_suspicious_activities_total` (refusals that bear the marks of an attack, see [`SUSPICIOUS`]),
//! `portcullis_security_incidents` (those that are open) and `portcullis_compliance_score`: of the checks of the
//! latest proof that is on record, how many of a hundred held. Where the policy wants no proof it is absent
//! rather than made up.

mod encode;
mod lane;
mod traffic;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::problem::{self, Kind};

pub use encode::CONTENT_TYPE;
pub use lane::{Exit, Lane, Stage};
pub use traffic::{Passed, Traffic};

use crate::anomalies::DETECTORS;
use crate::audit::Action;
use crate::incidents::Severity;

/// Problems that an ordinary client does not run into.
pub static SUSPICIOUS: &[&Kind] = &[
    &problem::MALFORMED_REQUEST,
    &problem::AMBIGUOUS_PATH,
    &problem::CSRF_CROSS_SITE,
    &problem::CSRF_TOKEN_INVALID,
    &problem::ORIGIN_NOT_ALLOWED,
    &problem::WEBHOOK_SIGNATURE_INVALID,
    &problem::UPLOAD_INFECTED,
];

/// A number, or none: none is absent rather than made up.
#[derive(Debug, Default)]
struct Perhaps(AtomicU64);

impl Perhaps {
    fn set(&self, number: Option<u64>) {
        let kept = number.map_or(0, |number| number.saturating_add(1));
        self.0.store(kept, Ordering::Relaxed);
    }

    fn get(&self) -> Option<u64> {
        self.0.load(Ordering::Relaxed).checked_sub(1)
    }
}

/// What somebody did about an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Acknowledged,
    Triaged,
    Closed,
}

impl Answer {
    pub(crate) const ALL: [Answer; 3] = [Answer::Acknowledged, Answer::Triaged, Answer::Closed];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Answer::Acknowledged => "acknowledged",
            Answer::Triaged => "triaged",
            Answer::Closed => "closed",
        }
    }
}

/// What the gate depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependency {
    Database,
    Redis,
    /// The feed of revocations: healthy while it is fresh.
    Revocations,
    /// What reads uploads.
    Scanner,
    /// The service that holds the KEK of the vault.
    Kms,
    /// Where secrets are carried to.
    SecretManager,
}

impl Dependency {
    const ALL: [Dependency; 6] = [
        Dependency::Database,
        Dependency::Redis,
        Dependency::Revocations,
        Dependency::Scanner,
        Dependency::Kms,
        Dependency::SecretManager,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Dependency::Database => "database",
            Dependency::Redis => "redis",
            Dependency::Revocations => "revocations",
            Dependency::Scanner => "scanner",
            Dependency::Kms => "kms",
            Dependency::SecretManager => "secret-manager",
        }
    }
}

/// What becomes of the messages of webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookMark {
    Received,
    AlreadySeen,
    Refused,
    Delivered,
    Retried,
    Dead,
}

impl WebhookMark {
    const ALL: [WebhookMark; 6] = [
        WebhookMark::Received,
        WebhookMark::AlreadySeen,
        WebhookMark::Refused,
        WebhookMark::Delivered,
        WebhookMark::Retried,
        WebhookMark::Dead,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            WebhookMark::Received => "received",
            WebhookMark::AlreadySeen => "already-seen",
            WebhookMark::Refused => "refused",
            WebhookMark::Delivered => "delivered",
            WebhookMark::Retried => "retried",
            WebhookMark::Dead => "dead",
        }
    }
}

/// What becomes of uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadMark {
    Accepted,
    Refused,
    Infected,
    /// The scanner was away, or there was no room.
    Failed,
}

impl UploadMark {
    const ALL: [UploadMark; 4] = [
        UploadMark::Accepted,
        UploadMark::Refused,
        UploadMark::Infected,
        UploadMark::Failed,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            UploadMark::Accepted => "accepted",
            UploadMark::Refused => "refused",
            UploadMark::Infected => "infected",
            UploadMark::Failed => "failed",
        }
    }
}

/// What became of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertMark {
    Sent,
    Retried,
    Dead,
}

impl AlertMark {
    const ALL: [AlertMark; 3] = [AlertMark::Sent, AlertMark::Retried, AlertMark::Dead];

    const fn as_str(self) -> &'static str {
        match self {
            AlertMark::Sent => "sent",
            AlertMark::Retried => "retried",
            AlertMark::Dead => "dead",
        }
    }
}

/// What becomes of the spans of traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpanMark {
    Exported,
    /// The collector did not take them.
    Failed,
    /// There was no room for them to wait.
    Dropped,
}

impl SpanMark {
    pub(crate) const ALL: [SpanMark; 3] = [SpanMark::Exported, SpanMark::Failed, SpanMark::Dropped];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            SpanMark::Exported => "exported",
            SpanMark::Failed => "failed",
            SpanMark::Dropped => "dropped",
        }
    }
}

/// All numbers of one process.
#[derive(Debug, Default)]
pub struct Metrics {
    lanes: Mutex<Vec<Arc<Lane>>>,
    dependencies: [Health; Dependency::ALL.len()],
    /// Age of the revocation feed in microseconds.
    feed_age: AtomicI64,
    audit: Audit,
    access_log_dropped: AtomicU64,
    spans: [AtomicU64; SpanMark::ALL.len()],
    webhooks: [AtomicU64; WebhookMark::ALL.len()],
    uploads: [AtomicU64; UploadMark::ALL.len()],
    uploaded_bytes: AtomicU64,
    /// As the database said when it was last asked.
    webhooks_waiting: AtomicI64,
    webhooks_dead: AtomicI64,
    secrets_overdue: AtomicI64,
    /// In seconds.
    oldest_secret: AtomicI64,
    /// In seconds, since the folder of secrets was last read whole.
    secret_files: AtomicI64,
    secrets_to_carry: AtomicI64,
    secrets_drifted: AtomicI64,
    scans_wanted: AtomicI64,
    scans_alarming: AtomicI64,
    /// In thousandths.
    compliance_score: Perhaps,
    /// By [`Answer::ALL`]: means in seconds.
    incident_answers: [Perhaps; Answer::ALL.len()],
    /// By [`DETECTORS`].
    anomalies: [AtomicU64; DETECTORS.len()],
    /// Sign-ins whose place the database of `[places]` did not know, and did.
    places: [AtomicU64; 2],
    alerts: [AtomicU64; AlertMark::ALL.len()],
    alerts_waiting: AtomicI64,
    alerts_dead: AtomicI64,
    /// By [`Severity::ALL`]: incidents that are open.
    incidents: [AtomicI64; Severity::ALL.len()],
}

#[derive(Debug, Default)]
struct Health {
    known: AtomicBool,
    up: AtomicBool,
}

#[derive(Debug)]
struct Audit {
    events: [AtomicU64; Action::COUNT],
    lost: [AtomicU64; Action::COUNT],
    written: AtomicU64,
    failures: AtomicU64,
    anchor_failures: AtomicU64,
    cosignatures: AtomicU64,
    witness_failures: AtomicU64,
    witnesses_late: AtomicI64,
    witnesses_contradicting: AtomicI64,
    depth: AtomicU64,
}

impl Default for Audit {
    fn default() -> Self {
        Audit {
            events: [const { AtomicU64::new(0) }; Action::COUNT],
            lost: [const { AtomicU64::new(0) }; Action::COUNT],
            written: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            anchor_failures: AtomicU64::new(0),
            cosignatures: AtomicU64::new(0),
            witness_failures: AtomicU64::new(0),
            witnesses_late: AtomicI64::new(0),
            witnesses_contradicting: AtomicI64::new(0),
            depth: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The counters of one more lane. Called once per lane at its start.
    pub fn lane(&self) -> Arc<Lane> {
        let lane = Arc::new(Lane::default());
        self.lanes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(lane.clone());
        lane
    }

    /// What a dependency was last seen to be. One that was never reported is not shown.
    pub fn dependency(&self, dependency: Dependency, up: bool) {
        let Some(health) = self.dependencies.get(dependency as usize) else {
            return;
        };
        health.up.store(up, Ordering::Relaxed);
        health.known.store(true, Ordering::Relaxed);
    }

    /// How old the newest answer of the revocation feed is.
    pub fn feed_age(&self, age: portcullis_core::Span) {
        self.feed_age.store(age.as_micros(), Ordering::Relaxed);
    }

    /// Lines of the access log that were dropped because its writer could not keep up.
    pub fn access_log_dropped(&self, lines: u64) {
        self.access_log_dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// Spans of traces came to their end here.
    #[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "there are none"))]
    pub(crate) fn spans_ended(&self, mark: SpanMark, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        add(&self.spans, mark as usize, count);
    }

    /// An upload came to its end here.
    pub fn upload(&self, mark: UploadMark) {
        add(&self.uploads, mark as usize, 1);
    }

    /// So much of it went on to the product.
    pub fn uploaded(&self, bytes: u64) {
        self.uploaded_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn webhook(&self, mark: WebhookMark) {
        add(&self.webhooks, mark as usize, 1);
    }

    /// How long ago every file of the folder of secrets was last there and right.
    pub(crate) fn secret_files(&self, age: portcullis_core::Span) {
        let age = i64::try_from(age.as_seconds()).unwrap_or(i64::MAX);
        self.secret_files.store(age, Ordering::Relaxed);
    }

    /// As the database said when it was last asked.
    pub(crate) fn secrets(&self, overdue: i64, oldest: portcullis_core::Span) {
        let oldest = i64::try_from(oldest.as_seconds()).unwrap_or(i64::MAX);
        self.secrets_overdue.store(overdue, Ordering::Relaxed);
        self.oldest_secret.store(oldest, Ordering::Relaxed);
    }

    /// As the database said when it was last asked.
    pub(crate) fn scans_stand(&self, wanted: usize, alarming: usize, score: Option<u64>) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.scans_wanted.store(count(wanted), Ordering::Relaxed);
        self.scans_alarming
            .store(count(alarming), Ordering::Relaxed);
        self.compliance_score.set(score);
    }

    /// As the database said when it was last asked: a mean for each of [`Answer::ALL`], in seconds.
    pub(crate) fn incidents_answered(&self, means: [Option<u64>; Answer::ALL.len()]) {
        for (gauge, mean) in self.incident_answers.iter().zip(means) {
            gauge.set(mean);
        }
    }

    /// As the database said when it was last asked.
    pub(crate) fn secrets_carried(&self, waiting: i64, drifted: i64) {
        self.secrets_to_carry.store(waiting, Ordering::Relaxed);
        self.secrets_drifted.store(drifted, Ordering::Relaxed);
    }

    /// As the database said when it was last asked.
    pub(crate) fn incidents_open(&self, open: &[(Severity, i64)]) {
        for (severity, gauge) in Severity::ALL.iter().zip(&self.incidents) {
            let of_it = open.iter().find(|(of, _)| of == severity);
            gauge.store(of_it.map_or(0, |(_, count)| *count), Ordering::Relaxed);
        }
    }

    pub(crate) fn webhooks_kept(&self, waiting: i64, dead: i64) {
        self.webhooks_waiting.store(waiting, Ordering::Relaxed);
        self.webhooks_dead.store(dead, Ordering::Relaxed);
    }

    /// A detector found something. Counted by the node that looks.
    pub(crate) fn anomaly(&self, detector: &str) {
        if let Some(position) = DETECTORS.iter().position(|known| *known == detector) {
            add(&self.anomalies, position, 1);
        }
    }

    /// The address of a sign-in was looked up in the database of places. Counted by the node that looks.
    pub(crate) fn place(&self, is_known: bool) {
        add(&self.places, usize::from(is_known), 1);
    }

    pub(crate) fn alert(&self, mark: AlertMark) {
        add(&self.alerts, mark as usize, 1);
    }

    /// As the database said when it was last asked.
    pub(crate) fn alerts_kept(&self, waiting: i64, dead: i64) {
        self.alerts_waiting.store(waiting, Ordering::Relaxed);
        self.alerts_dead.store(dead, Ordering::Relaxed);
    }

    /// How many batches of the audit trail the database has not taken.
    pub fn audit_failures(&self) -> u64 {
        self.audit.failures.load(Ordering::Relaxed)
    }

    /// How many requests were answered, and how many of them with 5xx.
    pub fn answers(&self) -> (u64, u64) {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = lanes.iter().map(|lane| lane.answers());
        answers.fold((0, 0), |(all, bad), (more, more_bad)| {
            (all.saturating_add(more), bad.saturating_add(more_bad))
        })
    }

    pub(crate) fn observe(&self, action: Action) {
        add(&self.audit.events, action.index(), 1);
    }

    pub(crate) fn audit_lost(&self, action: Action, events: u64) {
        add(&self.audit.lost, action.index(), events);
    }

    pub(crate) fn audit_written(&self, events: usize) {
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        self.audit.written.fetch_add(events, Ordering::Relaxed);
    }

    pub(crate) fn audit_failed(&self) {
        self.audit.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn anchor_failed(&self) {
        self.audit.anchor_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn witness_signed(&self) {
        self.audit.cosignatures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn witness_failed(&self) {
        self.audit.witness_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// How many witnesses of the audit log have not signed for too long, and how many contradict it.
    pub(crate) fn witnesses(&self, late: i64, contradicting: i64) {
        self.audit.witnesses_late.store(late, Ordering::Relaxed);
        let held = &self.audit.witnesses_contradicting;
        held.store(contradicting, Ordering::Relaxed);
    }

    pub(crate) fn audit_depth(&self, events: usize) {
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        self.audit.depth.store(events, Ordering::Relaxed);
    }
}

fn add(counters: &[AtomicU64], index: usize, by: u64) {
    if let Some(counter) = counters.get(index) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
