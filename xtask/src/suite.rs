//! `cargo xtask test`: the whole suite against the real services.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use tempfile::TempDir;

use crate::process::must;
use crate::services::clamd::Clamd;
use crate::services::postgres::{self, Postgres};
use crate::services::redis::Redis;
use crate::services::{Listening, moto, openbao};
use crate::tools::{self, Tool, Toolbox};
use crate::{compiled, interrupt, pins, say, services, standstill};

/// The command that installs whatever is missing.
const REMEDY: &str = "cargo xtask test --install";

/// A pass that prints nothing for this long stands still. The slowest test takes about a minute where others build.
const SILENCE: Duration = Duration::from_mins(10);

/// Run the whole suite against private instances of the real services.
///
/// Starts PostgreSQL, Redis, OpenBao and moto (which plays AWS) on free ports of 127.0.0.1 with their files in a
/// temporary folder, runs every test twice where it matters (first on SQLite and memory, then the integration tests on PostgreSQL and Redis), and stops
/// what it started, also after a failure or Ctrl-C. Tests find the services in variables whose
/// names begin with `PORTCULLIS_TEST_`.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask test --install              everything, on a fresh machine
  cargo xtask test -- revoked             tests with `revoked` in the name, both passes
  cargo xtask test --only shared -- csrf  one topic, on PostgreSQL and Redis
  cargo xtask test -- --lib -- --nocapture")]
pub(crate) struct Options {
    /// First install what is missing: Debian packages (as root or through sudo), Python and Node packages (into
    /// target/services), and cargo-deny and cargo-cyclonedx (compiled, into cargo's own folder). Nothing that is there already is touched, and no installed service is left running.
    #[arg(long)]
    install: bool,

    /// Run one of the two passes.
    #[arg(long, value_enum)]
    only: Option<State>,

    /// Arguments for `cargo test`, after `--`.
    #[arg(last = true, value_name = "CARGO TEST ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Where the gate under test keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// SQLite and memory: every test of the workspace.
    Local,
    /// PostgreSQL and Redis: the integration tests.
    Shared,
}

impl State {
    const ALL: [Self; 2] = [Self::Local, Self::Shared];

    fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Shared => "shared",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Local => "every test, on SQLite and memory",
            Self::Shared => "integration tests, on PostgreSQL and Redis",
        }
    }

    /// What cargo runs. The selection of packages is the same in both passes: another one would unify features
    /// differently and build half of the dependencies again.
    fn targets(self) -> &'static [&'static str] {
        match self {
            Self::Local => &[],
            Self::Shared => &["--test", "it"],
        }
    }
}

/// Everything that tests may use, running or found.
struct Surroundings {
    // Before the folder: fields are dropped in this order, and a server wants its files until it has stopped.
    postgres: Postgres,
    redis: Redis,
    moto: Listening,
    openbao: Listening,
    clamd: Clamd,
    tools: Toolbox,
    python: PathBuf,
    linters: PathBuf,
    cargo_deny: PathBuf,
    cargo_cyclonedx: PathBuf,
    node_modules: PathBuf,
    folder: TempDir,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let services = Surroundings::start(options.install)?;
    let states = State::ALL
        .into_iter()
        .filter(|state| options.only.is_none_or(|only| only == *state));

    let mut summary = Vec::new();
    let build = Instant::now();
    say::title("building the tests");
    must(
        "the build",
        cargo_test(&[], &services)?.args(["--no-run", "--quiet"]),
    )?;
    summary.push(("build", true, build.elapsed()));

    for state in states {
        say::title(format!("{}: {}", state.name(), state.describe()));
        let start = Instant::now();
        let mut command = cargo_test(state.targets(), &services)?;
        command
            .env("PORTCULLIS_TEST_STATE", state.name())
            .args(&options.arguments);
        let passed = standstill::run(&mut command, SILENCE)?.success();
        summary.push((state.name(), passed, start.elapsed()));
    }
    conclude(&summary)
}

fn conclude(summary: &[(&str, bool, Duration)]) -> Result<()> {
    say::title("summary");
    for (name, passed, time) in summary {
        say::fact(
            name,
            format!(
                "{}   {}",
                if *passed { "passed" } else { "FAILED" },
                say::seconds(*time)
            ),
        );
    }
    let failed: Vec<&str> = summary
        .iter()
        .filter(|(_, passed, _)| !passed)
        .map(|(name, ..)| *name)
        .collect();
    if !failed.is_empty() {
        bail!("tests failed: {}", failed.join(", "));
    }
    Ok(())
}

fn cargo_test(targets: &[&str], services: &Surroundings) -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What `cargo run` told this program about itself would look like a changed environment to build scripts.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ]
        .iter()
        .any(|own| text.starts_with(own))
        {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(crate::workspace::root())
        .args(["test", "--workspace", "--all-features", "--no-fail-fast"])
        .args(targets);
    command.envs(services.environment()?);
    Ok(command)
}

