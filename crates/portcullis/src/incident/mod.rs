//! `portcullis incident`: from the first suspicion to the last task (N1, N2, N3).

mod bundle;
mod contain;
mod freeze;
mod notices;
mod rehearse;

use std::fmt;

use clap::{Args, Subcommand};
use portcullis_core::Timestamp;
use portcullis_events::By;
use portcullis_events::incidents::manage::View;
use portcullis_events::incidents::{
    Contained, Error, File, Frozen, Incident, Note, Phase, Severity, Task,
};
use serde::Serialize;
use uuid::Uuid;

use self::contain::{How, Scope};
pub(crate) use self::rehearse::{Duty, run as rehearse};
use crate::cli::Usage;
use crate::cli::output::{self, Format};
use crate::verbs::{Stores, now};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Open an incident; its clock runs. With `--contain` end what is in somebody's hands at once.
    ///
    ///   portcullis incident open --title "a laptop is gone" --severity high --contain user:ana@corp.test --dry-run
    ///   portcullis incident open --title "a laptop is gone" --severity high --contain user:ana@corp.test
    ///
    /// `--dry-run` shows how far it reaches and changes nothing, not even opens the incident.
    #[command(verbatim_doc_comment)]
    Open {
        /// What happened, in a few words.
        #[arg(long, value_name = "WORDS")]
        title: String,
        /// How bad it is: `critical`, `high`, `medium` or `low`.
        #[arg(long, value_name = "SEVERITY")]
        severity: Severity,
        #[command(flatten)]
        containment: Containment,
    },
    /// Contain an incident that is open, or more of it.
    Contain {
        /// The incident, as `incident list` shows it.
        #[arg(value_name = "INCIDENT")]
        id: Uuid,
        #[command(flatten)]
        containment: Containment,
    },
    /// Freeze what a pattern matches: nobody is answered there, on any node, until it is unfrozen.
    ///
    ///   portcullis incident freeze /api/export --incident INCIDENT --reason "somebody reads it all"
    ///
    /// The pattern is written as those of routes are; `/{*rest}` freezes the whole product. The gate's own paths
    /// are never frozen.
    #[command(verbatim_doc_comment)]
    Freeze {
        /// A path, or a pattern such as `/orgs/{org}/export` or `/files/{*rest}`.
        #[arg(value_name = "PATTERN")]
        pattern: String,
        /// The incident, as `incident list` shows it.
        #[arg(long, value_name = "INCIDENT")]
        incident: Uuid,
        /// Why.
        #[arg(long, value_name = "WORDS")]
        reason: String,
    },
    /// Let what was frozen answer again.
    Unfreeze {
        /// The pattern, as `incident show` has it.
        #[arg(value_name = "PATTERN")]
        pattern: String,
    },
    /// Write everything that is on record of it into one file that others can verify.
    ///
    ///   portcullis incident bundle INCIDENT --to incident.evidence
    ///   portcullis audit verify incident.evidence --key VKEY
    ///
    /// Notes and tasks, what was contained, every event of that time with its proof, hashes of the configuration,
    /// who was concerned (by id), and drafts of the notices. Addresses are not in it.
    #[command(verbatim_doc_comment)]
    Bundle(bundle::Args),
    /// A game day: rehearse an incident from its opening to its bundle of evidence, on a gate that is made for it.
    ///
    /// The gate has this one's policy and nothing of its state. Each step is seen to hold, and its time is told.
    Rehearse(rehearse::Args),
    /// Show incidents, newest first, and what is late.
    List,
    /// Show all of one incident: its clock, what was done, what is left to do.
    Show {
        /// The incident, as `incident list` shows it.
        #[arg(value_name = "INCIDENT")]
        id: Uuid,
    },
    /// Say that somebody has taken it up: within 24 hours of its opening.
    Acknowledge {
        /// The incident, as `incident list` shows it.
        #[arg(value_name = "INCIDENT")]
        id: Uuid,
    },
    /// Note what was done or found. Secrets in it are masked; a note is never changed.
    Note {
        /// The incident, as `incident list` shows it.
        #[arg(value_name = "INCIDENT")]
        id: Uuid,
        /// `triage`, `contain`, `eradicate`, `recover` or `postmortem`.
        #[arg(long, value_name = "PHASE")]
        phase: Phase,
        /// What was done or found.
        #[arg(value_name = "WORDS")]
        text: String,
    },
    /// Add something that has to be done. The incident is not closed before it is.
    Task {
        /// The incident, as `incident list` shows it.
        #[arg(value_name = "INCIDENT")]
        id: Uuid,
        /// What is to be done.
        #[arg(value_name = "WORDS")]
        text: String,
        /// Who does it.
        #[arg(long, value_name = "WHO")]
        owner: String,
        /// By when, such as `2027-01-31T00:00:00Z`.
        #[arg(long, value_name = "TIME")]
        due: Option<Timestamp>,
    },
    /// Say that a task is done, and what came of it.
    Done {
        /// The incident, as `incident list` shows it.
        #[arg(value_name = "INCIDENT")]
        id: Uuid,
        /// The task's number.
        #[arg(value_name = "NUMBER")]
        task: i64,
        /// What came of it.
        #[arg(value_name = "WORDS")]
        result: String,
    },
    /// Close an incident with its cause. Every phase needs a note, and every task has to be done.
    Close {
        /// The incident, as `incident list` shows it.
        #[arg(value_name = "INCIDENT")]
        id: Uuid,
        /// Why it happened.
        #[arg(long, value_name = "WORDS")]
        cause: String,
    },
}

