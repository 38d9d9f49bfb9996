//! Start and stop: from a configuration to a gate that stands, and back to nothing.
//!
//! Order of starting: stores, then what is kept in memory, then the listeners. Nothing listens
//! before everything it needs has answered once. Order of stopping: the reverse; requests in flight
//! finish, activity and events are written, then the stores are closed.

use std::num::NonZero;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use portcullis_core::finding::Finding;
use portcullis_core::time::SystemClock;
use portcullis_core::{Clock, Mode};
use portcullis_edge::drain::{Stopper, drain};
use portcullis_edge::tls::ServerTls;
use portcullis_edge::{Drain, Listener, Settings};
use portcullis_events::audit::{Action, Actor, Event, Outcome};
use portcullis_events::incidents::Alarm;
use portcullis_events::{AccessLog, Metrics, Traces, Trail, access_log, traces};
use portcullis_identity::privacy::config::never_logged;
use portcullis_store::Db;
use portcullis_store::counters::Counters;
use portcullis_vault::keys::Keys;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Usage, output};
use crate::config::document::Environment;
use crate::config::{self, Loaded};
use crate::error_reports::Reports;
use crate::gate::Gate;
use crate::health::Probe;
use crate::lane::Lane;
use crate::snapshot::{Snapshot, is_secure};
use crate::streams::Streams;
use crate::{admin, alerts, check, panics, reload, shell, upkeep, vault_keeper};

/// How long a stop waits for messages of webhooks that are being delivered.
const LAST_DELIVERIES: std::time::Duration = std::time::Duration::from_secs(5);

/// How long a stop waits for spans to be handed over.
const LAST_SPANS: std::time::Duration = std::time::Duration::from_secs(2);

/// A gate that stands.
pub(crate) struct Standing {
    pub(crate) gate: Arc<Gate>,
    pub(crate) address: std::net::SocketAddr,
    back: Runtime,
    stopper: Stopper,
    lanes: Vec<JoinHandle<()>>,
    log: Option<AccessLog>,
    traces: Option<Traces>,
    /// The certificate that new handshakes get.
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) signals: Signals,
}

/// The signals that the gate understands. They are caught before anything listens, so that one
/// that comes early ends the process in order, too.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// For whoever reloads; without that it ends the gate like the others.
    pub(crate) hangup: Option<Signal>,
}

impl Signals {
    fn catch(back: &Runtime) -> std::io::Result<Self> {
        let _inside = back.enter();
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: Some(signal(SignalKind::hangup())?),
        })
    }
}

/// `portcullis serve`.
pub(crate) fn run(file: &Path) -> anyhow::Result<bool> {
    let mut loaded = load(file, Environment::of_process())?;
    check::secret_files(&mut loaded);
    let Some((snapshot, keys)) = check::judge(&mut loaded) else {
        return Ok(refuse(&loaded.findings));
    };
    redact(&loaded.config);
    portcullis_events::log::init(loaded.config.log.level, loaded.config.log.format)?;
    panics::to_the_log();
    for finding in &loaded.findings {
        tracing::warn!(rule = finding.rule, key = %finding.key, line = finding.line, "{}", finding.message);
    }
    let mut standing = start(&loaded, snapshot, &keys)?;
    let running = reload::Running { loaded, keys };
    let reloading = reload::watch(&mut standing, file.to_owned(), running);
    standing.wait_for_signal();
    reloading.abort();
    standing.stop();
    Ok(true)
}

/// Before anything is written: what the product calls secret, and keys of its own make.
pub(crate) fn redact(config: &config::Config) {
    let keys = &config.api_keys;
    let prefixes = [Some(&keys.prefix), keys.imported_prefix.as_ref()];
    let prefixes: Vec<String> = prefixes
        .into_iter()
        .flatten()
        .map(|prefix| format!("{prefix}_"))
        .collect();
    let mut redaction = config.redaction.clone();
    // SECURITY: what `[[data]]` says is never logged is kept out by this, and by nothing else.
    redaction.fields.extend(never_logged(&config.data));
    portcullis_events::redact::install(&redaction, &prefixes);
}

