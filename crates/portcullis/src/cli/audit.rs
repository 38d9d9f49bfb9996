//! `portcullis audit`: the audit trail, and what proves it.

mod evidence;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use portcullis_core::id::EventId;
use portcullis_core::{TenantId, Timestamp};
use portcullis_events::audit::checkpoint::{Checkpoint, Proof};
use portcullis_events::audit::witness::{Answered, cosigned_by};
use portcullis_events::audit::{self, Filter, Outcome};
use portcullis_events::{Action, By, Event, Target};
use portcullis_vault::note::Verifier;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Usage;
use super::output::{self, Format};
use crate::verbs::Stores;

/// Events in one page of an export.
const PAGE: u32 = 500;

/// `portcullis audit`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Audit {
    /// Show events, newest first.
    List {
        /// At most this many, up to 1000.
        #[arg(long, default_value_t = 50, value_name = "NUMBER")]
        limit: u32,
        #[command(flatten)]
        which: Which,
    },
    /// Write events with their proofs, newest first: one JSON object a line.
    ///
    /// Each line has the event, the leaf as it was hashed, and its proof under the log's newest checkpoint.
    Export {
        #[command(flatten)]
        which: Which,
        /// Into this file, which must not be there yet. Default: standard output.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Verify the whole log against the table and its signed head. Exit code 1 where something is wrong.
    ///
    ///   portcullis audit verify
    ///   portcullis audit verify --checkpoint kept.txt       (also: cut short, rolled back, forked?)
    ///   portcullis audit verify --proof event.tlog-proof --key VKEY    (needs no database)
    ///   portcullis audit verify incident.evidence --key VKEY           (needs no database)
    #[command(verbatim_doc_comment)]
    Verify {
        /// Verify only this bundle of evidence, as `incident bundle` wrote it. Without `--key` this gate's own
        /// keys have to have sealed it.
        #[arg(value_name = "FILE", conflicts_with_all = ["checkpoint", "proof"])]
        bundle: Option<PathBuf>,
        /// The private key that opens the bundle, where it was written for a recipient.
        #[arg(long, value_name = "FILE", requires = "bundle")]
        identity_file: Option<PathBuf>,
        /// A checkpoint that was kept elsewhere, as `audit checkpoint` printed it, or the file of
        /// `audit.anchor-file`, whose last one counts.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// Verify only this proof, as `audit prove` wrote it.
        #[arg(
            long,
            value_name = "FILE",
            requires = "key",
            conflicts_with = "checkpoint"
        )]
        proof: Option<PathBuf>,
        /// The log's verifier key, as `audit key` prints it. May be given several times.
        #[arg(long, value_name = "VKEY", conflicts_with = "checkpoint")]
        key: Vec<String>,
        /// A witness's own verifier key, as it publishes it: who signed the bundle's or the proof's checkpoint.
        /// May be given several times. Default for a bundle without `--key`: those of `[[audit.witness]]`.
        #[arg(long, value_name = "VKEY", conflicts_with = "checkpoint")]
        witness: Vec<String>,
        /// How many of these have to have signed. Default: all that are given, or `audit.witnesses-wanted`.
        #[arg(long, value_name = "NUMBER", conflicts_with = "checkpoint")]
        witnesses_wanted: Option<usize>,
    },
    /// Write the proof that an event is in the log: a file that whoever has the log's key can verify.
    Prove {
        /// The event's id, as `list --output json` shows it.
        #[arg(value_name = "EVENT")]
        event: Uuid,
        /// Into this file, which must not be there yet. Default: standard output.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Print the log's newest signed checkpoint. Keep it where nobody who runs the gate can change it.
    Checkpoint {
        /// The newest one that as many witnesses signed as `audit.witnesses-wanted` says, one at least.
        #[arg(long)]
        witnessed: bool,
    },
    /// Ask every witness (`[[audit.witness]]`) to sign the newest checkpoint now. Exit code 1 where one does not.
    Witness,
    /// Print the keys that verify the log's checkpoints, the one in use first.
    Key,
    /// Destroy the key under which a person's addresses and the like are sealed in the trail.
    ///
    /// The events stay, and so do all proofs: they name an id that names nobody any more. Copies of the
    /// database, such as backups, still hold the key: it is gone with the last copy.
    Erase {
        /// The person: the id of a user or a visitor.
        #[arg(value_name = "ID")]
        person: Uuid,
        /// Do it. Without this nothing is destroyed.
        #[arg(long)]
        yes: bool,
    },
}

