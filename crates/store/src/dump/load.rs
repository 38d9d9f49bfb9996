//! Writing: one transaction from an empty schema to a database that a gate can start on.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use portcullis_core::{Secret, Timestamp};
use sqlx::postgres::{PgArguments, PgPool, PgPoolOptions, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode,
    SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use uuid::Uuid;

use super::snapshot::{PgColumn, PgKind, quoted, read, types, without_limits};
use super::{Cell, Error, Kind, LIMITS, Schema, Table};
use crate::db::acquire;
use crate::tx::Driver;
use crate::{Error as StoreError, Tx, migrations, postgres, sqlite};

/// Rows in one statement.
const BATCH: usize = 50;
/// How long somebody who just left is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// Where the rows go.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// The database at an address. It has to be empty, unless what it holds may be replaced.
    At {
        url: &'a Secret<String>,
        replace: bool,
    },
    /// A database without a name, on the disk for temporary files: it is gone with the connection, and
    /// when the process dies.
    Nowhere,
}

/// A database that is being written.
#[must_use = "what is not committed never was"]
pub struct Load {
    tx: Tx,
    pool: Pool,
    schema: Schema,
    /// A file that was made for this, and goes again where nothing comes of it.
    made: Option<Made>,
}

impl Load {
    /// An empty database with the schema that these steps make.
    pub async fn begin(target: Target<'_>, steps: &[i64], now: Timestamp) -> Result<Load, Error> {
        let schema = Schema::of(steps).await?;
        let Alone { mut tx, pool, made } = match target {
            Target::Nowhere => nowhere().await?,
            Target::At { url, replace } => {
                let mut alone = alone_at(url.expose()).await?;
                clear(&mut alone.tx, replace).await?;
                alone
            }
        };
        migrations::apply(tx.driver(), now, |step| schema.steps.contains(&step)).await?;
        Ok(Load {
            tx,
            pool,
            schema,
            made,
        })
    }

    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The transaction, for what has to be written beside the rows.
    pub const fn tx(&mut self) -> &mut Tx {
        &mut self.tx
    }

    /// Adds rows to a table.
    pub async fn insert(&mut self, table: &Table, rows: &[Vec<Cell>]) -> Result<(), Error> {
        match self.tx.driver() {
            Driver::Sqlite(connection) => {
                for batch in batches(rows) {
                    let sql = AssertSqlSafe(insert(table, batch.len(), ""));
                    let mut query = sqlx::query::<Sqlite>(sql);
                    for row in batch {
                        query = bind_sqlite(query, table, row)?;
                    }
                    query.execute(&mut *connection).await?;
                }
            }
            Driver::Postgres(connection) => {
                let types = types(connection, table).await?;
                for batch in batches(rows) {
                    let sql = insert(table, batch.len(), "OVERRIDING SYSTEM VALUE ");
                    let mut query = sqlx::query::<Postgres>(AssertSqlSafe(sql));
                    for row in batch {
                        query = bind_postgres(query, table, &types, row)?;
                    }
                    query.execute(&mut *connection).await?;
                }
            }
        }
        Ok(())
    }

    /// Hands every row of a table to `each`, in the order of its key.
    pub async fn read<E: From<Error>>(
        &mut self,
        table: &Table,
        each: impl FnMut(Vec<Cell>) -> Result<(), E>,
    ) -> Result<(), E> {
        read(&mut self.tx, table, each).await
    }

