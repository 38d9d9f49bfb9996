//! `portcullis alerts`: who was told of what.

use portcullis_core::Span;
use portcullis_events::By;
use portcullis_events::alerts::manage::{SilenceView, View};
use portcullis_events::alerts::{Error, Filter, SOURCES, Silencing, State};
use serde::Serialize;
use uuid::Uuid;

use crate::cli::output::{self, Format};
use crate::cli::{Page, Usage};
use crate::verbs::{Stores, told};

/// `portcullis alerts`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Alerts {
    /// Show alerts, newest first.
    List {
        /// Only what is `waiting`, `sent`, `dead` or `silenced`.
        #[arg(long, value_name = "STATE", value_parser = ["waiting", "sent", "dead", "silenced"])]
        state: Option<String>,
        /// Only to this destination: its `name` in the configuration.
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Send one that says that it is a test, at once. Exit code 1 where it is not taken.
    Test {
        /// The destination: its `name` in the configuration.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Tell nobody of a source for a while. What it would have told stays in `list`.
    ///
    ///   portcullis alerts silence login-burst --for 2h --because "load test until noon"
    #[command(verbatim_doc_comment)]
    Silence {
        /// A detector, or another source of alerts.
        #[arg(value_name = "SOURCE", value_parser = SOURCES)]
        source: String,
        /// Of this subject only, as `anomalies list` shows it.
        #[arg(long, value_name = "SUBJECT")]
        subject: Option<String>,
        /// For so long, 30 days at most.
        #[arg(long = "for", value_name = "SPAN")]
        span: Span,
        /// Why. It is in the audit trail.
        #[arg(long, value_name = "REASON")]
        because: String,
    },
    /// Show the silences that hold.
    Silences,
    /// End a silence before its time.
    LiftSilence {
        /// Its id, as `silences` shows it.
        #[arg(value_name = "ID")]
        id: Uuid,
    },
}

#[derive(Serialize)]
struct Made {
    id: Uuid,
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "silent: {}", self.id)
    }
}

fn failed(error: Error) -> anyhow::Error {
    match error {
        Error::NotFound => {
            Usage::error("there is no such alert, silence or [[alert]] of this name")
        }
        Error::Invalid(..) => Usage::error(error.to_string()),
        Error::Unreadable | Error::Trail(_) | Error::Store(_) => {
            anyhow::anyhow!("{}", told(error))
        }
    }
}

pub(crate) async fn run(format: Format, verb: &Alerts, stores: &Stores) -> anyhow::Result<bool> {
    let alerts = stores.identity.anomalies.alerts();
    match verb {
        Alerts::List {
            state,
            destination,
            page,
        } => {
            let filter = Filter {
                state: state.as_deref().and_then(State::parse),
                destination: destination.clone(),
            };
            let list = alerts.list(&filter, page.after, page.limit()).await;
            let list = Page::there(list.map_err(failed)?)?;
            let views: Vec<View> = list.into_iter().map(View::from).collect();
            match format {
                Format::Json => output::json(&views),
                Format::Text => views.iter().for_each(line),
            }
        }
        Alerts::Test { name } => {
            if let Err(fault) = alerts.test(name).await.map_err(failed)? {
                output::aside(format_args!("not taken: {fault}"));
                return Ok(false);
            }
            match format {
                Format::Json => output::json(&serde_json::json!({ "taken": true })),
                Format::Text => output::line("taken"),
            }
        }
        Alerts::Silence {
            source,
            subject,
            span,
            because,
        } => {
            let silencing = Silencing {
                source: source.clone(),
                subject: subject.clone(),
                span: *span,
                because: because.clone(),
            };
            let id = alerts.silence(&silencing, &By::OPERATOR).await;
            output::answer(
                format,
                &Made {
                    id: id.map_err(failed)?,
                },
            );
        }
        Alerts::Silences => {
            let list = alerts.silences().await.map_err(failed)?;
            let views: Vec<SilenceView> = list.into_iter().map(SilenceView::from).collect();
            match format {
                Format::Json => output::json(&views),
                Format::Text => views.iter().for_each(|view| {
                    let subject = view.subject.as_deref().unwrap_or("all");
                    output::line(format_args!(
                        "{}  {:<20} {subject}  until {}  by {}: {}",
                        view.id, view.source, view.until, view.made_by, view.because
                    ));
                }),
            }
        }
        Alerts::LiftSilence { id } => {
            let lifted = alerts.lift_silence(*id, &By::OPERATOR).await;
            lifted.map_err(failed)?;
            match format {
                Format::Json => output::json(&serde_json::json!({ "lifted": id })),
                Format::Text => output::line("it holds no more"),
            }
        }
    }
    Ok(true)
}

fn line(view: &View) {
    output::line(format_args!(
        "{}  {}  {:<8} {:<12} {:<8} {:<20} {}{}",
        view.created_at,
        view.id,
        view.state,
        view.destination,
        view.kind,
        view.source,
        view.told,
        view.fault
            .as_ref()
            .map_or_else(String::new, |fault| format!("  ({fault})"))
    ));
}
