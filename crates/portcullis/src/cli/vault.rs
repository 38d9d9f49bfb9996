//! `portcullis vault`: the keys that seal the product's fields.

use portcullis_core::TenantId;
use portcullis_events::{Action, Actor, Event, Outcome, Target};
use portcullis_vault::fields::{Fields, KeyState, KeyView, Rewrapped, Which};
use serde::Serialize;

use super::Usage;
use super::output::{self, Format};
use crate::vault_api::import_fernet;
use crate::verbs::{Stores, now};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Vault {
    /// Show every key: whose it is, since when, whether it still seals, and which KEK (and version of it) keeps it.
    Status,
    /// Retire the keys in use: what is sealed from now on is sealed under new ones.
    ///
    /// Old values open as before. The product seals them anew with `POST /.portcullis/vault/reseal`. A
    /// running gate hears of it within a minute.
    Rotate {
        /// Only those of this tenant: short name or id.
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
    /// Wrap the keys anew under the KEK in use ([kek]), with progress.
    ///
    /// A gate does it by itself when it starts. When nothing is left, the old KEK can be taken out of
    /// [[previous-kek]], or the old master secret out of `secrets.previous`. It may be stopped and
    /// started again: what is done stays done. Exit code 1 where a key did not unwrap.
    Rewrap {
        /// Also those that the KEK in use keeps: after its key was given a new version.
        #[arg(long)]
        all: bool,
    },
    /// Take over what the product sealed with Fernet: a CSV with the columns row, token and, if there,
    /// subject, becomes one with row and sealed, on standard output.
    ///
    /// The old keys are those of `vault.fernet-keys`. Tokens that do not open are named by their line, and
    /// the exit code is 1; all others are there. May be run again at any time.
    ///
    ///   portcullis vault import-fernet --table secrets --field value --file old.csv > sealed.csv
    #[command(verbatim_doc_comment)]
    ImportFernet(import_fernet::Args),
    /// Destroy the keys of a tenant, or of one subject: what they sealed never opens again.
    ///
    /// A running gate forgets them within a second. Copies of the database, such as backups, still hold
    /// them: they are gone with the last copy.
    #[command(group(clap::ArgGroup::new("whose").required(true).multiple(true)))]
    Destroy {
        /// The tenant, by its id. With --subject: only that subject of it.
        #[arg(long, value_name = "TENANT", group = "whose")]
        tenant: Option<uuid::Uuid>,
        /// The subject, as it was named when its values were sealed. Without --tenant: one of no tenant.
        #[arg(long, value_name = "SUBJECT", group = "whose")]
        subject: Option<String>,
        /// Do it. Without this nothing is destroyed.
        #[arg(long)]
        yes: bool,
    },
}

/// Keys shown at once.
const PAGE: u32 = 500;
/// Keys wrapped anew between two lines of progress.
const STEP: u32 = 500;

/// All keys, one line each.
#[derive(Serialize)]
#[serde(transparent)]
struct List(Vec<KeyView>);

impl std::fmt::Display for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing was sealed yet: a key is made when it is first needed");
        }
        for (position, key) in self.0.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            let state = match key.state {
                KeyState::Sealing => "sealing",
                KeyState::Opening => "opening",
            };
            let whose = key.tenant.as_deref().unwrap_or("no tenant");
            write!(
                f,
                "{}  {state}  {:5}  version {}  since {}  {whose}",
                key.id, key.purpose, key.version, key.created_at
            )?;
            if let Some(subject) = &key.subject {
                write!(f, "  subject {subject}")?;
            }
            match (key.under.kek, key.under.kek_version) {
                (Some(kek), Some(version)) => write!(f, "  under {kek} version {version}")?,
                (Some(kek), None) => write!(f, "  under {kek}")?,
                (None, _) => f.write_str("  under a KEK that is not configured")?,
            }
            if !key.under.is_under_current_kek {
                f.write_str(", an earlier one")?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Rotated {
    retired: u64,
}

impl std::fmt::Display for Rotated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys seal no more", self.retired)
    }
}

