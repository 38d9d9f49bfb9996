//! `portcullis secrets replace`: the six steps, one after the other.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use portcullis_core::Span;
use portcullis_events::By;
use portcullis_events::secret_store::replacement::{Replacement, Step, StepDone, Use};
use portcullis_events::secret_store::{Made, Stored};
use serde::Serialize;

use super::{Which, failed, value};
use crate::cli::Usage;
use crate::cli::output::{self, Format};
use crate::verbs::{Stores, everybody};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// A step that you have done: `provider` or `redeploy`; may be given several times.
    #[arg(long = "confirm", value_name = "STEP", value_parser = ["provider", "redeploy"])]
    confirmed: Vec<String>,
    /// What the record says of the steps that are confirmed, such as a ticket.
    #[arg(long, value_name = "WORDS", default_value = "")]
    note: String,
    /// A file with the new value that the provider gave; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    value_from: Option<PathBuf>,
    /// How long the value before is served still, if step 5 does not end it sooner.
    #[arg(long, value_name = "SPAN")]
    overlap: Option<Span>,
    /// In step 5 every session of every account ends, too: for a secret that sessions depend on.
    #[arg(long)]
    end_sessions: bool,
}

/// Where it stands.
#[derive(Serialize)]
struct State {
    name: String,
    old_version: i64,
    new_version: Option<i64>,
    steps: Vec<StepDone>,
    /// The step that waits for a person, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<Waiting>,
    /// Who was given the old value; at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    uses: Option<Vec<Use>>,
}

#[derive(Serialize)]
struct Waiting {
    step: Step,
    todo: &'static str,
}

impl State {
    fn of((stored, replacement): &(Stored, Replacement)) -> Self {
        State {
            name: stored.label.name.to_string(),
            old_version: replacement.old_version,
            new_version: replacement.new_version,
            steps: replacement.steps.clone(),
            waits_for: None,
            uses: None,
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, version {}", self.name, self.old_version)?;
        for done in &self.steps {
            let step = done.step.as_str();
            write!(
                f,
                "\n  done  {step:<10}  {}  {}: {}",
                done.done_at, done.done_by, done.result
            )?;
        }
        if let Some(waiting) = &self.waits_for {
            let step = waiting.step.as_str();
            write!(f, "\n  next  {step:<10}  {}", waiting.todo)?;
        }
        for one in self.uses.iter().flatten() {
            let client = one.client.as_deref().unwrap_or("-");
            write!(f, "\n  read  {}  {}  from {client}", one.at, one.actor)?;
        }
        Ok(())
    }
}

const PROVIDER: &str = "make a new one at the provider and leave the old one working; then call this again with --confirm provider --value-from FILE";
const VALUE: &str = "bring the new value: call this again with --value-from FILE";
const FILE: &str =
    "write the new value into the file of the secret, wait a few seconds, and call this again";
const REDEPLOY: &str = "see that everything runs with the new value, and redeploy what reads it at its start; then call this again with --confirm redeploy";

pub(super) async fn run(format: Format, args: &Args, stores: &Stores) -> anyhow::Result<bool> {
    let store = &stores.identity.secret_store;
    let label = args.which.label(stores).await?;
    let by = &By::OPERATOR;
    loop {
        let under_way = store.replacement(&label).await.map_err(failed)?;
        let Some(step) = under_way.1.next() else {
            return Err(Usage::error("there is no step left"));
        };
        let done = match step {
            Step::Identify => store.identify(&under_way, by).await,
            Step::Provider if matches!(under_way.0.made, Made::Hex(_) | Made::Base64Url(_)) => {
                let by_itself = "nobody makes it elsewhere: a new value is made at random";
                store.confirm(&under_way, (step, by_itself), by).await
            }
            Step::Provider | Step::Redeploy => {
                let todo = if step == Step::Provider {
                    PROVIDER
                } else {
                    REDEPLOY
                };
                if !is_confirmed(args, step, todo, format)? {
                    return Ok(waiting(format, &under_way, step, todo));
                }
                let words = if args.note.is_empty() {
                    "confirmed"
                } else {
                    &args.note
                };
                store.confirm(&under_way, (step, words), by).await
            }
            Step::Stores => {
                let new = value(args.value_from.as_deref())?;
                let needs = store.needs_value(&under_way).await.map_err(failed)?;
                let todo = if under_way.0.made == Made::File {
                    FILE
                } else {
                    VALUE
                };
                if needs && (new.is_none() || todo == FILE) {
                    return Ok(waiting(format, &under_way, step, todo));
                }
                store.bring(&under_way, new, args.overlap, by).await
            }
            Step::Invalidate => {
                let also = end_sessions(args, stores).await?;
                store.invalidate(&under_way, &also, by).await
            }
            Step::Audit => {
                let (over, uses) = store.look_back(&under_way, by).await.map_err(failed)?;
                let mut state = State::of(&(under_way.0, over));
                state.uses = Some(uses);
                output::answer(format, &state);
                return Ok(true);
            }
        };
        done.map_err(failed)?;
    }
}

/// Says what a person has to do now. It is a finding: something is left.
fn waiting(
    format: Format,
    under_way: &(Stored, Replacement),
    step: Step,
    todo: &'static str,
) -> bool {
    let mut state = State::of(under_way);
    state.waits_for = Some(Waiting { step, todo });
    output::answer(format, &state);
    false
}

/// By an argument; or else somebody at a terminal is asked.
fn is_confirmed(args: &Args, step: Step, todo: &str, format: Format) -> anyhow::Result<bool> {
    if args.confirmed.iter().any(|word| word == step.as_str()) {
        return Ok(true);
    }
    let takes_input = args.value_from.as_deref() == Some(Path::new("-"));
    if format != Format::Text || takes_input || !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    output::aside(format_args!(
        "{}: {todo}\nIs it done? Type yes, or anything else to go on later:",
        step.as_str()
    ));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

/// Ends every session, where that is asked for. What was done, for the record.
async fn end_sessions(args: &Args, stores: &Stores) -> anyhow::Result<String> {
    use portcullis_identity::accounts::By;
    if !args.end_sessions {
        return Ok(String::new());
    }
    let by = By::operator();
    let accounts = everybody(stores).await?;
    for account in &accounts {
        let ended = stores.identity.accounts.end_sessions_of(account.id, &by);
        ended
            .await
            .map_err(|error| anyhow::anyhow!("{}: {}", account.id, crate::verbs::told(error)))?;
    }
    Ok(format!(
        "; the sessions of {} accounts have ended",
        accounts.len()
    ))
}