    /// Every row is there: nothing may point to one that is not, numbers go on after the last one, and
    /// the steps that came later are applied.
    pub async fn finish(&mut self, now: Timestamp) -> Result<(), Error> {
        match self.tx.driver() {
            Driver::Sqlite(connection) => {
                let dangling = sqlx::query("PRAGMA foreign_key_check")
                    .fetch_optional(connection)
                    .await?;
                if let Some(row) = dangling {
                    return Err(Error::Dangling(row.try_get(0)?));
                }
            }
            Driver::Postgres(connection) => {
                for table in &self.schema.tables {
                    for column in types(connection, table).await? {
                        if column.is_numbered {
                            let sql = go_on_after_the_last(&table.name, &column.name);
                            sqlx::query(AssertSqlSafe(sql))
                                .fetch_optional(&mut *connection)
                                .await?;
                        }
                    }
                }
            }
        }
        migrations::apply(self.tx.driver(), now, |_| true).await?;
        Ok(())
    }

    /// Shows it all at once.
    pub async fn commit(self) -> Result<(), Error> {
        let Load { tx, pool, made, .. } = self;
        tx.commit().await?;
        pool.close().await;
        if let Some(made) = made {
            made.keep();
        }
        Ok(())
    }
}

fn batches(rows: &[Vec<Cell>]) -> impl Iterator<Item = &[Vec<Cell>]> {
    // Two texts per table, so that both stay prepared: whole batches, and single rows.
    let whole = rows.len() - rows.len() % BATCH;
    let (whole, rest) = rows.split_at_checked(whole).unwrap_or((rows, &[]));
    whole.chunks(BATCH).chain(rest.chunks(1))
}

fn insert(table: &Table, rows: usize, overriding: &str) -> String {
    let names: Vec<String> = table
        .columns
        .iter()
        .map(|column| quoted(&column.name))
        .collect();
    let width = names.len();
    let values: Vec<String> = (0..rows)
        .map(|row| {
            let places: Vec<String> = (1..=width)
                .map(|place| format!("${}", row * width + place))
                .collect();
            format!("({})", places.join(", "))
        })
        .collect();
    format!(
        "INSERT INTO {} ({}) {overriding}VALUES {}",
        quoted(&table.name),
        names.join(", "),
        values.join(", ")
    )
}

fn go_on_after_the_last(table: &str, column: &str) -> String {
    let (name, column_name) = (quoted(table), quoted(column));
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    format!(
        "SELECT setval(pg_get_serial_sequence({}, {}), GREATEST(MAX({column_name}), 1), COUNT(*) > 0) FROM {name}",
        literal(&name),
        literal(column),
    )
}

fn bind_sqlite<'q>(
    mut query: Query<'q, Sqlite, SqliteArguments>,
    table: &Table,
    row: &[Cell],
) -> Result<Query<'q, Sqlite, SqliteArguments>, Error> {
    if row.len() != table.columns.len() {
        return Err(Error::Misfit(table.name.clone()));
    }
    for (column, cell) in table.columns.iter().zip(row) {
        query = match (column.kind, cell) {
            (Kind::Int | Kind::Text | Kind::Bytes, Cell::Null) => query.bind(None::<i64>),
            (Kind::Int, Cell::Int(value)) => query.bind(*value),
            (Kind::Text, Cell::Text(value)) => query.bind(value.clone()),
            (Kind::Bytes, Cell::Bytes(value)) => query.bind(value.clone()),
            (
                Kind::Int | Kind::Text | Kind::Bytes,
                Cell::Int(_) | Cell::Text(_) | Cell::Bytes(_),
            ) => {
                return Err(Error::Misfit(table.name.clone()));
            }
        };
    }
    Ok(query)
}

