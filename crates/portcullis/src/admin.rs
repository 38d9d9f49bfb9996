//! The admin listener: metrics and health on an address of their own, on the back runtime, so that
//! they answer while the front is shedding. It has no sign-in and nothing that needs one.
//!
//! On a loopback address it answers to the machine's names for itself alone: a page in the operator's
//! browser could otherwise read it under a name of its own that points here (DNS rebinding). A
//! connection that is silent, or slow with its head, is closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use portcullis_edge::outbound::is_this_machine;
use portcullis_guard::Authority;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::confinement::Confinement;
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

/// How long a connection may take for a request head, and lie idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Enough for every scraper and every person on duty.
const MOST_CONNECTIONS: usize = 128;

/// Serves `router` until the listener breaks.
pub(crate) async fn serve(listener: TcpListener, router: Router) -> std::io::Result<()> {
    let on_loopback = listener.local_addr()?.ip().is_loopback();
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return Ok(());
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin listener could not accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let router = router.clone();
        let service = service_fn(move |request: http::Request<Incoming>| {
            let router = router.clone();
            async move {
                if on_loopback && !names_loopback(request.headers()) {
                    return Ok(StatusCode::MISDIRECTED_REQUEST.into_response());
                }
                router.oneshot(request.map(Body::new)).await
            }
        });
        // Nothing here outlives the process or changes anything: cutting it off is harmless.
        tokio::spawn(async move {
            let _place = place;
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection ended");
            }
        });
    }
}

/// Whether the one `Host` is a name of this machine for itself, whatever the port.
fn names_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Some(authority) = host.to_str().ok().and_then(Authority::parse) else {
        return false;
    };
    let bare = authority.host.trim_start_matches('[').trim_end_matches(']');
    is_this_machine(bare)
}

/// The exposition format that Prometheus and `OpenMetrics` readers take.
async fn metrics(State(gate): State<Arc<Gate>>) -> impl IntoResponse {
    gate.probe.readiness().await;
    let mut text = gate.metrics.encode();
    let end = text.rfind("# EOF").unwrap_or(text.len());
    let more = format!(
        "# HELP portcullis_panics Requests that panicked and were answered with 500.\n# TYPE portcullis_panics counter\nportcullis_panics_total {}\n",
        gate.panics.load(Ordering::Relaxed)
    );
    text.insert_str(end, &more);
    if let Some(confined) = Confinement::of_this_process() {
        text.insert_str(end, &confined.encode());
    }
    (
        [(
            header::CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        text,
    )
}
