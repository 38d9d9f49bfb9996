//! Those who are measured: how each is started, and what is measured of it at the start.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::load::Requests;
use super::request::{self, Session};
use super::{credentials, fields, gate, live, nginx, usage, webhooks};
use crate::process::{Process, tethered};
use crate::services;
use crate::tools::{Tool, Toolbox};
use crate::workspace;

/// What a contestant finds when it starts.
pub(super) struct Stage<'a> {
    pub(super) folder: &'a Path,
    pub(super) tools: &'a Toolbox,
    pub(super) python: &'a Path,
    /// The gate's binary.
    pub(super) gate: &'a Path,
    /// The example that is the gate's edge alone.
    pub(super) floor: &'a Path,
    /// The example that fills a database with what is live.
    pub(super) live: &'a Path,
    /// How many sessions take turns.
    pub(super) sessions: usize,
    /// An nginx that answers everything with 200: the product.
    pub(super) upstream: SocketAddr,
    /// An nginx that answers everything with 204: the authorization service that does nothing.
    pub(super) authority: SocketAddr,
}

/// One way to stand in front of a product.
pub(super) struct Contestant {
    /// What the command line calls it.
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    /// Whether it takes part unless others are named.
    pub(super) always: bool,
    pub(super) start: fn(&Stage) -> Result<Running>,
}

pub(super) const ALL: &[Contestant] = &[
    Contestant {
        name: "nginx",
        description: "nginx, proxy only",
        always: true,
        start: nginx::start_plain,
    },
    Contestant {
        name: "nginx-guarded",
        description: "nginx + limit_req + auth_request",
        always: true,
        start: nginx::start_guarded,
    },
    Contestant {
        name: "caddy",
        description: "Caddy forward_auth",
        always: true,
        start: start_caddy,
    },
    Contestant {
        name: "fastapi",
        description: "FastAPI middleware",
        always: true,
        start: start_fastapi,
    },
    Contestant {
        name: "floor",
        description: "the gate's edge alone",
        always: true,
        start: gate::start_floor,
    },
    Contestant {
        name: "gate",
        description: "the gate, everything on",
        always: true,
        start: gate::start,
    },
    Contestant {
        name: "gate-post",
        description: "the gate, POST with a CSRF token",
        always: false,
        start: gate::start_post,
    },
    Contestant {
        name: "gate-traced",
        description: "the gate, a tenth of the requests traced",
        always: false,
        start: gate::start_traced,
    },
    Contestant {
        name: "gate-traced-all",
        description: "the gate, every request traced",
        always: false,
        start: gate::start_traced_all,
    },
    Contestant {
        name: "gate-webhooks",
        description: "the gate, webhooks acknowledged",
        always: false,
        start: webhooks::start,
    },
    Contestant {
        name: "fields-seal",
        description: "the gate, 100 fields of 64 bytes sealed",
        always: false,
        start: fields::start_seal,
    },
    Contestant {
        name: "fields-open",
        description: "the gate, 100 fields of 64 bytes opened",
        always: false,
        start: fields::start_open,
    },
    Contestant {
        name: "by-key",
        description: "the gate, by API key",
        always: false,
        start: credentials::start_key,
    },
    Contestant {
        name: "by-token",
        description: "the gate, by its own access token",
        always: false,
        start: credentials::start_token,
    },
    Contestant {
        name: "by-foreign",
        description: "the gate, by another issuer's token",
        always: false,
        start: credentials::start_foreign,
    },
    Contestant {
        name: "by-foreign-unmet",
        description: "the same, each token for the first time",
        always: false,
        start: credentials::start_foreign_unmet,
    },
    Contestant {
        name: "sessions-1k",
        description: "the gate, 1,000 live sessions",
        always: false,
        start: live::start_thousand_sessions,
    },
    Contestant {
        name: "sessions-1m",
        description: "the gate, 1,000 of 1,000,000 live sessions at work",
        always: false,
        start: live::start_million_sessions,
    },
    Contestant {
        name: "sessions-1m-even",
        description: "the gate, 1,000,000 live sessions at work",
        always: false,
        start: live::start_million_sessions_evenly,
    },
    Contestant {
        name: "keys-1k",
        description: "the gate, 1,000 API keys",
        always: false,
        start: live::start_thousand_keys,
    },
    Contestant {
        name: "keys-1m",
        description: "the gate, 1,000 of 1,000,000 API keys at work",
        always: false,
        start: live::start_million_keys,
    },
    Contestant {
        name: "keys-1m-even",
        description: "the gate, 1,000,000 API keys at work",
        always: false,
        start: live::start_million_keys_evenly,
    },
    Contestant {
        name: "tenants-1k",
        description: "the gate, 1,000 users in 10 tenants",
        always: false,
        start: live::start_thousand_members,
    },
    Contestant {
        name: "tenants-1m",
        description: "the gate, 1,000 of 1,000,000 users in 10,000 tenants at work",
        always: false,
        start: live::start_million_members,
    },
];

