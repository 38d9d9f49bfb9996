//! Opening SQLite: one connection that writes, several that read.
//!
//! Write-ahead log, so that readers do not wait for the writer; `synchronous=FULL`, because with
//! less an acknowledged write can be lost in a power cut.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use portcullis_core::Timestamp;
use sqlx::ConnectOptions;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};

use tokio::time::Instant;

use crate::config::Config;
use crate::{Error, migrations};

/// How long opening waits for another process that is migrating the same file.
const MIGRATION_WAIT: Duration = Duration::from_secs(30);
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// The writer's pool and the readers'.
pub(crate) async fn open(
    url: &str,
    config: &Config,
    now: Timestamp,
) -> Result<(SqlitePool, SqlitePool), Error> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(Error::Address(
            "a database in memory would forget every session and the audit trail; give a file",
        ));
    }
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|_| Error::Address("it is not a well-formed sqlite: address"))?
        .create_if_missing(false)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging();
    create_private(options.get_filename()).map_err(Error::unavailable)?;

    let mut migrating = connect_patiently(&options.clone().busy_timeout(MIGRATION_WAIT)).await?;
    migrations::run_sqlite(&mut migrating, now).await?;
    sqlx::Connection::close(migrating).await?;

    // SQLite itself waits for another process's write lock; it gives up before our own limit does,
    // so that the connection stays usable.
    let busy = config
        .acquire_timeout
        .min(config.statement_timeout)
        .as_duration();
    let options = options.busy_timeout(busy);
    let pool = |size: u32| {
        SqlitePoolOptions::new()
            .max_connections(size)
            .acquire_timeout(config.acquire_timeout.as_duration())
            .idle_timeout(None)
            .max_lifetime(None)
            // There is no network that could have taken the connection away.
            .test_before_acquire(false)
    };
    let write = pool(1)
        .min_connections(1)
        .connect_with(options.clone())
        .await?;
    let read = pool(config.readers)
        .connect_with(options.read_only(true))
        .await?;
    Ok((write, read))
}

/// Connects, and waits for another process that does so for the first time: switching to the
/// write-ahead log asks for the whole file at once, and SQLite does not wait for that by itself.
async fn connect_patiently(options: &SqliteConnectOptions) -> Result<SqliteConnection, Error> {
    let patient_until = Instant::now() + MIGRATION_WAIT;
    loop {
        match options.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) if is_busy(&error) && Instant::now() < patient_until => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// `SQLITE_BUSY`, in its plain form or an extended one.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

/// The same for the cause of one of our own errors.
pub(crate) fn is_busy_cause(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    cause.downcast_ref::<sqlx::Error>().is_some_and(is_busy)
}

/// Creates the file if it is missing, readable by its owner alone; SQLite gives its companions
/// (`-wal`, `-shm`) the same mode. The directory is synchronised, so that the new name survives a
/// power cut as well.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Ok(file) => {
            file.sync_all()?;
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
