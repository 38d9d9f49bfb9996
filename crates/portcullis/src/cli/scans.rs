//! `portcullis scan`: what the team's scanners found, and whether a release may go on.

use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use portcullis_core::Timestamp;
use portcullis_events::By;
use portcullis_events::scans::manage::View;
use portcullis_events::scans::{Error, MAX_REPORT};
use serde::Serialize;

use super::Usage;
use super::output::{self, Format};
use crate::verbs::Stores;

/// `portcullis scan`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Scan {
    /// Hand in a report, in SARIF 2.1.0. The scan has to stand in the policy, as `[[scan]]`.
    ///
    ///   pip-audit --format sarif | portcullis scan record dependencies -
    ///   portcullis scan record image trivy.sarif
    ///
    /// A build that has no shell on the gate's machine sends it to the admin API, with a key that holds
    /// `record:scans`.
    #[command(verbatim_doc_comment)]
    Record {
        /// The scan's name in the policy.
        #[arg(value_name = "NAME")]
        name: String,
        /// The report, or `-` for standard input.
        #[arg(value_name = "FILE")]
        report: PathBuf,
    },
    /// Show the scans that the policy wants, each with how it stands.
    List,
    /// Say whether a release may go on. Exit code 1 where a scan is missing, overdue or failing.
    Check {
        /// Only these scans.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Live with what a rule finds, until a day, for a reason. It is on record, and then it counts again.
    Accept {
        /// The scan's name in the policy.
        #[arg(value_name = "NAME")]
        name: String,
        /// The scanner's own name of the rule, as `scan list` shows it.
        #[arg(value_name = "RULE")]
        rule: String,
        /// Within a year, such as `2027-03-01T00:00:00Z`.
        #[arg(long, value_name = "TIME")]
        until: Timestamp,
        /// Why.
        #[arg(long, value_name = "WORDS")]
        reason: String,
    },
}

#[derive(Serialize)]
#[serde(transparent)]
struct Row(View);

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = &self.0;
        write!(f, "{:<20} {:<8} {}", view.name, view.verdict, view.said)?;
        for found in &view.findings {
            let accepted = if found.accepted { "  (accepted)" } else { "" };
            write!(
                f,
                "\n{:<20} {:<8} {:<7} {} x {}  {}{accepted}",
                "", "", found.level, found.count, found.rule, found.place
            )?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct List(Vec<Row>);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(
                f,
                "the policy wants no scan: `[[scan]]` names those that it wants"
            );
        }
        for (place, row) in self.0.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            write!(f, "{row}")?;
        }
        Ok(())
    }
}

fn said(error: Error) -> anyhow::Error {
    match error {
        Error::Unknown(_) | Error::Invalid(..) | Error::Report(_) => {
            Usage::error(error.to_string())
        }
        error @ (Error::Row | Error::Trail(_) | Error::Store(_)) => error.into(),
    }
}

fn read(from: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let most = u64::try_from(MAX_REPORT).unwrap_or(u64::MAX);
    let source: Box<dyn std::io::Read> = if from.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        let file = std::fs::File::open(from);
        Box::new(file.with_context(|| format!("cannot read {}", from.display()))?)
    };
    let mut report = Vec::new();
    source
        .take(most.saturating_add(1))
        .read_to_end(&mut report)?;
    ensure!(
        report.len() <= MAX_REPORT,
        "the report has more than {} MiB",
        MAX_REPORT / (1024 * 1024)
    );
    Ok(report)
}

pub(crate) async fn run(format: Format, verb: &Scan, stores: &Stores) -> anyhow::Result<bool> {
    let scans = &stores.identity.scans;
    let only: &[String] = match verb {
        Scan::Record { name, report } => {
            let report = read(report)?;
            scans
                .record(name, &report, &By::OPERATOR)
                .await
                .map_err(said)?;
            std::slice::from_ref(name)
        }
        Scan::Accept {
            name,
            rule,
            until,
            reason,
        } => {
            let accepted = scans.accept((name, rule), reason, *until, &By::OPERATOR);
            accepted.await.map_err(said)?;
            std::slice::from_ref(name)
        }
        Scan::List => &[],
        Scan::Check { names } => names,
    };
    let standings = scans.standings().await?;
    if let Some(unknown) = only
        .iter()
        .find(|name| !standings.iter().any(|one| &one.scan.name == *name))
    {
        return Err(said(Error::Unknown(unknown.clone())));
    }
    let shown = standings
        .iter()
        .filter(|one| only.is_empty() || only.contains(&one.scan.name));
    let rows: Vec<Row> = shown.clone().map(|one| Row(View::of(one))).collect();
    let is_clean = shown.clone().all(|one| one.verdict.is_clean());
    output::answer(format, &List(rows));
    match verb {
        Scan::Check { .. } => Ok(is_clean),
        Scan::Record { .. } | Scan::List | Scan::Accept { .. } => Ok(true),
    }
}
