//! `portcullis vault`: the keys that seal the product's fields.

use portcullis_core::TenantId;
use portcullis_events::{Action, Actor, Event, Outcome, Target};
use portcullis_vault::fields::{KeyState, KeyView, Rewrapped};
use serde::Serialize;

use super::output::{self, Format};
use crate::verbs::{Stores, now};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Vault {
    /// Show every key: whose it is, since when, whether it still seals, and under which master secret it is kept.
    Status,
    /// Retire the keys in use: what is sealed from now on is sealed under new ones.
    ///
    /// Old values open as before. The product seals them anew with `POST /.portcullis/vault/reseal`. A
    /// running gate hears of it within a minute.
    Rotate {
        /// Only those of this tenant, by its id.
        #[arg(long, value_name = "TENANT")]
        tenant: Option<uuid::Uuid>,
    },
    /// Seal the keys anew under the master secret in use (`secrets.master`), with progress.
    ///
    /// A gate does it by itself when it starts. When nothing is left, the old master secret can be taken
    /// out of `secrets.previous`. It may be stopped and started again.
    Rewrap,
}

/// Keys shown at once.
const PAGE: u32 = 500;
/// Keys sealed anew between two lines of progress.
const STEP: u32 = 1000;

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
            if !key.is_under_current_master {
                f.write_str("  under an earlier master secret")?;
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
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} keys were sealed anew; all are under the master secret in use",
            self.rewrapped
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
            let tenant = tenant.map(TenantId::from_uuid);
            let retired = fields.rotate(tenant).await?;
            let event = Event::new(now(), Action::DataKeysRotated, Outcome::Allowed)
                .by(Actor::Operator)
                .to(Target::named("vault", "data-keys"))
                .tenant(tenant)
                .with("retired", retired);
            stores.trail.record(event).await?;
            output::answer(format, &Rotated { retired });
        }
        Vault::Rewrap => {
            let mut rewrapped = 0;
            loop {
                let Rewrapped { done, left } = fields.rewrap(STEP).await?;
                rewrapped += done;
                if left == 0 || done == 0 {
                    break;
                }
                output::aside(format!("{rewrapped} done, {left} left"));
            }
            output::answer(format, &Done { rewrapped });
        }
    }
    Ok(true)
}
