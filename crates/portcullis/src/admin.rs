//! The admin listener: metrics and health on an address of their own, on the back runtime, so that
//! they answer while the front is shedding. It has no sign-in and nothing that needs one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use portcullis_events::metrics::Dependency;
use portcullis_store::counters::Health;
use serde::Serialize;

use crate::gate::Gate;

/// Whether this node can do its work, and what it has to do without.
#[derive(Debug, Serialize)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    pub(crate) database: &'static str,
    /// `local`, `shared`, or `degraded`: Redis is away and limits are counted by this node alone.
    pub(crate) counters: &'static str,
    pub(crate) draining: bool,
}

/// Asks every dependency once.
pub(crate) async fn readiness(gate: &Gate) -> Readiness {
    let database = gate.db.ping().await.is_ok();
    let counters = gate.counters.health();
    gate.metrics.dependency(Dependency::Database, database);
    gate.metrics
        .dependency(Dependency::Redis, counters != Health::Degraded);
    let draining = gate.draining.load(Ordering::Relaxed);
    Readiness {
        ready: database && !draining,
        database: if database { "up" } else { "down" },
        counters: match counters {
            Health::Local => "local",
            Health::Shared => "shared",
            Health::Degraded => "degraded",
        },
        draining,
    }
}

impl IntoResponse for Readiness {
    fn into_response(self) -> axum::response::Response {
        let status = if self.ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (status, Json(self)).into_response()
    }
}

/// The routes of the admin listener.
pub(crate) fn router(gate: Arc<Gate>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route(
            "/readyz",
            get(async |State(gate): State<Arc<Gate>>| readiness(&gate).await),
        )
        .with_state(gate)
}

/// The exposition format that Prometheus and `OpenMetrics` readers take.
async fn metrics(State(gate): State<Arc<Gate>>) -> impl IntoResponse {
    readiness(&gate).await;
    let mut text = gate.metrics.encode();
    let end = text.rfind("# EOF").unwrap_or(text.len());
    text.insert_str(end, &format!("# HELP portcullis_panics Requests that panicked and were answered with 500.\n# TYPE portcullis_panics counter\nportcullis_panics_total {}\n", gate.panics()));
    (
        [(
            header::CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        text,
    )
}
