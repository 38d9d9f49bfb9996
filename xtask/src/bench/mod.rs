//! `cargo xtask bench`: the gate beside its peers, in one run.
//!
//! Everybody stands before the same upstream and gets the same request from the same load. Rounds are interleaved, so
//! that whatever else the machine does weighs on all. The figure that holds is CPU time per request: user and system
//! time of the contestant's processes, divided by the requests that were answered. Of the rest, read the proportions.

mod contestants;
mod gate;
mod load;
mod nginx;
mod request;
mod table;
mod usage;

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::contestants::{ALL, Contestant, Running, Stage};
use self::nginx::Backstage;
use self::table::{Figures, Results};
use crate::process::must;
use crate::tools::{self, Toolbox};
use crate::{interrupt, pins, say, services, workspace};

const REMEDY: &str = "cargo xtask bench --install";

/// Measure the gate beside nginx, Caddy and a FastAPI middleware, in one run.
///
/// Builds the gate in release, starts everybody in front of one upstream that answers at once, and sends the same
/// request (586 bytes, 11 headers) over 64 open connections in interleaved rounds. Prints medians, the ratios with
/// their aims, cold start and idle memory. Run it on an idle machine, and quote ratios rather than figures.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask bench --install
  cargo xtask bench --rounds 1 --seconds 2 --only nginx,nginx-guarded
  cargo xtask bench --gate target/release/portcullis --only nginx,gate")]
pub(crate) struct Options {
    /// First install what is missing (see `cargo xtask test --help`).
    #[arg(long)]
    install: bool,

    /// How many times each contestant takes its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// How long a turn takes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,

    /// How many sessions take turns.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sessions: u32,

    /// Contestants, by comma: nginx, nginx-guarded, caddy, fastapi, floor, gate. All unless given.
    #[arg(long, value_delimiter = ',', value_parser = known)]
    only: Vec<String>,

    /// A gate that is built already.
    #[arg(long, value_name = "BINARY")]
    gate: Option<PathBuf>,
}

fn known(name: &str) -> Result<String, String> {
    let names: Vec<&str> = ALL.iter().map(|contestant| contestant.name).collect();
    if names.contains(&name) {
        Ok(name.to_owned())
    } else {
        Err(format!("it is one of {}", names.join(", ")))
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen: Vec<&Contestant> = ALL
        .iter()
        .filter(|contestant| {
            options.only.is_empty() || options.only.iter().any(|name| name == contestant.name)
        })
        .collect();
    let tools = Toolbox::gather(tools::BENCH, options.install, REMEDY)?;
    let python = pins::python(&tools, options.install, REMEDY)?;
    let (gate, floor) = build(options, &chosen)?;

    let folder = services::folder()?;
    let backstage = Backstage::start(&tools, folder.path())?;
    let stage = Stage {
        folder: folder.path(),
        tools: &tools,
        python: &python,
        gate: &gate,
        floor: &floor,
        sessions: usize::try_from(options.sessions)?,
        upstream: backstage.upstream,
        authority: backstage.authority,
    };
    measure(&stage, &chosen, options)
}

/// The gate to measure and the floor under it, built in release where one of them takes part. Both come from one build,
/// so that their dependencies are the same.
fn build(options: &Options, chosen: &[&Contestant]) -> Result<(PathBuf, PathBuf)> {
    let folder = workspace::root().join("target/release");
    let built = (folder.join("portcullis"), folder.join("examples/floor"));
    if let Some(gate) = &options.gate {
        return Ok((std::path::absolute(gate).context("no such path")?, built.1));
    }
    if chosen
        .iter()
        .any(|contestant| ["gate", "floor"].contains(&contestant.name))
    {
        say::title("building the gate in release");
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(["build", "--release"])
            .args(["--package", "portcullis", "--bin", "portcullis"])
            .args(["--package", "portcullis-edge", "--example", "floor"])
            .current_dir(workspace::root());
        must("the release build", &mut command)?;
    }
    Ok(built)
}

fn measure(stage: &Stage, chosen: &[&Contestant], options: &Options) -> Result<()> {
    say::title("starting");
    let mut running: Vec<(&Contestant, Running)> = Vec::new();
    let mut failed = Vec::new();
    let mut results = Results::new();
    for contestant in chosen {
        interrupt::check()?;
        // One that cannot start is told at the end: the figures of the others are worth having.
        match (contestant.start)(stage) {
            Ok(started) => {
                say::fact(contestant.name, started.address);
                let Running {
                    cold_start,
                    idle_memory,
                    ..
                } = started;
                results.insert(
                    contestant.name,
                    Figures {
                        cold_start,
                        idle_memory,
                        ..Figures::default()
                    },
                );
                running.push((*contestant, started));
            }
            Err(error) => {
                say::fact(contestant.name, format!("does not start: {error:#}"));
                failed.push(contestant.name);
            }
        }
    }

    let total = options.rounds * options.seconds * u32::try_from(running.len())?;
    say::title(format!(
        "{} rounds of {} s each: about {total} s",
        options.rounds, options.seconds
    ));
    for (_, contestant) in &running {
        load::run(stage.tools, contestant.address, &contestant.requests, 1)?;
    }
    for round in 1..=options.rounds {
        for (contestant, started) in &running {
            interrupt::check()?;
            let figures = results.entry(contestant.name).or_default();
            take_turn(stage, started, options.seconds, figures)
                .with_context(|| format!("{} in round {round}", contestant.name))?;
        }
        say::fact("round", format!("{round} of {}", options.rounds));
    }
    tell(&results, chosen);
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    Ok(())
}

fn take_turn(stage: &Stage, running: &Running, seconds: u32, figures: &mut Figures) -> Result<()> {
    let before = running.cpu_time();
    let load = load::run(stage.tools, running.address, &running.requests, seconds)?;
    let used = running.cpu_time().saturating_sub(before);
    figures.cpu.push(used.as_secs_f64() * 1e6 / load.requests);
    figures
        .throughput
        .push(load.requests / load.time.as_secs_f64());
    figures.p50.push(load.p50.as_secs_f64() * 1e6);
    figures.p99.push(load.p99.as_secs_f64() * 1e6);
    Ok(())
}

fn tell(results: &Results, chosen: &[&Contestant]) {
    let order: Vec<(&str, &str)> = chosen
        .iter()
        .map(|contestant| (contestant.name, contestant.description))
        .collect();
    say::title("contestants");
    table::contestants(results, &order)
        .iter()
        .for_each(say::line);
    if results.contains_key("gate") {
        say::title("aims");
        table::aims(results).iter().for_each(say::line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contestants_are_known_by_name() {
        assert!(known("nginx-guarded").is_ok());
        assert!(known("apache").unwrap_err().contains("floor"));
    }
}
