//! The admin listener: metrics and health on an address of their own, on the back runtime, so that
//! they answer while the front is shedding. It has no sign-in and nothing that needs one.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::gate::Gate;

/// The routes of the admin listener.
pub(crate) fn router(gate: Arc<Gate>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/health", get(async || "ok\n"))
        .route(
            "/readyz",
            get(async |State(gate): State<Arc<Gate>>| gate.probe.readiness().await),
        )
        .with_state(gate)
}

/// The exposition format that Prometheus and `OpenMetrics` readers take.
async fn metrics(State(gate): State<Arc<Gate>>) -> impl IntoResponse {
    gate.probe.readiness().await;
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
