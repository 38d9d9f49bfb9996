//! Today at a glance: the figures of the first page, each for whoever may see what it counts.
//!
//! Nothing here reads the trail itself: its figures are counts by the hour, and everything else is a count or
//! the head of an index. So the page takes the same time with ten million events as with ten.

use std::collections::BTreeMap;

use maud::{Markup, html};
use portcullis_console::Status;
use portcullis_console::api::Failure;
use portcullis_console::chart::{Mood, Share, Tile, Tone, bars, columns, number, tiles};
use portcullis_console::desk::mark;
use portcullis_core::finding::{Finding, Severity};
use portcullis_core::{Problem, Span, Timestamp, problem};
use portcullis_events::anomalies;
use portcullis_events::audit::{Action, Event, Filter, Hourly, hour_of};
use portcullis_events::incidents::Incident;
use portcullis_events::metrics::{Exit, Passed};
use portcullis_events::scans::Standing;

use super::recorded::row;
use super::{ROWS, Visit};

/// What is looked back at.
const DAY: Span = Span::from_hours(24);
/// Reasons and refusals that the page shows.
const MOST: usize = 8;

/// The figures, for one visit.
#[derive(Default)]
pub(super) struct Glance {
    now: Option<Timestamp>,
    audit: Option<Trail>,
    system: Option<System>,
    secrets: Option<Secrets>,
    /// Files and bytes in quarantine.
    uploads: Option<(u64, u64)>,
}

struct Trail {
    traffic: Vec<Passed>,
    hours: Vec<Hourly>,
    refusals: Vec<Event>,
}

struct System {
    incidents: Vec<Incident>,
    /// What was found within the day, and how much of it goes on.
    found: usize,
    going_on: usize,
    /// Waiting and dead.
    webhooks: (i64, i64),
    alerts: (i64, i64),
    findings: Vec<Finding>,
    scans: Vec<Standing>,
}

struct Secrets {
    by_age: [i64; 3],
    overdue: i64,
}

impl Glance {
    /// SECURITY: what the caller may not see is not read either. The first page is for whoever is signed in,
    /// so each figure asks for the permission of the page that it leads to, held for the whole gate.
    pub(super) async fn of(visit: &Visit) -> Result<Self, Failure> {
        let now = visit.now();
        let mut glance = Glance {
            now: Some(now),
            ..Glance::default()
        };
        if visit.may("manage:audit") {
            glance.audit = Some(Trail::read(visit, now).await?);
        }
        if visit.may("manage:system") {
            glance.system = Some(System::read(visit, now).await?);
        }
        if visit.may("manage:secrets") {
            let store = &visit.console.admin.secret_store;
            glance.secrets = Some(Secrets {
                by_age: store.by_age().await?,
                overdue: store.ages().await?.overdue,
            });
        }
        if visit.may("manage:uploads") {
            let store = &visit.console.admin.upload_store;
            glance.uploads = Some(store.quarantined().await?);
        }
        Ok(glance)
    }

    /// Whether there is anything to see for this visit.
    pub(super) const fn is_empty(&self) -> bool {
        self.audit.is_none()
            && self.system.is_none()
            && self.secrets.is_none()
            && self.uploads.is_none()
    }

    /// The same figures without what the gate answered itself.
    pub(super) fn without_own_answers(mut self) -> Self {
        if let Some(trail) = &mut self.audit {
            trail.traffic.retain(|one| one.exit != Exit::Own);
        }
        self
    }

    pub(super) fn shown(&self, visit: &Visit) -> Markup {
        let Some(now) = self.now else { return html! {} };
        let mut all = Vec::new();
        if let Some(system) = &self.system {
            all.extend(system.urgent(visit, now));
        }
        if let Some(audit) = &self.audit {
            all.extend(audit.tiles(visit));
        }
        if let Some(system) = &self.system {
            all.extend(system.tiles(visit));
        }
        if let Some(secrets) = &self.secrets {
            all.push(secrets.tile(visit));
        }
        if let Some(uploads) = self.uploads {
            all.push(quarantine(visit, uploads));
        }
        html! {
            @if !all.is_empty() {
                h2 { "The last 24 hours" }
                (tiles(&all))
            }
            @if let Some(audit) = &self.audit { (audit.charts(visit, now)) }
            @if let Some(system) = &self.system { (system.lists(visit, now)) }
        }
    }
}

