//! Reading: one transaction from the first table to the last.

use std::str::FromStr as _;

use futures_util::TryStreamExt as _;
use portcullis_core::Secret;
use sqlx::postgres::{PgConnection, PgPoolOptions, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use tokio::time::timeout;

use super::{Cell, Error, Kind, LIMITS, Schema, Table};
use crate::db::acquire;
use crate::tx::Driver;
use crate::{Engine, Error as StoreError, Tx, migrations, postgres};

/// A database as it was at one moment.
pub struct Snapshot {
    tx: Tx,
    schema: Schema,
}

impl Snapshot {
    /// The moment is now. Changes nothing, applies no step of the schema, and holds up nobody who writes.
    pub async fn open(url: &Secret<String>) -> Result<Snapshot, Error> {
        let mut tx = begin(url.expose()).await?;
        // The first read fixes the moment.
        let steps = migrations::applied(tx.driver()).await?;
        if steps.is_empty() {
            return Err(Error::NotThere);
        }
        let schema = Schema::of(&steps).await?;
        Ok(Snapshot { tx, schema })
    }

    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    pub const fn engine(&self) -> Engine {
        self.tx.engine()
    }

    /// Hands every row of a table to `each`, in the order of its key.
    pub async fn read<E: From<Error>>(
        &mut self,
        table: &Table,
        each: impl FnMut(Vec<Cell>) -> Result<(), E>,
    ) -> Result<(), E> {
        read(&mut self.tx, table, each).await
    }
}

async fn begin(url: &str) -> Result<Tx, Error> {
    if url.starts_with("sqlite:") {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|_| StoreError::Address("it is not a well-formed sqlite: address"))?
            .create_if_missing(false)
            .read_only(true)
            .disable_statement_logging();
        if !options.get_filename().exists() {
            return Err(Error::NotThere);
        }
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await?;
        let connection = acquire(&pool, LIMITS).await?;
        return Ok(Tx::begin_sqlite_by("BEGIN", connection, LIMITS).await?);
    }
    let options = postgres::options(url)?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(LIMITS.acquire)
        .connect_with(options)
        .await?;
    let connection = acquire(&pool, LIMITS).await?;
    let one_moment = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let mut tx = Tx::begin_postgres_by(one_moment, connection, LIMITS).await?;
    without_limits(&mut tx).await?;
    Ok(tx)
}

/// What a server's administrator set for short statements is not for those over whole tables.
pub(super) async fn without_limits(tx: &mut Tx) -> Result<(), Error> {
    const OFF: &str = "SELECT set_config('statement_timeout', '0', true), \
        set_config('idle_in_transaction_session_timeout', '0', true), \
        set_config('lock_timeout', '10s', true)";
    tx.fetch_all(OFF, &[]).await?;
    Ok(())
}

