//! `portcullis consents`: who agreed to what.

use std::fmt;

use portcullis_core::TenantId;
use portcullis_events::By;
use portcullis_identity::consents::{Consent, Entry, Error, New, State, Subject};
use serde::Serialize;

use super::Usage;
use super::output::{self, Format};
use crate::verbs::{self, Stores, told};

/// `portcullis consents`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Consents {
    /// Show how it stands with each purpose, and every entry of the ledger.
    Show {
        #[command(flatten)]
        who: Who,
    },
    /// Write down that somebody agreed to the text that is shown now.
    Give {
        #[command(flatten)]
        who: Who,
        /// The purpose, as `[[purpose]]` names it.
        #[arg(value_name = "PURPOSE")]
        purpose: String,
    },
    /// Write down that somebody agrees no more.
    Withdraw {
        #[command(flatten)]
        who: Who,
        /// The purpose, as `[[purpose]]` names it.
        #[arg(value_name = "PURPOSE")]
        purpose: String,
    },
}

/// Whose consents.
#[derive(Debug, clap::Args)]
pub(crate) struct Who {
    /// An account, by its address or its id; with `--other` what the product calls somebody.
    #[arg(value_name = "SUBJECT")]
    pub(super) subject: String,
    /// It is no account of the gate's, but what the product calls somebody.
    #[arg(long)]
    pub(super) other: bool,
    /// In this tenant, by its short name or id. Only with `--other`.
    #[arg(long, value_name = "TENANT", requires = "other")]
    tenant: Option<String>,
}

impl Who {
    async fn find(&self, stores: &Stores) -> anyhow::Result<Subject> {
        if !self.other {
            return Ok(Subject::user(verbs::find(stores, &self.subject).await?));
        }
        self.named(stores).await
    }

    /// As the product names them.
    pub(super) async fn named(&self, stores: &Stores) -> anyhow::Result<Subject> {
        let tenant: Option<TenantId> = match &self.tenant {
            Some(name) => Some(crate::tenants::named(stores, name).await?),
            None => None,
        };
        Subject::new(tenant, &self.subject).map_err(failed)
    }
}

fn failed(error: Error) -> anyhow::Error {
    match error {
        Error::UnknownPurpose(_) | Error::OtherVersion { .. } | Error::Subject => {
            Usage::error(error.to_string())
        }
        Error::Unreadable | Error::Trail(_) | Error::Store(_) => {
            anyhow::anyhow!("{}", told(error))
        }
    }
}

pub(crate) async fn run(format: Format, verb: &Consents, stores: &Stores) -> anyhow::Result<bool> {
    let ledger = &stores.identity.consents;
    let (who, purpose, state) = match verb {
        Consents::Show { who } => (who, None, State::Given),
        Consents::Give { who, purpose } => (who, Some(purpose), State::Given),
        Consents::Withdraw { who, purpose } => (who, Some(purpose), State::Withdrawn),
    };
    let subject = who.find(stores).await?;
    if let Some(purpose) = purpose {
        let new = New {
            purpose,
            version: None,
            state,
        };
        let entry = ledger.record(&subject, &new, &By::OPERATOR).await;
        entry.map_err(failed)?;
    }
    let shown = Shown {
        consents: ledger.standing(&subject).await.map_err(failed)?,
        history: ledger.history(&subject).await.map_err(failed)?,
    };
    output::answer(format, &shown);
    Ok(true)
}

#[derive(Serialize)]
struct Shown {
    consents: Vec<Consent>,
    history: Vec<Entry>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.consents.is_empty() {
            return f.write_str("The policy has no [[purpose]].");
        }
        for (position, one) in self.consents.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            let standing = format!("{:?}", one.standing).to_lowercase();
            write!(
                f,
                "{:<20} {:<12} {standing:<10} {}",
                one.purpose, one.version, one.about
            )?;
        }
        for entry in &self.history {
            write!(
                f,
                "\n  {}  {:<9}  {} {}  by {}",
                entry.at,
                entry.state.as_str(),
                entry.purpose,
                entry.version,
                entry.source
            )?;
        }
        Ok(())
    }
}