/// What is to be ended.
#[derive(Debug, Args)]
pub(crate) struct Containment {
    /// `user:ADDRESS`, `tenant:NAME`, `key:ID`, `route:PATTERN` or `all`; may be given several times.
    ///
    /// A user is switched off and their sessions, tokens and keys end. A tenant is suspended, its keys and
    /// visits end. Nobody is answered on a route. `all` ends every session, token, visit and key, and takes out every signing key.
    #[arg(long = "contain", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// With `all`: API keys go on working.
    #[arg(long)]
    spare_keys: bool,
    /// With `all`: named secrets that are made here get a new value, and each of a provider's becomes a task.
    #[arg(long)]
    rotate_secrets: bool,
    /// Show how far it reaches, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Containment {
    async fn scopes(&self, stores: &Stores) -> anyhow::Result<Vec<Scope>> {
        let mut scopes = Vec::new();
        for text in &self.scopes {
            scopes.push(Scope::find(text, stores).await?);
        }
        let is_all = scopes.contains(&Scope::All);
        if !is_all && (self.spare_keys || self.rotate_secrets) {
            return Err(Usage::error(
                "--spare-keys and --rotate-secrets are for `--contain all`",
            ));
        }
        Ok(scopes)
    }

    const fn how(&self) -> How {
        How {
            spare_keys: self.spare_keys,
            rotate_secrets: self.rotate_secrets,
        }
    }
}

