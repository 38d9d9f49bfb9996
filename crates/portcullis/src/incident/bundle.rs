//! `portcullis incident bundle`: everything that was written down of an incident and of its time, in one file that
//! others can verify.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use portcullis_core::{Span, Timestamp};
use portcullis_events::audit::evidence::{Entry, Error, Evidence};
use portcullis_events::incidents::File;
use portcullis_vault::TokenHash;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Shown, notices, told};
use crate::cli::Usage;
use crate::cli::audit::create;
use crate::cli::output::{self, Format};
use crate::config::Loaded;
use crate::verbs::{Stores, now};

/// What came before the opening is looked at as well.
const BEFORE: Span = Span::from_hours(24);
/// Ids that are written out, of each kind.
const MOST_IDS: usize = 10_000;

/// `portcullis incident bundle`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The incident, as `incident list` shows it.
    #[arg(value_name = "INCIDENT")]
    id: Uuid,
    /// Into this file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Events from this time on. Default: a day before the opening.
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Events before this time. Default: now, or shortly after the incident was closed.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only whoever has this recipient's private key can read it (`age1...`). May be given several times.
    #[arg(long = "recipient", value_name = "KEY")]
    recipients: Vec<String>,
}

#[derive(Serialize)]
struct Told {
    file: String,
    events: u64,
    from: u64,
    to: u64,
    /// By which others verify it.
    keys: Vec<String>,
    sealed_for: usize,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} events (leaves {} to {}) with their proofs, what was noted, and drafts of the notices.\nOthers verify it with: portcullis audit verify {0}",
            self.file, self.events, self.from, self.to
        )?;
        for key in &self.keys {
            write!(f, " --key '{key}'")?;
        }
        Ok(())
    }
}

pub(super) async fn run(format: Format, args: &Args, stores: &Stores) -> anyhow::Result<bool> {
    let file = stores.incidents().file(args.id).await.map_err(told)?;
    let incident = &file.incident;
    let since = args.since.unwrap_or(incident.opened_at - BEFORE);
    // Its own closing belongs into it.
    let closed = incident.closed_at.map(|at| at + Span::from_minutes(1));
    let until = args.until.or(closed).unwrap_or_else(now);
    if since >= until {
        return Err(Usage::error("--since is not before --until"));
    }
    let log = &stores.identity.audit_log;
    // Where no gate runs, nobody else gives events their place.
    log.sequence().await?;
    // Witnesses' word goes into the bundle where they give it now. Without it the bundle is as good as the log.
    log.ask_witnesses_now().await?;
    let said = |error: Error| match error {
        Error::TooMany(_) | Error::Nothing => {
            Usage::error(format!("{error}: see --since and --until"))
        }
        error => error.into(),
    };
    let stretch = log.stretch(since, until).await.map_err(said)?;
    let subjects = subjects(&stretch.entries);
    let facts = facts(&file, (since, until), &subjects, &stores.loaded)?;
    let text = log.seal_evidence(&facts, &stretch)?;
    let keys = log.verifiers().await?;
    // SECURITY: what does not verify is not handed out as evidence.
    let evidence = Evidence::verify(&text, &keys)?;
    let bytes = if args.recipients.is_empty() {
        text.into_bytes()
    } else {
        crate::backup::seal_for(&args.recipients, text.as_bytes())?
    };
    write(&args.to, &bytes)?;
    output::answer(
        format,
        &Told {
            file: args.to.display().to_string(),
            events: evidence.events,
            from: evidence.from,
            to: evidence.to,
            keys: keys.iter().map(ToString::to_string).collect(),
            sealed_for: args.recipients.len(),
        },
    );
    Ok(true)
}

fn write(to: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = create(to)?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}

fn facts(
    file: &File,
    (since, until): (Timestamp, Timestamp),
    subjects: &BTreeMap<&'static str, BTreeSet<String>>,
    loaded: &Loaded,
) -> anyhow::Result<Value> {
    let shown = serde_json::to_value(Shown::of(file))?;
    let counted = subjects.iter().map(|(kind, ids)| {
        let some: Vec<&String> = ids.iter().take(MOST_IDS).collect();
        (
            (*kind).to_owned(),
            json!({ "count": ids.len(), "ids": some }),
        )
    });
    let counted: serde_json::Map<String, Value> = counted.collect();
    Ok(json!({
        "kind": "incident",
        "made_at": now().to_string(),
        "program": env!("CARGO_PKG_VERSION"),
        "window": { "since": since.to_string(), "until": until.to_string() },
        "incident": shown,
        // Whoever acted, or was acted upon, in that time: by id. Their names are in the database alone.
        "subjects": counted,
        "configuration": configuration(loaded)?,
        "notices": notices::drafts(file, subjects, loaded),
    }))
}

/// By what the gate judged: as it is written, without its secrets, which stand in it by reference only.
fn configuration(loaded: &Loaded) -> anyhow::Result<Value> {
    let hash = |table: &toml::Table| -> anyhow::Result<String> {
        let text = toml::to_string(table)?;
        // SHA-256.
        Ok(hex::encode(TokenHash::of(text.as_bytes()).as_bytes()))
    };
    let policy = ["roles", "route", "limits", "tenants", "visitors", "mfa"];
    let policy = policy.iter().filter_map(|name| {
        let value = loaded.written.get(*name)?;
        Some(((*name).to_owned(), value.clone()))
    });
    Ok(json!({
        "mode": format!("{:?}", loaded.config.mode).to_lowercase(),
        "sha256": hash(&loaded.written)?,
        "policy_sha256": hash(&policy.collect())?,
    }))
}

/// Who acted and who was acted upon, by kind.
fn subjects(entries: &[Entry]) -> BTreeMap<&'static str, BTreeSet<String>> {
    const KINDS: [&str; 4] = ["user", "api-key", "visitor", "tenant"];
    let mut found: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    let mut add = |kind: &str, id: &str| {
        if let Some(kind) = KINDS.iter().find(|known| **known == kind) {
            found.entry(kind).or_default().insert(id.to_owned());
        }
    };
    for entry in entries {
        let Ok(leaf) = serde_json::from_str::<Value>(&entry.leaf) else {
            continue;
        };
        let text = |name: &str| leaf.get(name).and_then(Value::as_str);
        if let (Some(kind), Some(id)) = (text("actor"), text("actor_id")) {
            add(kind, id);
        }
        if let Some((kind, id)) = text("target").and_then(|target| target.split_once(':'))
            && Uuid::try_parse(id).is_ok()
        {
            add(kind, id);
        }
        if let Some(id) = text("tenant_id") {
            add("tenant", id);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_who_acted_and_who_was_acted_upon_once_each() {
        let entry = |leaf: &Value| {
            serde_json::from_value::<Entry>(
                json!({ "index": 0, "leaf": leaf.to_string(), "path": [] }),
            )
            .unwrap()
        };
        let (ana, acme) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
        let entries = [
            entry(&json!({ "actor": "user", "actor_id": ana, "tenant_id": acme })),
            entry(&json!({ "actor": "operator", "target": format!("user:{ana}") })),
            entry(&json!({ "actor": "operator", "target": "sessions-of:everybody" })),
        ];
        let found = subjects(&entries);
        assert_eq!(found["user"], BTreeSet::from([ana]));
        assert_eq!(found["tenant"], BTreeSet::from([acme]));
        assert_eq!(found.len(), 2);
    }
}
