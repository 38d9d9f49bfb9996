//! The command line: what each verb takes, and where it leads.

pub(crate) mod alerts;
pub(crate) mod anomalies;
pub(crate) mod api_keys;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod consents;
pub(crate) mod output;
mod page;
pub(crate) mod privacy;
pub(crate) mod scans;
pub(crate) mod secret_store;
pub(crate) mod sessions;
pub(crate) mod upload_store;
pub(crate) mod vault;
pub(crate) mod visitors;
pub(crate) mod webhooks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::output::Format;
pub(crate) use self::page::Page;

const ABOUT: &str = "A security gate in front of your product.

Try it:
  portcullis demo

Put it in front of a product that listens on port 8000:
  portcullis init --upstream http://127.0.0.1:8000    (writes portcullis.toml)
  export SECRET_KEY=$(openssl rand -hex 32)
  portcullis check                                    (says what is missing)
  portcullis users create --email you@corp.test --role admin
  portcullis serve

Exit codes: 0 done, 1 a finding or a failure, 2 wrong usage.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    about = "A security gate in front of your product.",
    long_about = ABOUT,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// The configuration file. Paths in it are relative to its folder.
    #[arg(
        long,
        short,
        global = true,
        default_value = "portcullis.toml",
        value_name = "FILE"
    )]
    pub(crate) config: PathBuf,
    /// How answers are written: `text` for people, `json` for programs.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show a working gate in front of a small built-in application, on loopback.
    ///
    /// Prints an administrator's one-time password and four things to try. Nothing is left behind.
    Demo(Demo),
    /// Write a commented configuration for a product, from its OpenAPI document if there is one.
    ///
    /// With a document each operation gets a decision: what it secures needs a user, what it leaves
    /// open is closed and listed, so that you open it knowingly. Without one, everything but /health
    /// needs a user.
    Init(crate::init::Args),
    /// Stand in front of the product until SIGTERM.
    ///
    /// Refuses to start with what `check` calls an error. SIGHUP, or a change of the file, takes the
    /// new policy, if it has no error; otherwise the old one stays.
    Serve,
    /// Say everything that is wrong with the configuration: exactly what `serve` would refuse.
    ///
    /// Errors keep the gate from starting; warnings are worth a look; each has the key, the line, the
    /// reason and the remedy. Opens no socket and no database. Exit code 1 with an error.
    Check(crate::check::Args),
    /// Try what the configuration names: upstreams, database, Redis, clock, certificate, names.
    ///
    /// Run it where the gate will run. Exit code 1 if something does not answer.
    Doctor,
    /// Bring the database's tables up to date, as the user that owns them.
    ///
    ///   portcullis migrate --owner-env OWNER --grant-to gate
    ///
    /// `serve` does so by itself where its own user may. Where it may not, because gates connect as a
    /// user that only reads and writes rows, this is run before a new version starts.
    #[command(verbatim_doc_comment)]
    Migrate(crate::migrate::Migrate),
    /// Prove each promise of the policy against the running gate, and say what does not hold.
    ///
    /// Every requirement has a probe that can fail: it sends the request without the cookie, plants
    /// the hostile origin, replays the token, makes the session older, reads the stored bytes. Run it
    /// beside the gate, with its configuration. It makes accounts and tenants of its own (`prove-..`),
    /// switches them off in the end, and rehearses what would disturb people on a copy of the gate
    /// with the same policy.
    ///
    ///   portcullis prove                                   (everything, for people)
    ///   portcullis prove --only H5,I4                      (two of them)
    ///   portcullis prove --list                            (what there is)
    ///   portcullis prove --format md --to SECURITY.md      (signed; --verify SECURITY.md checks it)
    ///   portcullis prove --format asvs --to ASVS.md        (OWASP ASVS 5.0 by number, signed as well)
    ///   portcullis prove --against URL                     (a product without the gate, from outside)
    ///
    /// Exit code 0: all of it holds. 1: a probe got through, or something is not proven that
    /// `--accept` does not name. 2: wrong usage.
    #[command(verbatim_doc_comment)]
    Prove(crate::prove::Args),
    /// Ask the running gate on this machine whether it stands: exit code 0 or 1.
    ///
    /// Asks the admin listener. For the health checks of containers, which hold nothing else that could.
    Health,
    /// Say what would become of a request, why, and by which line of the policy.
    ///
    /// Asks the same decision as the running gate, without sending anything. Exit code 1 where the
    /// request would be refused.
    ///
    ///   portcullis explain GET /api/v1/users/7 --as user
    ///   portcullis explain DELETE /reports/1 --as moderator,premium --output json
    #[command(verbatim_doc_comment)]
    Explain(crate::explain::Args),
    /// Show the routes of the policy, or compare two OpenAPI documents.
    #[command(subcommand)]
    Routes(Routes),
    /// Create and change accounts.
    ///
    /// Works on the database that the configuration names, also while the gate runs: it hears of
    /// each change within a second.
    #[command(subcommand)]
    Users(Users),
    /// Make, show, rotate, revoke and take over the API keys of programs.
    ///
    /// Works on the database that the configuration names, as `users` does.
    #[command(subcommand)]
    Keys(api_keys::Keys),
    /// Take over accounts and sessions of the product that stood here before.
    ///
    /// Each says first what would happen, and keeps it with --apply. Exit code 1 where a row was refused.
    #[command(subcommand)]
    Import(crate::import::Import),
    /// Show, replace and take out the keys that sign tokens and assertions.
    ///
    /// They are replaced by themselves every 90 days (`tokens.rotate-signing-keys-every`). What an
    /// old key signed counts until it expires; what a revoked one signed does not.
    #[command(subcommand)]
    SigningKeys(SigningKeys),
    /// Show, replace and seal anew the keys that seal the product's fields.
    #[command(subcommand)]
    Vault(vault::Vault),
    /// Write, list, rotate and replace the product's named secrets. None of them is ever shown.
    ///
    /// Not those of the gate itself, which stand in `[secrets]` of the configuration.
    #[command(subcommand)]
    Secrets(secret_store::Secrets),
    /// Show the files that the gate keeps, and release or delete what is in quarantine.
    ///
    /// Like `users`, it works on the database, and on the folder of `[upload-store]`.
    #[command(subcommand)]
    Uploads(upload_store::Uploads),
    /// Make tenants, and say who belongs to them.
    ///
    /// Like `users`, it works on the database, and a running gate hears of it within a second.
    #[command(subcommand)]
    Tenants(crate::tenants::Tenants),
    /// Roles that a tenant makes for itself. Those of the policy stand in the configuration.
    #[command(subcommand)]
    Roles(crate::tenants::Roles),
    /// Permissions that members of a tenant lend to each other.
    #[command(subcommand)]
    Grants(crate::tenants::Grants),
    /// Say where a tenant's widget opens, and show and end the visits in it.
    ///
    /// Like `users`, it works on the database, and a running gate hears of it within a second.
    #[command(subcommand)]
    Visitors(visitors::Visitors),
    /// Show and deliver again what other services told the product.
    ///
    /// Like `users`, it works on the database: a running gate delivers within a second.
    #[command(subcommand)]
    Webhooks(webhooks::Webhooks),
    /// Show what is conspicuous in the audit trail, and what other figures would have found in it.
    #[command(subcommand)]
    Anomalies(anomalies::Anomalies),
    /// Show who was told of what, try whether they hear it, and keep a source silent for a while.
    #[command(subcommand)]
    Alerts(alerts::Alerts),
    /// Read the audit trail, verify it, and prove events of it to others.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Show who agreed to what, and write it down. The purposes stand in the configuration.
    #[command(subcommand)]
    Consents(consents::Consents),
    /// Show what is personal, and export or erase all that the gate holds of a person.
    ///
    ///   portcullis privacy map                                    (what, where, who sees it, how long)
    ///   portcullis privacy export ana@corp.test --to ana.jsonl    (signed)
    ///   portcullis privacy verify ana.jsonl                       (needs no database)
    ///   portcullis privacy erase ana@corp.test --dry-run
    #[command(subcommand, verbatim_doc_comment)]
    Privacy(privacy::Privacy),
    /// List what this program is built of: each component with its version and its hash. Needs no configuration.
    Components,
    /// Hand in what scanners found, and say whether a release may go on.
    ///
    ///   portcullis scan record image trivy.sarif
    ///   portcullis scan check                       (exit code 1 where a scan is missing, overdue or failing)
    #[command(subcommand, verbatim_doc_comment)]
    Scan(scans::Scan),
    /// Open an incident, contain it, and see it through to its last task.
    ///
    /// Like `users`, it works on the database, and a running gate hears of it within a second.
    #[command(subcommand)]
    Incident(crate::incident::Verb),
    /// Write the whole database into one encrypted file, while gates run, and try to restore it.
    ///
    ///   portcullis backup keygen --to backup.key               (once; keep backup.key elsewhere)
    ///   portcullis backup --to gate.backup --recipient age1...
    ///
    /// The file is in the format of age. It has its name only when it was read back, decrypted, restored into
    /// an empty database and compared. The master secret is not in it.
    #[command(verbatim_doc_comment)]
    Backup(backup::Backup),
    /// Put a backup into the database, all of it or nothing. Stop the gates first.
    ///
    ///   portcullis restore --from gate.backup --identity-file backup.key --check   (only try)
    ///   portcullis restore --from gate.backup --identity-file backup.key
    ///
    /// A backup of SQLite goes into PostgreSQL, and back. Whatever is wrong with the file, the key or the
    /// database, the database stays as it was.
    #[command(verbatim_doc_comment)]
    Restore(backup::Restore),
    /// Take secrets and personal data out of any log: from standard input to standard output.
    ///
    /// Line by line as they come, in constant memory, also very long lines. JSON stays JSON. It masks what
    /// the gate keeps out of its own log; a second time changes nothing. Needs no configuration.
    Scrub(crate::scrub::Args),
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Where to listen. Loopback only.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Routes {
    /// Every route of the policy with its decision.
    List {
        /// Also the routes that the gate itself answers.
        #[arg(long)]
        own: bool,
    },
    /// Say which operations came, went or became public between two OpenAPI documents.
    ///
    /// Exit code 1 if an operation became public, or came and is public: fit for a build that should
    /// stop then.
    Diff {
        /// The document as it was, JSON.
        old: PathBuf,
        /// The document as it is.
        new: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Users {
    /// Create an account. Prints a one-time password unless one comes on standard input.
    Create {
        /// The address that the user signs in with.
        #[arg(long, value_name = "ADDRESS")]
        email: String,
        /// A role to hold; may be given several times. Default: none, a plain signed-in user.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// Read the password from standard input instead of making one.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Show the accounts, newest first.
    List,
    /// Give an account exactly these roles, or none. Acts on the next request.
    SetRoles {
        /// The account: its address or its id.
        #[arg(value_name = "USER")]
        user: String,
        /// Roles, separated by spaces.
        #[arg(value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// Set a new password: all sessions of the account end, and waiting after failed attempts too.
    ///
    /// Prints a one-time password unless one comes on standard input.
    SetPassword {
        /// The account: its address or its id.
        #[arg(value_name = "USER")]
        user: String,
        /// Read the password from standard input instead of making one.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Take every second factor of an account away, for somebody who lost them: its sessions end.
    ///
    /// Make sure that it is the owner who asks: from then on the password alone signs in.
    ResetFactors {
        /// The account: its address or its id.
        #[arg(value_name = "USER")]
        user: String,
    },
    /// Say which person of a provider (`[issuer.NAME.login]`) an account belongs to: they sign in there.
    ///
    /// Make sure that it is the same person: from then on the provider opens the account. An address
    /// that is equal proves nothing.
    Link {
        /// The account: its address or its id.
        #[arg(value_name = "USER")]
        user: String,
        /// The provider: NAME of its table.
        #[arg(long, value_name = "NAME")]
        provider: String,
        /// What the provider calls the person: the `sub` of its tokens.
        #[arg(long, value_name = "SUBJECT")]
        subject: String,
    },
    /// Switch an account off: it cannot sign in, and its sessions end.
    Deactivate {
        /// The account: its address or its id.
        #[arg(value_name = "USER")]
        user: String,
    },
    #[command(flatten)]
    Access(sessions::Access),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SigningKeys {
    /// Show every key and what it does: `next`, `signing`, `verifying`, `retired` or `revoked`.
    List,
    /// Make the next key. It is published at once and signs from ten minutes later on.
    Rotate {
        /// Sign with it at once. Products that keep the key set for a few minutes refuse its
        /// assertions until they read it again.
        #[arg(long)]
        now: bool,
    },
    /// Take a key out: nothing that it signed counts any more. A new one signs at once.
    Revoke {
        /// The key's id, as `list` shows it. It may begin with `-`.
        #[arg(value_name = "KEY", allow_hyphen_values = true)]
        kid: String,
    },
}

/// What was asked for cannot be asked for: a file that is not there, a role that nobody defined.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

impl Usage {
    pub(crate) fn error(message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Usage(message.into()))
    }
}

/// Exit codes: 0 done, 1 a finding or a failure, 2 wrong usage (ours, and clap's own).
pub(crate) fn exit(ok: bool) -> ExitCode {
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The exit code of an error.
pub(crate) fn exit_of(error: &anyhow::Error) -> ExitCode {
    if error.is::<Usage>() {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}
