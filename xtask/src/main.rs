//! The project's own automation, run as `cargo xtask <command>`.
//!
//! `test` starts the real services and runs the suite, `tidy` checks the rules that the compiler cannot see,
//! `docs` writes what is generated, `bench` measures the gate beside its peers. What is longer than a line in the justfile or in CI lives here.

mod bench;
mod compiled;
mod failures;
mod install;
mod interrupt;
mod pins;
mod process;
mod reference;
mod say;
mod services;
mod standstill;
mod suite;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set up, check and measure Portcullis.
#[derive(Parser)]
#[command(name = "cargo xtask", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Test(suite::Options),
    /// Check what the compiler cannot: crate arrows, file sizes, migrations in pairs, documented problems, words.
    ///
    /// Prints one `path:line: reason` per finding and ends with 1 if there is any. Warnings do not count.
    Tidy,
    Docs(reference::Options),
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = interrupt::listen().and_then(|()| match cli.command {
        Command::Test(options) => suite::run(&options),
        Command::Tidy => tidy::run(),
        Command::Docs(options) => {
            failures::run(options.check).and_then(|()| reference::run(&options))
        }
        Command::Bench(options) => bench::run(&options),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&error);
            ExitCode::FAILURE
        }
    }
}