/// Which events.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Only this action, such as `login.failed`.
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only by this user, API key or visitor, by its id.
    #[arg(long, value_name = "ID")]
    actor: Option<Uuid>,
    /// Only in this tenant, by its id.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<Uuid>,
    /// Only what was `allowed`, `denied` or `failed`.
    #[arg(long, value_name = "OUTCOME", value_parser = ["allowed", "denied", "failed"])]
    outcome: Option<String>,
    /// Not before this time, such as `2026-01-31T00:00:00Z`.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Which {
    fn filter(&self) -> anyhow::Result<Filter> {
        let action = self.action.as_deref().map(|name| {
            let action: Result<Action, _> = name.parse();
            action.map_err(|_| unknown_action(name))
        });
        let outcome: Option<Outcome> = self.outcome.as_deref().map(str::parse).transpose()?;
        Ok(Filter {
            since: time("since", self.since.as_deref())?,
            until: time("until", self.until.as_deref())?,
            actor: self.actor,
            action: action.transpose()?,
            outcome,
            tenant: self.tenant.map(TenantId::from_uuid),
        })
    }
}

fn time(flag: &str, text: Option<&str>) -> anyhow::Result<Option<Timestamp>> {
    let parse = |text: &str| {
        text.parse().map_err(|_| {
            Usage::error(format!(
                "--{flag} `{text}` is no time: write it as 2026-01-31T00:00:00Z"
            ))
        })
    };
    text.map(parse).transpose()
}

fn unknown_action(name: &str) -> anyhow::Error {
    let known: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
    Usage::error(format!(
        "there is no action `{name}`: there are {}",
        known.join(", ")
    ))
}

/// What needs no database; nothing where one is needed.
pub(crate) fn offline(format: Format, verb: &Audit) -> Option<anyhow::Result<bool>> {
    match verb {
        Audit::Verify {
            proof: Some(file),
            key,
            witness,
            witnesses_wanted,
            ..
        } => Some(
            Wanted::given(witness, *witnesses_wanted)
                .and_then(|wanted| verify_proof(format, file, key, &wanted)),
        ),
        Audit::Verify {
            bundle: Some(file),
            identity_file,
            key,
            witness,
            witnesses_wanted,
            ..
        } if !key.is_empty() => Some(Wanted::given(witness, *witnesses_wanted).and_then(
            |wanted| evidence::verify(format, file, identity_file.as_deref(), &keys(key)?, &wanted),
        )),
        Audit::Verify { proof: None, .. }
        | Audit::List { .. }
        | Audit::Export { .. }
        | Audit::Prove { .. }
        | Audit::Checkpoint { .. }
        | Audit::Witness
        | Audit::Key
        | Audit::Erase { .. } => None,
    }
}

