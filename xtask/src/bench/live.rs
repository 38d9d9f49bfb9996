//! The gate with many live sessions. They are written into its database before it starts, by an example of the identity
//! crate: no product could do so.

use std::fs::{self, File};
use std::process::Stdio;

use anyhow::{Context, Result};

use super::WARM_UP_TURNS;
use super::contestants::{Running, Stage};
use super::credentials::Also;
use super::gate::{self, EMAIL};
use super::load::Requests;
use super::request::Session;
use crate::process::{command, quietly};

const THOUSAND: u32 = 1_000;
const MILLION: u32 = 1_000_000;

pub(super) fn start_thousand(stage: &Stage) -> Result<Running> {
    start(stage, "sessions-1k", THOUSAND, THOUSAND)
}

pub(super) fn start_million(stage: &Stage) -> Result<Running> {
    start(stage, "sessions-1m", MILLION, THOUSAND)
}

pub(super) fn start_million_evenly(stage: &Stage) -> Result<Running> {
    start(stage, "sessions-1m-even", MILLION, MILLION)
}

/// `live` sessions, of which `at_work` are asked for, spread over all of them.
fn start(stage: &Stage, name: &str, live: u32, at_work: u32) -> Result<Running> {
    let folder = gate::prepare(stage, name)?;
    let all = folder.join("tokens");
    let database = fs::read_to_string(folder.join("database"))?;
    let mut filling = command(stage.live_sessions, [&database, EMAIL, &live.to_string()]);
    filling.stdout(Stdio::from(File::create(&all)?));
    quietly("live_sessions", &mut filling)?;
    let step = usize::try_from(live / at_work)?;
    let text = fs::read_to_string(&all)?;
    let chosen: Vec<&str> = text.lines().step_by(step).collect();
    let first = chosen.first().context("no session")?;
    let tokens = folder.join("tokens.chosen");
    fs::write(&tokens, chosen.join("\n"))?;

    let session = |token: &str| Session {
        cookie: "session".to_owned(),
        token: token.to_owned(),
        ..Session::invented(0)
    };
    let file = folder.join("request");
    fs::write(&file, session("{token}").head())?;
    let requests = Requests {
        file,
        tokens: Some(tokens),
    };
    let launched = gate::serve(stage, &folder, name, Also::Nothing)?;
    let mut running = launched.running(name, &session(first).head(), requests)?;
    running.warm_up = at_work * WARM_UP_TURNS;
    Ok(running)
}
