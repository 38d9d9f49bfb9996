//! What the audit log costs: events a second that are recorded, placed under signed heads and sealed, on SQLite
//! in a temporary folder; and one proof in a tree of ten million leaves.
//!
//! `cargo run --release --package portcullis-events --example audit_log -- [EVENTS] [LEAVES]`

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_core::time::SystemClock;
use portcullis_core::{Clock, Secret, Span, UserId};
use portcullis_events::audit::tree::{self, Tiles};
use portcullis_events::audit::{Config, Event, Filter, Log, Parts, Trail};
use portcullis_events::{Action, Actor, Metrics, Outcome};
use portcullis_store::Db;
use portcullis_vault::fields::{self, Fields};
use portcullis_vault::keys::Keys;
use portcullis_vault::{Keks, kek};

type Anything<T> = Result<T, Box<dyn std::error::Error>>;

/// Who record at once.
const CALLERS: u32 = 64;
/// Proofs that are made.
const PROOFS: u32 = 1000;

fn main() -> Anything<()> {
    let mut arguments = std::env::args().skip(1);
    let kept = tempfile::tempdir()?;
    let folder = kept.path().display().to_string();
    let events: u32 = arguments.next().map_or(Ok(50_000), |text| text.parse())?;
    let leaves: u64 = arguments
        .next()
        .map_or(Ok(10_000_000), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut out = std::io::stdout().lock();
    let (spent, proofs) = runtime.block_on(sustained(&folder, events))?;
    let rate = f64::from(events) / spent.as_secs_f64();
    writeln!(
        out,
        "events a second, recorded, signed and sealed: {rate:.0}"
    )?;
    let each = proofs / PROOFS;
    writeln!(
        out,
        "a proof from the database, of {events} events: {each:?}"
    )?;
    let each = in_memory(leaves)?;
    writeln!(
        out,
        "a proof among {leaves} leaves, tiles in memory: {each:?}"
    )?;
    Ok(())
}

async fn sustained(folder: &str, events: u32) -> Anything<(Duration, Duration)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let url = Secret::new(format!("sqlite://{folder}/audit-bench.db"));
    let db = Db::open(&portcullis_store::Config::default(), &url, clock.now()).await?;
    let keys = Keys::new(Secret::new("of the bench alone".to_owned()), Vec::new());
    let master = kek::Settings::of(kek::KekKind::Master);
    let under = Keks::new(&master, &[], &keys, &clock)?;
    let (of_fields, remember) = (fields::Config::default(), Span::from_minutes(15));
    let fields = Fields::new(db.clone(), under, Arc::clone(&clock), &of_fields, remember);
    let config = Config::default();
    let trail = Trail::start(db.clone(), Arc::clone(&clock), Metrics::new(), &config);
    let log = Log::new(Parts {
        db,
        keys,
        fields,
        clock: Arc::clone(&clock),
        trail: trail.clone(),
        witnesses: Arc::default(),
    });
    let began = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (trail, clock, user) = (trail.clone(), Arc::clone(&clock), UserId::new());
        let address = std::net::Ipv4Addr::new(192, 0, 2, 1).into();
        callers.spawn(async move {
            for _ in 0..events / CALLERS {
                let event = Event::new(clock.now(), Action::LoginSucceeded, Outcome::Allowed);
                let event = event.by(Actor::User(user)).from(address);
                trail.record(event).await?;
            }
            Ok::<_, portcullis_events::audit::Error>(())
        });
    }
    // The keeper works beside them, as it does in a gate.
    while !callers.is_empty() {
        let wait = tokio::time::timeout(Duration::from_secs(1), callers.join_next());
        if let Ok(Some(done)) = wait.await {
            done??;
        } else {
            log.keep().await?;
        }
    }
    log.keep().await?;
    let spent = began.elapsed();
    let page = log.list(&Filter::default(), None, PROOFS).await?;
    let began = Instant::now();
    for event in &page.events {
        log.prove(event.id, None).await?.ok_or("no proof")?;
    }
    let proofs = began.elapsed();
    let report = log.verify(None).await?;
    if !report.holds() || report.waiting > 0 {
        return Err(report.to_string().into());
    }
    trail.shutdown().await;
    Ok((spent, proofs))
}

fn in_memory(leaves: u64) -> Anything<Duration> {
    let mut tiles = Tiles::default();
    for leaf in 0..leaves {
        tiles.push(leaf, tree::leaf_hash(&leaf.to_be_bytes()));
        if leaf % 1_000_000 == 0 {
            tiles.take_changed();
        }
    }
    let root = tiles.root(leaves).ok_or("no root")?;
    let began = Instant::now();
    for proof in 0..u64::from(PROOFS) {
        let index = proof * (leaves / u64::from(PROOFS));
        let path = tiles.inclusion(index, leaves).ok_or("no proof")?;
        let leaf = tree::leaf_hash(&index.to_be_bytes());
        if !tree::verify_inclusion(index, leaves, leaf, &path, &root) {
            return Err("a proof does not verify".into());
        }
    }
    Ok(began.elapsed() / PROOFS)
}
