//! The gate as its users meet it: the real binary, real sockets, real stores.
//!
//! [`Gateway::start`] writes a configuration, starts the binary on a free port and waits until it
//! says that it listens. `PORTCULLIS_TEST_STATE` chooses the pair of stores, so the whole suite
//! runs on SQLite and memory (`local`) and on PostgreSQL and Redis (`shared`).

#![expect(dead_code, reason = "grows with the tests that use it")]

pub(crate) mod authenticator;
pub(crate) mod chromium;
pub(crate) mod clamd;
mod client;
pub(crate) mod database;
mod foreign_key;
pub(crate) mod forms;
mod gateway;
pub(crate) mod issuer;
pub(crate) mod kms;
pub(crate) mod mailbox;
pub(crate) mod managers;
pub(crate) mod memory;
pub(crate) mod moving;
pub(crate) mod openid;
pub(crate) mod passkey;
mod program;
pub(crate) mod signer;
pub(crate) mod sockets;
mod state;
pub(crate) mod tokens;
mod upstream;
mod wire;
pub(crate) mod zip;

pub(crate) use client::{Answer, Browser, Client, RequestBuilder};
pub(crate) use foreign_key::ForeignKey;
pub(crate) use gateway::{Gateway, GatewayBuilder, PASSWORD, eventually, eventually_asked, signal};
pub(crate) use program::Program;
pub(crate) use state::{State, required};
pub(crate) use upstream::{Received, Upstream};
pub(crate) use wire::{Wire, WireUpstream, answers, ok};