pub(crate) fn load(file: &Path, environment: Environment) -> anyhow::Result<Loaded> {
    config::load(file, environment).map_err(|error| {
        Usage::error(format!("`{}` cannot be read ({error}). `portcullis init --upstream http://127.0.0.1:8000` writes one; `--config FILE` names another", file.display()))
    })
}

/// Says everything that is wrong, all at once.
fn refuse(findings: &[Finding]) -> bool {
    for finding in findings {
        output::aside(finding);
    }
    output::aside(
        "the gate does not start with this configuration: mend the errors above, `portcullis check` tells what is left",
    );
    false
}

/// Starts everything.
pub(crate) fn start(loaded: &Loaded, snapshot: Snapshot, keys: &Keys) -> anyhow::Result<Standing> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let back = Builder::new_multi_thread()
        .worker_threads(cores.clamp(2, 8))
        .thread_name("back")
        .enable_all()
        .build()?;
    let signals = Signals::catch(&back)?;
    let log = access_log(loaded)?;
    let metrics = log
        .as_ref()
        .map_or_else(Metrics::new, |(_, metrics)| Arc::clone(metrics));
    let gate = back.block_on(assemble(
        loaded,
        snapshot,
        keys,
        metrics,
        back.handle().clone(),
    ))?;
    let log = log.map(|(log, _)| log);
    let traces = export(loaded, &gate)?;
    let settings = Settings::compile(&loaded.listen(), cores)
        .map_err(|findings| anyhow::anyhow!("{}", joined(&findings)))?;
    let (stopper, ear) = drain();
    let (address, lanes) = start_lanes(
        &gate,
        &settings,
        loaded,
        &ear,
        (log.as_ref(), traces.as_ref()),
        cores,
    )?;
    start_admin(&back, &gate, loaded)?;
    tracing::info!(%address, lanes = cores, mode = ?loaded.config.mode, "listening");
    if loaded.config.mode == Mode::Development {
        tracing::warn!(
            "development mode: cookies are not Secure, plain http is served, no role has to have a second factor, loopback only"
        );
    }
    Ok(Standing {
        gate,
        address,
        back,
        stopper,
        lanes,
        log,
        traces,
        tls: settings.tls.clone(),
        signals,
    })
}

