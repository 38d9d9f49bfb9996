//! `portcullis uploads`: the files that the gate keeps, and what is in quarantine.

use portcullis_events::By;
use portcullis_events::upload_store::manage::UploadView;
use portcullis_events::upload_store::{Error, State};
use serde::Serialize;
use uuid::Uuid;

use crate::cli::Usage;
use crate::cli::output::{self, Format};
use crate::verbs::{Stores, told};

/// `portcullis uploads`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Uploads {
    /// Show the files, newest first, without their names.
    List {
        /// Only what is `kept` or `quarantined`.
        #[arg(long, value_name = "STATE", value_parser = ["kept", "quarantined"])]
        state: Option<String>,
        /// At most this many, up to 1000.
        #[arg(long, default_value_t = 50, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Go on behind this file, the last of the list before.
        #[arg(long, value_name = "ID")]
        after: Option<Uuid>,
    },
    /// Show one, with its name.
    Show {
        /// The upload's id, as `list` shows it.
        #[arg(value_name = "ID")]
        id: Uuid,
    },
    /// Let one out of quarantine, if the scanner finds nothing in it now.
    ///
    /// Exit code 1 where it finds something: then it stays.
    Release {
        /// The upload's id, as `list --state quarantined` shows it.
        #[arg(value_name = "ID")]
        id: Uuid,
    },
    /// Delete one, in quarantine or not. Nobody gets it back.
    Delete {
        /// The upload's id, as `list` shows it.
        #[arg(value_name = "ID")]
        id: Uuid,
    },
}

#[derive(Serialize)]
#[serde(transparent)]
struct Row(UploadView);

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let view = &self.0;
        let tenant = view.tenant.map(|tenant| tenant.to_string());
        write!(
            f,
            "{}  {}  {}  {}  {}  {}  {} bytes  {}",
            view.created_at,
            view.id,
            view.state,
            view.verdict,
            tenant.as_deref().unwrap_or("-"),
            view.owner,
            view.size,
            view.r#type
        )?;
        if let Some(name) = &view.name {
            write!(f, "  {name}")?;
        }
        match &view.found {
            Some(found) => write!(f, "  {found}"),
            None => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct Done {
    id: Uuid,
    done: &'static str,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.id, self.done)
    }
}

fn failed(error: Error) -> anyhow::Error {
    match error {
        Error::NotFound => {
            Usage::error("there is no such upload: `portcullis uploads list` shows those there are")
        }
        Error::NotQuarantined => Usage::error(
            "it is not in quarantine: `portcullis uploads list --state quarantined` shows what is",
        ),
        Error::NoScanner => {
            Usage::error("nothing is released unscanned: name a scanner in uploads.scanner")
        }
        other => anyhow::anyhow!("{}", told(other)),
    }
}

pub(crate) async fn run(format: Format, verb: &Uploads, stores: &Stores) -> anyhow::Result<bool> {
    let store = &stores.identity.upload_store;
    let by = &By::OPERATOR;
    match verb {
        Uploads::List {
            state,
            limit,
            after,
        } => {
            let state = state.as_deref().and_then(State::parse);
            let list = store.list(state, *after, *limit).await.map_err(failed)?;
            let row = |stored| Row(UploadView::of(stored, None));
            let rows: Vec<Row> = list.into_iter().map(row).collect();
            match format {
                Format::Json => output::json(&rows),
                Format::Text => rows.iter().for_each(output::line),
            }
        }
        Uploads::Show { id } => {
            let (file, name) = store.show(*id).await.map_err(failed)?;
            output::answer(format, &Row(UploadView::of(file, name)));
        }
        Uploads::Release { id } => match store.release(*id, by).await {
            Ok(()) => done(format, *id, "released"),
            Err(Error::Infected(found)) => {
                output::aside(format!(
                    "the scanner finds `{found}` in it: it stays in quarantine"
                ));
                return Ok(false);
            }
            Err(error) => return Err(failed(error)),
        },
        Uploads::Delete { id } => {
            store.discard(*id, by).await.map_err(failed)?;
            done(format, *id, "deleted");
        }
    }
    Ok(true)
}

fn done(format: Format, id: Uuid, done: &'static str) {
    output::answer(format, &Done { id, done });
}
