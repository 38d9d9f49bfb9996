//! What the vault needs beside the requests: the gate's own secrets taken into it, addresses brought into
//! the form that the configuration names, its keys wrapped anew under the KEK in use, keys whose time is
//! over out of memory, and news of the service that holds the KEK.
//!
//! A node that starts without that service is sealed: it serves everything else, and 503 where the
//! vault is needed. The service is asked here until it is back, so that the metric is true without
//! traffic; the next request that needs it finds it by itself.

use std::sync::Arc;
use std::time::Duration;

use portcullis_events::metrics::Dependency;
use portcullis_identity::addresses::Settled;
use portcullis_vault::fields::{Fields, Rewrapped, Which};
use portcullis_vault::kek::Health;

use crate::gate::Gate;
use crate::upkeep::Identity;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(5);
/// Rounds from one look at all addresses to the next: five minutes.
const SETTLE_EVERY: u32 = 60;
/// Data keys that are wrapped anew before the log says how many are left.
const STEP: u32 = 500;

/// Keeps the vault until the process ends.
pub(crate) fn start(gate: &Arc<Gate>, identity: &Identity) {
    let (gate, identity) = (Arc::clone(gate), identity.clone());
    gate.back.clone().spawn(async move {
        let fields = &identity.vault.fields;
        let mut ticks = tokio::time::interval(EVERY);
        let mut is_done = false;
        let mut rounds = 0_u32;
        loop {
            ticks.tick().await;
            fields.keep_house();
            let is_there = ask(fields).await;
            if let Some(up) = is_there {
                gate.metrics.dependency(Dependency::Kms, up);
            }
            // In steps, beside the traffic: there may be a key for each subject. What fails now is
            // gone on with later, from where it stood.
            if !is_done && is_there != Some(false) {
                is_done = carry_over(&identity).await && rewrap(fields).await;
            }
            if is_there != Some(false) {
                // Again and again: letters are sealed elsewhere while the vault is not open.
                told("letters", identity.accounts.carry_over_letters().await);
                rounds = if settle(&identity, rounds).await {
                    rounds.wrapping_add(1)
                } else {
                    0
                };
            }
        }
    });
}

/// Whether the service answers; nothing where there is none. Asked only when it is not known.
async fn ask(fields: &Fields) -> Option<bool> {
    match fields.health() {
        Health::Here => None,
        Health::Answers => Some(true),
        Health::NotAskedYet | Health::Away => {
            let answer = fields.try_out().await;
            if let Err(error) = &answer {
                tracing::debug!(%error, "the vault is still sealed");
            }
            Some(answer.is_ok())
        }
    }
}

/// Whether all that was sealed before there was a vault is in it.
async fn carry_over(identity: &Identity) -> bool {
    let factors = identity.accounts.carry_over_factors().await;
    let factors = told("second factors", factors);
    let messages = told("messages of webhooks", identity.webhooks.carry_over().await);
    factors && messages
}

/// Brings addresses into the form that the configuration names. Whether that was done: else it is gone on
/// with in the next round. Now and then again, for another node may have another configuration.
async fn settle(identity: &Identity, rounds: u32) -> bool {
    let addresses = identity.accounts.addresses();
    let settled = if rounds.is_multiple_of(SETTLE_EVERY) {
        addresses.settle().await
    } else {
        addresses.look().await.map(|_| Settled::default())
    };
    match settled {
        Ok(Settled {
            moved: 0,
            failed: 0,
        }) => true,
        Ok(Settled { moved, failed }) => {
            let sealed = addresses.are_sealed();
            tracing::info!(
                moved,
                failed,
                sealed,
                "addresses were brought into the form that `accounts.seal-addresses` names"
            );
            true
        }
        Err(error) => {
            tracing::warn!(%error, "addresses could not be brought into the form that `accounts.seal-addresses` names: it is tried again");
            false
        }
    }
}

fn told<E: std::fmt::Display>(what: &'static str, came: Result<usize, E>) -> bool {
    match came {
        Ok(0) => true,
        Ok(count) => {
            tracing::info!(
                what,
                count,
                "the gate's own secrets were taken into the vault"
            );
            true
        }
        Err(error) => {
            tracing::warn!(what, %error, "the gate's own secrets could not be taken into the vault: it is tried again");
            false
        }
    }
}

/// Whether no data key is left under another KEK than the one in use.
async fn rewrap(fields: &Fields) -> bool {
    let mut after = None;
    loop {
        match fields.rewrap(Which::Earlier, after, STEP).await {
            Ok(Rewrapped {
                done,
                failed,
                left,
                next,
            }) => {
                if done > 0 || failed > 0 {
                    tracing::info!(
                        done,
                        failed,
                        left,
                        "data keys are wrapped under the KEK in use"
                    );
                }
                if next.is_none() {
                    return true;
                }
                after = next;
            }
            Err(error) => {
                tracing::warn!(%error, "data keys could not be wrapped anew: it is tried again");
                return false;
            }
        }
    }
}
