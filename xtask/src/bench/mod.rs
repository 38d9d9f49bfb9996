//! `cargo xtask bench`: the gate beside its peers, in one run.
//!
//! Everybody stands before the same upstream and gets the same request from the same load. Rounds are interleaved, so
//! that whatever else the machine does weighs on all. The figure that holds is CPU time per request: user and system
//! time of the contestant's processes, divided by the requests that were answered. Of the rest, read the proportions.

mod contestants;
mod credentials;
mod fields;
mod gate;
mod live;
mod load;
mod nginx;
mod request;
mod revocation;
mod scrub;
mod table;
mod uploads;
mod usage;
mod webhooks;

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::contestants::{ALL, Contestant, Running, Stage};
use self::nginx::Backstage;
use self::table::{Figures, Results};
use crate::process::must;
use crate::tools::{self, Tool, Toolbox};
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
  cargo xtask bench --gate target/release/portcullis --only nginx,gate
  cargo xtask bench --only gate,gate-post
  cargo xtask bench --only floor,gate,gate-traced,gate-traced-all
  cargo xtask bench --only gate-webhooks
  cargo xtask bench --only fields-seal,fields-open
  cargo xtask bench --only floor,gate,by-key,by-token,by-foreign,by-foreign-unmet
  cargo xtask bench --only sessions-1k,sessions-1m,sessions-1m-even   (some minutes to fill and warm up)
  cargo xtask bench --only keys-1k,keys-1m,keys-1m-even
  cargo xtask bench --only tenants-1k,tenants-1m
  cargo xtask bench --only decision
  cargo xtask bench --only revocation
  cargo xtask bench --only uploads
  cargo xtask bench --only limiter
  cargo xtask bench --only seal
  cargo xtask bench --only audit-log
  cargo xtask bench --only scrub")]
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

    /// Contestants, by comma: nginx, nginx-guarded, caddy, fastapi, floor, gate, which is all unless given;
    /// gate-post (changes with a CSRF token); gate-traced, gate-traced-all (spans of a tenth and of all requests to a collector); gate-webhooks (messages acknowledged, each with its durable row); fields-seal, fields-open (a hundred fields a request); by-key, by-token, by-foreign, by-foreign-unmet (other credentials);
    /// sessions-1k, sessions-1m, sessions-1m-even, keys-1k, keys-1m, keys-1m-even (live sessions and API keys in the
    /// gate's database); tenants-1k, tenants-1m (users in 10 and in 10,000 tenants); revocation (how soon another node
    /// hears of it); limiter and decision (of these two alone, per second and core, without a network); seal (a sealed field beside
    /// the bare cipher); audit-log (events a second with proofs, and a proof among ten million leaves);
    /// uploads (a file of 32 MiB, forwarded by nginx and forwarded, screened and kept by the gate);
    /// scrub (redaction of logs, beside a scan for literals and Python's `re`).
    #[arg(long, value_delimiter = ',', value_parser = known)]
    only: Vec<String>,

    /// A gate that is built already.
    #[arg(long, value_name = "BINARY")]
    gate: Option<PathBuf>,
}

/// Measured by a program of its own: there is nothing to send to it.
const LIMITER: &str = "limiter";

/// The same: what it costs to decide.
const DECISION: &str = "decision";

/// Beginnings of the names of those whose database is filled first.
const FILLED: [&str; 3] = ["sessions-", "keys-", "tenants-"];

/// The same: what a sealed field costs beside the bare cipher.
const SEAL: &str = "seal";

/// The same: what the signed log of the audit trail costs.
const AUDIT_LOG: &str = "audit-log";

/// A filter: it reads no socket.
const SCRUB: &str = "scrub";

/// Two nodes, asked about one thing.
const REVOCATION: &str = "revocation";

/// Files, one after the other.
const UPLOADS: &str = "uploads";

