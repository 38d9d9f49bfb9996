//! The database: one value for both engines, with a time limit on everything.
//!
//! - Reads go through [`Db`], writes through a transaction ([`Tx`]). Nothing writes outside one.
//! - SQL is `&'static str` with `$1`, `$2` ..: no caller can build a query from input.
//! - Every call ends within the acquire and the statement time limit, also when the server hangs;
//!   a connection that did not answer in time is closed, not used again.
//! - SQLite transactions are serial (one writer). PostgreSQL's are `READ COMMITTED`: what is
//!   decided on a row that was read must be repeated in the `WHERE` of the write.
//! - Futures are boxed here. One allocation is nothing beside a query, and the compiler need not look
//!   through both drivers whenever it proves that a handler above can be sent to another thread: that
//!   alone took half of the time in which the crates above were built.

use std::time::Duration;

use futures_util::future::BoxFuture;
use portcullis_core::{Secret, Timestamp};
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use sqlx::query::Query;
use sqlx::sqlite::SqlitePool;
use sqlx::{Database, Executor, IntoArguments, Pool};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::config::Config;
use crate::tx::Tx;
use crate::value::{for_postgres, for_sqlite};
use crate::{Error, Row, Value, postgres, sqlite};

/// How long SQLite may take to write its file anew.
const PURGE_LIMIT: Duration = Duration::from_mins(10);

/// Which database answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// The text for this engine, where no portable one exists.
    pub const fn pick(self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Engine::Sqlite => sqlite,
            Engine::Postgres => postgres,
        }
    }
}

/// A handle to the database; cheap to clone.
#[derive(Clone)]
pub struct Db {
    pools: Pools,
    limits: Limits,
}

#[derive(Clone)]
enum Pools {
    Sqlite { write: SqlitePool, read: SqlitePool },
    Postgres(PgPool),
}

/// Time limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) acquire: Duration,
    pub(crate) statement: Duration,
}

impl Db {
    /// Connects, and brings the schema up to date; two nodes that do so at once wait for each
    /// other. `url` is `sqlite://path` or `postgres://..`; `now` is written beside the migrations.
    pub async fn open(config: &Config, url: &Secret<String>, now: Timestamp) -> Result<Db, Error> {
        let limits = Limits {
            acquire: config.acquire_timeout.as_duration(),
            statement: config.statement_timeout.as_duration(),
        };
        let text = url.expose();
        let pools = if text.starts_with("sqlite:") {
            let (write, read) = sqlite::open(text, config, now).await?;
            Pools::Sqlite { write, read }
        } else if text.starts_with("postgres:") || text.starts_with("postgresql:") {
            Pools::Postgres(postgres::open(text, config, limits, now).await?)
        } else {
            return Err(Error::Address("it must start with sqlite: or postgres:"));
        };
        Ok(Db { pools, limits })
    }

    pub const fn engine(&self) -> Engine {
        match self.pools {
            Pools::Sqlite { .. } => Engine::Sqlite,
            Pools::Postgres(_) => Engine::Postgres,
        }
    }

