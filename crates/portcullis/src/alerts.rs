//! `[[alert]]`: its secrets are read, its destinations compiled; and the conditions of this node that are
//! told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::finding::Finding;
use portcullis_core::{Span, Timestamp};
use portcullis_edge::certificate::Shown;
use portcullis_edge::config::TlsConfig;
use portcullis_events::alerts::config::Secrets;
use portcullis_events::alerts::{self, Alerts, Destination, Notice};
use portcullis_events::anomalies::Severity;
use portcullis_events::audit::{Action, Actor, Event, Outcome};
use portcullis_store::counters::Health;

use crate::config::{Config, Loaded, read_secret};
use crate::gate::Gate;

pub(crate) fn read_secrets(loaded: &mut Loaded) {
    for (position, alert) in loaded.config.alerts.clone().iter().enumerate() {
        let mut read = |key: &str, reference: &Option<_>| {
            let reference = reference.as_ref()?;
            read_secret(loaded, &format!("alert.{position}.{key}"), reference)
        };
        let secrets = Secrets {
            slack: read("slack", &alert.slack),
            secret: read("secret", &alert.secret),
        };
        loaded.secrets.alerts.push(secrets);
    }
}

/// Where alerts go.
pub(crate) fn compile(config: &Config, loaded: &Loaded) -> Result<Vec<Destination>, Vec<Finding>> {
    let secrets = &loaded.secrets.alerts;
    alerts::compile(&config.alerts, secrets, config.mode, config.mail.is_on())
}

const LOOK_EVERY: Duration = Duration::from_secs(10);
/// What goes on is told again after this, for the sum.
const TOLD_AGAIN_AFTER: Span = Span::from_minutes(10);
const CERTIFICATE_ENDS_IN: Span = Span::from_days(14);

/// Looks at this node: at what it depends on, at the trail's writer, at its certificate, and at how many
/// answers are errors.
pub(crate) fn start(gate: &Arc<Gate>, alerts: &Alerts, loaded: &Loaded) {
    let conditions = Conditions {
        gate: Arc::clone(gate),
        alerts: alerts.clone(),
        tls: loaded.listen().tls,
        told: HashMap::new(),
        answers: gate.metrics.answers(),
        audit_failures: gate.metrics.audit_failures(),
    };
    gate.back.spawn(conditions.run());
}

struct Conditions {
    gate: Arc<Gate>,
    alerts: Alerts,
    tls: Option<TlsConfig>,
    /// When each condition that goes on was told last.
    told: HashMap<(&'static str, &'static str), Timestamp>,
    answers: (u64, u64),
    audit_failures: u64,
}

/// One that may hold: source, subject, what is told where it does.
type Condition = (&'static str, &'static str, Severity, Option<String>);

impl Conditions {
    async fn run(mut self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.note_errors();
            for condition in self.look().await {
                self.judge(condition).await;
            }
        }
    }

    /// What the detector of errors reads: nothing where there were none.
    fn note_errors(&mut self) {
        let (all, bad) = self.gate.metrics.answers();
        let errors = bad.saturating_sub(self.answers.1);
        let requests = all.saturating_sub(self.answers.0);
        self.answers = (all, bad);
        if errors > 0 {
            let now = self.gate.clock.now();
            let event = Event::new(now, Action::TrafficErrors, Outcome::Failed)
                .by(Actor::System)
                .with("requests", requests)
                .with("errors", errors);
            self.gate.trail.note(event);
        }
    }

    async fn look(&mut self) -> [Condition; 4] {
        let database = self.gate.probe.database().await;
        let database = (!database).then(|| "does not answer".to_owned());
        let redis = match self.gate.counters.health() {
            Health::Local | Health::Shared => None,
            Health::Degraded => Some("does not answer: limits are stricter and local".to_owned()),
        };
        let failures = self.gate.metrics.audit_failures();
        let more = failures.saturating_sub(self.audit_failures);
        self.audit_failures = failures;
        let audit = (more > 0).then(|| "the database did not take events".to_owned());
        [
            ("dependency-down", "database", Severity::High, database),
            ("dependency-down", "redis", Severity::High, redis),
            ("audit-failed", "gate", Severity::High, audit),
            (
                "certificate-ending",
                "listen.tls",
                Severity::High,
                self.certificate(),
            ),
        ]
    }

    fn certificate(&self) -> Option<String> {
        let shown = Shown::read(self.tls.as_ref()?).ok()?;
        let ends = shown.validity().ok()?.not_after;
        let left = ends.since(self.gate.clock.now());
        (left < CERTIFICATE_ENDS_IN).then(|| format!("ends at {ends}"))
    }

    async fn judge(&mut self, (source, subject, severity, told): Condition) {
        let key = (source, subject);
        let Some(told) = told else {
            self.told.remove(&key);
            return;
        };
        let now = self.gate.clock.now();
        let last = self.told.get(&key);
        if last.is_some_and(|last| now.since(*last) < TOLD_AGAIN_AFTER) {
            return;
        }
        self.told.insert(key, now);
        let notice = Notice {
            source: source.to_owned(),
            severity,
            subject: subject.to_owned(),
            told,
            at: now,
            count: 1,
        };
        if let Err(error) = self.alerts.raise(&notice).await {
            tracing::warn!(%error, source, subject, "an alert cannot be queued, and is sent past the queue");
            self.alerts.tell_past_the_queue(&notice).await;
        }
    }
}
