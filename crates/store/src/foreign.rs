//! Reading another program's PostgreSQL, to take over what it holds. Reads only: the server itself
//! refuses anything else in the transaction that this opens.

use portcullis_core::Secret;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row as _};

use crate::{Error, postgres};

/// A query under way, and its place in the answer.
pub struct Foreign {
    connection: PgConnection,
}

impl Foreign {
    /// Runs the operator's query (one `SELECT`, without a semicolon) over a cursor.
    pub async fn open(url: &Secret<String>, query: &str) -> Result<Foreign, Error> {
        let mut connection = postgres::options(url.expose())?.connect().await?;
        sqlx::raw_sql("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .execute(&mut connection)
            .await?;
        // The text is the operator's own, as is the database; as a prepared statement it is one.
        let sql = format!(
            "DECLARE portcullis_rows CURSOR FOR SELECT row_to_json(answer)::text AS row FROM ({query}) AS answer"
        );
        sqlx::query(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await?;
        Ok(Foreign { connection })
    }

    /// The next rows, each a JSON object; none at the end.
    pub async fn next(&mut self) -> Result<Vec<String>, Error> {
        let rows = sqlx::query("FETCH 500 FROM portcullis_rows")
            .fetch_all(&mut self.connection)
            .await?;
        rows.iter()
            .map(|row| row.try_get("row").map_err(Error::from))
            .collect()
    }

    pub async fn close(self) -> Result<(), Error> {
        Ok(self.connection.close().await?)
    }
}
