//! `portcullis prove`: the executable SECURITY.md. Each requirement has a probe that goes over the wire against
//! the running gate, reads the live state where the wire cannot show it, or rehearses on a copy where real people
//! would be disturbed. Each can fail; what could not be tried is said to be not proven.
//!
//! Where to begin: `requirement.rs` is the closed list, `probes/mod.rs` leads from an id to its probe.

mod against;
mod hostile;
mod numbers;
pub(crate) mod probe;
mod probes;
pub(crate) mod product;
pub(crate) mod rehearsal;
mod report;
mod requirement;
pub(crate) mod wire;
pub(crate) mod world;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use portcullis_core::Mode;
use portcullis_events::By;
use portcullis_events::scans::Covers;

use self::probe::{Finding, Place, Short, Verdict};
use self::product::Product;
use self::rehearsal::{Copy, Kind};
pub(crate) use self::report::Format;
use self::report::Report;
use self::requirement::Id;
use self::wire::{Addresses, Target};
use self::world::World;
use crate::cli::{Usage, output};
use crate::config::Loaded;
use crate::config::document::Environment;
use crate::serve;
use crate::verbs::{self, Stores};

/// What `prove` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the gate is, such as `http://127.0.0.1:8080`. Default: `listen.address`.
    #[arg(long, value_name = "URL")]
    pub(crate) gate: Option<url::Url>,
    /// Only these requirements, such as `I4,H5,B2`.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) only: Vec<Id>,
    /// Requirements that may stay unproven without making this a finding. They are in the report all the same.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) accept: Vec<Id>,
    /// How the report is written; instead of `--output`.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// Write the report into this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    /// Show the requirements, and probe nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// Say whether a document that `--format md` or `--format asvs` wrote is as it was signed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["gate", "only", "format", "to", "list", "against"])]
    pub(crate) verify: Option<PathBuf>,
    /// Probe a product without Portcullis from outside, and say what is missing. Needs no configuration.
    #[arg(long, value_name = "URL", conflicts_with_all = ["gate", "only", "accept", "list"])]
    pub(crate) against: Option<url::Url>,
    /// With --against: the product's OpenAPI document. Default: it is looked for at the usual paths.
    #[arg(long, value_name = "FILE", requires = "against")]
    pub(crate) openapi: Option<PathBuf>,
}

/// Everything that probes work with.
pub(crate) struct Scene {
    pub(crate) live: World,
    rehearsal: Result<World, String>,
    development: tokio::sync::OnceCell<Result<World, String>>,
    product: Product,
    /// Of the probes before: a few requirements follow from others.
    pub(crate) so_far: RefCell<Vec<Finding>>,
    file: PathBuf,
}

impl Scene {
    /// The copy in production mode.
    pub(crate) fn rehearsal(&self) -> Result<&World, Short> {
        self.rehearsal
            .as_ref()
            .map_err(|why| Short::not_proven(format!("there is no rehearsal: {why}")))
    }

    /// The copy in development mode, for what production keeps from leading to this machine.
    pub(crate) async fn development(&self) -> Result<&World, Short> {
        let started = self.development.get_or_init(async || {
            let copy = rehearse(&self.live.stores.loaded, Kind::Development, &self.product);
            Box::pin(copy).await.map_err(|error| format!("{error:#}"))
        });
        started
            .await
            .as_ref()
            .map_err(|why| Short::not_proven(format!("there is no rehearsal: {why}")))
    }