fn first_hour(now: Timestamp) -> Timestamp {
    hour_of(now) + Span::from_hours(1) - DAY
}

impl Trail {
    async fn read(visit: &Visit, now: Timestamp) -> Result<Self, Failure> {
        let since = first_hour(now);
        let log = &visit.console.admin.audit_log;
        // By its index. Refusals of other checks are in the list behind the figure.
        let denied = Filter {
            action: Some(Action::AccessDenied),
            since: Some(since),
            ..Filter::default()
        };
        let traffic = visit.console.traffic.hours(since).await;
        Ok(Trail {
            traffic: traffic.map_err(Problem::from)?,
            hours: log.hours(since, now + DAY).await?,
            refusals: log.list(&denied, None, 5).await?.events,
        })
    }

    fn passed(&self, exit: Exit) -> u64 {
        let found = self.traffic.iter().filter(|one| one.exit == exit);
        found.map(|one| one.requests).sum()
    }

    fn because(&self, slug: &str) -> u64 {
        let found = self.traffic.iter();
        let found = found.filter(|one| one.exit == Exit::Refused && one.reason == slug);
        found.map(|one| one.requests).sum()
    }

    fn recorded(&self, action: Action) -> u64 {
        let found = self.hours.iter().filter(|one| one.action == action);
        found.map(|one| one.events).sum()
    }

    fn tiles(&self, visit: &Visit) -> Vec<Tile> {
        let (refused, broken) = (self.passed(Exit::Refused), self.passed(Exit::Failed));
        let failed = self.recorded(Action::LoginFailed);
        let slowed = self.recorded(Action::LoginThrottled);
        let limited = self.because(problem::RATE_LIMITED.slug);
        let at = |query: &str| Some(visit.to(&format!("/audit?{query}")));
        vec![
            Tile {
                label: "Let through".to_owned(),
                figure: number(self.passed(Exit::Forwarded)),
                about: format!(
                    "{} answered by the gate itself",
                    number(self.passed(Exit::Own))
                ),
                mood: Mood::Plain,
                href: None,
            },
            Tile {
                label: "Refused".to_owned(),
                figure: number(refused),
                about: format!("{} broke on the way", number(broken)),
                mood: Mood::Plain,
                href: at("outcome=denied"),
            },
            Tile {
                label: "Failed sign-ins".to_owned(),
                figure: number(failed),
                about: format!("{} slowed down", number(slowed)),
                mood: Mood::Plain,
                href: at("action=login.failed"),
            },
            Tile {
                label: "Limits hit".to_owned(),
                figure: number(limited),
                about: "requests over a limit".to_owned(),
                mood: Mood::Plain,
                href: at("action=limit.exceeded"),
            },
        ]
    }

    fn by_hour(&self, now: Timestamp, counts: impl Fn(&Passed) -> bool) -> Vec<Share> {
        let mut hours: BTreeMap<Timestamp, u64> = BTreeMap::new();
        for one in self.traffic.iter().filter(|one| counts(one)) {
            let sum = hours.entry(one.hour).or_default();
            *sum = sum.saturating_add(one.requests);
        }
        let since = first_hour(now);
        (0..24)
            .map(|number| {
                let hour = since + Span::from_hours(number);
                Share {
                    label: hour.to_string().chars().skip(11).take(5).collect(),
                    value: hours.get(&hour).copied().unwrap_or(0),
                    href: None,
                }
            })
            .collect()
    }

    fn reasons(&self, visit: &Visit) -> Vec<Share> {
        let kinds = problem::ALL
            .iter()
            .map(|kind| (kind, self.because(kind.slug)));
        let mut found: Vec<_> = kinds.filter(|(_, count)| *count > 0).collect();
        found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let shares = found.into_iter().take(MOST).map(|(kind, count)| Share {
            label: kind.title.to_owned(),
            value: count,
            href: Some(visit.to_own(&format!("/problems/{}", kind.slug))),
        });
        shares.collect()
    }

