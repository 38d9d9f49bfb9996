//! The way out: one attempt, and what becomes of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_core::{Span, Timestamp};
use portcullis_edge::mail::{self, Letter};
use portcullis_edge::outbound::Target;
use portcullis_vault::keys::ForeignMac;
use serde_json::json;
use uuid::Uuid;

use super::config::{Destination, Way};
use super::queue::{self, Alert, Kind, State};
use super::{Alerts, Error, Notice};
use crate::anomalies::Severity;
use crate::audit::{Action, Actor, Event, Outcome, Target as Of};
use crate::metrics::AlertMark;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longer than an attempt may take.
const LEASE: Span = Span::from_seconds(60);
const LONGEST_WAIT: Span = Span::from_minutes(15);

/// Why it was not taken.
enum Fault {
    /// It may be taken later.
    NotNow(String),
    Never(String),
}

impl Alerts {
    /// Sends what waits, for as long as the process lives. A destination that hangs holds up no other.
    pub async fn run(self) {
        let all = self.destinations.iter();
        join_all(all.map(|destination| self.serve(destination))).await;
    }

    async fn serve(&self, destination: &Destination) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = self.arrived.notified() => {}
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.hand_out(destination).await {
                tracing::warn!(alert = destination.name, %error, "alerts that wait could not be read");
            }
        }
    }

    async fn hand_out(&self, destination: &Destination) -> Result<(), Error> {
        loop {
            let now = self.clock.now();
            let Some(alert) = queue::claim(&self.db, &destination.name, now, now + LEASE).await?
            else {
                return Ok(());
            };
            let sent = self.send(destination, &alert).await;
            self.note(destination, &alert, sent).await?;
        }
    }

    async fn note(
        &self,
        destination: &Destination,
        alert: &Alert,
        sent: Result<(), Fault>,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let fault = match sent {
            Ok(()) => {
                queue::end(&mut tx, alert, State::Sent, None, now).await?;
                tx.commit().await?;
                self.metrics().alert(AlertMark::Sent);
                return Ok(());
            }
            Err(Fault::NotNow(fault)) if alert.attempts < i64::from(destination.attempts) => {
                let wait = destination
                    .first_wait
                    .doubled(alert.attempts.saturating_sub(1), LONGEST_WAIT);
                queue::put_back(&mut tx, alert, now + wait, &fault).await?;
                tx.commit().await?;
                self.metrics().alert(AlertMark::Retried);
                return Ok(());
            }
            Err(Fault::NotNow(fault) | Fault::Never(fault)) => fault,
        };
        if queue::end(&mut tx, alert, State::Dead, Some(&fault), now).await? {
            let event = Event::new(now, Action::AlertGivenUp, Outcome::Failed)
                .by(Actor::System)
                .to(Of::named("alert", &destination.name))
                .with("alert", alert.id.to_string())
                .with("attempts", alert.attempts)
                .with("fault", fault.clone());
            self.trail.record_in(&mut tx, event).await?;
            self.metrics().alert(AlertMark::Dead);
            tracing::error!(alert = destination.name, id = %alert.id, fault, "an alert was given up: `portcullis alerts list --state dead` shows such");
        }
        Ok(tx.commit().await?)
    }

    /// Sends an alert that says that it is a test, at once and past the queue.
    pub async fn test(&self, name: &str) -> Result<Result<(), String>, Error> {
        let mut named = self.destinations.iter();
        let destination = named.find(|destination| destination.name == name);
        let destination = destination.ok_or(Error::NotFound)?;
        let notice = Notice {
            source: "test".to_owned(),
            severity: Severity::Low,
            subject: "gate".to_owned(),
            told: "somebody tries whether alerts arrive here".to_owned(),
            at: self.clock.now(),
            count: 1,
        };
        Ok(self.send_past(destination, &notice, Kind::Test).await)
    }

    /// Tells every destination at once and past the queue: for when the database, in which the queue is,
    /// is away. Tried once. What could not be sent is in the log.
    pub async fn tell_past_the_queue(&self, notice: &Notice) {
        for destination in self.destinations.iter().filter(|one| one.wants(notice)) {
            let sent = self.send_past(destination, notice, Kind::Began).await;
            if let Err(fault) = sent {
                tracing::error!(
                    alert = destination.name,
                    source = notice.source,
                    fault,
                    "an alert could not be sent while the database is away"
                );
            }
        }
    }

    async fn send_past(
        &self,
        destination: &Destination,
        notice: &Notice,
        kind: Kind,
    ) -> Result<(), String> {
        let recipients: Vec<Option<String>> = match &destination.way {
            Way::Email(addresses) => addresses.iter().cloned().map(Some).collect(),
            Way::Slack(_) | Way::Signed(..) => vec![None],
        };
        for recipient in recipients {
            let alert = Alert {
                id: Uuid::now_v7(),
                destination: destination.name.clone(),
                kind,
                source: notice.source.clone(),
                severity: notice.severity,
                subject: notice.subject.clone(),
                told: notice.sentence(),
                state: State::Waiting,
                created_at: notice.at,
                due_at: notice.at,
                attempts: 1,
                fault: None,
                ended_at: None,
                recipient,
            };
            self.send(destination, &alert)
                .await
                .map_err(|(Fault::NotNow(fault) | Fault::Never(fault))| fault)?;
        }
        Ok(())
    }

    async fn send(&self, destination: &Destination, alert: &Alert) -> Result<(), Fault> {
        match &destination.way {
            Way::Email(_) => self.letter(alert).await,
            Way::Slack(target) => {
                let body = json!({ "text": slack_text(alert) }).to_string();
                self.post(target, HeaderMap::new(), body).await
            }
            Way::Signed(target, mac) => {
                let body = message(alert);
                let headers = signature(mac, alert.id, self.clock.now(), &body)
                    .ok_or_else(|| Fault::Never("it cannot be signed".to_owned()))?;
                self.post(target, headers, body).await
            }
        }
    }

    async fn letter(&self, alert: &Alert) -> Result<(), Fault> {
        let mailer = self.mailer.as_ref();
        let mailer = mailer.ok_or_else(|| Fault::NotNow("no letters leave (`mail`)".to_owned()))?;
        let to = alert.recipient.clone();
        let letter = Letter {
            to: to.ok_or_else(|| Fault::Never("it is to nobody".to_owned()))?,
            subject: title(alert),
            text: letter_text(alert),
        };
        mailer.send(&letter).await.map_err(|error| match error {
            mail::Error::Refused(_) => Fault::Never(error.to_string()),
            mail::Error::Unavailable(_) => Fault::NotNow(error.to_string()),
        })
    }

    async fn post(&self, target: &Target, headers: HeaderMap, body: String) -> Result<(), Fault> {
        let kind = "application/json";
        let answer = self
            .outbound
            .post_with(target, headers, kind, Bytes::from(body));
        match answer.await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(Fault::NotNow(format!(
                "{} answered {}",
                target.host(),
                answer.status
            ))),
            Err(error) => Err(Fault::NotNow(error.to_string())),
        }
    }
}

