//! `portcullis webhooks`: what other services told the product, and what became of it.

use portcullis_events::By;
use portcullis_events::webhooks::{Delivery, Error, Filter, State};
use serde::Serialize;
use uuid::Uuid;

use crate::cli::Usage;
use crate::cli::output::{self, Format};
use crate::verbs::{Stores, told};

/// `portcullis webhooks`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Webhooks {
    /// Show messages, newest first.
    List {
        /// Only what is `waiting`, `delivered` or `dead`.
        #[arg(long, value_name = "STATE", value_parser = ["waiting", "delivered", "dead"])]
        state: Option<String>,
        /// Only of this webhook: its `name` in the configuration.
        #[arg(long, value_name = "NAME")]
        webhook: Option<String>,
        /// At most this many, up to 1000.
        #[arg(long, default_value_t = 50, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Go on behind this message, the last of the list before.
        #[arg(long, value_name = "ID")]
        after: Option<Uuid>,
    },
    /// Show messages that were given up: the product did not take them in all their attempts.
    Dead {
        /// Only of this webhook: its `name` in the configuration.
        #[arg(long, value_name = "NAME")]
        webhook: Option<String>,
    },
    /// Show one message, and with --payload what it says.
    Show {
        /// The message's id, as `list` shows it.
        #[arg(value_name = "ID")]
        id: Uuid,
        /// Also its headers and its body, as they came.
        #[arg(long)]
        payload: bool,
    },
    /// Deliver a message again, or every dead letter of a webhook.
    ///
    ///     portcullis webhooks replay 0190...
    ///     portcullis webhooks replay --dead stripe
    ///
    /// It has all its attempts before it again. The product knows a message that it has had before by
    /// `X-Portcullis-Delivery`.
    #[command(verbatim_doc_comment)]
    Replay {
        /// The message's id, as `list` shows it.
        #[arg(
            value_name = "ID",
            required_unless_present = "dead",
            conflicts_with = "dead"
        )]
        id: Option<Uuid>,
        /// Every dead letter of this webhook, oldest first.
        #[arg(long, value_name = "NAME")]
        dead: Option<String>,
    },
}

#[derive(Serialize)]
struct Row {
    id: Uuid,
    webhook: String,
    event: String,
    kind: Option<String>,
    state: &'static str,
    received_at: String,
    due_at: Option<String>,
    attempts: i64,
    status: Option<i64>,
    fault: Option<String>,
    ended_at: Option<String>,
    /// When what it said was erased with a person that it named.
    #[serde(skip_serializing_if = "Option::is_none")]
    erased_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Vec<(String, String)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl From<Delivery> for Row {
    fn from(delivery: Delivery) -> Self {
        Row {
            id: delivery.id,
            webhook: delivery.endpoint,
            event: delivery.event,
            kind: delivery.kind,
            state: delivery.state.as_str(),
            received_at: delivery.received_at.to_string(),
            due_at: delivery.due_at.map(|at| at.to_string()),
            attempts: delivery.attempts,
            status: delivery.status,
            fault: delivery.fault,
            ended_at: delivery.ended_at.map(|at| at.to_string()),
            erased_at: delivery.erased_at.map(|at| at.to_string()),
            headers: None,
            body: None,
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.kind.as_deref().unwrap_or("-");
        write!(
            f,
            "{}  {}  {}  {}  {}  {}  attempts {}",
            self.received_at, self.id, self.webhook, self.event, kind, self.state, self.attempts
        )?;
        if let Some(due_at) = &self.due_at {
            write!(f, "  next {due_at}")?;
        }
        if let Some(fault) = &self.fault {
            write!(f, "  {fault}")?;
        }
        for (name, value) in self.headers.iter().flatten() {
            write!(f, "\n{name}: {value}")?;
        }
        match &self.body {
            Some(body) => write!(f, "\n\n{body}"),
            None => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct Replayed {
    replayed: u64,
}

impl std::fmt::Display for Replayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to be delivered again", self.replayed)
    }
}

fn failed(error: Error) -> anyhow::Error {
    match error {
        Error::NotFound => Usage::error(
            "there is no such message: `portcullis webhooks list` shows those there are",
        ),
        Error::Refused(_)
        | Error::Unreadable
        | Error::Seal(_)
        | Error::Fields(_)
        | Error::Trail(_)
        | Error::Store(_) => anyhow::anyhow!("{}", told(error)),
    }
}

pub(crate) async fn run(format: Format, verb: &Webhooks, stores: &Stores) -> anyhow::Result<bool> {
    let webhooks = &stores.identity.webhooks;
    match verb {
        Webhooks::List {
            state,
            webhook,
            limit,
            after,
        } => {
            let filter = Filter {
                state: state.as_deref().and_then(State::parse),
                endpoint: webhook.clone(),
            };
            let list = webhooks.list(&filter, *after, *limit).await;
            let list = list.map_err(failed)?.ok_or(Error::NotFound);
            rows(format, list.map_err(failed)?);
        }
        Webhooks::Dead { webhook } => {
            let filter = Filter {
                state: Some(State::Dead),
                endpoint: webhook.clone(),
            };
            let list = webhooks.list(&filter, None, 1000).await.map_err(failed)?;
            rows(format, list.unwrap_or_default());
        }
        Webhooks::Show { id, payload } => {
            let mut row = Row::from(webhooks.get(*id).await.map_err(failed)?);
            if *payload {
                let message = webhooks.message(*id).await.map_err(failed)?;
                row.body = Some(String::from_utf8_lossy(&message.body).into_owned());
                row.headers = Some(message.headers);
            }
            output::answer(format, &row);
        }
        Webhooks::Replay { id, dead } => {
            let mut replayed = 0_u64;
            if let Some(id) = id {
                webhooks.replay(*id, &By::OPERATOR).await.map_err(failed)?;
                replayed = 1;
            }
            if let Some(name) = dead {
                replayed = webhooks
                    .replay_dead(name, &By::OPERATOR)
                    .await
                    .map_err(failed)?;
            }
            output::answer(format, &Replayed { replayed });
        }
    }
    Ok(true)
}

fn rows(format: Format, list: Vec<Delivery>) {
    let rows: Vec<Row> = list.into_iter().map(Row::from).collect();
    match format {
        Format::Json => output::json(&rows),
        Format::Text => rows.iter().for_each(output::line),
    }
}