    fn charts(&self, visit: &Visit, now: Timestamp) -> Markup {
        let reasons = self.reasons(visit);
        html! {
            div.charts {
                (columns("Let through", "Hour (UTC)", Tone::Plain, &self.by_hour(now, |one| one.exit == Exit::Forwarded)))
                (columns("Refused", "Hour (UTC)", Tone::Bad, &self.by_hour(now, |one| one.exit == Exit::Refused)))
            }
            h2 { "Refused, and why" }
            div.sheet {
                @if reasons.is_empty() { p { "Nothing was refused." } } @else { (bars(Tone::Bad, &reasons)) }
            }
            @if !self.refusals.is_empty() {
                div.above {
                    h2 { "Refused, the latest" }
                    a href=(visit.to("/audit?outcome=denied")) { "All refusals" }
                }
                ul.rows { @for event in &self.refusals { (row(visit, "/audit", event)) } }
            }
        }
    }
}

impl System {
    async fn read(visit: &Visit, now: Timestamp) -> Result<Self, Failure> {
        let admin = &visit.console.admin;
        let incidents = visit.console.admin.incidents.list().await;
        let mut incidents = incidents.map_err(Problem::from)?;
        incidents.retain(|one| one.closed_at.is_none());
        let all = anomalies::Filter::default();
        let found = admin.anomalies.list(&all, None, ROWS).await?;
        let since = now - DAY;
        let recent = found.unwrap_or_default().into_iter();
        let recent: Vec<_> = recent
            .filter(|one| one.ended_at.is_none() || one.last_at >= since)
            .collect();
        let mut findings = (visit.console.posture)();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Ok(System {
            incidents,
            found: recent.len(),
            going_on: recent.iter().filter(|one| one.ended_at.is_none()).count(),
            webhooks: admin.webhooks.waiting_and_dead().await?,
            alerts: admin.alerts.waiting_and_dead().await?,
            findings,
            scans: admin.scans.standings().await?,
        })
    }

    /// What somebody has to do something about now.
    fn urgent(&self, visit: &Visit, now: Timestamp) -> Vec<Tile> {
        let late = self
            .incidents
            .iter()
            .any(|one| !one.overdue(now).is_empty());
        let about = match (self.incidents.is_empty(), late) {
            (true, _) => "nothing is open",
            (false, true) => "somebody should have answered by now",
            (false, false) => "open, and answered in time so far",
        };
        vec![
            Tile {
                label: "Open incidents".to_owned(),
                figure: self.incidents.len().to_string(),
                about: about.to_owned(),
                mood: mood(!self.incidents.is_empty()),
                href: Some(visit.to("/incidents")),
            },
            Tile {
                label: "Anomalies".to_owned(),
                figure: self.found.to_string(),
                about: format!("{} going on", self.going_on),
                mood: mood(self.going_on > 0),
                href: Some(visit.to("/alerts")),
            },
        ]
    }

    fn tiles(&self, visit: &Visit) -> Vec<Tile> {
        let (waiting, dead) = self.webhooks;
        let (letters, lost) = self.alerts;
        let warnings = self.findings.iter();
        let warnings = warnings
            .filter(|one| one.severity >= Severity::Warning)
            .count();
        let mut tiles = vec![
            Tile {
                label: "Webhooks given up".to_owned(),
                figure: dead.to_string(),
                about: format!("{waiting} waiting"),
                mood: mood(dead > 0),
                href: Some(visit.to("/webhooks?state=dead")),
            },
            Tile {
                label: "Alerts nobody took".to_owned(),
                figure: lost.to_string(),
                about: format!("{letters} waiting"),
                mood: mood(lost > 0),
                href: Some(visit.to("/alerts/sent")),
            },
            Tile {
                label: "Posture".to_owned(),
                figure: warnings.to_string(),
                about: "to look at in the configuration".to_owned(),
                mood: mood(warnings > 0),
                href: Some("#posture".to_owned()),
            },
        ];
        if !self.scans.is_empty() {
            let bad = self.scans.iter().filter(|one| !one.verdict.is_clean());
            let bad = bad.count();
            tiles.push(Tile {
                label: "Scans to look at".to_owned(),
                figure: bad.to_string(),
                about: format!("{} are wanted", self.scans.len()),
                mood: mood(bad > 0),
                href: (bad > 0).then(|| "#scans".to_owned()),
            });
        }
        tiles
    }