/// A contestant that answers.
pub(super) struct Running {
    process: Process,
    pub(super) address: SocketAddr,
    /// What the load sends.
    pub(super) requests: Requests,
    /// How many requests it takes until everything is in memory that will be asked for.
    pub(super) warm_up: u32,
    /// From the start of the process to its first answer.
    pub(super) cold_start: Duration,
    /// After the first answer, before any load, in KiB.
    pub(super) idle_memory: u64,
}

impl Running {
    pub(super) fn cpu_time(&self) -> Duration {
        usage::cpu_time(self.process.id())
    }

    /// In KiB.
    pub(super) fn memory(&self) -> u64 {
        usage::memory(self.process.id())
    }
}

/// A process that has answered once, before its sessions are known.
pub(super) struct Launched {
    process: Process,
    pub(super) address: SocketAddr,
    cold_start: Duration,
    idle_memory: u64,
}

/// Starts a process and waits for its first answer to `probe`, whatever the status.
pub(super) fn launch(
    name: &str,
    stage: &Stage,
    probe: &str,
    command: impl FnMut(u16) -> Result<Command>,
) -> Result<Launched> {
    let start = Instant::now();
    let services::Listening { process, port } = services::start(name, stage.folder, command)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    request::send(address, probe).with_context(|| format!("{name} does not answer"))?;
    let cold_start = start.elapsed();
    let idle_memory = usage::memory(process.id());
    Ok(Launched {
        process,
        address,
        cold_start,
        idle_memory,
    })
}

impl Launched {
    /// Takes the sessions of the load, and checks that a request of the first one gets through.
    pub(super) fn with_sessions(
        self,
        name: &str,
        stage: &Stage,
        sessions: &[Session],
    ) -> Result<Running> {
        let requests: Vec<String> = sessions.iter().map(Session::head).collect();
        self.with_requests(name, stage, &requests)
    }

    /// Takes the requests of the load, and checks that the first one gets through.
    pub(super) fn with_requests(
        self,
        name: &str,
        stage: &Stage,
        requests: &[String],
    ) -> Result<Running> {
        let first = requests.first().context("no session")?;
        let file = stage.folder.join(format!("{name}.requests"));
        fs::write(&file, requests.concat())?;
        self.running(name, first, Requests { file, tokens: None })
    }

    /// Checks that a request of the load gets through.
    pub(super) fn running(self, name: &str, first: &str, requests: Requests) -> Result<Running> {
        let Self {
            process,
            address,
            cold_start,
            idle_memory,
        } = self;
        let (status, answer) = request::send(address, first)?;
        if status != 200 {
            bail!("{name} answers {status} to the request of the load:\n{answer}");
        }
        Ok(Running {
            process,
            address,
            requests,
            warm_up: 0,
            cold_start,
            idle_memory,
        })
    }
}

/// Sessions for a contestant that keeps none itself.
pub(super) fn invented(stage: &Stage) -> Vec<Session> {
    (0..stage.sessions).map(Session::invented).collect()
}

fn start_caddy(stage: &Stage) -> Result<Running> {
    let file = stage.folder.join("Caddyfile");
    let sessions = invented(stage);
    let launched = launch("caddy", stage, &Session::invented(0).head(), |port| {
        let Stage {
            upstream,
            authority,
            ..
        } = stage;
        let text = format!(
            "{{\n\tadmin off\n\tauto_https off\n}}\n\
             http://:{port} {{\n\tbind 127.0.0.1\n\tforward_auth {authority} {{\n\t\turi /auth\n\t}}\n\
             \treverse_proxy {upstream}\n}}\n"
        );
        fs::write(&file, text)?;
        let mut command = tethered(stage.tools.path(Tool::Caddy)?, None)?;
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&file);
        command.envs(["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"].map(|name| (name, stage.folder)));
        Ok(command)
    })?;
    launched.with_sessions("caddy", stage, &sessions)
}

fn start_fastapi(stage: &Stage) -> Result<Running> {
    let sessions = invented(stage);
    let tokens = stage.folder.join("fastapi.sessions");
    let list: Vec<&str> = sessions.iter().map(|session| &*session.token).collect();
    fs::write(&tokens, list.join("\n"))?;
    let launched = launch("fastapi", stage, &Session::invented(0).head(), |port| {
        let mut command = tethered(stage.python, None)?;
        command
            .arg(workspace::service_files().join("fastapi_bench.py"))
            .arg(port.to_string());
        command.env("PORTCULLIS_BENCH_SESSIONS", &tokens);
        Ok(command)
    })?;
    launched.with_sessions("fastapi", stage, &sessions)
}
