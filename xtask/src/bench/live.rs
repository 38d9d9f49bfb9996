//! The gate with much that is live: sessions, API keys, tenants with members. It is written into its database before it
//! starts, by an example of the identity crate: no product could do so.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};

use super::WARM_UP_TURNS;
use super::contestants::{Running, Stage};
use super::credentials::{Also, bearer};
use super::gate::{self, EMAIL};
use super::load::Requests;
use super::request::Session;
use crate::process::{command, quietly};

const THOUSAND: u32 = 1_000;
const MILLION: u32 = 1_000_000;

pub(super) fn start_thousand_sessions(stage: &Stage) -> Result<Running> {
    start(stage, &SESSIONS, "sessions-1k", (THOUSAND, THOUSAND))
}

pub(super) fn start_million_sessions(stage: &Stage) -> Result<Running> {
    start(stage, &SESSIONS, "sessions-1m", (MILLION, THOUSAND))
}

pub(super) fn start_million_sessions_evenly(stage: &Stage) -> Result<Running> {
    start(stage, &SESSIONS, "sessions-1m-even", (MILLION, MILLION))
}

pub(super) fn start_thousand_keys(stage: &Stage) -> Result<Running> {
    start(stage, &KEYS, "keys-1k", (THOUSAND, THOUSAND))
}

pub(super) fn start_million_keys(stage: &Stage) -> Result<Running> {
    start(stage, &KEYS, "keys-1m", (MILLION, THOUSAND))
}

pub(super) fn start_million_keys_evenly(stage: &Stage) -> Result<Running> {
    start(stage, &KEYS, "keys-1m-even", (MILLION, MILLION))
}

/// Ten tenants.
pub(super) fn start_thousand_members(stage: &Stage) -> Result<Running> {
    start(stage, &MEMBERS, "tenants-1k", (THOUSAND, THOUSAND))
}

/// Ten thousand tenants.
pub(super) fn start_million_members(stage: &Stage) -> Result<Running> {
    start(stage, &MEMBERS, "tenants-1m", (MILLION, THOUSAND))
}

/// What there is much of.
struct Kind {
    /// What the example calls it.
    name: &'static str,
    also: Also,
    /// The request by a token, and by what stands beside it.
    head: fn(&str, &str) -> String,
}

const SESSIONS: Kind = Kind {
    name: "sessions",
    also: Also::Nothing,
    head: |token, _| session(token).head(),
};

const KEYS: Kind = Kind {
    name: "keys",
    also: Also::Keys,
    head: |token, _| bearer(token),
};

const MEMBERS: Kind = Kind {
    name: "members",
    also: Also::Members,
    head: |token, tenant| session(token).head_of(tenant),
};

fn session(token: &str) -> Session {
    Session {
        cookie: "session".to_owned(),
        token: token.to_owned(),
        ..Session::invented(0)
    }
}

/// `live` of a kind, of which `at_work` are asked for, spread over all of them.
fn start(stage: &Stage, kind: &Kind, name: &str, (live, at_work): (u32, u32)) -> Result<Running> {
    let folder = gate::prepare(stage, name)?;
    let all = folder.join("tokens");
    fill(stage, &folder, &all, kind, live)?;
    let step = usize::try_from(live / at_work)?;
    let text = fs::read_to_string(&all)?;
    let chosen: Vec<&str> = text.lines().step_by(step).collect();
    let first = chosen.first().context("nothing is live")?;
    let (token, beside) = first.split_once(' ').unwrap_or((first, ""));
    let first = (kind.head)(token, beside);
    let tokens = folder.join("tokens.chosen");
    fs::write(&tokens, chosen.join("\n"))?;

    let file = folder.join("request");
    fs::write(&file, (kind.head)("{token}", "{beside}"))?;
    let requests = Requests {
        file,
        tokens: Some(tokens),
    };
    let launched = gate::serve(stage, &folder, name, kind.also)?;
    let mut running = launched.running(name, &first, requests)?;
    running.warm_up = at_work * WARM_UP_TURNS;
    Ok(running)
}

fn fill(stage: &Stage, folder: &Path, to: &Path, kind: &Kind, count: u32) -> Result<()> {
    let database = fs::read_to_string(folder.join("database"))?;
    let mut filling = command(stage.live, [&database]);
    filling.arg(folder.join("master"));
    filling.args([EMAIL, kind.name, &count.to_string()]);
    filling.stdout(Stdio::from(File::create(to)?));
    quietly("filling the database", &mut filling).map(drop)
}
