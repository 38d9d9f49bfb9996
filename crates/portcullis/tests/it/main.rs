//! The whole gate over real sockets: one binary, one file per feature.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::too_many_lines,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test ends where something is not as it should be, and reads what the set-up tells it"
)]

mod accessibility;
mod admin_api;
mod admin_keys;
mod alerts;
mod anchors;
mod anomalies;
mod api_keys;
mod at_rest;
mod attacks;
mod audit;
mod audit_log;
mod backoff;
mod backup;
mod check;
mod choosing;
mod conformance;
mod consents;
mod console;
mod cors;
mod csrf;
mod demo;
mod deploy;
mod devices;
mod drain;
mod endings;
mod error_reports;
mod examples;
mod faults;
mod fernet;
mod foreign_factors;
mod forward_auth;
mod headers;
mod health;
mod hosts;
mod http2;
mod import;
mod import_api;
mod import_keys;
mod incidents;
mod issuers;
mod journey;
mod kek;
mod limits;
mod lists;
mod monitoring;
mod newcomer;
mod nonces;
mod openid_login;
mod pages;
mod passkeys;
mod passwords;
mod personal_data;
mod privacy;
mod prove;
mod proxies;
mod recovery;
mod redaction;
mod redirect;
mod registration;
mod reload;
mod roles;
mod scans;
mod schema;
mod schemathesis;
mod sealed_addresses;
mod second_factor;
mod secrets;
mod security_txt;
mod sessions;
mod several_upstreams;
mod sign_in;
mod step_up;
mod streaming;
mod subjects;
mod support;
mod tenants;
mod tiles;
mod tls;
mod tokens;
mod traces;
mod uploads;
mod vault;
mod verbs;
mod verifiers;
mod visitors;
mod webhooks;
mod websocket;
mod widget;
mod witnesses;
