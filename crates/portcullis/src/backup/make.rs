//! `portcullis backup`: read, write, try, record, and only then give it its name.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use portcullis_core::Secret;
use portcullis_events::{Action, Actor, Event, Outcome, Target as About};
use portcullis_store::dump::{self, Snapshot, Target};
use portcullis_store::{Condition, Db, Engine};
use portcullis_vault::keys::{Keys, Mac, Purpose};
use serde::Serialize;

use super::format::{Error, Header, Reader, Tallying, Writer};
use super::lock::{KeyKind, Lock};
use super::pour::pour;
use super::progress::{Progress, size};
use super::target::Part;
use crate::check;
use crate::cli::output;
use crate::cli::{Cli, Usage, backup};
use crate::config::Loaded;
use crate::config::document::Environment;
use crate::serve;
use crate::verbs::now;

/// What a backup or a restore begins with: the configuration, and no database yet.
pub(super) struct Begun {
    pub(super) loaded: Loaded,
    pub(super) url: Secret,
    pub(super) keys: Mac,
}

pub(super) fn begin(file: &Path) -> anyhow::Result<Begun> {
    let mut loaded = serve::load(file, Environment::of_process())?;
    let keys: Option<Keys> = check::keys(&mut loaded).filter(|_| !loaded.has_errors());
    let Some(keys) = keys else {
        bail!("the configuration has errors: `portcullis check` names them");
    };
    serve::redact(&loaded.config);
    let url = loaded.secrets.database.clone();
    Ok(Begun {
        url: url.context("`state.database` names no database")?,
        keys: keys.mac(Purpose::Backup)?,
        loaded,
    })
}

pub(super) const fn engine(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "sqlite",
        Engine::Postgres => "postgres",
    }
}

/// What is said when all is done.
#[derive(Serialize)]
struct Told {
    file: String,
    bytes: u64,
    made_at: String,
    tables: usize,
    rows: u64,
    /// What the trial opened it with.
    tried_with: KeyKind,
    recorded: bool,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (file, bytes) = (&self.file, size(self.bytes));
        let (rows, tables) = (self.rows, self.tables);
        write!(
            f,
            "{file}: {rows} rows of {tables} tables, {bytes}. It was decrypted, restored into an empty database and compared"
        )?;
        match self.tried_with {
            KeyKind::Identity => f.write_str(", with the private key that was given"),
            KeyKind::Passphrase => f.write_str(", with the passphrase"),
            KeyKind::OfThisRun => f.write_str(
                ", with a key of this run: that your private key opens it, `portcullis restore --check` shows",
            ),
        }
    }
}

/// `portcullis backup`
pub(crate) fn run(cli: &Cli, args: &backup::Make) -> anyhow::Result<bool> {
    let Some(to) = &args.to else {
        return Err(Usage::error("name a file: --to FILE"));
    };
    let begun = begin(&cli.config)?;
    let lock = Lock::of(args, &begun.loaded.config.backup.recipients)?;
    let part = Part::beside(to, args.force)?;
    let runtime = runtime()?;
    let made = runtime.block_on(async {
        let (header, bytes) = write(&begun, &lock, &part).await?;
        let (rows, tables) = try_out(&begun, &lock, &part)
            .await
            .context("the backup was written, and does not restore: it was thrown away")?;
        // SECURITY: it is written down who took everything along, or nobody did.
        let recorded = record(&begun, to, rows).await?;
        part.name()?;
        anyhow::Ok(Told {
            file: to.display().to_string(),
            bytes,
            made_at: header.made_at,
            tables,
            rows,
            tried_with: lock.keys.kind,
            recorded,
        })
    })?;
    if !made.recorded {
        output::aside(
            "not recorded in the audit trail: the schema is older than this program, and a backup does not change it",
        );
    }
    output::answer(cli.output, &made);
    Ok(true)
}

pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// Reads every table and writes it; how many bytes the file has.
async fn write(begun: &Begun, lock: &Lock, part: &Part) -> anyhow::Result<(Header, u64)> {
    let mut snapshot = Snapshot::open(&begun.url)
        .await
        .context("the database (`state.database`) cannot be read")?;
    let schema = snapshot.schema().clone();
    let header = Header::new(
        &schema,
        &begun.keys,
        now().to_string(),
        engine(snapshot.engine()),
        begun.loaded.config.kek.kind.to_string(),
    );
    let file = BufWriter::with_capacity(1 << 16, part.writer()?);
    let encrypted = lock.encrypting()?.wrap_output(file)?;
    let plain = BufWriter::with_capacity(1 << 16, encrypted);
    let mut writer = Writer::begin(plain, &header)?;
    let mut progress = Progress::begin("reading");
    for table in &schema.tables {
        let mut tallying = Tallying::new();
        writer.table(table)?;
        let each = |row: Vec<dump::Cell>| -> Result<(), Error> {
            let line = tallying.row(&row)?;
            progress.row(&table.name, line.len());
            writer.row(line)
        };
        snapshot.read(table, each).await?;
        writer.rows(&tallying.end())?;
        progress.table();
    }
    let plain = writer.end(&begun.keys)?;
    let encrypted = plain
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    let mut file = encrypted.finish()?;
    file.flush()?;
    let file = file
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    progress.end();
    Ok((header, file.metadata()?.len()))
}

/// Restores it, into nowhere; how many rows of how many tables.
async fn try_out(begun: &Begun, lock: &Lock, part: &Part) -> anyhow::Result<(u64, usize)> {
    let reader = Reader::begin(lock.keys.open(part.reader()?)?)?;
    let keys = Some(&begun.keys);
    let (mut load, poured) = pour(reader, Target::Nowhere, keys, &[], now(), "trying").await?;
    load.finish(now()).await?;
    Ok((poured.rows, poured.tables.len()))
}

/// Records that a backup was made. Not where that would change the schema.
async fn record(begun: &Begun, to: &Path, rows: u64) -> anyhow::Result<bool> {
    let config = &begun.loaded.config;
    let (_, condition) = portcullis_store::inspect(&config.state, &begun.url).await?;
    if condition != Condition::UpToDate {
        return Ok(false);
    }
    let db = Db::open(&config.state, &begun.url, now()).await?;
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let event = Event::new(now(), Action::BackupMade, Outcome::Allowed)
        .by(Actor::Operator)
        .to(About::named("backup", &name))
        .with("rows", rows);
    let recorded = async {
        let mut tx = db.begin().await?;
        portcullis_events::audit::record_alone(&mut tx, &config.audit, event).await?;
        tx.commit().await?;
        anyhow::Ok(())
    };
    recorded
        .await
        .context("the backup cannot be recorded in the audit trail: it was thrown away")?;
    db.close().await;
    Ok(true)
}