#[derive(Serialize)]
struct Done {
    rewrapped: u64,
    failed: u64,
    left: u64,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys were wrapped anew; ", self.rewrapped)?;
        if self.left == 0 {
            f.write_str("all are under the KEK in use")
        } else {
            write!(f, "{} are under another KEK", self.left)?;
            write!(f, " ({} do not unwrap)", self.failed)
        }
    }
}

#[derive(Serialize)]
struct Destroyed {
    destroyed: u64,
}

impl std::fmt::Display for Destroyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} keys are destroyed: what they sealed opens no more",
            self.destroyed
        )
    }
}

pub(crate) async fn run(format: Format, verb: &Vault, stores: &Stores) -> anyhow::Result<bool> {
    let fields = &stores.identity.vault.fields;
    match verb {
        Vault::Status => {
            let mut all = List(Vec::new());
            loop {
                let page = fields.list(all.0.last().map(|key| key.id), PAGE).await?;
                if page.is_empty() {
                    break;
                }
                all.0.extend(page);
            }
            output::answer(format, &all);
        }
        Vault::Rotate { tenant } => {
            let tenant = crate::tenants::named_if_any(stores, tenant.as_deref()).await?;
            let retired = fields.rotate(tenant).await?;
            let event = Event::new(now(), Action::DataKeysRotated, Outcome::Allowed)
                .by(Actor::Operator)
                .to(Target::named("vault", "data-keys"))
                .tenant(tenant)
                .with("retired", retired);
            stores.trail.record(event).await?;
            output::answer(format, &Rotated { retired });
        }
        Vault::ImportFernet(args) => return import_fernet::run(format, args, stores).await,
        Vault::Rewrap { all } => return rewrap(format, fields, *all).await,
        Vault::Destroy {
            tenant,
            subject,
            yes,
        } => {
            if !yes {
                return Err(Usage::error(
                    "nothing was destroyed: what these keys sealed would be lost for good. Say --yes if that is what you want",
                ));
            }
            let tenant = tenant.map(TenantId::from_uuid);
            destroy(format, stores, tenant, subject.as_deref()).await?;
        }
    }
    Ok(true)
}

async fn rewrap(format: Format, fields: &Fields, all: bool) -> anyhow::Result<bool> {
    let which = if all { Which::Every } else { Which::Earlier };
    let mut told = Done {
        rewrapped: 0,
        failed: 0,
        left: 0,
    };
    let mut after = None;
    loop {
        let Rewrapped {
            done,
            failed,
            left,
            next,
        } = fields.rewrap(which, after, STEP).await?;
        told.rewrapped += done;
        told.failed += failed;
        told.left = left;
        if next.is_none() {
            break;
        }
        after = next;
        output::aside(format!("{} done, {left} left", told.rewrapped));
    }
    output::answer(format, &told);
    Ok(told.failed == 0)
}

/// The keys go, and it is written down that they went, or neither.
async fn destroy(
    format: Format,
    stores: &Stores,
    tenant: Option<TenantId>,
    subject: Option<&str>,
) -> anyhow::Result<()> {
    let mut tx = stores.db.begin().await?;
    let fields = &stores.identity.vault.fields;
    let mut keys = fields.destroy(&mut tx, tenant, subject).await?;
    if subject.is_none() {
        // What the gate itself keeps for the tenant.
        keys.extend(fields.of_gate().destroy(&mut tx, tenant, subject).await?);
    }
    let destroyed = u64::try_from(keys.len()).unwrap_or(u64::MAX);
    let mut event = Event::new(now(), Action::DataKeysDestroyed, Outcome::Allowed)
        .by(Actor::Operator)
        .to(Target::named("vault", "data-keys"))
        .tenant(tenant)
        .with("destroyed", destroyed);
    if let Some(subject) = subject {
        event = event.with("subject", subject);
    }
    stores.trail.record_in(&mut tx, event).await?;
    tx.commit().await?;
    fields.forget();
    output::answer(format, &Destroyed { destroyed });
    Ok(())
}