    fn lists(&self, visit: &Visit, now: Timestamp) -> Markup {
        html! {
            @if !self.incidents.is_empty() {
                h2 { "Open incidents" }
                ul.rows { @for one in self.incidents.iter().take(MOST) { (incident(visit, one, now)) } }
            }
            @let bad = self.scans.iter().filter(|one| !one.verdict.is_clean());
            @if bad.clone().next().is_some() {
                h2 #scans { "Scans" }
                ul.rows { @for one in bad { (scan(one)) } }
            }
            h2 #posture { "Posture" }
            @if self.findings.is_empty() {
                div.sheet { p { "Nothing to look at: " code { "portcullis check" } " has no remark about the configuration that counts." } }
            } @else {
                ul.rows { @for one in &self.findings { (finding(one)) } }
            }
        }
    }
}

fn mood(is_bad: bool) -> Mood {
    if is_bad { Mood::Bad } else { Mood::Good }
}

/// A scan that keeps a release from going on.
fn scan(standing: &Standing) -> Markup {
    html! {
        li {
            div { strong { (standing.scan.name) } p.quiet { (standing) } }
            (mark(Status::Bad, standing.verdict.as_str()))
        }
    }
}

fn finding(finding: &Finding) -> Markup {
    let (status, word) = match finding.severity {
        Severity::Error => (Status::Bad, "error"),
        Severity::Warning => (Status::Bad, "warning"),
        Severity::Note => (Status::Plain, "note"),
    };
    html! {
        li {
            div {
                @if !finding.key.is_empty() { code { (finding.key) } " " }
                (finding.message)
                @if !finding.remedy.is_empty() { p.quiet { (finding.remedy) } }
            }
            (mark(status, word))
        }
    }
}

/// An incident in a list, with what its clock says.
pub(super) fn incident(visit: &Visit, incident: &Incident, now: Timestamp) -> Markup {
    let late = incident.overdue(now);
    html! {
        li {
            div {
                a href=(visit.to(&format!("/incidents/{}", incident.id))) { (incident.title) }
                p.quiet {
                    (incident.severity) " · " (crate::pages::to_the_minute(incident.opened_at))
                    @for words in clocks(incident, now) { " · " (words) }
                }
            }
            @if incident.closed_at.is_some() {
                (mark(Status::Plain, "closed"))
            } @else if late.is_empty() {
                (mark(Status::Plain, "open"))
            } @else {
                (mark(Status::Bad, &late.join(", ")))
            }
        }
    }
}

/// What is still to come by when.
fn clocks(incident: &Incident, now: Timestamp) -> Vec<String> {
    if incident.closed_at.is_some() {
        return Vec::new();
    }
    let left = |words: &str, until: Timestamp| {
        (until > now).then(|| format!("{words} within {}", rough(until.since(now))))
    };
    let acknowledge = incident.acknowledged_at.is_none();
    let acknowledge = acknowledge.then(|| left("acknowledge", incident.acknowledge_by()));
    let triage = incident
        .triage_by()
        .filter(|_| incident.triaged_at.is_none());
    let triage = triage.and_then(|by| left("triage", by));
    acknowledge.flatten().into_iter().chain(triage).collect()
}

/// A length of time in words that one takes in at once.
pub(super) fn rough(span: Span) -> String {
    let minutes = span.as_seconds() / 60;
    match (minutes / 1440, minutes / 60, minutes) {
        (0, 0, 0) => "a minute".to_owned(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (1, hours, _) => format!("{hours} h"),
        (days, ..) => format!("{days} days"),
    }
}

impl Secrets {
    fn tile(&self, visit: &Visit) -> Tile {
        let [young, grown, old] = self.by_age;
        Tile {
            label: "Secrets over 90 days".to_owned(),
            figure: old.to_string(),
            about: format!(
                "{grown} over 30 days, {young} younger; {} due for a new value",
                self.overdue
            ),
            mood: mood(old > 0 || self.overdue > 0),
            href: Some(visit.to("/secrets")),
        }
    }
}

fn quarantine(visit: &Visit, (files, bytes): (u64, u64)) -> Tile {
    Tile {
        label: "In quarantine".to_owned(),
        figure: number(files),
        about: format!("{} KiB of uploads", number(bytes.div_ceil(1024))),
        mood: mood(files > 0),
        href: Some(visit.to("/uploads")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_told_roughly() {
        for (seconds, words) in [
            (5, "a minute"),
            (59 * 60, "59 min"),
            (3 * 3600 + 600, "3 h 10 min"),
            (25 * 3600, "25 h"),
            (50 * 3600, "2 days"),
        ] {
            assert_eq!(rough(Span::from_seconds(seconds)), words);
        }
    }
}