fn title(alert: &Alert) -> String {
    match alert.kind {
        Kind::Began => format!("[{}] {}", alert.severity, alert.source),
        Kind::Summary => format!("[{}] {}, summed up", alert.severity, alert.source),
        Kind::Test => "[test] an alert of Portcullis".to_owned(),
    }
}

fn letter_text(alert: &Alert) -> String {
    format!(
        "{}\n\nWhat: {}\nAt: {}\n\nWhat was found: portcullis anomalies list\nIts rule: portcullis anomalies rules\nTo be told nothing more of it for a while:\n  portcullis alerts silence {} --for 2h --because \"...\"\n",
        alert.told, alert.source, alert.created_at, alert.source
    )
}

/// Slack reads three characters as markup: <https://docs.slack.dev/messaging/formatting-message-text>.
fn slack_text(alert: &Alert) -> String {
    format!("{}\n{}", title(alert), alert.told)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The payload that Standard Webhooks suggests: type, timestamp, data.
fn message(alert: &Alert) -> String {
    json!({
        "type": format!("alert.{}", alert.kind.as_str()),
        "timestamp": alert.created_at.to_string(),
        "data": {
            "id": alert.id,
            "source": alert.source,
            "severity": alert.severity.as_str(),
            "subject": alert.subject,
            "told": alert.told,
        },
    })
    .to_string()
}

/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
fn signature(mac: &ForeignMac, id: Uuid, now: Timestamp, body: &str) -> Option<HeaderMap> {
    let (id, timestamp) = (id.to_string(), now.as_seconds().to_string());
    let parts = [
        id.as_bytes(),
        b".",
        timestamp.as_bytes(),
        b".",
        body.as_bytes(),
    ];
    let tag = STANDARD.encode(mac.tag_of_parts(&parts));
    let headers = [
        ("webhook-id", id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", format!("v1,{tag}")),
    ];
    let headers = headers.into_iter().map(|(name, value)| {
        let value = HeaderValue::try_from(value).ok()?;
        Some((HeaderName::from_static(name), value))
    });
    headers.collect()
}