fn joined(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn access_log(loaded: &Loaded) -> anyhow::Result<Option<(AccessLog, Arc<Metrics>)>> {
    if !loaded.config.log.access {
        return Ok(None);
    }
    let metrics = Metrics::new();
    let log = AccessLog::start(
        Box::new(std::io::stdout()),
        loaded.config.log.format,
        Arc::clone(&metrics),
    )?;
    Ok(Some((log, metrics)))
}

/// Where spans go, if the standard variables say so. What is wrong with them was told by `check`.
fn export(loaded: &Loaded, gate: &Gate) -> anyhow::Result<Option<Traces>> {
    let get = |name: &str| loaded.variable_of_the_gate(name);
    let asked = traces::asked(&get).map_err(|finding| anyhow::anyhow!("{finding}"))?;
    let Some(asked) = asked else {
        return Ok(None);
    };
    let traces = Traces::start(&asked, &gate.metrics, &gate.back)?;
    if traces.is_some() {
        tracing::info!(collector = asked.host(), "spans are exported");
    }
    Ok(traces)
}

async fn assemble(
    loaded: &Loaded,
    snapshot: Snapshot,
    keys: &Keys,
    metrics: Arc<Metrics>,
    back: tokio::runtime::Handle,
) -> anyhow::Result<Arc<Gate>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = &loaded.config;
    let url = loaded
        .secrets
        .database
        .as_ref()
        .context("`state.database` names no database")?;
    let db = Db::open(&config.state, url, clock.now())
        .await
        .context("the database (`state.database`) cannot be used")?;
    let counters = counters(loaded).await?;
    let trail = Trail::start(
        db.clone(),
        Arc::clone(&clock),
        Arc::clone(&metrics),
        &config.audit,
    );
    let identity = upkeep::identity(loaded, &db, keys, &trail, &clock).await?;
    identity.accounts.even_refusals().await?;
    // Behind the feed of revocations, and before anybody is answered: a restart thaws nothing.
    let alarm = Alarm::open(db.clone(), Arc::clone(&metrics)).await?;
    let posture = Arc::new(ArcSwap::from_pointee(loaded.findings.clone()));
    let probe = Probe::new(db.clone(), counters.clone(), Arc::clone(&metrics));
    let own = crate::own_api::router(
        &identity,
        (Arc::clone(&identity.signing_keys.ring), Arc::clone(&clock)),
        &snapshot.csrf,
        is_secure(config),
        &config.auth_api.mounts,
        (probe.clone(), Arc::clone(&posture)),
    )
    .merge(crate::security_txt::router(config, Arc::clone(&clock)));
    let reports = Reports::start(loaded, &clock);
    panics::report_to(reports.clone(), &clock);
    let gate = Arc::new(Gate {
        clock: Arc::clone(&clock),
        snapshot: ArcSwap::from_pointee(snapshot),
        db,
        counters,
        sessions: identity.sessions.clone(),
        keys: identity.keys.clone(),
        accounts: identity.accounts.clone(),
        bearers: identity.bearers.clone(),
        visitors: identity.visitors.clone(),
        directory: Arc::clone(identity.tenants.directory()),
        agreed: Arc::clone(identity.consents.agreed()),
        webhooks: identity.webhooks.clone(),
        anomalies: identity.anomalies.clone(),
        alarm,
        upload_store: config
            .upload_store
            .as_ref()
            .map(|_| identity.upload_store.clone()),
        trail: trail.clone(),
        metrics,
        ring: Arc::clone(&identity.signing_keys.ring),
        back,
        own,
        traffic: identity.traffic.clone(),
        probe,
        posture,
        streams: Streams::default(),
        reports,
        panics: AtomicU64::default(),
    });
    upkeep::start(&gate, &identity, loaded);
    vault_keeper::start(&gate, &identity);
    gate.webhooks
        .set(Arc::clone(&gate.snapshot.load().webhooks));
    gate.back.spawn(gate.webhooks.clone().run());
    upkeep::send_letters(&gate, &identity, loaded);
    gate.back.spawn(identity.anomalies.alerts().clone().run());
    gate.back.spawn(identity.anomalies.clone().run());
    alerts::start(&gate, identity.anomalies.alerts(), loaded);
    upkeep::follow_secret_files(&gate, &identity, loaded).await?;
    trail
        .record(Event::new(clock.now(), Action::GateStarted, Outcome::Allowed).by(Actor::System))
        .await
        .context("the first event cannot be recorded")?;
    Ok(gate)
}

/// The counters that the configuration asks for. Where Redis does not answer now, limits are counted
/// here, at this node's share, until it does.
async fn counters(loaded: &Loaded) -> anyhow::Result<Counters> {
    match &loaded.secrets.redis {
        None => Ok(Counters::Memory(Arc::default())),
        Some(url) => {
            let (counters, keeper) = Counters::redis(&loaded.config.state, url)?;
            if !keeper.connect().await {
                tracing::warn!(
                    "Redis (`state.redis`) does not answer yet: limits are counted by this node alone, at a share of their rates"
                );
            }
            tokio::spawn(keeper.run());
            Ok(counters)
        }
    }
}