fn bind_postgres<'q>(
    mut query: Query<'q, Postgres, PgArguments>,
    table: &Table,
    types: &[PgColumn],
    row: &[Cell],
) -> Result<Query<'q, Postgres, PgArguments>, Error> {
    let misfit = || Error::Misfit(table.name.clone());
    if row.len() != types.len() {
        return Err(misfit());
    }
    for (column, cell) in types.iter().zip(row) {
        query = match (column.kind, cell) {
            (PgKind::Bigint, Cell::Null) => query.bind(None::<i64>),
            (PgKind::Bigint, Cell::Int(value)) => query.bind(*value),
            (PgKind::Text, Cell::Null) => query.bind(None::<String>),
            (PgKind::Text, Cell::Text(value)) => query.bind(value.clone()),
            (PgKind::Bytea, Cell::Null) => query.bind(None::<Vec<u8>>),
            (PgKind::Bytea, Cell::Bytes(value)) => query.bind(value.clone()),
            (PgKind::Uuid, Cell::Null) => query.bind(None::<Uuid>),
            (PgKind::Uuid, Cell::Bytes(value)) => {
                query.bind(Uuid::from_slice(value).map_err(|_| misfit())?)
            }
            (
                PgKind::Bigint | PgKind::Text | PgKind::Bytea | PgKind::Uuid,
                Cell::Int(_) | Cell::Text(_) | Cell::Bytes(_),
            ) => return Err(misfit()),
        };
    }
    Ok(query)
}

/// What the connection of a transaction came from.
enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    async fn close(&self) {
        match self {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}

/// A transaction on a database that nobody else has open, and that nobody can open before its end.
struct Alone {
    tx: Tx,
    pool: Pool,
    made: Option<Made>,
}

async fn nowhere() -> Result<Alone, Error> {
    // An empty name is SQLite's word for a temporary database; its file has no name in any folder.
    let options = SqliteConnectOptions::new()
        .filename("")
        .create_if_missing(true)
        .foreign_keys(false)
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await?;
    let connection = acquire(&pool, LIMITS).await?;
    Ok(Alone {
        tx: Tx::begin_sqlite(connection, LIMITS).await?,
        pool: Pool::Sqlite(pool),
        made: None,
    })
}

async fn alone_at(url: &str) -> Result<Alone, Error> {
    if url.starts_with("sqlite:") {
        alone_in_sqlite(url).await
    } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        alone_in_postgres(url).await
    } else {
        Err(StoreError::Address("it must start with sqlite: or postgres:").into())
    }
}

async fn alone_in_sqlite(url: &str) -> Result<Alone, Error> {
    // With the write-ahead log, exclusive locking is refused while any other connection is open, also
    // one that only reads.
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|_| StoreError::Address("it is not a well-formed sqlite: address"))?
        .create_if_missing(false)
        .locking_mode(SqliteLockingMode::Exclusive)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // What points to nothing is looked for at the end: a table that is dropped here takes nothing
        // along.
        .foreign_keys(false)
        .pragma("trusted_schema", "OFF")
        .busy_timeout(PATIENCE)
        .disable_statement_logging();
    let made = Made::make(options.get_filename())?;
    let opening = async {
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await?;
        let connection = acquire(&pool, LIMITS).await?;
        Ok((Tx::begin_sqlite(connection, LIMITS).await?, pool))
    };
    let (tx, pool) = opening.await.map_err(|error| match error {
        StoreError::Unavailable(cause) if sqlite::is_busy_cause(&*cause) => Error::InUse,
        other => Error::Store(other),
    })?;
    Ok(Alone {
        tx,
        pool: Pool::Sqlite(pool),
        made,
    })
}

async fn alone_in_postgres(url: &str) -> Result<Alone, Error> {
    const LOCK: &str = "SELECT pg_try_advisory_xact_lock($1) AS free";
    const OTHERS: &str = "SELECT count(*) AS others FROM pg_stat_activity \
        WHERE datname = current_database() AND application_name = 'portcullis' \
        AND pid <> pg_backend_pid()";
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(LIMITS.acquire)
        .connect_with(postgres::options(url)?)
        .await?;
    let connection = acquire(&pool, LIMITS).await?;
    let mut tx = Tx::begin_postgres(connection, LIMITS).await?;
    tx.fetch_all(postgres::MAKE_DURABLE, &[]).await?;
    without_limits(&mut tx).await?;
    let mut waited = Duration::ZERO;
    loop {
        // A gate that starts takes this lock first: from here on it waits for the end of this.
        let row = tx.fetch_optional(LOCK, &[migrations::LOCK.into()]).await?;
        let is_free = row.map_or(Ok(false), |row| row.bool("free"))?;
        let others = tx.fetch_optional(OTHERS, &[]).await?;
        let others = others.map_or(Ok(1), |row| row.int("others"))?;
        if is_free && others == 0 {
            return Ok(Alone {
                tx,
                pool: Pool::Postgres(pool),
                made: None,
            });
        }
        if waited >= PATIENCE {
            return Err(Error::InUse);
        }
        // Statistics are read once in a transaction, unless they are let go.
        tx.fetch_optional("SELECT pg_stat_clear_snapshot()::text AS done", &[])
            .await?;
        tokio::time::sleep(PAUSE).await;
        waited += PAUSE;
    }
}

