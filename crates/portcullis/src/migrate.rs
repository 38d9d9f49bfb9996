//! `portcullis migrate`: makes the tables as their owner, so that gates run as a user who only reads and
//! writes rows (T7).

use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use portcullis_core::time::SystemClock;
use portcullis_core::{Clock as _, Secret};
use serde::Serialize;

use crate::cli::Usage;
use crate::cli::output::{self, Format};
use crate::config::document::Environment;
use crate::serve;

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// The variable that holds the address with which the owner of the tables connects.
    ///
    /// Without it, what `state.database` says. An address on the command line could be read by everybody on the
    /// machine.
    #[arg(long, value_name = "VARIABLE")]
    owner_env: Option<String>,
    /// The role of PostgreSQL that gates connect as: it may read and write rows, and nothing else.
    #[arg(long, value_name = "ROLE")]
    grant_to: Option<String>,
}

#[derive(Debug, Serialize)]
struct Migrated {
    /// The tables are as this program wants them.
    up_to_date: bool,
    /// Who may read and write rows from now on.
    granted_to: Option<String>,
}

/// Errors: wrong usage where a variable or a role is missing; what the database says, otherwise.
pub(crate) fn run(file: &Path, args: &Migrate, format: Format) -> anyhow::Result<bool> {
    let loaded = serve::load(file, Environment::of_process())?;
    let own;
    let url = match &args.owner_env {
        None => loaded.secrets.database.as_ref().context(
            "`state.database` names no database, and --owner-env names no variable with an address",
        )?,
        Some(name) => {
            let text = loaded.environment.get(name).ok_or_else(|| {
                Usage::error(format!("`{name}` is not set: --owner-env names the variable that holds the address of the tables' owner"))
            })?;
            own = Secret::new(text.to_owned());
            &own
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let role = args.grant_to.as_deref();
    let work = portcullis_store::migrate(&loaded.config.state, url, role, SystemClock.now());
    runtime
        .block_on(work)
        .context("the tables cannot be brought up to date")?;
    output::answer(
        format,
        &Migrated {
            up_to_date: true,
            granted_to: args.grant_to.clone(),
        },
    );
    Ok(true)
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "The tables are up to date.")?;
        if let Some(role) = &self.granted_to {
            write!(
                f,
                " `{role}` may read and write their rows, and nothing else."
            )?;
        }
        Ok(())
    }
}
