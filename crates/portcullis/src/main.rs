//! Portcullis: a security gate in front of a multi-tenant web product.
//!
//! Where to begin: `pipeline.rs` is the journey of a request, `serve.rs` starts and stops the gate,
//! `cli/mod.rs` lists the verbs.

mod admin;
mod alerts;
mod answer;
mod assertion;
mod backup;
mod carried_over;
mod check;
mod cli;
mod components;
mod config;
mod confinement;
mod credentials;
mod demo;
mod described;
mod doctor;
mod elsewhere;
mod error_reports;
mod explain;
mod failure;
mod forward_auth;
mod gate;
mod health;
mod health_check;
mod import;
mod incident;
mod init;
mod lane;
mod memory;
mod migrate;
mod own;
mod own_api;
mod panics;
mod pipeline;
mod problem_pages;
mod prove;
mod reload;
mod request_ids;
mod routes_diff;
mod screen;
mod scrub;
mod security_txt;
mod serve;
mod shell;
mod snapshot;
mod story;
mod streams;
mod tenants;
mod toll;
mod upkeep;
mod uploads;
mod vault_api;
mod vault_keeper;
mod verbs;
mod webhooks;
mod widget;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One provider of cryptography for everything; a second call would find it taken, and that is fine.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = cli::Cli::parse();
    match verbs::run(&cli) {
        Ok(ok) => cli::exit(ok),
        Err(error) => {
            cli::output::aside(format_args!("portcullis: {error:#}"));
            cli::exit_of(&error)
        }
    }
}
