//! A game day: an incident from its opening to its end, on a gate of its own, by the commands that the person on
//! duty has. Nothing of the real gate is touched.
//!
//! Each step looks at what it did: at the gate's socket, not at what the command said of itself.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use portcullis_events::Action;
use portcullis_events::incidents::Phase;
use serde::Serialize;
use serde_json::Value;

use crate::cli::Usage;
use crate::cli::output::{self, Format};
use crate::config::Loaded;
use crate::config::document::Environment;
use crate::prove;
use crate::prove::probe::{Short, must};
use crate::prove::product::Product;
use crate::prove::rehearsal::{BENCH, Folder, Kind, program};
use crate::prove::wire::Browser;
use crate::prove::world::World;
use crate::verbs;

/// `portcullis incident rehearse`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the bundle of evidence is left; a file that is not there yet. Default: it is thrown away.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

/// What came of it.
#[derive(Serialize)]
struct Rehearsed {
    held: bool,
    steps: Vec<Step>,
    /// What did not do what it should, and what to change.
    fault: Option<String>,
    bundle: Option<String>,
    /// By which the bundle verifies.
    key: Option<String>,
}

impl std::fmt::Display for Rehearsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total: u64 = self.steps.iter().map(|step| step.milliseconds).sum();
        match &self.fault {
            Some(fault) => write!(f, "FAILED: {fault}")?,
            None => write!(
                f,
                "{} steps in {total} ms, each seen to hold",
                self.steps.len()
            )?,
        }
        if let (Some(bundle), Some(key)) = (&self.bundle, &self.key) {
            write!(f, "\nportcullis audit verify {bundle} --key '{key}'")?;
        }
        Ok(())
    }
}

/// Rehearses on a gate that is made for it and gone afterwards. `Ok(false)` where a step did not hold.
pub(crate) fn run(file: &Path, args: &Args, format: Format) -> anyhow::Result<bool> {
    if let Some(there) = args.bundle.as_ref().filter(|bundle| bundle.exists()) {
        let there = there.display();
        return Err(Usage::error(format!("`{there}` is there already")));
    }
    let (loaded, _) = verbs::sound(file, Environment::of_process())?;
    crate::serve::redact(&loaded.config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let rehearsed = runtime.block_on(rehearse(&loaded, args.bundle.as_deref(), format))?;
    output::answer(format, &rehearsed);
    Ok(rehearsed.held)
}

async fn rehearse(
    loaded: &Loaded,
    bundle: Option<&Path>,
    format: Format,
) -> anyhow::Result<Rehearsed> {
    let product = Product::start().await?;
    let world = Box::pin(prove::rehearse(loaded, Kind::Production, &product)).await?;
    let tell = |step: &Step| match format {
        Format::Text => {
            output::line(format_args!("{:>7} ms  {}", step.milliseconds, step.what));
        }
        Format::Json => {}
    };
    let thrown_away = Folder::new()?;
    let to = match bundle {
        // The commands run elsewhere.
        Some(bundle) => std::path::absolute(bundle)?,
        None => thrown_away.path().join("incident.evidence"),
    };
    let walked = match Duty::at(&world, &tell) {
        Ok(duty) => Box::pin(duty.walk(&to)).await,
        Err(short) => Err(short),
    };
    for left in Box::pin(world.clear()).await {
        output::aside(format_args!("left behind: {left}"));
    }
    let bundle = bundle.map(|bundle| bundle.display().to_string());
    Ok(match walked {
        Ok((steps, key)) => Rehearsed {
            held: true,
            steps,
            fault: None,
            key: bundle.is_some().then_some(key),
            bundle,
        },
        Err(short) => Rehearsed {
            held: false,
            steps: Vec::new(),
            fault: Some(said(short)),
            bundle: None,
            key: None,
        },
    })
}

fn said(short: Short) -> String {
    match short {
        Short::Failed { what, remedy } => format!("{what} ({remedy})"),
        Short::NotProven { why } => why,
        Short::NotConfigured { key } => format!("`{key}` is not configured"),
    }
}

/// The title of the incident, and the cause it is closed with.
const WHY: &str = "a rehearsal";

/// What opens it, and contains `scope`.
fn opening(scope: &str) -> [&str; 7] {
    [
        "open",
        "--title",
        WHY,
        "--severity",
        "critical",
        "--contain",
        scope,
    ]
}

const ALWAYS: &str = "no key turns this off: this program is not the one that was released";

/// Something that was done, and seen to be done.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    pub(crate) what: String,
    pub(crate) milliseconds: u64,
}

/// The person on duty.
pub(crate) struct Duty<'w> {
    world: &'w World,
    config: PathBuf,
    began: Instant,
    tell: &'w (dyn Fn(&Step) + Sync),
    steps: Vec<Step>,
}

/// What a command of the person on duty said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
    pub(crate) json: Value,
    pub(crate) error: String,
}

