//! The command line: what each verb takes, and where it leads.

pub(crate) mod output;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use portcullis_core::UserId;

use self::output::Format;

/// A security gate in front of your product.
///
/// Try it:           `portcullis demo`
/// Put it in front:  `portcullis init --upstream http://127.0.0.1:8000`
///                   `portcullis check`
///                   `portcullis serve`
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    verbatim_doc_comment,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// The configuration file.
    #[arg(
        long,
        short,
        global = true,
        default_value = "portcullis.toml",
        value_name = "FILE"
    )]
    pub(crate) config: PathBuf,
    /// How answers are written.
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
    Demo(Demo),
    /// Write a commented configuration for a product, from its OpenAPI document if there is one.
    Init(crate::init::Args),
    /// Stand in front of the product.
    Serve,
    /// Say everything that is wrong with the configuration: exactly what `serve` would refuse.
    Check(crate::check::Args),
    /// Try what the configuration names: upstreams, database, Redis, clock, certificate.
    Doctor,
    /// Say what would become of a request, why, and by which line of the policy.
    Explain(crate::explain::Args),
    /// Show the routes, or compare two OpenAPI documents.
    #[command(subcommand)]
    Routes(Routes),
    /// Create and change accounts.
    #[command(subcommand)]
    Users(Users),
    /// Read the audit trail.
    #[command(subcommand)]
    Audit(Audit),
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
    List,
    /// Which operations came, went or became public between two OpenAPI documents. Exit code 1 if any became public.
    Diff { old: PathBuf, new: PathBuf },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Users {
    /// Create an account. Prints a one-time password unless one comes on standard input.
    Create {
        #[arg(long)]
        email: String,
        /// A role to hold; may be given several times.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// Read the password from standard input instead of making one.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Accounts, newest first.
    List,
    /// Give the account exactly these roles. Acts on the next request.
    SetRoles { user: UserId, roles: Vec<String> },
    /// Switch an account off: it cannot sign in, and its sessions end.
    Deactivate { user: UserId },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Events, newest first.
    List {
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Only this action, such as `login.failed`.
        #[arg(long)]
        action: Option<String>,
    },
}

/// Exit codes: 0 done, 1 a finding or a failure, 2 wrong usage (clap's own).
pub(crate) fn exit(ok: bool) -> ExitCode {
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