    /// The first row, if there is one.
    pub fn fetch_optional<'a>(
        &'a self,
        sql: &'static str,
        args: &'a [Value<'a>],
    ) -> BoxFuture<'a, Result<Option<Row>, Error>> {
        Box::pin(async move {
            let limits = self.limits;
            match &self.pools {
                Pools::Sqlite { read, .. } => {
                    let mut connection = acquire(read, limits).await?;
                    fetch_optional(&mut connection, limits, for_sqlite(sql, args)).await
                }
                Pools::Postgres(pool) => {
                    let mut connection = acquire(pool, limits).await?;
                    fetch_optional(&mut connection, limits, for_postgres(sql, args)).await
                }
            }
        })
    }

    /// All rows. Bound the query: they are all held in memory.
    pub fn fetch_all<'a>(
        &'a self,
        sql: &'static str,
        args: &'a [Value<'a>],
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            let limits = self.limits;
            match &self.pools {
                Pools::Sqlite { read, .. } => {
                    let mut connection = acquire(read, limits).await?;
                    fetch_all(&mut connection, limits, for_sqlite(sql, args)).await
                }
                Pools::Postgres(pool) => {
                    let mut connection = acquire(pool, limits).await?;
                    fetch_all(&mut connection, limits, for_postgres(sql, args)).await
                }
            }
        })
    }

    /// Begins a transaction. On SQLite it takes the write lock at once (`BEGIN IMMEDIATE`), so
    /// that it can never fail half way for want of it.
    pub fn begin(&self) -> BoxFuture<'_, Result<Tx, Error>> {
        Box::pin(async move {
            let limits = self.limits;
            match &self.pools {
                Pools::Sqlite { write, .. } => {
                    Tx::begin_sqlite(acquire(write, limits).await?, limits).await
                }
                Pools::Postgres(pool) => {
                    Tx::begin_postgres(acquire(pool, limits).await?, limits).await
                }
            }
        })
    }

    /// Whether the database answers: one trivial query within the time limits. For readiness.
    pub async fn ping(&self) -> Result<(), Error> {
        self.fetch_optional("SELECT 1 AS one", &[]).await.map(drop)
    }

    /// Leaves nothing in the files of what was overwritten or deleted: SQLite writes its file anew and
    /// empties its log, which keeps writers waiting for as long as the file is large. Whether that was done:
    /// a reader may be in the way, and PostgreSQL keeps dead rows and its log as its operator says.
    pub fn purge(&self) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move {
            match &self.pools {
                Pools::Sqlite { write, .. } => {
                    let limits = Limits {
                        statement: PURGE_LIMIT,
                        ..self.limits
                    };
                    let mut connection = acquire(write, limits).await?;
                    for sql in ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"] {
                        let row =
                            fetch_optional(&mut connection, limits, for_sqlite(sql, &[])).await?;
                        if let Some(row) = row
                            && row.int("busy")? != 0
                        {
                            return Ok(false);
                        }
                    }
                    Ok(true)
                }
                Pools::Postgres(_) => Ok(false),
            }
        })
    }

    /// Closes every connection; what is under way ends first. SQLite then folds its log into the
    /// database file.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            match &self.pools {
                Pools::Sqlite { write, read } => {
                    read.close().await;
                    write.close().await;
                }
                Pools::Postgres(pool) => pool.close().await,
            }
        })
    }
}

pub(crate) async fn acquire<DB: Database>(
    pool: &Pool<DB>,
    limits: Limits,
) -> Result<PoolConnection<DB>, Error> {
    match timeout(limits.acquire, pool.acquire()).await {
        Ok(connection) => Ok(connection?),
        Err(_) => Err(Error::TimedOut(limits.acquire)),
    }
}

pub(crate) async fn fetch_optional<DB, A>(
    connection: &mut PoolConnection<DB>,
    limits: Limits,
    query: Query<'static, DB, A>,
) -> Result<Option<Row>, Error>
where
    DB: Database,
    A: 'static + Send + IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    Row: From<DB::Row>,
{
    let answer = timeout(limits.statement, query.fetch_optional(&mut **connection)).await;
    Ok(settle(connection, limits, answer)?.map(Row::from))
}

pub(crate) async fn fetch_all<DB, A>(
    connection: &mut PoolConnection<DB>,
    limits: Limits,
    query: Query<'static, DB, A>,
) -> Result<Vec<Row>, Error>
where
    DB: Database,
    A: 'static + Send + IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    Row: From<DB::Row>,
{
    let answer = timeout(limits.statement, query.fetch_all(&mut **connection)).await;
    let rows = settle(connection, limits, answer)?;
    Ok(rows.into_iter().map(Row::from).collect())
}

/// Sorts an answer that had a time limit. A connection that did not answer in time, or that failed
/// by more than a refused statement, is in an unknown state: it is closed, and its place in the pool
/// becomes free for a new one. (After a failed write SQLite has rolled back by itself, and the
/// driver, which does not know, would refuse every later transaction on that connection.)
pub(crate) fn settle<DB: Database, T>(
    connection: &mut PoolConnection<DB>,
    limits: Limits,
    answer: Result<Result<T, sqlx::Error>, Elapsed>,
) -> Result<T, Error> {
    let error = match answer {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => Error::from(error),
        Err(_) => Error::TimedOut(limits.statement),
    };
    if error.is_unavailable() {
        connection.close_on_drop();
    }
    Err(error)
}