impl<'w> Duty<'w> {
    /// At a gate that was made for this.
    pub(crate) fn at(world: &'w World, tell: &'w (dyn Fn(&Step) + Sync)) -> Result<Self, Short> {
        let why = "an incident is rehearsed on a gate of its own";
        let copy = world.copy.as_ref().ok_or_else(|| Short::not_proven(why))?;
        Ok(Duty {
            world,
            config: copy.config(),
            began: Instant::now(),
            tell,
            steps: Vec::new(),
        })
    }

    /// Runs this program as somebody on a shell does.
    pub(crate) async fn run(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let output = program(&self.config)?
            .args(["--output", "json"])
            .args(arguments)
            .output()
            .await?;
        Ok(Said {
            code: output.status.code(),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            json: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            error: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// The same, of `incident`, where it has to work.
    async fn incident(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let said = self.run(&[&["incident"], arguments].concat()).await?;
        match said.code {
            Some(0) => Ok(said.json),
            _ => bail!(
                "`portcullis incident {}` does not work: {}",
                arguments.first().unwrap_or(&""),
                said.error
            ),
        }
    }

    fn done(&mut self, what: impl Into<String>) {
        let elapsed = self.began.elapsed().as_millis();
        let step = Step {
            what: what.into(),
            milliseconds: u64::try_from(elapsed).unwrap_or(u64::MAX),
        };
        (self.tell)(&step);
        self.steps.push(step);
        self.began = Instant::now();
    }

    /// From the first suspicion to the last task, with a bundle of evidence in this file. What was done, in
    /// order, and the key that the bundle verifies by.
    ///
    /// # Errors
    /// The first step that did not do what it should.
    pub(crate) async fn walk(mut self, bundle: &Path) -> Result<(Vec<Step>, String), Short> {
        let walked = self.all(bundle).await;
        // Whatever came of it: whoever comes next finds the account as it was.
        let by = portcullis_identity::accounts::By::operator();
        let plain = self.world.people.plain.id;
        let accounts = &self.world.stores.identity.accounts;
        let restored = accounts.reactivate(plain, &by).await;
        if walked.is_err() {
            tracing::debug!(restored = restored.is_ok(), "the account of a rehearsal");
        }
        walked.map(|key| (self.steps, key))
    }

    async fn all(&mut self, bundle: &Path) -> Result<String, Short> {
        let browser = self.world.signed_in(&self.world.people.plain).await?;
        must(
            self.is_let_in(&browser).await?,
            || "a session that was just made opens nothing".to_owned(),
            ALWAYS,
        )?;
        self.done("somebody has a session");
        self.dry_run(&browser).await?;
        let id = self.contain(&browser).await?;
        self.freeze(&id).await?;
        self.phases(&id).await?;
        self.recover().await?;
        self.close(&id).await?;
        self.bundle(&id, bundle).await
    }

    async fn is_let_in(&self, browser: &Browser) -> anyhow::Result<bool> {
        let reply = browser.get(&format!("{BENCH}/user")).send().await?;
        Ok(reply.status == 200)
    }

    async fn dry_run(&mut self, browser: &Browser) -> Result<(), Short> {
        let scope = format!("user:{}", self.world.people.plain.email);
        let radius = [&opening(&scope)[..], &["--dry-run"]].concat();
        let radius = self.incident(&radius).await?;
        let sessions = radius.pointer("/0/sessions").and_then(Value::as_i64);
        must(
            sessions.is_some_and(|sessions| sessions > 0),
            || format!("a dry run sees none of the sessions it would end: {radius}"),
            ALWAYS,
        )?;
        must(
            self.is_let_in(browser).await?,
            || "a dry run ends sessions".to_owned(),
            ALWAYS,
        )?;
        self.done(format!(
            "a dry run counts {} sessions and changes nothing",
            sessions.unwrap_or_default()
        ));
        Ok(())
    }

    /// Opens it, and sees the session end. The incident's id.
    async fn contain(&mut self, browser: &Browser) -> Result<String, Short> {
        let scope = format!("user:{}", self.world.people.plain.email);
        let opened = self.incident(&opening(&scope)).await?;
        let id = opened.get("id").and_then(Value::as_str).map(str::to_owned);
        let id =
            id.ok_or_else(|| Short::failed("an incident that was opened has no id", ALWAYS))?;
        self.done(format!("incident {id} is opened, and contained"));
        let path = format!("{BENCH}/user");
        let out = self
            .world
            .until(async || Ok(browser.get(&path).send().await?.status == 401))
            .await?;
        must(
            out,
            || "a session goes on after its account was contained".to_owned(),
            ALWAYS,
        )?;
        let (reply, _) = self.world.try_sign_in(&self.world.people.plain).await?;
        must(
            reply.status != 200,
            || "a contained account signs in".to_owned(),
            ALWAYS,
        )?;
        self.done("the session is out at the gate, and signing in is refused");
        Ok(id)
    }

    async fn freeze(&mut self, id: &str) -> Result<(), Short> {
        let path = format!("{BENCH}/public");
        let reason = "rehearsed";
        let freeze = ["freeze", &path, "--incident", id, "--reason", reason];
        self.incident(&freeze).await?;
        let comes_to = async |wanted: u16| {
            let ask = async || Ok(self.world.target.get(&path).send().await?.status == wanted);
            self.world.until(ask).await
        };
        must(
            comes_to(503).await?,
            || "a route that was frozen goes on answering".to_owned(),
            ALWAYS,
        )?;
        self.incident(&["unfreeze", &path]).await?;
        must(
            comes_to(200).await?,
            || "a route that was unfrozen answers nobody".to_owned(),
            ALWAYS,
        )?;
        self.done("a route is frozen for everybody, and answers again when it is unfrozen");
        Ok(())
    }

    async fn phases(&mut self, id: &str) -> Result<(), Short> {
        self.is_open_yet(id, "`triage` has no note").await?;
        self.done("closing it before its time is refused, and what is left is named");
        for phase in Phase::ALL {
            let note = ["note", id, "--phase", phase.as_str(), "rehearsed"];
            self.incident(&note).await?;
        }
        let task = ["task", id, "look at the timeline", "--owner", "duty"];
        self.incident(&task).await?;
        self.is_open_yet(id, "task 1 is not done").await?;
        self.incident(&["done", id, "1", "looked at"]).await?;
        self.done("each phase has its note, and the task is done");
        Ok(())
    }

    /// Closing it is refused, and what is left is named.
    async fn is_open_yet(&self, id: &str, left: &str) -> Result<(), Short> {
        let early = self.run(&["incident", "close", id, "--cause", WHY]).await?;
        must(
            early.code == Some(2) && early.error.contains(left),
            || format!("it is closed although {left}: {}", early.error),
            ALWAYS,
        )
    }

    async fn recover(&mut self) -> Result<(), Short> {
        let activate = ["users", "activate", &self.world.people.plain.email];
        let said = self.run(&activate).await?;
        must(
            said.code == Some(0),
            || format!("a contained account is not let in again: {}", said.error),
            ALWAYS,
        )?;
        let browser = self.world.signed_in(&self.world.people.plain).await?;
        must(
            self.is_let_in(&browser).await?,
            || "whoever is let in again opens nothing".to_owned(),
            ALWAYS,
        )?;
        self.done("the account is let in again");
        Ok(())
    }

    async fn close(&mut self, id: &str) -> Result<(), Short> {
        let closed = self.incident(&["close", id, "--cause", WHY]).await?;
        must(
            closed.get("state").and_then(Value::as_str) == Some("closed"),
            || "an incident of which nothing is left is not closed".to_owned(),
            ALWAYS,
        )?;
        for action in [
            Action::IncidentOpened,
            Action::IncidentNoted,
            Action::IncidentClosed,
        ] {
            let events = self.world.events(action).await?;
            must(
                !events.is_empty(),
                || format!("the trail has no `{action}`"),
                "[audit] enabled = true",
            )?;
        }
        self.done("it is closed with its cause, and all of it is in the trail");
        Ok(())
    }

    /// The evidence, verified as somebody else would, and refused where it was changed.
    async fn bundle(&mut self, id: &str, to: &Path) -> Result<String, Short> {
        let file = to.display().to_string();
        self.incident(&["bundle", id, "--to", &file]).await?;
        let key = self.run(&["audit", "key"]).await?;
        let key = key.text.lines().next().unwrap_or_default().to_owned();
        let holds = async |file: &str| {
            let verify = ["audit", "verify", file, "--key", &key];
            anyhow::Ok(self.run(&verify).await?.code == Some(0))
        };
        must(
            holds(&file).await?,
            || "`audit verify` refuses the bundle of an incident".to_owned(),
            ALWAYS,
        )?;
        let text = std::fs::read_to_string(to)?;
        let lines: Vec<&str> = text.lines().collect();
        let without = lines.iter().enumerate().filter(|(number, _)| *number != 2);
        let without: Vec<&str> = without.map(|(_, line)| *line).collect();
        for (what, changed) in [
            ("a word changed", text.replace(WHY, "no rehearsal")),
            ("an event left out", without.join("\n") + "\n"),
        ] {
            let other = Folder::new()?;
            other.write("changed", &changed)?;
            let other = other.path().join("changed").display().to_string();
            must(
                !holds(&other).await?,
                || format!("`audit verify` accepts a bundle with {what}"),
                ALWAYS,
            )?;
        }
        self.done(
            "its bundle of evidence verifies by the log's key alone, and not with a word changed or an event left out",
        );
        Ok(key)
    }
}
