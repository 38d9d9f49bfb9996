//! The wire, both ways: listeners, TLS, HTTP hygiene, client address, forwarding to upstreams.
//!
//! Everything in the data path lives on one current-thread runtime per core (a *lane*): futures are
//! not `Send`, state is `Rc` and `Cell`, and each lane has its own listener and its own upstream
//! connections. Call [`serve`] and [`Forwarder`] on a [`lane_runtime`].

pub mod aws;
pub mod body;
pub mod certificate;
pub mod client_addr;
pub mod config;
mod connection;
mod deadline;
pub mod deliver;
pub mod drain;
pub mod forward;
pub mod framing;
pub mod headers;
mod lane_runtime;
pub mod listener;
mod load;
pub mod mail;
pub mod openbao;
pub mod outbound;
mod pace;
mod pool;
pub mod tls;
mod transport;
pub mod tunnel;
pub mod upstream;

pub use body::{Body, BodyError};
pub use client_addr::{ClientAddr, Peer, Scheme, TrustedProxies};
pub use config::Config;
pub use connection::{Arrival, Inbound};
pub use drain::Drain;
pub use forward::{ForwardError, Forwarder};
pub use framing::Malformed;
pub use lane_runtime::lane_runtime;
pub use listener::{Listener, Settings, serve};
pub use load::Crowded;
pub use outbound::Outbound;
pub use upstream::Upstream;

#[cfg(test)]
mod tests;
