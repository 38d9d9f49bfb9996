//! Whether this node can do its work, and what it has to do without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use portcullis_events::Metrics;
use portcullis_events::metrics::Dependency;
use portcullis_store::Db;
use portcullis_store::counters::{Counters, Health};
use serde::Serialize;

/// Asks what this node depends on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Probe {
    db: Db,
    counters: Counters,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
}

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Readiness {
    ready: bool,
    database: &'static str,
    /// `local`, `shared`, or `degraded`: Redis is away and limits are counted by this node alone.
    counters: &'static str,
    draining: bool,
}

impl Probe {
    pub(crate) fn new(db: Db, counters: Counters, metrics: Arc<Metrics>) -> Self {
        Probe {
            db,
            counters,
            metrics,
            draining: Arc::default(),
        }
    }

    /// From now on this node wants no new requests.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Asks every dependency once, and tells the metrics.
    pub(crate) async fn readiness(&self) -> Readiness {
        let database = self.db.ping().await.is_ok();
        self.metrics.dependency(Dependency::Database, database);
        let counters = match self.counters.health() {
            Health::Local => "local",
            Health::Shared => {
                self.metrics.dependency(Dependency::Redis, true);
                "shared"
            }
            Health::Degraded => {
                self.metrics.dependency(Dependency::Redis, false);
                "degraded"
            }
        };
        let draining = self.draining.load(Ordering::Relaxed);
        Readiness {
            ready: database && !draining,
            database: if database { "up" } else { "down" },
            counters,
            draining,
        }
    }
}

impl IntoResponse for Readiness {
    fn into_response(self) -> Response {
        let status = if self.ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (status, Json(self)).into_response()
    }
}
