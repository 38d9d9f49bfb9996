//! What is told beside anomalies: events of the trail that somebody has to look at, and conditions.

use super::{Alerts, Notice};
use crate::anomalies::Severity;
use crate::audit::{Action, Event, Target};

/// Where alerts come from. Those of [`crate::anomalies::DETECTORS`], then events, then conditions of a node.
pub const SOURCES: [&str; 19] = [
    "login-burst",
    "credential-stuffing",
    "enumeration",
    "new-device",
    "key-networks",
    "limit-attack",
    "denial-surge",
    "error-surge",
    "stolen-credential",
    "impossible-travel",
    "secret-overdue",
    "scan-alarming",
    "webhook-dead",
    "audit-lost",
    "audit-failed",
    "audit-contradicted",
    "audit-unwitnessed",
    "dependency-down",
    "certificate-ending",
];

impl Alerts {
    /// What events themselves are to be told.
    pub(crate) fn notices_of(&self, events: &[Event]) -> Vec<Notice> {
        if self.destinations.is_empty() {
            return Vec::new();
        }
        events.iter().filter_map(notice).collect()
    }
}

fn notice(event: &Event) -> Option<Notice> {
    let target = event.target.as_ref().map_or("gate", Target::as_str);
    let (source, severity, told) = match event.action {
        Action::SecretOverdue => (
            "secret-overdue",
            Severity::Medium,
            "its value should have been replaced by now: `portcullis secrets list --overdue`",
        ),
        Action::ScanAlarming => (
            "scan-alarming",
            Severity::Medium,
            "it is missing, overdue or failing: `portcullis scan list`",
        ),
        Action::WebhookGivenUp => (
            "webhook-dead",
            Severity::Medium,
            "a message was given up: `portcullis webhooks dead`",
        ),
        Action::AuditOverflow => (
            "audit-lost",
            Severity::High,
            "more events came than are recorded one by one",
        ),
        Action::AuditContradicted => (
            "audit-contradicted",
            Severity::High,
            "a witness has seen another history of the audit log, or more of it: `portcullis audit verify`",
        ),
        Action::AuditUnwitnessed => (
            "audit-unwitnessed",
            Severity::Medium,
            "a witness has not signed the audit log for too long: `portcullis audit witness`",
        ),
        _ => return None,
    };
    Some(Notice {
        source: source.to_owned(),
        severity,
        subject: target.to_owned(),
        told: told.to_owned(),
        at: event.at,
        count: 1,
    })
}
