//! The load: wrk with 64 connections that stay open, for a fixed time.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{command, quietly};
use crate::tools::{Tool, Toolbox};
use crate::workspace;

const CONNECTIONS: u32 = 64;
const THREADS: u32 = 2;

/// What one run of the load saw.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Load {
    pub(super) requests: f64,
    pub(super) time: Duration,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

/// What is sent: a file of requests, or one request and the tokens that take turns in it.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    pub(super) file: PathBuf,
    pub(super) tokens: Option<PathBuf>,
}

/// Sends the requests in turn for some seconds. Answers other than 2xx and 3xx are an error: a refusal
/// is cheaper than what we want to measure.
pub(super) fn run(
    tools: &Toolbox,
    address: SocketAddr,
    requests: &Requests,
    seconds: u32,
) -> Result<Load> {
    // wrk ends by itself; the limit is for a machine that is in trouble.
    let limit = (seconds + 30).to_string();
    let mut wrk = command(Path::new("timeout"), ["--kill-after=5", &limit]);
    wrk.arg(tools.path(Tool::Wrk)?);
    wrk.args([
        format!("-t{THREADS}"),
        format!("-c{CONNECTIONS}"),
        format!("-d{seconds}s"),
    ]);
    wrk.arg("-s")
        .arg(workspace::service_files().join("rotate.lua"));
    wrk.arg(format!("http://{address}"))
        .arg("--")
        .arg(&requests.file);
    wrk.args(&requests.tokens);
    parse(&quietly("wrk", &mut wrk)?)
}

fn parse(output: &str) -> Result<Load> {
    let line = output
        .lines()
        .find_map(|line| line.strip_prefix("RESULT "))
        .context("wrk printed no result")?;
    let numbers: Vec<u32> = line
        .split(' ')
        .filter_map(|number| number.parse().ok())
        .collect();
    let [requests, micros, refused, broken, p50, p99] = numbers[..] else {
        bail!("wrk printed `{line}`, which is not six numbers");
    };
    if requests == 0 || refused + broken > 0 {
        bail!(
            "{requests} requests, of which {refused} were answered with an error; {broken} connections failed"
        );
    }
    let micros_of = |value: u32| Duration::from_micros(value.into());
    Ok(Load {
        requests: requests.into(),
        time: micros_of(micros),
        p50: micros_of(p50),
        p99: micros_of(p99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_among_the_rest() {
        let load = parse("Running 1s test\nRESULT 1000 2000000 0 0 300 900\n").unwrap();
        assert_eq!(
            (load.requests.to_string(), load.time, load.p99),
            (
                "1000".to_owned(),
                Duration::from_secs(2),
                Duration::from_micros(900)
            )
        );
    }

    #[test]
    fn refusals_do_not_count_as_answers() {
        assert!(
            parse("RESULT 1000 2000000 1000 0 300 900")
                .unwrap_err()
                .to_string()
                .contains("1000 were answered")
        );
        assert!(parse("RESULT 1000 2000000 0 3 300 900").is_err());
        assert!(parse("RESULT 0 2000000 0 0 0 0").is_err());
        assert!(parse("Running 1s test").is_err());
    }
}
