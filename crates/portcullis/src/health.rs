//! Whether this node can do its work, and what it has to do without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use portcullis_events::Metrics;
use portcullis_events::metrics::Dependency;
use portcullis_store::Db;
use portcullis_store::counters::{Counters, Health};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Asks what this node depends on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Probe {
    db: Db,
    counters: Counters,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
    /// When the database was asked last, and whether it answered.
    asked: Arc<Mutex<Option<(Instant, bool)>>>,
}

/// For so long an answer of the database counts: anybody may ask for it, as often as they like.
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(200);

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
            asked: Arc::default(),
        }
    }

    /// From now on this node wants no new requests.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the database answers. One asks for all who want to know at the same time.
    pub(crate) async fn database(&self) -> bool {
        let mut asked = self.asked.lock().await;
        if let Some((at, is_up)) = *asked
            && at.elapsed() < ASKED_AGAIN_AFTER
        {
            return is_up;
        }
        let is_up = self.db.ping().await.is_ok();
        *asked = Some((Instant::now(), is_up));
        self.metrics.dependency(Dependency::Database, is_up);
        is_up
    }

    /// Asks every dependency once, and tells the metrics.
    pub(crate) async fn readiness(&self) -> Readiness {
        let database = self.database().await;
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
