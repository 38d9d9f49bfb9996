//! `portcullis demo`: a working gate in a temporary folder, with an application behind it.

mod app;
mod policy;
mod stand_in;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use portcullis_core::time::SystemClock;
use portcullis_core::{Clock, Secret};
use portcullis_events::{By as EventBy, Metrics, Trail};
use portcullis_identity::accounts::{By, Registering};
use portcullis_identity::password_policy;
use portcullis_store::Db;
use portcullis_vault::tokens::Token;

use crate::cli::{Demo, output};
use crate::components::Components;
use crate::config::document::Environment;
use crate::snapshot::Snapshot;
use crate::{check, config, serve, upkeep};

const EMAIL: &str = "admin@demo.test";
/// By this the gate knows the application's own scripts.
const NONCE: &str = "portcullis-demo-nonce";

/// Runs until it is interrupted. Everything it made is gone afterwards.
pub(crate) fn run(args: &Demo) -> anyhow::Result<bool> {
    ensure!(
        args.listen.ip().is_loopback(),
        "`--listen {}`: the demo listens on loopback only",
        args.listen
    );
    let folder = Folder::new()?;
    for name in policy::SECRETS {
        let secret = Token::generate()
            .map(|token| token.text())
            .context("no random numbers could be had")?;
        std::fs::write(folder.path().join(name), secret.expose())?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (app, scanner) = runtime.block_on(async {
        let scanner = stand_in::start().await?;
        anyhow::Ok((start_app().await?, scanner))
    })?;
    let places = policy::Places {
        gate: free(args.listen)?,
        admin: free(SocketAddr::from(([127, 0, 0, 1], 0)))?,
        app,
        scanner,
    };
    std::fs::write(
        folder.path().join("reports"),
        format!("http://demo@{app}/1"),
    )?;
    std::fs::write(folder.path().join("alerts"), format!("http://{app}/alerts"))?;
    let file = folder.path().join("portcullis.toml");
    std::fs::write(&file, policy::text(&places))?;
    let mut loaded = serve::load(&file, Environment::default())?;
    let keys = check::keys(&mut loaded).context("the demo has no key")?;
    let Some(snapshot) = Snapshot::compile(&mut loaded, &keys) else {
        bail!("the demo's configuration is wrong: {:?}", loaded.findings)
    };
    portcullis_events::log::init(loaded.config.log.level, loaded.config.log.format)?;
    let password = runtime.block_on(furnish(&loaded, &keys, &file))?;
    let mut standing = serve::start(&loaded, snapshot, &keys)?;
    greet(standing.address, &password, &file);
    standing.wait_for_signal();
    standing.stop();
    Ok(true)
}

/// A port that nobody has at the moment, where none is named: the policy names it, and so does what is printed.
fn free(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    if wanted.port() != 0 {
        return Ok(wanted);
    }
    Ok(std::net::TcpListener::bind(wanted)?.local_addr()?)
}

async fn start_app() -> anyhow::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app::router()).await });
    Ok(address)
}

/// Puts the administrator in, and the reports of the scans that a build would hand in.
async fn furnish(
    loaded: &config::Loaded,
    keys: &portcullis_vault::keys::Keys,
    file: &Path,
) -> anyhow::Result<Secret> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let url = loaded
        .secrets
        .database
        .as_ref()
        .context("the demo has no database")?;
    let db = Db::open(&loaded.config.state, url, clock.now()).await?;
    let trail = Trail::start(
        db.clone(),
        Arc::clone(&clock),
        Metrics::new(),
        &loaded.config.audit,
    );
    let identity = upkeep::identity(loaded, &db, keys, &trail, &clock).await?;
    let password = one_time_password()?;
    let roles = ["admin".to_owned(), "user".to_owned()];
    let new = Registering {
        email: EMAIL,
        password: &password,
        display_name: None,
    };
    identity
        .accounts
        .create(&new, &roles, None, &By::operator())
        .await
        .context("the demo's account")?;
    let configuration = check::run(file, &[], &Environment::default())?.sarif();
    for (name, report) in [
        ("configuration", configuration),
        ("components", Components::own()?.sarif()),
    ] {
        let report = report.to_string();
        let scans = &identity.scans;
        let recorded = scans.record(name, report.as_bytes(), &EventBy::OPERATOR);
        recorded.await.context("the demo's scans")?;
    }
    trail.shutdown().await;
    db.close().await;
    Ok(password)
}

pub(crate) fn one_time_password() -> anyhow::Result<Secret> {
    password_policy::one_time_password().context("no random numbers could be had")
}

fn greet(address: SocketAddr, password: &Secret, file: &Path) {
    let at = format!("http://{address}");
    // As it was started: whoever comes from a clone has no `portcullis` on the path.
    let program = std::env::current_exe()
        .map_or_else(|_| "portcullis".into(), |path| path.display().to_string());
    let prove = format!("{program} --config {} prove", file.display());
    output::line(format_args!(
        "
Portcullis stands at {at} in front of a small application.

  sign in as   {EMAIL}
  password     {}

Four things to try, the last from a second terminal:

  1. an allowed request     curl -i {at}/
  2. a refused one          curl -i {at}/api/internal/debug
     and one that is forged curl -i -X POST {at}/.portcullis/auth/login -H 'Origin: https://evil.test' -H 'Content-Type: application/json' -d '{{}}'
  3. the page to open       {at}/board
  4. the proof of it all    {prove}

Everything is kept in a temporary folder and gone when you press Ctrl-C.
",
        password.expose()
    ));
}

/// A folder that is removed when the demo ends.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path =
            std::env::temp_dir().join(format!("portcullis-demo-{}", uuid::Uuid::new_v4().simple()));
        // Secrets lie in it.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is a closed database without any secret of anybody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
