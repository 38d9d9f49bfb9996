//! Whether the wanted scans are there, fresh and clean; told once a day while one is not.

use std::fmt;

use portcullis_core::{Secret, Span, Timestamp};
use portcullis_store::{look_up, look_up_all};

use super::{Accepted, Error, Found, Report, Scan, Scans, rows, target};
use crate::audit::{Action, By, Event, Outcome};
use crate::scans::Covers;

/// Somebody is told again after so long.
const AGAIN_AFTER: Span = Span::from_days(1);

/// How a wanted scan stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No report ever came.
    Missing,
    /// The latest report is older than the policy wants.
    Overdue,
    /// The latest report has findings that nobody accepted: so many, and the worst of them.
    Failing {
        count: u64,
        worst: Vec<Found>,
    },
    Clean,
}

/// How many findings are named.
const NAMED: usize = 3;

impl Verdict {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Verdict::Missing => "missing",
            Verdict::Overdue => "overdue",
            Verdict::Failing { .. } => "failing",
            Verdict::Clean => "clean",
        }
    }

    pub fn is_clean(&self) -> bool {
        *self == Verdict::Clean
    }
}

/// A wanted scan with its latest report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub scan: Scan,
    pub latest: Option<Report>,
    pub accepted: Vec<Accepted>,
    pub verdict: Verdict,
}

impl Standing {
    fn of(scan: &Scan, latest: Option<Report>, accepted: Vec<Accepted>, now: Timestamp) -> Self {
        let verdict = match &latest {
            None => Verdict::Missing,
            Some(report) if now.since(report.recorded_at) > scan.every => Verdict::Overdue,
            Some(report) => {
                let is_accepted = |found: &Found| accepted.iter().any(|one| one.rule == found.rule);
                let bad = report
                    .found
                    .iter()
                    .filter(|found| found.level >= scan.fail_on && !is_accepted(found));
                let bad: Vec<&Found> = bad.collect();
                if bad.is_empty() {
                    Verdict::Clean
                } else {
                    Verdict::Failing {
                        count: bad.iter().map(|found| found.count).sum(),
                        worst: bad.into_iter().take(NAMED).cloned().collect(),
                    }
                }
            }
        };
        Standing {
            scan: scan.clone(),
            latest,
            accepted,
            verdict,
        }
    }

    /// Whether its first report is still waited for, where the gate has known of it for a time: a gate that was
    /// just set up waits for it as long as for each later one.
    fn is_awaited(&self, known_for: Span) -> bool {
        self.latest.is_none() && known_for <= self.scan.every
    }

    /// By when the next report has to be there.
    pub fn due_at(&self) -> Option<Timestamp> {
        self.latest
            .as_ref()
            .map(|report| report.recorded_at + self.scan.every)
    }
}

/// One line, with what to do where something is to be done.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.scan.name;
        match (&self.verdict, &self.latest) {
            (Verdict::Missing, _) | (_, None) => write!(
                f,
                "no report ever came: `portcullis scan record {name} REPORT.sarif`"
            ),
            (Verdict::Overdue, Some(report)) => write!(
                f,
                "the latest report is of {}, and one is wanted every {}",
                report.recorded_at, self.scan.every
            ),
            (Verdict::Failing { count, worst }, Some(_)) => {
                write!(f, "{count} at `{}` or above:", self.scan.fail_on)?;
                for found in worst {
                    write!(f, " {}", found.rule)?;
                    if !found.place.is_empty() {
                        write!(f, " ({})", found.place)?;
                    }
                }
                Ok(())
            }
            (Verdict::Clean, Some(report)) => {
                let version = if report.version.is_empty() {
                    String::new()
                } else {
                    format!(" {}", report.version)
                };
                write!(
                    f,
                    "{}{version} found nothing at `{}` or above, {}",
                    report.tool, self.scan.fail_on, report.recorded_at
                )?;
                if self.accepted.is_empty() {
                    Ok(())
                } else {
                    write!(f, "; {} accepted", self.accepted.len())
                }
            }
        }
    }
}

