//! `portcullis anomalies`: what is conspicuous in the audit trail.

use anyhow::Context as _;
use portcullis_core::{Span, Timestamp};
use portcullis_events::anomalies::manage::View;
use portcullis_events::anomalies::{DETECTORS, Episode, Filter};
use serde::Serialize;

use crate::cli::output::{self, Format};
use crate::cli::{Page, Usage};
use crate::verbs::{Stores, now};

/// `portcullis anomalies`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Anomalies {
    /// Show what was found, newest first.
    List {
        /// Only of this detector.
        #[arg(long, value_name = "DETECTOR", value_parser = DETECTORS)]
        detector: Option<String>,
        /// Only what goes on.
        #[arg(long)]
        open: bool,
        #[command(flatten)]
        page: Page,
    },
    /// Show the rules that are on, with their figures.
    Rules,
    /// Say what would have been found in the recorded events, by these or by other figures.
    ///
    ///   portcullis anomalies replay --since 7d
    ///   portcullis anomalies replay --since 7d --set login-burst.account-failures=5
    ///
    /// Changes nothing and tells nobody.
    #[command(verbatim_doc_comment)]
    Replay {
        /// How far back, such as `7d`.
        #[arg(long, value_name = "SPAN")]
        since: Span,
        /// How far back it ends. Default: now.
        #[arg(long, value_name = "SPAN")]
        until: Option<Span>,
        /// Another figure than in the configuration; may be given several times.
        #[arg(long, value_name = "RULE.FIGURE=VALUE")]
        set: Vec<String>,
    },
}

/// One that would have been found.
#[derive(Serialize)]
struct Row {
    detector: &'static str,
    severity: &'static str,
    subject: String,
    told: String,
    began_at: String,
    last_at: String,
    /// Whether it was over at the end.
    ended: bool,
    count: u64,
}

impl From<(Episode, bool)> for Row {
    fn from((episode, ended): (Episode, bool)) -> Self {
        Row {
            detector: episode.detector,
            severity: episode.severity.as_str(),
            subject: episode.subject,
            told: episode.told,
            began_at: episode.began_at.to_string(),
            last_at: episode.last_at.to_string(),
            ended,
            count: episode.count,
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}  {:<7} {:<20} {}  {} (count {})",
            self.began_at, self.severity, self.detector, self.subject, self.told, self.count
        )
    }
}

pub(crate) async fn run(format: Format, verb: &Anomalies, stores: &Stores) -> anyhow::Result<bool> {
    let anomalies = &stores.identity.anomalies;
    match verb {
        Anomalies::List {
            detector,
            open,
            page,
        } => {
            let filter = Filter {
                detector: detector.clone(),
                open_only: *open,
            };
            let list = anomalies.list(&filter, page.after, page.limit()).await?;
            let views: Vec<View> = Page::there(list)?.into_iter().map(View::from).collect();
            match format {
                Format::Json => output::json(&views),
                Format::Text => views.iter().for_each(line),
            }
        }
        Anomalies::Rules => {
            let rules = anomalies.rules();
            match format {
                Format::Json => output::json(&rules),
                Format::Text => rules.iter().for_each(|rule| {
                    output::line(format_args!(
                        "{:<20} {:<7} {}",
                        rule.detector, rule.severity, rule.rule
                    ));
                }),
            }
        }
        Anomalies::Replay { since, until, set } => {
            let now = now();
            let until = until.map_or(now, |span| now - span);
            replay(format, stores, (now - *since, until), set).await?;
        }
    }
    Ok(true)
}

async fn replay(
    format: Format,
    stores: &Stores,
    (since, until): (Timestamp, Timestamp),
    set: &[String],
) -> anyhow::Result<()> {
    let anomalies = &stores.identity.anomalies;
    let mut config = anomalies.config().clone();
    for change in set {
        let changed = config.with(change);
        config = changed.map_err(|error| Usage::error(format!("--set: {error}")))?;
    }
    let found = anomalies.replay(&config, since, until).await;
    let found = found.context("the audit trail cannot be read")?;
    let rows: Vec<Row> = found.into_iter().map(Row::from).collect();
    match format {
        Format::Json => output::json(&rows),
        Format::Text if rows.is_empty() => output::line("nothing would have been found"),
        Format::Text => rows.iter().for_each(output::line),
    }
    Ok(())
}

fn line(view: &View) {
    let state = view.ended_at.as_ref().map_or("goes on", |_| "over");
    output::line(format_args!(
        "{}  {}  {:<7} {:<20} {}  {} (count {}, {state})",
        view.began_at, view.id, view.severity, view.detector, view.subject, view.told, view.count
    ));
}