    /// The configuration file of the gate.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}

/// `portcullis prove`. `Ok(false)` where a probe got through, or nobody knows.
pub(crate) fn run(file: &Path, args: &Args, format: output::Format) -> anyhow::Result<bool> {
    let format = args.format.unwrap_or(match format {
        output::Format::Text => Format::Text,
        output::Format::Json => Format::Json,
    });
    if args.list {
        report::list(format);
        return Ok(true);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    if let Some(url) = &args.against {
        let outside = runtime.block_on(against::run(url, args.openapi.as_deref()))?;
        deliver(args, &outside.written(format)?)?;
        return Ok(outside.is_sound());
    }
    let (loaded, keys) = verbs::sound(file, Environment::of_process())?;
    serve::redact(&loaded.config);
    if let Some(document) = &args.verify {
        return runtime.block_on(verify(document, loaded, &keys));
    }
    let (report, text) = runtime.block_on(async {
        let target = target(&loaded, args.gate.as_ref())?;
        let admin = reachable(loaded.config.admin.address);
        answers(&target).await?;
        let stores = Stores::open(loaded, &keys).await?;
        let ring = Arc::clone(&stores.identity.signing_keys.ring);
        let report = Box::pin(prove(file, args, target, admin, stores)).await?;
        let text = report.written(format, &ring)?;
        anyhow::Ok((report, text))
    })?;
    deliver(args, &text)?;
    Ok(report.is_sound(&args.accept))
}

/// Whether a document is as the gate signed it.
async fn verify(
    document: &Path,
    loaded: Loaded,
    keys: &portcullis_vault::Keys,
) -> anyhow::Result<bool> {
    let text = std::fs::read_to_string(document).map_err(|error| {
        Usage::error(format!("`{}` cannot be read: {error}", document.display()))
    })?;
    let stores = Stores::open(loaded, keys).await?;
    let said = report::markdown::verify(&text, &stores.identity.signing_keys.ring);
    stores.close().await;
    match said {
        Ok(said) => {
            output::line(format_args!("{}: {said}", document.display()));
            Ok(true)
        }
        Err(why) => {
            output::line(format_args!("{}: NOT VERIFIED: {why}", document.display()));
            Ok(false)
        }
    }
}

fn deliver(args: &Args, text: &str) -> anyhow::Result<()> {
    match &args.to {
        None => output::line(text.trim_end()),
        Some(to) => {
            std::fs::write(to, text).with_context(|| format!("`{}`", to.display()))?;
            output::aside(format_args!("written to {}", to.display()));
        }
    }
    Ok(())
}

/// The gate that the configuration, or the command line, names.
fn target(loaded: &Loaded, gate: Option<&url::Url>) -> anyhow::Result<Target> {
    let config = &loaded.config;
    let named = config
        .hosts
        .allow
        .iter()
        .find(|host| !host.starts_with('*'));
    let address = match gate {
        None => reachable(config.listen.address),
        Some(url) => {
            let found = url.socket_addrs(|| None);
            let found = found.map_err(|error| Usage::error(format!("`--gate {url}`: {error}")))?;
            *found
                .first()
                .ok_or_else(|| Usage::error(format!("`--gate {url}` names no address")))?
        }
    };
    if address.port() == 0 {
        return Err(Usage::error(
            "`listen.address` has port 0: say where the gate is with `--gate http://127.0.0.1:PORT`",
        ));
    }
    let host = named.cloned().unwrap_or_else(|| address.to_string());
    // What this machine may claim to be before it is asked who it is.
    let trusted = config
        .listen
        .trusted_proxies
        .iter()
        .any(|network| network.contains(&address.ip()) && address.ip().is_loopback());
    let addresses = match (trusted, address.ip()) {
        (true, _) => Addresses::Claimed,
        (false, IpAddr::V4(ip)) if ip.is_loopback() && cfg!(target_os = "linux") => {
            Addresses::Loopback
        }
        (false, IpAddr::V4(_) | IpAddr::V6(_)) => Addresses::One,
    };
    let is_https = config.mode == Mode::Production || config.listen.tls.is_some();
    let scheme = if is_https { "https" } else { "http" };
    let target = Target::new(
        address,
        host.clone(),
        format!("{scheme}://{host}"),
        addresses,
    );
    match &loaded.listen().tls {
        None => Ok(target),
        Some(tls) => {
            let name = host.split(':').next().unwrap_or(&host).to_owned();
            let name = rustls::pki_types::ServerName::try_from(name)?;
            // What stands in the gate's own file is believed, and nobody else.
            let client =
                portcullis_edge::tls::client_config(Some(&tls.cert), false, "listen.tls.cert");
            let client = client.map_err(|finding| anyhow::anyhow!("{finding}"))?;
            Ok(target.over_tls(client, name))
        }
    }
}

/// An address that listens everywhere is asked on this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Before anything is put into the database: is there a gate?
async fn answers(target: &Target) -> anyhow::Result<()> {
    let reply = target.get("/healthz").send().await.with_context(|| {
        format!(
            "no gate at {}: start it (`portcullis serve`), or say where it is with `--gate`",
            target.address
        )
    })?;
    if reply.status != 200 {
        bail!(
            "{} answers {} to /healthz: is it this gate?",
            target.address,
            reply.said()
        );
    }
    Ok(())
}

/// A copy of the gate, with everything in it that probes need.
pub(crate) async fn rehearse(
    original: &Loaded,
    kind: Kind,
    product: &Product,
) -> anyhow::Result<World> {
    let copy = Copy::start(original, kind, product).await?;
    let (loaded, keys) = verbs::sound(&copy.config(), Environment::default())?;
    let scheme = match kind {
        Kind::Production => "https",
        Kind::Development => "http",
    };
    let host = rehearsal::HOST.to_owned();
    let origin = format!("{scheme}://{host}");
    let target = Target::new(copy.address, host, origin, Addresses::Claimed);
    let stores = Stores::open(loaded, &keys).await?;
    let furnished = World::furnish(Place::Rehearsal, target, copy.admin, stores);
    let mut world = Box::pin(furnished).await?;
    world.product = Some(product.clone());
    world.copy = Some(copy);
    Ok(world)
}

async fn prove(
    file: &Path,
    args: &Args,
    target: Target,
    admin: SocketAddr,
    stores: Stores,
) -> anyhow::Result<Report> {
    let product = Product::start().await?;
    output::aside("setting up: probes' accounts, and a rehearsal with the same policy");
    let rehearsal = Box::pin(rehearse(&stores.loaded, Kind::Production, &product)).await;
    let live = Box::pin(World::furnish(Place::Gate, target, admin, stores)).await?;
    let mut scene = Scene {
        live,
        rehearsal: rehearsal.map_err(|error| format!("{error:#}")),
        development: tokio::sync::OnceCell::new(),
        product,
        so_far: RefCell::default(),
        file: file.to_owned(),
    };
    // Whatever happens, also Ctrl-C: what was put in is switched off again.
    let interrupted = tokio::select! {
        () = probe_all(&scene, &args.only) => false,
        _ = tokio::signal::ctrl_c() => true,
    };
    let report = Report::about(&scene.live.stores.loaded, &scene.live.target);
    let findings = scene.so_far.take();
    let report = report.with(findings);
    if !interrupted && args.only.is_empty() {
        record(&scene.live, &report).await?;
    }
    let mut left = Box::pin(scene.live.clear()).await;
    for world in scene
        .rehearsal
        .into_iter()
        .chain(scene.development.take().and_then(Result::ok))
    {
        left.extend(Box::pin(world.clear()).await);
    }
    for what in left {
        output::aside(format_args!("left behind: {what}"));
    }
    if interrupted {
        bail!(
            "interrupted after {} probes; what they made is switched off again",
            report.findings.len()
        );
    }
    Ok(report)
}

/// Puts a whole run on record, where the policy wants proofs: the next one is due from here on.
async fn record(live: &World, report: &Report) -> anyhow::Result<()> {
    let scans = &live.stores.identity.scans;
    let Some(scan) = scans.covering(Covers::Proof) else {
        return Ok(());
    };
    let sarif = report.sarif().to_string();
    let recorded = scans.record(&scan.name, sarif.as_bytes(), &By::OPERATOR);
    recorded
        .await
        .context("this run could not be put on record")?;
    output::aside(format_args!(
        "on record as the scan `{}`; the next is due within {}",
        scan.name, scan.every
    ));
    Ok(())
}

async fn probe_all(scene: &Scene, only: &[Id]) {
    let wanted: Vec<Id> = Id::ALL
        .iter()
        .copied()
        .filter(|id| only.is_empty() || only.contains(id))
        .collect();
    let mut last = None;
    for id in wanted {
        if last != Some(id.group()) {
            last = Some(id.group());
            output::aside(format_args!("{} ...", id.group().title()));
        }
        let began = Instant::now();
        let probed = probes::probe(id, scene).await;
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let found = Finding::of(id, probed, milliseconds);
        match found.verdict {
            Verdict::Failed | Verdict::NotProven => {
                output::aside(format_args!(
                    "  {id} {}: {}",
                    found.verdict.as_str(),
                    found.said
                ));
            }
            Verdict::Held | Verdict::NotConfigured => {}
        }
        scene.so_far.borrow_mut().push(found);
    }
}
