//! Error reports: what went wrong here, to a server that speaks Sentry's protocol.
//!
//! A report is a few lines of JSON (an envelope), so that this is written here, over the house's one way
//! out: the client library would bring a second HTTP client, past the rules for addresses, and a
//! gatherer of whatever lies around, which then has to be stopped.
//!
//! Reported are panics and the causes of 5xx, under the request's id, with the route's pattern. Never the
//! path, a query, a header, a body, or who it was. Every text goes through redaction.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use bytes::Bytes;
use portcullis_core::finding::Finding;
use portcullis_core::{Clock, Mode, RequestId, Span, Timestamp};
use portcullis_edge::outbound::{Outbound, Reach, Target};
use portcullis_events::redact;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use url::Url;

use crate::config::Loaded;
use crate::config::secrets::SecretRef;

const KEY: &str = "error-reports.dsn";
/// More than these do not wait: reports fail open.
const WAITING: usize = 64;
/// The same cause is reported once in this time.
const ONCE_IN: Span = Span::from_seconds(60);
const MOST_CAUSES: usize = 256;

/// `[error-reports]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Config {
    /// Where panics and the causes of 5xx are reported to, by reference, `{ env = "SENTRY_DSN" }` or
    /// `{ file = "path" }`: `https://KEY@HOST/PROJECT`, on the public internet; in development also
    /// `http` on this machine. Default none: nothing is reported.
    pub(crate) dsn: Option<SecretRef>,
}

/// One thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) at: Timestamp,
    pub(crate) request: Option<RequestId>,
    /// The problem's slug, or `panic`.
    pub(crate) kind: &'static str,
    pub(crate) stage: &'static str,
    /// The matched route's pattern.
    pub(crate) route: Option<String>,
    /// Goes through redaction on its way out.
    pub(crate) cause: String,
}

/// Where reports are handed in. Never waits.
#[derive(Debug, Clone)]
pub(crate) struct Reports(mpsc::Sender<Report>);

impl Reports {
    /// Starts sending, if the configuration says where to.
    pub(crate) fn start(loaded: &Loaded, clock: &Arc<dyn Clock>) -> Option<Reports> {
        let target = compile(loaded, loaded.config.mode).ok()??;
        let (sender, waiting) = mpsc::channel(WAITING);
        let post = Post {
            target,
            outbound: Outbound::default(),
            clock: Arc::clone(clock),
            mode: loaded.config.mode,
            told: HashMap::new(),
        };
        tokio::spawn(post.run(waiting));
        Some(Reports(sender))
    }

    pub(crate) fn send(&self, report: Report) {
        // A full queue: there is more wrong than can be told, and the log has it all.
        drop(self.0.try_send(report));
    }
}

/// Where reports go, if anywhere.
fn compile(loaded: &Loaded, mode: Mode) -> Result<Option<Target>, &'static str> {
    let Some(dsn) = &loaded.secrets.error_reports else {
        return Ok(None);
    };
    target(dsn.expose(), mode).map(Some)
}

/// What is wrong with the address.
pub(crate) fn findings(loaded: &Loaded, mode: Mode) -> Option<Finding> {
    let why = compile(loaded, mode).err()?;
    Some(
        Finding::error("error-reports", KEY, why)
            .remedy("take it from the project's settings, under client keys"),
    )
}

fn target(dsn: &str, mode: Mode) -> Result<Target, &'static str> {
    const SHAPE: &str = "is not https://KEY@HOST/PROJECT";
    let url = Url::parse(dsn).map_err(|_| SHAPE)?;
    let reach = match (url.scheme(), mode) {
        ("https", _) => Reach::Public,
        ("http", Mode::Development) => Reach::Loopback,
        (_, Mode::Development | Mode::Production) => return Err("has to begin with https://"),
    };
    let (path, project) = url.path().rsplit_once('/').ok_or(SHAPE)?;
    let is_number = !project.is_empty() && project.bytes().all(|byte| byte.is_ascii_digit());
    let key = url.username();
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let host = url
        .host_str()
        .filter(|_| is_number && is_key)
        .ok_or(SHAPE)?;
    let port = url
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    let address = format!(
        "{}://{host}{port}{path}/api/{project}/envelope/?sentry_version=7&sentry_key={key}&sentry_client=portcullis%2F{}",
        url.scheme(),
        env!("CARGO_PKG_VERSION")
    );
    Target::parse(&address, reach).map_err(|_| SHAPE)
}

/// Who takes reports away, one by one.
struct Post {
    target: Target,
    outbound: Outbound,
    clock: Arc<dyn Clock>,
    mode: Mode,
    /// When each cause was told last, and how often it came since.
    told: HashMap<u64, (Timestamp, u64)>,
}

