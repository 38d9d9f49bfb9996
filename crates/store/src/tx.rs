//! A transaction. Dropped without [`Tx::commit`], it never was.

use futures_util::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{Database, SqlSafeStr, SqlStr};
use sqlx_core::transaction::TransactionManager;
use tokio::time::timeout;

use crate::db::{Engine, Limits, fetch_all, fetch_optional, settle};
use crate::value::{for_postgres, for_sqlite};
use crate::{Error, Row, Value};

/// A transaction that is under way.
#[must_use = "a transaction that is not committed is rolled back"]
pub struct Tx {
    connection: Connection,
    limits: Limits,
}

enum Connection {
    Sqlite(Open<Sqlite>),
    Postgres(Open<Postgres>),
}

/// The driver's own connection of a transaction: for what is put together from a schema.
pub(crate) enum Driver<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

impl Tx {
    pub(crate) async fn begin_sqlite(
        connection: PoolConnection<Sqlite>,
        limits: Limits,
    ) -> Result<Tx, Error> {
        Tx::begin_sqlite_by("BEGIN IMMEDIATE", connection, limits).await
    }

    pub(crate) async fn begin_sqlite_by(
        statement: &'static str,
        connection: PoolConnection<Sqlite>,
        limits: Limits,
    ) -> Result<Tx, Error> {
        let statement = statement.into_sql_str();
        Ok(Tx {
            connection: Connection::Sqlite(Open::begin(connection, limits, Some(statement)).await?),
            limits,
        })
    }

    pub(crate) async fn begin_postgres(
        connection: PoolConnection<Postgres>,
        limits: Limits,
    ) -> Result<Tx, Error> {
        Tx::begin_postgres_by("BEGIN", connection, limits).await
    }

    pub(crate) async fn begin_postgres_by(
        statement: &'static str,
        connection: PoolConnection<Postgres>,
        limits: Limits,
    ) -> Result<Tx, Error> {
        let statement = statement.into_sql_str();
        Ok(Tx {
            connection: Connection::Postgres(
                Open::begin(connection, limits, Some(statement)).await?,
            ),
            limits,
        })
    }

    pub(crate) fn driver(&mut self) -> Driver<'_> {
        match &mut self.connection {
            Connection::Sqlite(open) => Driver::Sqlite(&mut open.connection),
            Connection::Postgres(open) => Driver::Postgres(&mut open.connection),
        }
    }

    pub const fn engine(&self) -> Engine {
        match self.connection {
            Connection::Sqlite(_) => Engine::Sqlite,
            Connection::Postgres(_) => Engine::Postgres,
        }
    }

    /// The first row, if there is one.
    pub fn fetch_optional<'a>(
        &'a mut self,
        sql: &'static str,
        args: &'a [Value<'a>],
    ) -> BoxFuture<'a, Result<Option<Row>, Error>> {
        Box::pin(async move {
            let limits = self.limits;
            match &mut self.connection {
                Connection::Sqlite(open) => {
                    fetch_optional(&mut open.connection, limits, for_sqlite(sql, args)).await
                }
                Connection::Postgres(open) => {
                    fetch_optional(&mut open.connection, limits, for_postgres(sql, args)).await
                }
            }
        })
    }

    /// All rows. Bound the query: they are all held in memory.
    pub fn fetch_all<'a>(
        &'a mut self,
        sql: &'static str,
        args: &'a [Value<'a>],
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            let limits = self.limits;
            match &mut self.connection {
                Connection::Sqlite(open) => {
                    fetch_all(&mut open.connection, limits, for_sqlite(sql, args)).await
                }
                Connection::Postgres(open) => {
                    fetch_all(&mut open.connection, limits, for_postgres(sql, args)).await
                }
            }
        })
    }

    /// Runs a statement; how many rows it touched.
    ///
    /// On PostgreSQL a statement that failed, also with [`Error::Conflict`], spoils the whole
    /// transaction: begin again, or write `ON CONFLICT DO NOTHING`.
    pub fn execute<'a>(
        &'a mut self,
        sql: &'static str,
        args: &'a [Value<'a>],
    ) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let limits = self.limits;
            match &mut self.connection {
                Connection::Sqlite(open) => {
                    let query = for_sqlite(sql, args);
                    let answer =
                        timeout(limits.statement, query.execute(&mut *open.connection)).await;
                    Ok(settle(&mut open.connection, limits, answer)?.rows_affected())
                }
                Connection::Postgres(open) => {
                    let query = for_postgres(sql, args);
                    let answer =
                        timeout(limits.statement, query.execute(&mut *open.connection)).await;
                    Ok(settle(&mut open.connection, limits, answer)?.rows_affected())
                }
            }
        })
    }

    /// Makes it all true, and durable. After [`Error::Unavailable`] or [`Error::TimedOut`] it is
    /// not known whether it took place: repeat only what may be done twice.
    pub fn commit(self) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            match self.connection {
                Connection::Sqlite(open) => open.commit(self.limits).await,
                Connection::Postgres(open) => open.commit(self.limits).await,
            }
        })
    }
}

/// The driver's own transaction type holds the connection fast, so that it could not be closed
/// when it does not answer; hence this one.
struct Open<DB: Database> {
    connection: PoolConnection<DB>,
    open: bool,
}

impl<DB: Database> Open<DB> {
    async fn begin(
        connection: PoolConnection<DB>,
        limits: Limits,
        statement: Option<SqlStr>,
    ) -> Result<Self, Error> {
        // INVARIANT: `open` is set before the first byte is sent. If this future is dropped half
        // way, the transaction may have begun, and the drop below rolls it back.
        let mut this = Open {
            connection,
            open: true,
        };
        let begin = DB::TransactionManager::begin(&mut this.connection, statement);
        let answer = timeout(limits.statement, begin).await;
        if let Err(error) = settle(&mut this.connection, limits, answer) {
            // Whatever the reason, it is not the state that a transaction begins in.
            this.connection.close_on_drop();
            return Err(error);
        }
        Ok(this)
    }

    async fn commit(mut self, limits: Limits) -> Result<(), Error> {
        let commit = DB::TransactionManager::commit(&mut self.connection);
        let answer = timeout(limits.statement, commit).await;
        if let Err(error) = settle(&mut self.connection, limits, answer) {
            self.connection.close_on_drop();
            return Err(error);
        }
        self.open = false;
        Ok(())
    }
}

impl<DB: Database> Drop for Open<DB> {
    fn drop(&mut self) {
        if self.open {
            DB::TransactionManager::start_rollback(&mut self.connection);
        }
    }
}