impl Scans {
    /// How every wanted scan stands, in the order of the policy.
    pub async fn standings(&self) -> Result<Vec<Standing>, Error> {
        let now = self.clock.now();
        let mut all = Vec::with_capacity(self.wanted.len());
        for scan in self.wanted.iter() {
            let latest = rows::latest(&self.db, &scan.name).await?;
            let accepted = rows::accepted(&self.db, &scan.name, now).await?;
            all.push(Standing::of(scan, latest, accepted, now));
        }
        Ok(all)
    }

    /// Of the checks of the latest proof, how many of a thousand held. Nothing where the policy wants no proof; zero
    /// where none is there, or it is overdue.
    pub async fn compliance_score(&self) -> Result<Option<u64>, Error> {
        let standings = self.standings().await?;
        Ok(score(&standings))
    }

    /// Tells the metrics how the scans stand.
    pub(super) async fn measure(&self) -> Result<Vec<Standing>, Error> {
        let standings = self.standings().await?;
        let bad = standings.iter().filter(|one| !one.verdict.is_clean());
        let metrics = self.trail.metrics();
        metrics.scans_stand(standings.len(), bad.count(), score(&standings));
        Ok(standings)
    }

    /// One pass: the numbers, and a word where a scan is not as wanted.
    pub async fn keep_house(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let standings = self.measure().await?;
        for standing in standings.iter().filter(|one| !one.verdict.is_clean()) {
            let since = rows::first_seen(&self.db, &standing.scan.name, now).await?;
            if standing.is_awaited(now.since(since)) {
                continue;
            }
            let mut tx = self.db.begin().await?;
            if !rows::told(&mut tx, &standing.scan.name, now, now - AGAIN_AFTER).await? {
                continue;
            }
            let event = Event::new(now, Action::ScanAlarming, Outcome::Failed)
                .done(&By::SYSTEM)
                .to(target(&standing.scan.name))
                .with("verdict", standing.verdict.as_str())
                .with("said", standing.to_string());
            self.trail.record_in(&mut tx, event).await?;
            tx.commit().await?;
            tracing::warn!(
                scan = standing.scan.name,
                verdict = standing.verdict.as_str(),
                "a scan that the policy wants is not as it wants it: `portcullis scan list`"
            );
        }
        Ok(())
    }
}

/// How every wanted scan stands in a database that is only looked at, and whether its first report is still waited
/// for: for `doctor`.
///
/// # Errors
/// The database does not answer, or a row cannot be read.
pub async fn look_at(
    wanted: &[Scan],
    state: &portcullis_store::Config,
    url: &Secret<String>,
    now: Timestamp,
) -> Result<Vec<(Standing, bool)>, Error> {
    let mut all = Vec::with_capacity(wanted.len());
    for scan in wanted {
        let name = [scan.name.as_str().into()];
        let latest = look_up(state, url, rows::LATEST, &name).await?;
        let latest = latest.as_ref().map(rows::report).transpose()?;
        let at_present = [scan.name.as_str().into(), now.into()];
        let accepted = look_up_all(state, url, rows::ACCEPTED, &at_present).await?;
        let accepted = rows::all_accepted(&accepted)?;
        let seen = look_up(state, url, rows::FIRST_SEEN, &name).await?;
        let seen = seen.map(|row| row.timestamp("first_seen_at")).transpose()?;
        let standing = Standing::of(scan, latest, accepted, now);
        let is_awaited = standing.is_awaited(now.since(seen.unwrap_or(now)));
        all.push((standing, is_awaited));
    }
    Ok(all)
}

/// In thousandths.
fn score(standings: &[Standing]) -> Option<u64> {
    let proof = standings
        .iter()
        .find(|one| one.scan.covers == Covers::Proof)?;
    let report = match (&proof.verdict, &proof.latest) {
        (Verdict::Missing | Verdict::Overdue, _) | (_, None) => return Some(0),
        (Verdict::Failing { .. } | Verdict::Clean, Some(report)) => report,
    };
    let failed: u64 = report.found.iter().map(|found| found.count).sum();
    let all = report
        .passed
        .saturating_add(report.open)
        .saturating_add(failed);
    let share = report.passed.saturating_mul(1000).checked_div(all);
    Some(share.unwrap_or(0))
}
