//! What a request pays for coming at all.
//!
//! - Limits per address are paid before anything that memory does not know is looked up, so that
//!   guessing credentials is paid for: every look-up on the way to the decision takes the toll.
//! - Where memory knows who calls, all limits are taken at once: one round trip where they are
//!   counted in Redis, and whom a limit per user refuses has paid nothing by address either.
//! - Whoever is refused on the way (another site's page, a missing CSRF token) pays by address all
//!   the same: [`Toll::settle`] comes before the answer.

use std::net::IpAddr;

use portcullis_core::limit::Spent;
use portcullis_core::{Principal, Problem, Timestamp};
use portcullis_events::metrics::Stage;
use portcullis_guard::rate_limit::{self, RouteLimits};
use portcullis_store::counters::{Charge, Counters, MAX_CHARGES, Taken};

use crate::snapshot::Snapshot;

/// What a request has been charged.
#[derive(Debug, Default)]
pub(crate) struct Charged {
    pub(crate) charges: Vec<Charge>,
    /// What they came to, in their order. Shorter while some are not taken yet.
    pub(crate) spent: Vec<Spent>,
}

/// The limits of one request, on the way to its decision.
pub(crate) struct Toll<'r> {
    counters: &'r Counters,
    snapshot: &'r Snapshot,
    limits: &'r RouteLimits,
    path: &'r str,
    client: IpAddr,
    now: Timestamp,
    charged: Charged,
    /// How many of the charges are by address.
    by_address: usize,
    refused: Option<usize>,
    /// From when until when something that memory did not know was looked up, the last time.
    look_up: Option<(Timestamp, Timestamp)>,
}

impl<'r> Toll<'r> {
    /// `path` is the canonical one. Takes nothing yet.
    pub(crate) fn new(
        counters: &'r Counters,
        snapshot: &'r Snapshot,
        limits: &'r RouteLimits,
        path: &'r str,
        (client, now): (IpAddr, Timestamp),
    ) -> Self {
        let mut charges = Vec::with_capacity(MAX_CHARGES);
        limits.charges_before(path, client, &mut charges);
        Toll {
            counters,
            snapshot,
            limits,
            path,
            client,
            now,
            by_address: charges.len(),
            charged: Charged {
                charges,
                spent: Vec::with_capacity(MAX_CHARGES),
            },
            refused: None,
            look_up: None,
        }
    }

    /// Takes what is charged and not taken yet, or refuses the request.
    pub(crate) async fn pay(&mut self) -> Result<(), Problem> {
        let from = self.charged.spent.len();
        let new = self.charged.charges.get(from..).unwrap_or_default();
        if self.refused.is_none() && !new.is_empty() {
            let taken: Taken = match self.counters.take_now(self.now, new) {
                Some(taken) => taken,
                // Boxed, as all that is rare: room for it here would be copied with every request.
                None => Box::pin(self.counters.take(self.now, new)).await,
            };
            self.charged.spent.extend_from_slice(taken.spent());
            self.refused = taken.refused().map(|at| from.saturating_add(at));
        }
        match self.refused {
            None => Ok(()),
            Some(_) => Err(rate_limit::refusal(
                &self.snapshot.limits,
                &self.charged.charges,
                &self.charged.spent,
            )),
        }
    }

    /// Takes the rest: what is still owed by address, and the limits of `caller`, where the request
    /// came as far as that.
    pub(crate) async fn settle(&mut self, caller: Option<&Principal>) -> Result<(), Problem> {
        if let Some(caller) = caller {
            let charges = &mut self.charged.charges;
            self.limits
                .charges_after(self.path, self.client, caller, charges);
        }
        self.pay().await
    }

    /// Which stage it was that refused the request, if one of its limits did.
    pub(crate) fn refused_at(&self) -> Option<Stage> {
        self.refused.map(|at| {
            if at < self.by_address {
                Stage::AddressLimit
            } else {
                Stage::Quota
            }
        })
    }

    pub(crate) const fn looked_up(&mut self, began: Timestamp, ended: Timestamp) {
        self.look_up = Some((began, ended));
    }

    /// What it was that the decision waited for, if anything.
    pub(crate) const fn look_up(&self) -> Option<(Timestamp, Timestamp)> {
        self.look_up
    }

    pub(crate) fn into_charged(self) -> Charged {
        self.charged
    }
}
