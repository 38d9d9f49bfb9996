//! The whole gate over real sockets: one binary, one file per feature.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test ends where something is not as it should be, and reads what the set-up tells it"
)]

mod attacks;
mod check;
mod conformance;
mod drain;
mod examples;
mod faults;
mod forward_auth;
mod health;
mod hosts;
mod http2;
mod image;
mod journey;
mod newcomer;
mod proxies;
mod redirect;
mod reload;
mod several_upstreams;
mod streaming;
mod support;
mod tls;
mod verbs;
mod verifiers;
mod websocket;
