//! Witnesses of the log (c2sp.org/tlog-witness): others, each with a key of its own, who sign a checkpoint only
//! where the log goes on from the last one that they signed.
//!
//! - They are asked beside all requests, each in its own rhythm, by one node at a time. Whoever is away is asked
//!   again later, less and less often; nobody waits for it.
//! - SECURITY: what one answers is kept only where it is a cosignature (c2sp.org/tlog-cosignature) by the key that
//!   is written in the configuration, over the checkpoint that it was asked to sign.
//! - One that has a longer log than this one, or another, is the proof that the log was put back or rewritten: an
//!   event of the trail (`audit.contradicted`), an alert, `doctor` and `audit verify` say so.
//! - Not found out: what happened since the last checkpoint that one signed; a witness that works for the attacker.

mod ask;
mod count;
mod state;

use portcullis_core::Span;
use portcullis_core::finding::Finding;
use portcullis_edge::outbound::{Outbound, Reach, Target};
use portcullis_vault::note::{Kind, Verifier};
use serde::Deserialize;

pub use ask::Answered;
pub(super) use count::Odd;
pub use count::{Standing, Witnessed, cosigned_by};

use crate::entry_name::is_entry_name;

/// More than these would not fit under one checkpoint.
const MOST: usize = 32;

/// One `[[audit.witness]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What it is called in lists and in the log: lower case letters, digits and `-`. Required.
    pub name: String,
    /// What `/add-checkpoint` is put behind: the witness's submission prefix, `https`. Required. It may be of your
    /// own network, and on this machine `http`.
    pub url: String,
    /// The witness's own key, as it publishes it: `NAME+ID+KEY` (a vkey for cosignatures). Required. What another
    /// key signs is not kept.
    pub key: String,
}

#[derive(Debug)]
pub(super) struct Witness {
    pub(super) name: String,
    pub(super) target: Target,
    pub(super) key: Verifier,
}

/// All of them, and what is asked of them.
#[derive(Debug, Default)]
pub struct Witnesses {
    pub(super) all: Vec<Witness>,
    /// So many have to have signed.
    pub(super) wanted: usize,
    pub(super) every: Span,
    pub(super) alert_after: Span,
}

impl Witnesses {
    /// The witnesses of a configuration, or all that is wrong with them.
    ///
    /// # Errors
    /// What is wrong, each with its key.
    pub fn compile(config: &super::Config) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut all: Vec<Witness> = Vec::new();
        for (position, one) in config.witness.iter().enumerate() {
            let mut refuse = |key: &str, said: &'static str| {
                let key = format!("audit.witness.{position}.{key}");
                findings.push(Finding::error("audit", key, said));
            };
            if !is_entry_name(&one.name) {
                refuse(
                    "name",
                    "is not of lower case letters, digits and `-`, 60 at most",
                );
            }
            if all.iter().any(|other| other.name == one.name) {
                refuse("name", "is there twice");
            }
            let url = format!("{}/add-checkpoint", one.url.trim_end_matches('/'));
            let target = Target::parse(&url, Reach::Configured).ok();
            let target = target.filter(|_| !one.url.contains('?'));
            if target.is_none() {
                refuse("url", "is no https URL (on this machine: http)");
            }
            let key: Option<Verifier> = one.key.parse().ok();
            let key = key.filter(|key| key.kind() == Kind::Cosignature);
            if key.is_none() {
                refuse(
                    "key",
                    "is no verifier key for cosignatures: NAME+ID+KEY, as the witness publishes it",
                );
            }
            let (Some(target), Some(key)) = (target, key) else {
                continue;
            };
            // SECURITY: one witness under two names would count as two.
            if all.iter().any(|other| other.key.is_same_key(&key)) {
                refuse(
                    "key",
                    "is there twice: two names of one witness are one witness",
                );
            }
            let name = one.name.clone();
            all.push(Witness { name, target, key });
        }
        let mut refuse = |key: &str, said: String| {
            findings.push(Finding::error("audit", format!("audit.{key}"), said));
        };
        let count = config.witness.len();
        if count > MOST {
            refuse("witness", format!("there are more than {MOST}"));
        }
        let wanted = usize::try_from(config.witnesses_wanted).unwrap_or(usize::MAX);
        if wanted > count {
            refuse(
                "witnesses-wanted",
                format!("is {wanted}, and there are {count} `[[audit.witness]]`"),
            );
        }
        if !(Span::from_seconds(10)..=Span::from_days(1)).contains(&config.witness_every) {
            refuse("witness-every", "must be from 10s to 1d".to_owned());
        }
        if config.witness_alert_after < config.witness_every {
            refuse(
                "witness-alert-after",
                "is shorter than `audit.witness-every`".to_owned(),
            );
        }
        if findings.is_empty() {
            Ok(Witnesses {
                all,
                wanted,
                every: config.witness_every,
                alert_after: config.witness_alert_after,
            })
        } else {
            Err(findings)
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The keys by which their signatures are verified.
    pub fn keys(&self) -> Vec<Verifier> {
        self.all.iter().map(|one| one.key.clone()).collect()
    }

    /// How many have to have signed.
    pub const fn wanted(&self) -> usize {
        self.wanted
    }
}

/// The way out. Each call has a connection of its own: they are rare.
pub(super) fn outbound() -> Outbound {
    Outbound::default()
}