fn known(name: &str) -> Result<String, String> {
    let mut names: Vec<&str> = ALL.iter().map(|contestant| contestant.name).collect();
    names.extend([
        LIMITER, DECISION, SEAL, AUDIT_LOG, REVOCATION, SCRUB, UPLOADS,
    ]);
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
            (options.only.is_empty() && contestant.always)
                || options.only.iter().any(|name| name == contestant.name)
        })
        .collect();
    let mut alone = 0;
    for (name, package) in [
        (LIMITER, "portcullis-store"),
        (DECISION, "portcullis-core"),
        (SEAL, "portcullis-vault"),
        (AUDIT_LOG, "portcullis-events"),
    ] {
        if options.only.iter().any(|only| only == name) {
            // Cargo names an example as its file is named.
            example(&name.replace('-', "_"), package)?;
            alone += 1;
        }
    }
    if alone > 0 && alone == options.only.len() {
        return Ok(());
    }
    if options.only.iter().any(|name| name == SCRUB) {
        say::title("scrub");
        let tools = Toolbox::gather(&[Tool::Python], options.install, REMEDY)?;
        let python = pins::python(&tools, options.install, REMEDY)?;
        scrub::run(services::folder()?.path(), &python, options.rounds)?;
        if chosen.is_empty() && options.only.len() == 1 {
            return Ok(());
        }
    }
    let mut needed = tools::BENCH.to_vec();
    let asks_nodes = options.only.iter().any(|name| name == REVOCATION);
    if asks_nodes {
        needed.extend([Tool::Postgres, Tool::Redis]);
    }
    let tools = Toolbox::gather(&needed, options.install, REMEDY)?;
    let python = pins::python(&tools, options.install, REMEDY)?;
    let (gate, floor, live) = build(options, &chosen)?;

    let folder = services::folder()?;
    let backstage = Backstage::start(&tools, folder.path())?;
    let stage = Stage {
        folder: folder.path(),
        tools: &tools,
        python: &python,
        gate: &gate,
        floor: &floor,
        live: &live,
        sessions: usize::try_from(options.sessions)?,
        upstream: backstage.upstream,
        authority: backstage.authority,
    };
    if asks_nodes {
        say::title("revocation");
        revocation::run(&stage, &tools)?;
    }
    if options.only.iter().any(|name| name == UPLOADS) {
        say::title("uploads");
        uploads::run(&stage, options.rounds)?;
    }
    if chosen.is_empty() {
        return Ok(());
    }
    measure(&stage, &chosen, options)
}

/// The gate to measure, the floor under it and what fills its database, built in release where one of them takes part.
/// All come from one build, so that their dependencies are the same.
fn build(options: &Options, chosen: &[&Contestant]) -> Result<(PathBuf, PathBuf, PathBuf)> {
    let folder = workspace::root().join("target/release");
    let [floor, filler] = ["floor", "live"].map(|name| folder.join("examples").join(name));
    let given = options.gate.as_ref().map(std::path::absolute).transpose();
    let given = given.context("no such path")?;
    let is_ours = |contestant: &&Contestant| {
        let names = ["gate", "by-", "fields-"].iter().chain(&FILLED);
        names
            .into_iter()
            .any(|name| contestant.name.starts_with(name))
    };
    let is_filled = |one: &&Contestant| FILLED.iter().any(|name| one.name.starts_with(name));
    let fills = chosen.iter().any(is_filled);
    let mut command = cargo("build");
    if given.is_none() {
        command.args(["--package", "portcullis", "--bin", "portcullis"]);
        command.args(["--features", "portcullis/full"]);
        command.args(["--package", "portcullis-edge", "--example", "floor"]);
    }
    if fills {
        command.args(["--package", "portcullis-identity"]);
        command.args(["--example", "live"]);
    }
    let takes_part = chosen.iter().any(|one| is_ours(one) || one.name == "floor")
        || options
            .only
            .iter()
            .any(|name| [REVOCATION, UPLOADS].contains(&&**name));
    if fills || (given.is_none() && takes_part) {
        say::title("building in release");
        must("the release build", &mut command)?;
    }
    Ok((given.unwrap_or(folder.join("portcullis")), floor, filler))
}

/// A command of cargo in the release profile.
fn cargo(verb: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([verb, "--release"])
        .current_dir(workspace::root());
    command
}

/// Runs an example that measures by itself.
fn example(name: &str, package: &str) -> Result<()> {
    say::title(name);
    let mut command = cargo("run");
    command.args(["--quiet", "--package", package, "--example", name]);
    must(name, &mut command)
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
    for (contestant, started) in &running {
        interrupt::check()?;
        warm_up(stage, contestant, started)?;
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

/// Sends requests until everything that will be asked for has been asked for once.
fn warm_up(stage: &Stage, contestant: &Contestant, running: &Running) -> Result<()> {
    let before = running.memory();
    let mut sent = load::run(stage.tools, running.address, &running.requests, 1)?.requests;
    while sent < f64::from(running.warm_up) {
        interrupt::check()?;
        sent += load::run(stage.tools, running.address, &running.requests, 10)?.requests;
    }
    // Of fewer sessions, buffers and other beginnings would be most of it.
    if running.warm_up > 100_000 {
        let grown = running.memory().saturating_sub(before).saturating_mul(1024);
        let each = grown / u64::from(running.warm_up / WARM_UP_TURNS);
        say::fact(
            contestant.name,
            format!("grew by {each} bytes for each at work while it warmed up"),
        );
    }
    Ok(())
}

/// Each session is asked for so often while warming up: the two threads of the load start at places of their own, so
/// that after one turn of each all have been asked for.
const WARM_UP_TURNS: u32 = 2;

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
    let compared = table::many(results);
    if !compared.is_empty() {
        say::title("many");
        compared.iter().for_each(say::line);
    }
    let by = table::credentials(results, &order);
    if !by.is_empty() {
        say::title("by credential");
        by.iter().for_each(say::line);
    }
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
