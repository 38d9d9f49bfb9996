//! `portcullis privacy`: the data map, and the rights of persons.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use portcullis_core::UserId;
use portcullis_events::By as EventBy;
use portcullis_identity::accounts::By;
use portcullis_identity::privacy::config::Data;
use portcullis_identity::privacy::holdings::{Class, ELSEWHERE, HOLDINGS, How};
use portcullis_identity::privacy::subjects::Named;
use portcullis_identity::privacy::{Erased, Error, archive};
use portcullis_vault::note::Verifier;
use serde::Serialize;

use super::Usage;
use super::consents::Who;
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
    ///
    ///   portcullis privacy export ana@shop.example --to ana.jsonl
    ///   portcullis privacy export customer-7 --other --tenant acme --to customer-7.jsonl
    #[command(verbatim_doc_comment)]
    Export {
        #[command(flatten)]
        who: Who,
        /// What else they are called in messages of webhooks and files of incidents; may be given several times. Only
        /// with `--other`.
        #[arg(long, value_name = "NAME", requires = "other")]
        also: Vec<String>,
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
        /// Of an account that is erased already, the id alone.
        #[command(flatten)]
        who: Who,
        /// What else they are called in messages of webhooks and files of incidents; may be given several times. Only
        /// with `--other`.
        #[arg(long, value_name = "NAME", requires = "other")]
        also: Vec<String>,
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
    match verb {
        Privacy::Export { who, also, to } => {
            let named = named(stores, who, also).await?;
            let (subject, lines) = export(stores, &who.subject, named.as_ref(), to).await?;
            output::answer(
                format,
                &Exported {
                    subject,
                    lines,
                    file: to.display().to_string(),
                },
            );
            Ok(true)
        }
        Privacy::Erase {
            who,
            also,
            dry_run,
            yes,
        } => {
            let named = named(stores, who, also).await?;
            erase(
                format,
                stores,
                &who.subject,
                named.as_ref(),
                (*dry_run, *yes),
            )
            .await
        }
        Privacy::Map | Privacy::Verify { .. } | Privacy::Key => Ok(true),
    }
}

/// Somebody whom the product alone knows; nothing for an account.
async fn named(stores: &Stores, who: &Who, also: &[String]) -> anyhow::Result<Option<Named>> {
    if !who.other {
        return Ok(None);
    }
    let subject = who.named(stores).await?;
    let named = Named::new(subject, also.to_vec());
    named
        .map(Some)
        .map_err(|error| Usage::error(format!("--also {}", told(error))))
}

/// Whom it is about, and how many lines. A file that is not whole does not stay.
async fn export(
    stores: &Stores,
    subject: &str,
    named: Option<&Named>,
    to: &Path,
) -> anyhow::Result<(String, u64)> {
    let privacy = &stores.identity.privacy;
    let id = match named {
        None => Some(verbs::find(stores, subject).await?),
        Some(_) => None,
    };
    let mut file = create(to)?;
    let by = &EventBy::OPERATOR;
    let written = match (id, named) {
        (Some(id), _) => privacy.export_to(id, by, &mut file).await,
        (None, Some(named)) => privacy.export_subject_to(named, by, &mut file).await,
        (None, None) => Err(Error::NotFound),
    };
    let written = written.map_err(|error| failed(subject, error));
    let kept = written.and_then(|lines| {
        file.flush()?;
        let synced = file.get_ref().sync_all();
        synced
            .context("the export could not be kept")
            .map(|()| lines)
    });
    if kept.is_err() {
        // It has no last line: nobody would take it for an export.
        let _ = std::fs::remove_file(to);
    }
    let subject = id.map_or_else(|| subject.to_owned(), |id| id.to_string());
    Ok((subject, kept?))
}

async fn erase(
    format: Format,
    stores: &Stores,
    subject: &str,
    named: Option<&Named>,
    (dry_run, yes): (bool, bool),
) -> anyhow::Result<bool> {
    let privacy = &stores.identity.privacy;
    // An id may be that of somebody who is erased already.
    let id = match (named, subject.parse::<UserId>()) {
        (Some(_), _) => None,
        (None, Ok(id)) => Some(id),
        (None, Err(_)) => Some(verbs::find(stores, subject).await?),
    };
    let failed = |error| failed(subject, error);
    if dry_run {
        let plan = match (id, named) {
            (Some(id), _) => privacy.plan(id).await,
            (None, Some(named)) => privacy.plan_subject(named).await,
            (None, None) => Err(Error::NotFound),
        };
        output::answer(format, &plan.map_err(failed)?);
        return Ok(true);
    }
    if !yes {
        return Err(Usage::error(
            "nothing was erased: what is erased never comes back. Say --dry-run to see it, and --yes to do it",
        ));
    }
    let erased = match (id, named) {
        (Some(id), _) => privacy.erase(id, &By::operator()).await,
        (None, Some(named)) => erase_named(stores, named).await,
        (None, None) => Err(Error::NotFound),
    };
    let erased = erased.map_err(failed)?;
    let holds = erased.left.is_empty();
    output::answer(format, &erased);
    Ok(holds)
}

async fn erase_named(stores: &Stores, named: &Named) -> Result<Erased, Error> {
    let privacy = &stores.identity.privacy;
    let erased = privacy.erase_subject(named, &EventBy::OPERATOR).await?;
    Ok(Erased {
        purged: privacy.purge().await?,
        ..erased
    })
}

fn failed(subject: &str, error: Error) -> anyhow::Error {
    if matches!(error, Error::NotFound) {
        return Usage::error(format!(
            "nothing is held of `{subject}`, and nobody of this name or id was erased"
        ));
    }
    anyhow::anyhow!("{subject}: {}", told(error))
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

/// A file that must not be there yet, for nobody else to read.
fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path);
    file.map(BufWriter::new)
        .map_err(|error| Usage::error(format!("`{}` cannot be made: {error}", path.display())))
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