/// Runs what was asked for.
pub(crate) async fn run(format: Format, verb: &Audit, stores: &Stores) -> anyhow::Result<bool> {
    let log = &stores.identity.audit_log;
    match verb {
        Audit::List { limit, which } => {
            let page = log
                .list(&which.filter()?, None, (*limit).clamp(1, 1000))
                .await?;
            list(format, &page.events);
        }
        Audit::Export { which, to } => export(log, &which.filter()?, to.as_deref()).await?,
        Audit::Verify {
            bundle: Some(file),
            identity_file,
            witness,
            witnesses_wanted,
            ..
        } => {
            let keys = log.verifiers().await?;
            let mut wanted = Wanted::given(witness, *witnesses_wanted)?;
            if witness.is_empty() {
                let own = log.witnesses();
                wanted = Wanted {
                    keys: own.keys(),
                    count: witnesses_wanted.unwrap_or(own.wanted()),
                };
            }
            return evidence::verify(format, file, identity_file.as_deref(), &keys, &wanted);
        }
        Audit::Verify { key, .. } if !key.is_empty() => {
            return Err(Usage::error("--key goes with a bundle or with --proof"));
        }
        Audit::Verify { witness, .. } if !witness.is_empty() => {
            return Err(Usage::error("--witness goes with a bundle or with --proof"));
        }
        Audit::Verify { checkpoint, .. } => {
            let kept = checkpoint.as_deref().map(last_checkpoint).transpose()?;
            let report = log.verify(kept.as_deref()).await?;
            output::answer(format, &report);
            return Ok(report.holds());
        }
        Audit::Prove { event, to } => {
            // Where no gate runs, nobody else gives it its place.
            log.sequence().await?;
            let id = EventId::from_uuid(*event);
            let Some(proof) = log.prove(id, None).await? else {
                return Err(Usage::error(format!(
                    "there is no event `{event}` in the log"
                )));
            };
            write(to.as_deref(), &proof.text())?;
        }
        Audit::Checkpoint { witnessed: true } => {
            let checkpoint = log.witnessed_checkpoint().await?;
            output::exactly(&checkpoint.context("not enough witnesses have signed one yet")?);
        }
        Audit::Checkpoint { witnessed: false } => {
            log.sequence().await?;
            let checkpoint = log.cosigned_checkpoint().await?;
            output::exactly(&checkpoint.context("there is no event yet")?);
        }
        Audit::Witness => return ask_witnesses(format, log).await,
        Audit::Key => {
            log.sequence().await?;
            for key in log.verifiers().await? {
                output::line(key);
            }
        }
        Audit::Erase { person, yes } => {
            if !yes {
                return Err(Usage::error(
                    "nothing was destroyed: what it sealed would never open again. Say --yes",
                ));
            }
            let destroyed = log.erase(*person, &By::OPERATOR).await?;
            output::line(format_args!("{destroyed} keys were destroyed"));
        }
    }
    Ok(true)
}

async fn ask_witnesses(format: Format, log: &audit::Log) -> anyhow::Result<bool> {
    log.sequence().await?;
    let told = log.ask_witnesses_now().await?;
    if told.is_empty() {
        return Err(Usage::error("there is no `[[audit.witness]]`"));
    }
    let mut all_signed = true;
    let mut rows = Vec::new();
    for (name, answered) in told {
        let (signed, said) = match answered {
            Answered::Cosigned(at) => (true, format!("signed at {at}")),
            Answered::NotNow(fault) => (false, fault),
            Answered::Contradicted(fault) => (false, format!("CONTRADICTS: {fault}")),
            Answered::NotAsked => (false, "another node asks it just now".to_owned()),
        };
        all_signed &= signed;
        match format {
            Format::Json => {
                rows.push(json!({ "witness": name, "signed": signed, "said": said }));
            }
            Format::Text => output::line(format_args!("{name}: {said}")),
        }
    }
    if matches!(format, Format::Json) {
        output::json(&rows);
    }
    Ok(all_signed)
}

fn list(format: Format, events: &[Event]) {
    match format {
        Format::Json => output::json(&events.iter().map(Event::to_json).collect::<Vec<_>>()),
        Format::Text => {
            for event in events {
                let target = event.target.as_ref().map_or("-", Target::as_str);
                let client = match event.personal {
                    audit::Personal::Open => event.client.map(|client| client.to_string()),
                    audit::Personal::Sealed => Some("sealed".to_owned()),
                    audit::Personal::Erased => Some("erased".to_owned()),
                };
                output::line(format_args!(
                    "{}  {:<20} {:<8} {:<39} {}  {target}",
                    event.at,
                    event.action.as_str(),
                    event.outcome.as_str(),
                    event.actor,
                    client.as_deref().unwrap_or("-"),
                ));
            }
        }
    }
}

async fn export(log: &audit::Log, filter: &Filter, to: Option<&Path>) -> anyhow::Result<()> {
    log.sequence().await?;
    let mut lines = Vec::new();
    let mut file = to.map(create).transpose()?;
    let mut cursor = None;
    loop {
        let (found, next) = log.export(filter, cursor, PAGE).await?;
        for (event, proof) in &found {
            lines.extend(line(event, proof.as_ref()).to_string().into_bytes());
            lines.push(b'\n');
        }
        match &mut file {
            Some(file) => file.write_all(&lines)?,
            None => output::exactly(String::from_utf8_lossy(&lines)),
        }
        lines.clear();
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    if let Some(file) = file {
        file.sync_all()?;
    }
    Ok(())
}

fn line(event: &Event, proof: Option<&Proof>) -> Value {
    json!({
        "event": event.to_json(),
        "leaf": proof.map(|proof| String::from_utf8_lossy(&proof.entry).into_owned()),
        "index": proof.map(|proof| proof.index),
        "proof": proof.map(Proof::text),
    })
}

pub(crate) fn create(path: &Path) -> anyhow::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path);
    file.with_context(|| format!("`{}` cannot be made", path.display()))
}

