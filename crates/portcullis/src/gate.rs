//! What lives as long as the process and is shared by everything: stores, keys, the snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use axum::Router;
use portcullis_core::Clock;
use portcullis_core::finding::Finding;
use portcullis_events::incidents::Alarm;
use portcullis_events::metrics::Traffic;
use portcullis_events::{Anomalies, Metrics, Trail, UploadStore, Webhooks};
use portcullis_identity::consents::Agreed;
use portcullis_identity::tenants::Directory;
use portcullis_identity::{Accounts, ApiKeys, Bearers, Sessions, Visitors};
use portcullis_store::Db;
use portcullis_store::counters::Counters;
use portcullis_vault::KeyRing;
use tokio::runtime::Handle;

use crate::error_reports::Reports;
use crate::health::Probe;
use crate::snapshot::Snapshot;
use crate::streams::Streams;

/// The process's one gate.
pub(crate) struct Gate {
    pub(crate) clock: Arc<dyn Clock>,
    /// What requests are judged by. Replaced whole, or not at all.
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) db: Db,
    pub(crate) counters: Counters,
    pub(crate) sessions: Sessions,
    pub(crate) keys: ApiKeys,
    pub(crate) accounts: Accounts,
    pub(crate) bearers: Bearers,
    pub(crate) visitors: Visitors,
    /// Which tenants there are.
    pub(crate) directory: Arc<Directory>,
    pub(crate) agreed: Arc<Agreed>,
    pub(crate) webhooks: Webhooks,
    pub(crate) anomalies: Anomalies,
    /// What open incidents ask of this node.
    pub(crate) alarm: Alarm,
    /// Nothing where the gate keeps no files.
    pub(crate) upload_store: Option<UploadStore>,
    pub(crate) trail: Trail,
    pub(crate) metrics: Arc<Metrics>,
    /// The keys that sign assertions and tokens.
    pub(crate) ring: Arc<KeyRing>,
    /// The runtime for everything that may wait: lanes hand work over to it.
    pub(crate) back: Handle,
    /// The gate's own handlers.
    pub(crate) own: Router,
    pub(crate) traffic: Traffic,
    pub(crate) probe: Probe,
    /// What there is to look at in the configuration that counts.
    pub(crate) posture: Arc<ArcSwap<Vec<Finding>>>,
    /// Open WebSockets and event streams.
    pub(crate) streams: Streams,
    /// Where errors are reported, if anywhere.
    pub(crate) reports: Option<Reports>,
    /// Requests that panicked.
    pub(crate) panics: AtomicU64,
}

impl Gate {
    /// A request panicked. It was answered with 500; the count is for the one on duty.
    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            panics = self.panics.load(Ordering::Relaxed),
            "a request panicked"
        );
    }
}