fn start_lanes(
    gate: &Arc<Gate>,
    settings: &Settings,
    loaded: &Loaded,
    ear: &Drain,
    (log, traces): (Option<&AccessLog>, Option<&Traces>),
    cores: usize,
) -> anyhow::Result<(std::net::SocketAddr, Vec<JoinHandle<()>>)> {
    let listen = &loaded.config.listen;
    let bind = |address, key: &str| {
        Listener::bind(address).with_context(|| format!("cannot listen on {address} (`{key}`)"))
    };
    let first = bind(listen.address, "listen.address")?;
    let address = first.local_addr()?;
    let mut listeners = vec![(first, settings.clone())];
    for _ in 1..cores {
        listeners.push((bind(address, "listen.address")?, settings.clone()));
    }
    if let Some(plain) = listen.redirect_http {
        listeners.push((bind(plain, "listen.redirect-http")?, settings.without_tls()));
    }
    let lanes = listeners
        .into_iter()
        .enumerate()
        .map(|(number, (listener, settings))| {
            let (gate, ear, log) = (Arc::clone(gate), ear.clone(), log.map(AccessLog::lane));
            let traces = traces.cloned();
            std::thread::Builder::new()
                .name(format!("lane-{number}"))
                .spawn(move || run_lane((gate, log, traces), listener, settings, ear))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok((address, lanes))
}

fn run_lane(
    (gate, log, traces): (Arc<Gate>, Option<access_log::Lane>, Option<Traces>),
    listener: Listener,
    settings: Settings,
    ear: Drain,
) {
    let runtime = match portcullis_edge::lane_runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "a lane has no runtime");
            return;
        }
    };
    let lane = Rc::new(Lane::new(gate, log, traces));
    let handler = Rc::new(async move |arrival| shell::answer(&lane, arrival).await);
    let serving = portcullis_edge::serve(listener, Rc::new(settings), ear, handler);
    if let Err(error) = runtime.block_on(serving) {
        tracing::error!(%error, "a lane ended");
    }
}

fn start_admin(back: &Runtime, gate: &Arc<Gate>, loaded: &Loaded) -> anyhow::Result<()> {
    let wanted = loaded.config.admin.address;
    let listener = back
        .block_on(tokio::net::TcpListener::bind(wanted))
        .with_context(|| format!("cannot listen on {wanted} (`admin.address`)"))?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() && loaded.config.mode == Mode::Development {
        bail!("`admin.address` is {address}: development mode binds loopback only");
    }
    let router = admin::router(Arc::clone(gate));
    back.spawn(async move {
        if let Err(error) = admin::serve(listener, router).await {
            tracing::error!(%error, "the admin listener ended");
        }
    });
    tracing::info!(%address, "admin listening");
    Ok(())
}

impl Standing {
    /// Waits until somebody asks the gate to end.
    pub(crate) fn wait_for_signal(&mut self) {
        let Signals {
            terminate,
            interrupt,
            hangup,
        } = &mut self.signals;
        self.back.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = reload::heard(hangup) => {}
            }
        });
    }

    /// Lets requests finish, writes what is only in memory, and closes the stores.
    pub(crate) fn stop(self) {
        tracing::info!("stopping: requests in flight may finish");
        self.gate.probe.drain();
        self.stopper.start();
        for lane in self.lanes {
            if lane.join().is_err() {
                tracing::error!("a lane broke");
            }
        }
        self.back.block_on(async {
            self.gate.webhooks.finish(LAST_DELIVERIES).await;
            self.gate.anomalies.finish().await;
            if let Err(error) = self.gate.sessions.flush().await {
                tracing::warn!(%error, "the activity of sessions could not be written");
            }
            if let Err(error) = self.gate.keys.flush().await {
                tracing::warn!(%error, "the last use of API keys could not be written");
            }
            if let Err(error) = self.gate.traffic.keep().await {
                tracing::warn!(%error, "requests by the hour could not be written");
            }
            let event = Event::new(self.gate.clock.now(), Action::GateStopped, Outcome::Allowed)
                .by(Actor::System);
            if let Err(error) = self.gate.trail.record(event).await {
                tracing::warn!(%error, "the last event could not be recorded");
            }
            self.gate.trail.shutdown().await;
            self.gate.db.close().await;
        });
        if let Some(traces) = &self.traces {
            traces.finish(LAST_SPANS);
        }
        if let Some(log) = &self.log {
            log.shutdown();
        }
        tracing::info!("stopped");
        self.back.shutdown_background();
    }
}