pub(crate) async fn run(format: Format, verb: &Verb, stores: &Stores) -> anyhow::Result<bool> {
    let incidents = stores.incidents();
    let by = &By::OPERATOR;
    match verb {
        Verb::Open {
            title,
            severity,
            containment,
        } => {
            let scopes = containment.scopes(stores).await?;
            if containment.dry_run {
                return contain::show(format, &scopes, containment.how(), stores).await;
            }
            let opened = incidents.open(title, *severity, by).await;
            let opened = opened.map_err(told)?;
            for scope in &scopes {
                contain::carry_out(&incidents, opened.id, scope, containment.how(), stores).await?;
            }
            show(format, stores, opened.id).await
        }
        Verb::Contain { id, containment } => {
            let scopes = containment.scopes(stores).await?;
            if scopes.is_empty() {
                return Err(Usage::error("say what is to be contained: --contain SCOPE"));
            }
            let incident = incidents.get(*id).await.map_err(told)?;
            if containment.dry_run {
                return contain::show(format, &scopes, containment.how(), stores).await;
            }
            if incident.closed_at.is_some() {
                return Err(told(Error::Closed));
            }
            for scope in &scopes {
                contain::carry_out(&incidents, *id, scope, containment.how(), stores).await?;
            }
            show(format, stores, *id).await
        }
        Verb::Freeze {
            pattern,
            incident,
            reason,
        } => {
            let pattern = freeze::pattern(pattern, stores)?;
            let frozen = incidents.freeze(*incident, &pattern, reason, by).await;
            frozen.map_err(told)?;
            show(format, stores, *incident).await
        }
        Verb::Unfreeze { pattern } => {
            let unfrozen = incidents.unfreeze(pattern, by).await;
            unfrozen.map_err(|error| match error {
                Error::NotFound => Usage::error(format!(
                    "`{pattern}` is not frozen: `portcullis incident show` has what is"
                )),
                error => told(error),
            })?;
            output::aside(format_args!(
                "{pattern} answers again, within a second on every node"
            ));
            Ok(true)
        }
        // It has a gate of its own: whoever runs the verbs leads it there.
        Verb::Rehearse(_) => Ok(false),
        Verb::Bundle(args) => bundle::run(format, args, stores).await,
        Verb::List => {
            let list = incidents.list().await.map_err(told)?;
            let shown: Vec<Head> = list.iter().map(Head::of).collect();
            let is_late = shown.iter().any(|head| !head.view.late.is_empty());
            output::answer(format, &Heads(shown));
            Ok(!is_late)
        }
        Verb::Show { id } => show(format, stores, *id).await,
        Verb::Acknowledge { id } => {
            incidents.acknowledge(*id, by).await.map_err(told)?;
            show(format, stores, *id).await
        }
        Verb::Note { id, phase, text } => {
            incidents.note(*id, *phase, text, by).await.map_err(told)?;
            show(format, stores, *id).await
        }
        Verb::Task {
            id,
            text,
            owner,
            due,
        } => {
            let added = incidents.add_task(*id, (text, owner), *due, by).await;
            added.map_err(told)?;
            show(format, stores, *id).await
        }
        Verb::Done { id, task, result } => {
            let done = incidents.finish_task(*id, *task, result, by).await;
            done.map_err(told)?;
            show(format, stores, *id).await
        }
        Verb::Close { id, cause } => {
            incidents.close(*id, cause, by).await.map_err(told)?;
            show(format, stores, *id).await
        }
    }
}

async fn show(format: Format, stores: &Stores, id: Uuid) -> anyhow::Result<bool> {
    let file = stores.incidents().file(id).await.map_err(told)?;
    output::answer(format, &Shown::of(&file));
    Ok(true)
}

/// What the operator can mend is wrong usage.
fn told(error: Error) -> anyhow::Error {
    match error {
        Error::NotFound => Usage::error(
            "there is no such incident, or no such task of it: `portcullis incident list` shows those there are",
        ),
        Error::Invalid(_)
        | Error::Closed
        | Error::Left(_)
        | Error::Pattern(..)
        | Error::Frozen(_) => Usage::error(error.to_string()),
        Error::Unreadable | Error::Trail(_) | Error::Store(_) => error.into(),
    }
}

/// One incident in a list: as the admin API shows it, and how far it is in one word.
#[derive(Debug, Serialize)]
struct Head {
    #[serde(flatten)]
    view: View,
    state: &'static str,
}