impl Post {
    async fn run(mut self, mut waiting: mpsc::Receiver<Report>) {
        while let Some(report) = waiting.recv().await {
            let Some(times) = self.times(&report) else {
                continue;
            };
            let body = envelope(&report, self.mode, times);
            let kind = "application/x-sentry-envelope";
            match self.outbound.post(&self.target, kind, body).await {
                Ok(answer) if answer.status.is_success() => {}
                Ok(answer) => {
                    let status = answer.status.as_u16();
                    tracing::warn!(status, "an error report was refused (`error-reports.dsn`)");
                }
                Err(error) => {
                    tracing::warn!(%error, "an error report could not be sent (`error-reports.dsn`)");
                }
            }
        }
    }

    /// For how many this report stands; `None` where the like of it was told a moment ago.
    fn times(&mut self, report: &Report) -> Option<u64> {
        let cause = (report.kind, &report.route, &report.cause);
        let cause = self.told.hasher().hash_one(cause);
        let now = self.clock.now();
        if self.told.len() >= MOST_CAUSES {
            self.told.clear();
        }
        let (at, more) = self
            .told
            .entry(cause)
            .or_insert((Timestamp::from_seconds(0), 0));
        *more = more.saturating_add(1);
        if now.since(*at) < ONCE_IN {
            return None;
        }
        *at = now;
        Some(std::mem::take(more))
    }
}

/// An envelope with one event in it: <https://develop.sentry.dev/sdk/data-model/envelopes/>.
fn envelope(report: &Report, mode: Mode, times: u64) -> Bytes {
    let id = uuid::Uuid::new_v4().simple().to_string();
    // SECURITY: the cause is written by drivers and by the product. Nothing of a request leaves the house
    // but through here.
    let cause = redact::text(&report.cause);
    let request = report.request.map(|request| request.to_string());
    let event = json!({
        "event_id": id,
        "timestamp": report.at.to_string(),
        "platform": "other",
        "level": "error",
        "logger": "portcullis",
        "release": concat!("portcullis@", env!("CARGO_PKG_VERSION")),
        "environment": match mode { Mode::Production => "production", Mode::Development => "development" },
        "transaction": report.route.as_deref().map(redact::text),
        "tags": { "request_id": request, "problem": report.kind, "stage": report.stage },
        "extra": { "times": times },
        "exception": { "values": [{ "type": report.kind, "value": cause }] },
    });
    let event = event.to_string();
    let mut text = String::new();
    // Writing into a text does not fail.
    let _ = write!(
        text,
        "{}\n{}\n{event}\n",
        json!({ "event_id": id, "sent_at": report.at.to_string() }),
        json!({ "type": "event", "length": event.len(), "content_type": "application/json" }),
    );
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cause: &str) -> Report {
        Report {
            at: Timestamp::from_seconds(1_700_000_000),
            request: Some(RequestId::new()),
            kind: "upstream-broken",
            stage: "forward",
            route: Some("/users/{id}".to_owned()),
            cause: cause.to_owned(),
        }
    }

    #[test]
    fn a_report_bears_no_secret() {
        let report =
            report("connect postgres://app:canary1@db for canary2@corp.test: token=canary3");
        let text = String::from_utf8(envelope(&report, Mode::Production, 1).to_vec()).unwrap();
        assert!(!text.contains("canary"), "{text}");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[1]["length"], text.lines().nth(2).unwrap().len());
        assert_eq!(lines[0]["event_id"], lines[2]["event_id"]);
        let id = report.request.unwrap().to_string();
        assert_eq!(lines[2]["tags"]["request_id"], id.as_str());
    }

    #[test]
    fn an_address_has_a_key_a_host_and_a_project() {
        for good in [
            "https://abc@o1.ingest.sentry.io/42",
            "https://abc@host:9000/path/1",
        ] {
            assert!(target(good, Mode::Production).is_ok(), "{good}");
        }
        assert!(target("http://abc@127.0.0.1:9000/1", Mode::Development).is_ok());
        for bad in [
            "http://abc@127.0.0.1:9000/1",
            "https://host/1",
            "https://abc@host/",
            "https://abc@host/x",
            "https://a%20c@host/1",
            "abc",
        ] {
            assert!(target(bad, Mode::Production).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_same_cause_is_told_once_a_minute_with_its_number() {
        let clock = Arc::new(portcullis_core::time::ManualClock::at(
            Timestamp::from_seconds(1_700_000_000),
        ));
        let mut post = Post {
            target: target("https://abc@host/1", Mode::Production).unwrap(),
            outbound: Outbound::default(),
            clock: clock.clone(),
            mode: Mode::Production,
            told: HashMap::new(),
        };
        assert_eq!(post.times(&report("a")), Some(1));
        assert_eq!(post.times(&report("a")), None);
        assert_eq!(post.times(&report("b")), Some(1));
        clock.advance(Span::from_seconds(61));
        assert_eq!(post.times(&report("a")), Some(2));
    }
}