/// Every row of a table, in the order of its key.
pub(super) async fn read<E: From<Error>>(
    tx: &mut Tx,
    table: &Table,
    mut each: impl FnMut(Vec<Cell>) -> Result<(), E>,
) -> Result<(), E> {
    let late = || Error::Store(StoreError::TimedOut(LIMITS.statement));
    match tx.driver() {
        Driver::Sqlite(connection) => {
            let sql = AssertSqlSafe(select(table, Engine::Sqlite, quoted));
            let mut rows = sqlx::query(sql).fetch(connection);
            while let Some(row) = timeout(LIMITS.statement, rows.try_next())
                .await
                .map_err(|_| late())?
                .map_err(Error::from)?
            {
                each(from_sqlite(table, &row)?)?;
            }
        }
        Driver::Postgres(connection) => {
            let types = types(connection, table).await?;
            let bytes = |name: &str| match types.iter().find(|column| column.name == name) {
                Some(column) if column.kind == PgKind::Uuid => {
                    format!("uuid_send({})", quoted(name))
                }
                Some(_) | None => quoted(name),
            };
            let sql = AssertSqlSafe(select(table, Engine::Postgres, bytes));
            let mut rows = sqlx::query(sql).fetch(connection);
            while let Some(row) = timeout(LIMITS.statement, rows.try_next())
                .await
                .map_err(|_| late())?
                .map_err(Error::from)?
            {
                each(from_postgres(table, &row)?)?;
            }
        }
    }
    Ok(())
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn select(table: &Table, engine: Engine, column: impl Fn(&str) -> String) -> String {
    let columns: Vec<String> = table.columns.iter().map(|one| column(&one.name)).collect();
    let key = table.key.iter().filter_map(|at| table.columns.get(*at));
    // Bytes before bytes, as SQLite has it, whatever language the server sorts in.
    let order: Vec<String> = key
        .map(|one| {
            let name = format!("{}.{}", quoted(&table.name), quoted(&one.name));
            match (engine, one.kind) {
                (Engine::Postgres, Kind::Text) => format!("{name} COLLATE \"C\""),
                (Engine::Postgres | Engine::Sqlite, Kind::Text | Kind::Int | Kind::Bytes) => name,
            }
        })
        .collect();
    format!(
        "SELECT {} FROM {} ORDER BY {}",
        columns.join(", "),
        quoted(&table.name),
        order.join(", ")
    )
}

macro_rules! reader {
    ($name:ident, $row:ty) => {
        fn $name(table: &Table, row: &$row) -> Result<Vec<Cell>, Error> {
            let mut cells = Vec::with_capacity(table.columns.len());
            for (position, column) in table.columns.iter().enumerate() {
                let cell = match column.kind {
                    Kind::Int => row.try_get::<Option<i64>, _>(position)?.map(Cell::Int),
                    Kind::Text => row.try_get::<Option<String>, _>(position)?.map(Cell::Text),
                    Kind::Bytes => row
                        .try_get::<Option<Vec<u8>>, _>(position)?
                        .map(Cell::Bytes),
                };
                cells.push(cell.unwrap_or(Cell::Null));
            }
            Ok(cells)
        }
    };
}

reader!(from_sqlite, SqliteRow);
reader!(from_postgres, PgRow);

/// What PostgreSQL holds in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PgKind {
    Bigint,
    Text,
    Bytea,
    Uuid,
}

#[derive(Debug)]
pub(super) struct PgColumn {
    pub(super) name: String,
    pub(super) kind: PgKind,
    /// Its values are numbered by the server.
    pub(super) is_numbered: bool,
}

/// The columns of a table as the server has them, in the table's order here.
pub(super) async fn types(
    connection: &mut PgConnection,
    table: &Table,
) -> Result<Vec<PgColumn>, Error> {
    const COLUMNS: &str = "SELECT attname::text AS name, format_type(atttypid, NULL) AS type, \
        attidentity <> '' AS numbered FROM pg_attribute \
        WHERE attrelid = to_regclass(quote_ident($1)) AND attnum > 0 AND NOT attisdropped";
    let altered = |found: String| Error::Altered {
        table: table.name.clone(),
        found,
    };
    let found = sqlx::query(COLUMNS)
        .bind(&table.name)
        .fetch_all(connection)
        .await?;
    if found.len() != table.columns.len() {
        return Err(altered(format!("it has {} columns", found.len())));
    }
    let mut columns = Vec::with_capacity(found.len());
    for column in &table.columns {
        let mut row = None;
        for candidate in &found {
            if candidate.try_get::<String, _>("name")? == column.name {
                row = Some(candidate);
            }
        }
        let row = row.ok_or_else(|| altered(format!("the column `{}` is missing", column.name)))?;
        let declared: String = row.try_get("type")?;
        let kind = match (column.kind, declared.as_str()) {
            (Kind::Int, "bigint") => PgKind::Bigint,
            (Kind::Text, "text") => PgKind::Text,
            (Kind::Bytes, "bytea") => PgKind::Bytea,
            (Kind::Bytes, "uuid") => PgKind::Uuid,
            (Kind::Int | Kind::Text | Kind::Bytes, _) => {
                return Err(altered(format!("`{}` is {declared}", column.name)));
            }
        };
        columns.push(PgColumn {
            name: column.name.clone(),
            kind,
            is_numbered: row.try_get("numbered")?,
        });
    }
    Ok(columns)
}
