//! `portcullis backup` and `portcullis restore`: what they take.

use std::path::PathBuf;

use super::Cli;

/// `portcullis backup`
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Backup {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    make: Make,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a key that opens backups: a file for you to keep, and the recipient to encrypt for.
    ///
    /// Keep the file where the gate is not, and where it is not lost with it.
    Keygen(Keygen),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Keygen {
    /// The file for the private key. It is never written over.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Make {
    /// The file. It has its name only when it is whole and was restored once, as a trial.
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) to: Option<PathBuf>,
    /// Who can open it: a public key (`age1...`). May be given several times. Default:
    /// `backup.recipients`.
    #[arg(
        long = "recipient",
        value_name = "KEY",
        conflicts_with = "passphrase_file"
    )]
    pub(crate) recipients: Vec<String>,
    /// Instead of recipients: a file with a passphrase of at least 16 characters.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// A private key, where it is at hand: the trial then shows that it opens the backup. Without one the
    /// trial uses a key that is made for this run and forgotten.
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    pub(crate) identity_file: Option<PathBuf>,
    /// Put it in the place of a file that is there already.
    #[arg(long)]
    pub(crate) force: bool,
}

/// `portcullis restore`
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("key").required(true)))]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Restore {
    /// The backup.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// The private key, as `portcullis backup keygen` wrote it.
    #[arg(long, value_name = "FILE", group = "key")]
    pub(crate) identity_file: Option<PathBuf>,
    /// A file with the passphrase.
    #[arg(long, value_name = "FILE", group = "key")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Only see whether it could be restored: everything is done, in a temporary database that is thrown
    /// away.
    #[arg(long, conflicts_with = "replace")]
    pub(crate) check: bool,
    /// Throw away what the database holds now. Without this it has to be empty.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Leave out sessions, tokens and visits, and links that wait: everybody signs in again. For when
    /// some of them were revoked after the backup was made.
    #[arg(long)]
    pub(crate) without_sessions: bool,
    /// Take a backup that was made under another master secret than the one configured. What is sealed in
    /// it does not open, API keys do not count, and that this gate made it cannot be shown.
    #[arg(long)]
    pub(crate) other_master: bool,
}

pub(crate) fn backup(cli: &Cli, backup: &Backup) -> anyhow::Result<bool> {
    match &backup.verb {
        Some(Verb::Keygen(keygen)) => crate::backup::keygen(cli.output, keygen),
        None => crate::backup::make(cli, &backup.make),
    }
}

pub(crate) fn restore(cli: &Cli, restore: &Restore) -> anyhow::Result<bool> {
    crate::backup::restore(cli, restore)
}