impl Head {
    fn of(incident: &Incident) -> Self {
        Head {
            view: View::of(incident, now()),
            state: match (incident.closed_at, incident.acknowledged_at) {
                (Some(_), _) => "closed",
                (None, Some(_)) => "taken up",
                (None, None) => "open",
            },
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Head { view, state } = self;
        write!(
            f,
            "{}  {:<8} {state:<8} {}  {}",
            view.id, view.severity, view.opened_at, view.title
        )?;
        for late in &view.late {
            write!(f, "  LATE: {late}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Heads(Vec<Head>);

impl fmt::Display for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("There is no incident.");
        }
        for (position, head) in self.0.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            head.fmt(f)?;
        }
        Ok(())
    }
}

/// All of one incident.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    head: Head,
    notes: Vec<ShownNote>,
    tasks: Vec<ShownTask>,
    /// What was contained, and how far it reached.
    contained: Vec<Contained>,
    /// What answers nobody now.
    frozen: Vec<ShownFrozen>,
    /// What keeps it from being closed.
    left: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ShownNote {
    at: String,
    by: String,
    phase: Phase,
    text: String,
}

#[derive(Debug, Serialize)]
struct ShownTask {
    number: i64,
    text: String,
    owner: String,
    due_at: Option<String>,
    done_at: Option<String>,
    result: Option<String>,
}

#[derive(Debug, Serialize)]
struct ShownFrozen {
    pattern: String,
    reason: String,
    at: String,
    by: String,
}

impl Shown {
    fn of(file: &File) -> Self {
        let frozen = |frozen: &Frozen| ShownFrozen {
            pattern: frozen.pattern.clone(),
            reason: frozen.reason.clone(),
            at: frozen.at.to_string(),
            by: frozen.by.clone(),
        };
        let note = |note: &Note| ShownNote {
            at: note.at.to_string(),
            by: note.by.clone(),
            phase: note.phase,
            text: note.text.clone(),
        };
        let task = |task: &Task| ShownTask {
            number: task.number,
            text: task.text.clone(),
            owner: task.owner.clone(),
            due_at: task.due_at.map(|at| at.to_string()),
            done_at: task.done_at.map(|at| at.to_string()),
            result: task.result.clone(),
        };
        Shown {
            head: Head::of(&file.incident),
            notes: file.notes.iter().map(note).collect(),
            tasks: file.tasks.iter().map(task).collect(),
            contained: file.contained.clone(),
            frozen: file.frozen.iter().map(frozen).collect(),
            left: match file.incident.closed_at {
                Some(_) => Vec::new(),
                None => file.left(),
            },
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = &self.head;
        writeln!(f, "{head}")?;
        match &head.view.acknowledged_at {
            Some(at) => writeln!(f, "  acknowledged {at}")?,
            None => writeln!(f, "  to be acknowledged by {}", head.view.acknowledge_by)?,
        }
        match (&head.view.triaged_at, &head.view.triage_by) {
            (Some(at), _) => writeln!(f, "  triaged {at}")?,
            (None, Some(by)) => writeln!(f, "  to be triaged by {by}")?,
            (None, None) => {}
        }
        for note in &self.notes {
            writeln!(
                f,
                "  {}  {:<10} {}  ({})",
                note.at, note.phase, note.text, note.by
            )?;
        }
        for frozen in &self.frozen {
            writeln!(
                f,
                "  FROZEN since {}: {}  ({})",
                frozen.at, frozen.pattern, frozen.reason
            )?;
        }
        for task in &self.tasks {
            let state = match (&task.done_at, &task.due_at) {
                (Some(at), _) => format!("done {at}"),
                (None, Some(by)) => format!("due {by}"),
                (None, None) => "to do".to_owned(),
            };
            writeln!(
                f,
                "  task {}: {}  ({}, {state})",
                task.number, task.text, task.owner
            )?;
        }
        if let (Some(at), Some(cause)) = (&head.view.closed_at, &head.view.root_cause) {
            return write!(f, "  closed {at}: {cause}");
        }
        write!(
            f,
            "  before it is closed: {}",
            if self.left.is_empty() {
                "nothing is left but its cause".to_owned()
            } else {
                self.left.join(", ")
            }
        )
    }
}
