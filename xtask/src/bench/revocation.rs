//! How soon a node hears what another one revoked: two processes of the gate, PostgreSQL and Redis.
//!
//! A session signs in at the first and is used at the second, which keeps it in memory. It signs out at the first;
//! measured is the time from that answer to the second node's first refusal, asked in a tight loop.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::contestants::{Launched, Stage};
use super::credentials::Also;
use super::gate;
use super::request::{self, HOST, Session};
use crate::services::postgres::Postgres;
use crate::services::redis::Redis;
use crate::tools::{Tool, Toolbox};
use crate::{interrupt, say};

const ROUNDS: u32 = 200;
/// No node may take longer for the slowest of a hundred.
const AIM: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);
const SIGN_OUT: &str = "/.portcullis/auth/logout";

pub(super) fn run(stage: &Stage, tools: &Toolbox) -> Result<()> {
    let postgres = Postgres::start(tools.path(Tool::Postgres)?, stage.folder)?;
    let redis = Redis::start(tools.path(Tool::Redis)?, stage.folder)?;
    let start = |name: &str| -> Result<Launched> {
        let folder = gate::furnish(stage, name)?;
        fs::write(folder.join("database"), postgres.url())?;
        fs::write(folder.join("redis"), redis.url())?;
        if name == "node-a" {
            gate::create_user(stage, &folder)?;
        }
        gate::serve(stage, &folder, name, Also::Redis)
    };
    let (first, second) = (start("node-a")?, start("node-b")?);
    let mut times = (0..ROUNDS)
        .map(|_| round(first.address, second.address))
        .collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    let at = |percent: usize| {
        times
            .get(times.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    say::line("| a sign-out seen by the other node, ms | p50 | p99 | slowest | aim for p99 | |");
    say::line("|---|--:|--:|--:|--:|---|");
    say::line(format!(
        "| {ROUNDS} sign-outs | {:.0} | {:.0} | {:.0} | {:.0} | {} |",
        millis(at(50)),
        millis(at(99)),
        millis(times.last().copied().unwrap_or_default()),
        millis(AIM),
        if at(99) <= AIM { "met" } else { "MISSED" },
    ));
    Ok(())
}

fn round(first: SocketAddr, second: SocketAddr) -> Result<Duration> {
    interrupt::check()?;
    let session = gate::sign_in(first)?;
    let head = session.head();
    for _ in 0..2 {
        let (status, answer) = request::send(second, &head)?;
        if status != 200 {
            bail!("the second node answers {status} to a living session:\n{answer}");
        }
    }
    let (status, answer) = request::send(first, &sign_out(&session))?;
    if !(200..300).contains(&status) {
        bail!("the first node answers {status} to a sign-out:\n{answer}");
    }
    let ended = Instant::now();
    loop {
        let (status, _) = request::send(second, &head).context("the second node is gone")?;
        if status == 401 {
            return Ok(ended.elapsed());
        }
        if ended.elapsed() > PATIENCE {
            bail!("after {PATIENCE:?} the second node still answers {status}");
        }
    }
}

fn sign_out(session: &Session) -> String {
    let Session {
        cookie,
        token,
        csrf,
    } = session;
    format!(
        "POST {SIGN_OUT} HTTP/1.1\r\nHost: {HOST}\r\nOrigin: http://{HOST}\r\nContent-Length: 0\r\n\
         Cookie: {cookie}={token}; csrf_token={csrf}\r\nX-CSRF-Token: {csrf}\r\n\r\n"
    )
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
