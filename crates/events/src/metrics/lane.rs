//! What one lane counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portcullis_core::problem::{self, Kind};

use super::add;

/// Who answered a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// Statuses from 1xx to 5xx.
pub(super) const CLASSES: usize = 5;
/// More routes than these are counted together.
const MOST_ROUTES: usize = 1000;
pub(super) const OTHER_ROUTES: &str = "other";
const NO_ROUTE: &str = "none";

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
    /// By the route's pattern, then by the first digit of the status. No other thread waits for it but a
    /// scrape.
    pub(super) routes: Mutex<HashMap<Box<str>, [u64; CLASSES]>>,
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
            routes: Mutex::default(),
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

    /// A request of a route, by its pattern, was answered: patterns are the policy's, and no client makes one.
    pub fn used(&self, route: Option<&str>, status: u16) {
        let route = route.unwrap_or(NO_ROUTE);
        let class = usize::from(status / 100)
            .clamp(1, CLASSES)
            .saturating_sub(1);
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let room = routes.len() < MOST_ROUTES;
        let counts = if let Some(counts) = routes.get_mut(route) {
            counts
        } else {
            let name = if room { route } else { OTHER_ROUTES };
            routes.entry(name.into()).or_default()
        };
        if let Some(count) = counts.get_mut(class) {
            *count = count.saturating_add(1);
        }
    }

    /// How many requests were answered, and how many of them with 5xx.
    pub(super) fn answers(&self) -> (u64, u64) {
        let mut sums = (0_u64, 0_u64);
        for row in self.requests.chunks(STATUSES) {
            for (position, count) in row.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                sums.0 = sums.0.saturating_add(count);
                if position.saturating_add(FIRST_STATUS) >= 500 {
                    sums.1 = sums.1.saturating_add(count);
                }
            }
        }
        sums
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
