//! What one lane counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis_core::problem::{self, Kind};

use super::add;

/// Who answered a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The upstream did.
    Forwarded,
    /// The gate did, as it was asked to: its own API, pages, health.
    Own,
    /// The gate refused.
    Refused,
    /// The gate, or something behind it, broke.
    Failed,
}

impl Exit {
    pub(super) const ALL: [Exit; 4] = [Exit::Forwarded, Exit::Own, Exit::Refused, Exit::Failed];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Exit::Forwarded => "forwarded",
            Exit::Own => "own",
            Exit::Refused => "refused",
            Exit::Failed => "failed",
        }
    }
}

/// The stage of the journey that a request ended at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Accept,
    Route,
    AddressLimit,
    Authenticate,
    Csrf,
    Quota,
    Authorize,
    Body,
    Forward,
    Harden,
}

impl Stage {
    pub(super) const ALL: [Stage; 10] = [
        Stage::Accept,
        Stage::Route,
        Stage::AddressLimit,
        Stage::Authenticate,
        Stage::Csrf,
        Stage::Quota,
        Stage::Authorize,
        Stage::Body,
        Stage::Forward,
        Stage::Harden,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Accept => "accept",
            Stage::Route => "route",
            Stage::AddressLimit => "address-limit",
            Stage::Authenticate => "authenticate",
            Stage::Csrf => "csrf",
            Stage::Quota => "quota",
            Stage::Authorize => "authorize",
            Stage::Body => "body",
            Stage::Forward => "forward",
            Stage::Harden => "harden",
        }
    }
}

/// HTTP status codes are 100 to 599 (RFC 9110 section 15); what is not, is counted under 0.
pub(super) const STATUSES: usize = 501;
pub(super) const FIRST_STATUS: usize = 99;
/// Room for the catalogue of problems to grow; a test holds it.
pub(super) const PROBLEMS: usize = 128;

/// Upper bounds of the upstream latency histogram, in microseconds. The last one is unbounded.
pub(super) const BOUNDS: [u64; 12] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000,
    30_000_000,
];
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// Counters that one lane alone writes. Aligned so that no two lanes share a cache line (128 bytes:
/// adjacent lines are fetched in pairs).
#[derive(Debug)]
#[repr(align(128))]
pub struct Lane {
    pub(super) requests: Box<[AtomicU64]>,
    pub(super) refusals: Box<[AtomicU64]>,
    pub(super) latency: [AtomicU64; BUCKETS],
    pub(super) latency_micros: AtomicU64,
    pub(super) started: AtomicU64,
    pub(super) finished: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
}

impl Default for Lane {
    fn default() -> Self {
        Lane {
            requests: zeros(Exit::ALL.len().saturating_mul(STATUSES)),
            refusals: zeros(Stage::ALL.len().saturating_mul(PROBLEMS)),
            latency: [const { AtomicU64::new(0) }; BUCKETS],
            latency_micros: AtomicU64::new(0),
            started: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
        }
    }
}

fn zeros(length: usize) -> Box<[AtomicU64]> {
    (0..length).map(|_| AtomicU64::new(0)).collect()
}

impl Lane {
    /// A request head has arrived. Each call is matched by one of [`Lane::finished`].
    pub fn started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is over.
    pub fn finished(&self, exit: Exit, status: u16) {
        self.finished.fetch_add(1, Ordering::Relaxed);
        let status = usize::from(status).saturating_sub(FIRST_STATUS);
        let status = if status < STATUSES { status } else { 0 };
        let row = (exit as usize).saturating_mul(STATUSES);
        add(&self.requests, row.saturating_add(status), 1);
    }

    /// A request was refused with `kind` at `stage`.
    pub fn refused(&self, kind: &'static Kind, stage: Stage) {
        let Some(kind) = problem::ALL.iter().position(|known| *known == kind) else {
            return;
        };
        let row = (stage as usize).saturating_mul(PROBLEMS);
        add(&self.refusals, row.saturating_add(kind), 1);
    }

    /// How long an upstream took to its response head.
    pub fn upstream_took(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound);
        add(&self.latency, bucket.unwrap_or(BOUNDS.len()), 1);
        self.latency_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// A client connection was opened. Each call is matched by one of [`Lane::closed`].
    pub fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub fn closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}
