//! `portcullis privacy`: the data map, and the rights of persons.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use portcullis_events::By as EventBy;
use portcullis_identity::accounts::By;
use portcullis_identity::privacy::archive;
use portcullis_identity::privacy::config::Data;
use portcullis_identity::privacy::holdings::{Class, ELSEWHERE, HOLDINGS, How};
use portcullis_vault::note::Verifier;
use serde::Serialize;

use super::Usage;
use super::output::{self, Format};
use crate::config::document::Environment;
use crate::verbs::{self, Stores, told};

/// `portcullis privacy`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Privacy {
    /// Print the data map: each field of `[[data]]`, and everything that the gate itself keeps of persons.
    Map,
    /// Write everything that the gate holds of a person into a signed file: one JSON object a line.
    ///
    /// Sealed fields are opened; hashes, tokens and secrets are left out, and the first line says so.
    Export {
        /// The account: its address or its id.
        #[arg(value_name = "USER")]
        user: String,
        /// Into this file, which must not be there yet.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Verify an export. Exit code 1 where a single byte is not as it was signed.
    ///
    ///   portcullis privacy verify ana.jsonl                (with the gate's configuration)
    ///   portcullis privacy verify ana.jsonl --key VKEY     (with nothing else)
    #[command(verbatim_doc_comment)]
    Verify {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The public key, as `privacy key` prints it. May be given several times.
        #[arg(long, value_name = "VKEY")]
        key: Vec<String>,
    },
    /// Print the public keys that verify exports, the one in use first.
    Key,
    /// Erase a person: keys, sessions, tokens, rows and files. It reads back that nothing is left.
    ///
    /// Audit events stay, with all their proofs, and name an id that names nobody any more. Copies of the database,
    /// such as backups, still hold what they hold. Exit code 1 where something is left. Killed half way, the
    /// same command, or a running gate, goes on.
    Erase {
        /// The account: its address or its id. Once it is erased, the id alone.
        #[arg(value_name = "USER")]
        user: String,
        /// Show what would go, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do it. Without this nothing is erased.
        #[arg(long, conflicts_with = "dry_run")]
        yes: bool,
    },
}

/// What needs no database; nothing where one is needed.
pub(crate) fn offline(
    config: &Path,
    format: Format,
    verb: &Privacy,
) -> Option<anyhow::Result<bool>> {
    match verb {
        Privacy::Map => Some(map(config, format)),
        Privacy::Verify { file, key } => Some(verify(config, format, file, key)),
        Privacy::Key => Some(print_keys(config)),
        Privacy::Export { .. } | Privacy::Erase { .. } => None,
    }
}

pub(crate) async fn run(format: Format, verb: &Privacy, stores: &Stores) -> anyhow::Result<bool> {
    let privacy = &stores.identity.privacy;
    match verb {
        Privacy::Export { user, to } => {
            let id = verbs::find(stores, user).await?;
            let export = privacy.export(id, &EventBy::OPERATOR).await;
            let export = export.map_err(|error| anyhow::anyhow!("{user}: {}", told(error)))?;
            write(to, &export.archive)?;
            output::answer(
                format,
                &Exported {
                    subject: id.to_string(),
                    lines: export.lines,
                    file: to.display().to_string(),
                },
            );
            Ok(true)
        }
        Privacy::Erase { user, dry_run, yes } => {
            // An id may be that of somebody who is erased already.
            let id = match user.parse() {
                Ok(id) => id,
                Err(_) => verbs::find(stores, user).await?,
            };
            let failed = |error| match error {
                portcullis_identity::privacy::Error::NotFound => Usage::error(format!(
                    "there is no account `{user}`, and none with this id was erased"
                )),
                error => anyhow::anyhow!("{user}: {}", told(error)),
            };
            if *dry_run {
                output::answer(format, &privacy.plan(id).await.map_err(failed)?);
                return Ok(true);
            }
            if !yes {
                return Err(Usage::error(
                    "nothing was erased: what is erased never comes back. Say --dry-run to see it, and --yes to do it",
                ));
            }
            let erased = privacy.erase(id, &By::operator()).await.map_err(failed)?;
            let holds = erased.left.is_empty();
            output::answer(format, &erased);
            Ok(holds)
        }
        Privacy::Map | Privacy::Verify { .. } | Privacy::Key => Ok(true),
    }
}

#[derive(Serialize)]
struct Exported {
    subject: String,
    lines: u64,
    file: String,
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lines of {} in {}",
            self.lines, self.subject, self.file
        )
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path);
    let mut file = file
        .map_err(|error| Usage::error(format!("`{}` cannot be made: {error}", path.display())))?;
    file.write_all(bytes)?;
    file.sync_all().context("the export could not be kept")
}

fn keys_of(config: &Path) -> anyhow::Result<Vec<Verifier>> {
    let (_, keys) = verbs::sound(config, Environment::of_process())?;
    Ok(archive::verifiers(&keys)?)
}

