//! The edge alone: listeners and forwarder, one lane per core, nothing decided. The floor that
//! `cargo xtask bench` measures the gate against.
//!
//! This is an example and not a switch of the product: a control that can be switched off is a
//! hole. The permit comes from the one decision there is, for a route that everybody may use.
//!
//! `floor LISTEN-ADDRESS UPSTREAM-URL`, both on loopback.

use std::net::SocketAddr;
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;

use http::Response;
use portcullis_core::binding::Asked;
use portcullis_core::decision::{Access, Rule, decide};
use portcullis_core::principal::Principal;
use portcullis_core::roles::Roles;
use portcullis_core::route::Params;
use portcullis_core::{Scheme, Timestamp};
use portcullis_edge::drain::drain;
use portcullis_edge::headers::{Forwarded, clean_request};
use portcullis_edge::{
    Arrival, Body, Config, Drain, Forwarder, Listener, Settings, TrustedProxies, Upstream,
    lane_runtime, serve, upstream,
};

/// The gate's own allocator: what is compared is the pipeline.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(url)) = (arguments.next(), arguments.next()) else {
        return Err("usage: floor LISTEN-ADDRESS UPSTREAM-URL".into());
    };
    let address: SocketAddr = address.parse()?;
    if !address.ip().is_loopback() {
        return Err("it decides nothing, so it listens on loopback only".into());
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let settings = Settings::compile(&Config::default(), cores).map_err(|_| "settings")?;
    let upstream = Upstream::compile("product", &upstream::Config::new(url))
        .map_err(|_| "the upstream's URL is not valid")?;
    let (_stopper, ear) = drain();
    let lanes = (0..cores)
        .map(|_| {
            let listener = Listener::bind(address)?;
            let (settings, upstream, ear) = (settings.clone(), Arc::clone(&upstream), ear.clone());
            Ok(std::thread::spawn(move || {
                run_lane(listener, settings, upstream, ear)
            }))
        })
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    for lane in lanes {
        lane.join().map_err(|_| "a lane broke")??;
    }
    Ok(())
}

fn run_lane(
    listener: Listener,
    settings: Settings,
    upstream: Arc<Upstream>,
    ear: Drain,
) -> std::io::Result<()> {
    let runtime = lane_runtime()?;
    let forwarder = Forwarder::new();
    let trusted = TrustedProxies::new(Vec::new());
    let handler = Rc::new(async move |arrival| {
        answer(&forwarder, &upstream, &trusted, arrival)
            .await
            .unwrap_or_else(|status| {
                let mut response = Response::new(Body::Empty);
                *response.status_mut() = status;
                response
            })
    });
    runtime.block_on(serve(listener, Rc::new(settings), ear, handler))
}

async fn answer(
    forwarder: &Forwarder,
    upstream: &Arc<Upstream>,
    trusted: &TrustedProxies,
    arrival: Arrival,
) -> Result<Response<Body>, http::StatusCode> {
    let Arrival::Request(mut inbound) = arrival else {
        return Err(http::StatusCode::BAD_REQUEST);
    };
    // Proof that it may be forwarded has to be had even here.
    let permit = decide(
        &Rule::new(Access::Public),
        &Principal::Anonymous,
        &Roles::default(),
        &Asked::path(&Params::default(), Timestamp::EPOCH),
    )
    .map_err(|_| http::StatusCode::FORBIDDEN)?;
    let headers = &mut inbound.head.headers;
    let told = Forwarded {
        client: trusted.client(&inbound.peer, headers),
        scheme: Scheme::Http,
        request_id: "none",
        host: false,
    };
    clean_request(headers, &told);
    forwarder
        .forward(permit, upstream, inbound.head, inbound.body, None)
        .await
        .map_err(|_| http::StatusCode::BAD_GATEWAY)
}