fn write(to: Option<&Path>, text: &str) -> anyhow::Result<()> {
    match to {
        Some(path) => {
            let mut file = create(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
        }
        None => output::exactly(text),
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Usage::error(format!("`{}` cannot be read: {error}", path.display())))
}

/// The newest checkpoint of a file of them.
fn last_checkpoint(path: &Path) -> anyhow::Result<String> {
    audit::anchor::last(&read(path)?)
        .ok_or_else(|| Usage::error(format!("`{}` has no checkpoint", path.display())))
}

fn keys(texts: &[String]) -> anyhow::Result<Vec<Verifier>> {
    let keys: Result<Vec<Verifier>, _> = texts.iter().map(|key| key.parse()).collect();
    keys.map_err(|error| Usage::error(format!("--key: {error}")))
}

/// Which witnesses' word is looked for, and how many have to have given it.
pub(super) struct Wanted {
    keys: Vec<Verifier>,
    count: usize,
}

impl Wanted {
    fn given(witness: &[String], count: Option<usize>) -> anyhow::Result<Self> {
        let keys: Result<Vec<Verifier>, _> = witness.iter().map(|key| key.parse()).collect();
        let keys = keys.map_err(|error| Usage::error(format!("--witness: {error}")))?;
        // SECURITY: one witness that is given under two names would count as two.
        let others = |at: usize| keys.iter().take(at);
        let is_twice =
            |(at, key): (usize, &Verifier)| others(at).any(|other| other.is_same_key(key));
        if keys.iter().enumerate().any(is_twice) {
            return Err(Usage::error("--witness: a key is there twice"));
        }
        let count = count.unwrap_or(keys.len());
        Ok(Wanted { keys, count })
    }

    /// Who signed, or why that is not enough.
    fn signed(&self, checkpoint: &str) -> Result<Vec<String>, String> {
        let by = cosigned_by(checkpoint, &self.keys);
        let by = by.map_err(|error| format!("the word of a witness: {error}"))?;
        let by: Vec<String> = by
            .into_iter()
            .map(|(name, at)| format!("{name} at {at}"))
            .collect();
        if by.len() < self.count {
            let (have, want) = (by.len(), self.count);
            return Err(format!("{have} witnesses signed it, and {want} are wanted"));
        }
        Ok(by)
    }
}

fn verify_proof(
    format: Format,
    file: &Path,
    keys: &[String],
    wanted: &Wanted,
) -> anyhow::Result<bool> {
    let keys = self::keys(keys)?;
    let proof = Proof::parse(&read(file)?);
    match proof.and_then(|proof| proof.verify(&keys).map(|checkpoint| (proof, checkpoint))) {
        Ok((proof, checkpoint)) => match wanted.signed(&proof.checkpoint) {
            Ok(witnesses) => {
                proved(format, &proof, &checkpoint, &witnesses);
                Ok(true)
            }
            Err(why) => {
                output::aside(format_args!("the proof does not hold: {why}"));
                Ok(false)
            }
        },
        Err(error) => {
            output::aside(format_args!("the proof does not hold: {error}"));
            Ok(false)
        }
    }
}

fn proved(format: Format, proof: &Proof, checkpoint: &Checkpoint, witnesses: &[String]) {
    let entry = String::from_utf8_lossy(&proof.entry);
    match format {
        Format::Json => output::json(&json!({
            "holds": true,
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "index": proof.index,
            "leaf": entry,
            "witnesses": witnesses,
        })),
        Format::Text => output::line(format_args!(
            "leaf {} of {} in {}, {}:\n{entry}",
            proof.index,
            checkpoint.size,
            checkpoint.origin,
            by_witnesses(witnesses)
        )),
    }
}

fn by_witnesses(witnesses: &[String]) -> String {
    if witnesses.is_empty() {
        "signed by no witness that was asked about".to_owned()
    } else {
        format!(
            "signed by {} witnesses ({})",
            witnesses.len(),
            witnesses.join(", ")
        )
    }
}