fn print_keys(config: &Path) -> anyhow::Result<bool> {
    for key in keys_of(config)? {
        output::line(key);
    }
    Ok(true)
}

fn verify(config: &Path, format: Format, file: &Path, keys: &[String]) -> anyhow::Result<bool> {
    let keys = if keys.is_empty() {
        keys_of(config)?
    } else {
        let keys: Result<Vec<Verifier>, _> = keys.iter().map(|key| key.parse()).collect();
        keys.map_err(|error| Usage::error(format!("--key: {error}")))?
    };
    let bytes = std::fs::read(file)
        .map_err(|error| Usage::error(format!("`{}` cannot be read: {error}", file.display())))?;
    match archive::verify(&bytes, &keys) {
        Ok(sound) => {
            match format {
                Format::Json => output::json(&sound),
                Format::Text => output::line(format_args!(
                    "it is as it was signed at {}: {} lines of {}",
                    sound.made_at, sound.lines, sound.subject
                )),
            }
            Ok(true)
        }
        Err(why) => {
            output::aside(format_args!("the export does not hold: {why}"));
            Ok(false)
        }
    }
}

/// The data map.
#[derive(Serialize)]
struct Map {
    /// `[[data]]`.
    product: Vec<Entry>,
    /// What the gate keeps of persons.
    gate: Vec<Entry>,
    /// What the gate keeps beside that, and why nothing of it is looked for.
    elsewhere: Vec<Other>,
}

#[derive(Serialize)]
struct Entry {
    field: String,
    kind: &'static str,
    location: String,
    /// Roles or permissions; nobody but the person where it is empty.
    seen_by: Vec<String>,
    logged: bool,
    sealed: bool,
    retention: String,
}

#[derive(Serialize)]
struct Other {
    table: &'static str,
    about: &'static str,
    /// `handled`: exported and erased by its own rules; `not-searched`; `no-person`.
    how: &'static str,
}

fn map(file: &Path, format: Format) -> anyhow::Result<bool> {
    let (loaded, _) = verbs::sound(file, Environment::of_process())?;
    let config = &loaded.config;
    let map = Map {
        product: config.data.iter().map(of_product).collect(),
        gate: of_gate(config.accounts.seal_addresses),
        elsewhere: ELSEWHERE
            .iter()
            .map(|one| Other {
                table: one.table,
                about: one.why,
                how: match one.how {
                    How::BySlice => "handled",
                    How::NotSearched => "not-searched",
                    How::NoPerson => "no-person",
                },
            })
            .collect(),
    };
    output::answer(format, &map);
    Ok(true)
}

fn of_product(data: &Data) -> Entry {
    Entry {
        field: data.field.clone(),
        kind: data.kind.as_str(),
        location: data.location.clone(),
        seen_by: data.seen_by.clone(),
        logged: data.logged,
        sealed: data.sealed,
        retention: data.retention.clone(),
    }
}

fn of_gate(seals_addresses: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    for holding in HOLDINGS {
        for column in holding.columns {
            let sealed = match column.class {
                Class::Address | Class::Name => seals_addresses,
                Class::Credential => column.name == "sealed" || column.name == "wrapped",
                Class::Plain | Class::Personal => false,
            };
            let seen_by = match column.class {
                Class::Credential => None,
                Class::Plain | Class::Personal | Class::Address | Class::Name => holding.seen_by,
            };
            entries.push(Entry {
                field: format!("{}.{}", holding.table, column.name),
                kind: column.class.as_str(),
                location: format!("the gate's database: {}", holding.about),
                seen_by: seen_by.into_iter().map(str::to_owned).collect(),
                logged: false,
                sealed,
                retention: holding.kept.to_owned(),
            });
        }
    }
    entries
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen_by = if self.seen_by.is_empty() {
            "nobody else".to_owned()
        } else {
            self.seen_by.join(", ")
        };
        let logged = if self.logged {
            "logged"
        } else {
            "never logged"
        };
        let sealed = if self.sealed { ", sealed" } else { "" };
        write!(
            f,
            "  {:<34} {:<16} {logged}{sealed}; seen by {seen_by}; {}; {}",
            self.field, self.kind, self.location, self.retention
        )
    }
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.product.is_empty() {
            writeln!(f, "The product: nothing is classified ([[data]])")?;
        } else {
            writeln!(f, "The product:")?;
        }
        for entry in &self.product {
            writeln!(f, "{entry}")?;
        }
        writeln!(f, "The gate itself:")?;
        for entry in self.gate.iter().filter(|entry| entry.kind != "linked") {
            writeln!(f, "{entry}")?;
        }
        writeln!(
            f,
            "  (and ids, times and states beside them: --output json)"
        )?;
        write!(f, "Beside these:")?;
        for other in self.elsewhere.iter().filter(|one| one.how != "no-person") {
            write!(
                f,
                "\n  {:<34} {:<16} {}",
                other.table, other.how, other.about
            )?;
        }
        Ok(())
    }
}