impl Surroundings {
    fn start(install: bool) -> Result<Self> {
        let tools = Toolbox::gather(tools::SUITE, install, REMEDY)?;
        let python = pins::python(&tools, install, REMEDY)?;
        let node_modules = pins::node_modules(&tools, install, REMEDY)?;
        let linters = pins::linters(&tools, install, REMEDY)?;
        let cargo_deny = compiled::DENY.find(install, REMEDY)?;
        let cargo_cyclonedx = compiled::CYCLONEDX.find(install, REMEDY)?;

        let folder = services::folder()?;
        say::title(format!("starting services in {}", folder.path().display()));
        let tell = |name: &str, server: &Listening, tool| -> Result<()> {
            let program = tools.path(tool)?.display();
            say::fact(name, format!("{}  {program}", server.address()));
            Ok(())
        };
        let postgres = Postgres::start(tools.path(Tool::Postgres)?, folder.path())?;
        tell("postgres", &postgres.0, Tool::Postgres)?;
        let redis = Redis::start(tools.path(Tool::Redis)?, folder.path())?;
        tell("redis", &redis.0, Tool::Redis)?;
        let moto = moto::start(&python, folder.path())?;
        say::fact("moto", moto.address());
        let openbao = openbao::start(&python, folder.path())?;
        say::fact("openbao", openbao.address());
        let clamd = Clamd::start(tools.path(Tool::Clamd)?, folder.path())?;
        tell("clamd", &clamd.server, Tool::Clamd)?;
        interrupt::check()?;
        Ok(Self {
            postgres,
            redis,
            moto,
            openbao,
            clamd,
            tools,
            python,
            linters,
            cargo_deny,
            cargo_cyclonedx,
            node_modules,
            folder,
        })
    }

    /// The variables by which tests find their surroundings. Programs that are only named here (nginx, Caddy, Node,
    /// Python ...) are started by the tests that need them.
    fn environment(&self) -> Result<Vec<(&'static str, OsString)>> {
        let program = |tool| self.tools.path(tool).map(OsString::from);
        Ok(vec![
            ("PORTCULLIS_TEST_FOLDER", self.folder.path().into()),
            ("PORTCULLIS_TEST_POSTGRES", self.postgres.url().into()),
            (
                "PORTCULLIS_TEST_POSTGRES_BIN",
                postgres::programs(self.tools.path(Tool::Postgres)?).into(),
            ),
            ("PORTCULLIS_TEST_REDIS", self.redis.url().into()),
            ("PORTCULLIS_TEST_REDIS_SERVER", program(Tool::Redis)?),
            ("PORTCULLIS_TEST_MOTO", self.moto.http().into()),
            ("PORTCULLIS_TEST_OPENBAO", self.openbao.http().into()),
            ("PORTCULLIS_TEST_OPENBAO_TOKEN", openbao::TOKEN.into()),
            ("PORTCULLIS_TEST_NGINX", program(Tool::Nginx)?),
            ("PORTCULLIS_TEST_CADDY", program(Tool::Caddy)?),
            ("PORTCULLIS_TEST_HAPROXY", program(Tool::Haproxy)?),
            ("PORTCULLIS_TEST_PYTHON", self.python.clone().into()),
            ("PORTCULLIS_TEST_LINTERS", self.linters.clone().into()),
            ("PORTCULLIS_TEST_CARGO_DENY", self.cargo_deny.clone().into()),
            (
                "PORTCULLIS_TEST_CARGO_CYCLONEDX",
                self.cargo_cyclonedx.clone().into(),
            ),
            ("PORTCULLIS_TEST_PROMTOOL", program(Tool::Promtool)?),
            ("PORTCULLIS_TEST_COMPOSE", program(Tool::Compose)?),
            ("PORTCULLIS_TEST_SYSTEMD_ANALYZE", program(Tool::Systemd)?),
            ("PORTCULLIS_TEST_NODE", program(Tool::Node)?),
            (
                "PORTCULLIS_TEST_NODE_PATH",
                self.node_modules.clone().into(),
            ),
            ("PORTCULLIS_TEST_STRACE", program(Tool::Strace)?),
            ("PORTCULLIS_TEST_CHROMIUM", program(Tool::Chromium)?),
            ("PORTCULLIS_TEST_CLAMD", self.clamd.server.address().into()),
            ("PORTCULLIS_TEST_CLAMD_SERVER", program(Tool::Clamd)?),
            (
                "PORTCULLIS_TEST_CLAMD_CONFIG",
                self.clamd.config.clone().into(),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_pass_fails_the_command_and_is_named() {
        let time = Duration::from_secs(1);
        assert!(conclude(&[("local", true, time), ("shared", true, time)]).is_ok());
        let error = conclude(&[("local", true, time), ("shared", false, time)]).unwrap_err();
        assert_eq!(error.to_string(), "tests failed: shared");
    }
}