/// Takes every table of ours out of the way, where it is empty or may be replaced.
async fn clear(tx: &mut Tx, replace: bool) -> Result<(), Error> {
    // A newer program's database has tables that we do not know: it is left alone.
    migrations::applied(tx.driver()).await?;
    let known = Schema::newest().await?;
    let mut there = Vec::new();
    for table in known.tables.iter().rev() {
        if is_there(tx, &table.name).await? {
            if !replace && has_rows(tx, &table.name).await? {
                return Err(Error::NotEmpty(table.name.clone()));
            }
            there.push(table.name.clone());
        }
    }
    if is_there(tx, "schema_migration").await? {
        there.push("schema_migration".to_owned());
    }
    match tx.driver() {
        Driver::Sqlite(connection) => {
            for name in there {
                let sql = format!("DROP TABLE {}", quoted(&name));
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(&mut *connection)
                    .await?;
            }
        }
        Driver::Postgres(connection) => {
            // In one statement, without CASCADE: what somebody else hung on them is not dropped.
            if !there.is_empty() {
                let names: Vec<String> = there.iter().map(|name| quoted(name)).collect();
                let sql = format!("DROP TABLE {}", names.join(", "));
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(&mut *connection)
                    .await?;
            }
            for function in migrations::functions() {
                let sql = format!("DROP FUNCTION IF EXISTS {}()", quoted(function));
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(&mut *connection)
                    .await?;
            }
        }
    }
    Ok(())
}

async fn is_there(tx: &mut Tx, table: &str) -> Result<bool, Error> {
    let sql = tx.engine().pick(
        "SELECT 1 AS one FROM sqlite_master WHERE type = 'table' AND name = $1",
        "SELECT 1::bigint AS one WHERE to_regclass(quote_ident($1)) IS NOT NULL",
    );
    Ok(tx.fetch_optional(sql, &[table.into()]).await?.is_some())
}

async fn has_rows(tx: &mut Tx, table: &str) -> Result<bool, Error> {
    let sql = AssertSqlSafe(format!("SELECT 1 FROM {} LIMIT 1", quoted(table)));
    Ok(match tx.driver() {
        Driver::Sqlite(connection) => sqlx::query(sql).fetch_optional(connection).await?.is_some(),
        Driver::Postgres(connection) => {
            sqlx::query(sql).fetch_optional(connection).await?.is_some()
        }
    })
}

/// A file of SQLite's that was not there before. Goes with its companions, unless it is kept.
struct Made(Option<PathBuf>);

impl Made {
    fn make(path: &std::path::Path) -> Result<Option<Made>, Error> {
        if path.exists() {
            return Ok(None);
        }
        sqlite::create_private(path).map_err(StoreError::unavailable)?;
        Ok(Some(Made(Some(path.to_owned()))))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let Some(path) = self.0.take() else { return };
        for companion in ["", "-wal", "-shm", "-journal"] {
            let mut name = path.clone().into_os_string();
            name.push(companion);
            // There may be none; what is left is an empty database.
            let _ = std::fs::remove_file(name);
        }
    }
}
