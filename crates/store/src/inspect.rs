//! Looking at the database without changing it: for `doctor`, which must leave nothing behind.

use std::str::FromStr;

use portcullis_core::Secret;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::time::timeout;

use crate::config::Config;
use crate::value::{for_postgres, for_sqlite};
use crate::{Engine, Error, Row, Value, migrations, postgres};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// SQLite's file is not there; the gate makes it when it starts.
    NotThere,
    /// So many steps of the schema are still to be applied; the gate does so when it starts.
    Behind(usize),
    UpToDate,
}

/// Connects and compares the schema with the one that this program knows. Writes nothing.
pub async fn inspect(config: &Config, url: &Secret<String>) -> Result<(Engine, Condition), Error> {
    let limit = config.acquire_timeout.as_duration();
    let text = url.expose();
    let work = async {
        if text.starts_with("sqlite:") {
            Ok((Engine::Sqlite, sqlite(text).await?))
        } else if text.starts_with("postgres:") || text.starts_with("postgresql:") {
            let mut connection = postgres::options(text)?.connect().await?;
            let missing = migrations::missing_in_postgres(&mut connection).await?;
            connection.close().await?;
            Ok((Engine::Postgres, condition(missing)))
        } else {
            Err(Error::Address("it must start with sqlite: or postgres:"))
        }
    };
    timeout(limit, work)
        .await
        .map_err(|_| Error::TimedOut(limit))?
}

/// The first row that answers a question, from a schema that is up to date. Writes nothing.
pub async fn look_up(
    config: &Config,
    url: &Secret<String>,
    sql: &'static str,
    args: &[Value<'_>],
) -> Result<Option<Row>, Error> {
    let rows = look_up_all(config, url, sql, args).await?;
    Ok(rows.into_iter().next())
}

/// Every row that answers a question, from a schema that is up to date. Writes nothing.
pub async fn look_up_all(
    config: &Config,
    url: &Secret<String>,
    sql: &'static str,
    args: &[Value<'_>],
) -> Result<Vec<Row>, Error> {
    let limit = config.acquire_timeout.as_duration();
    let text = url.expose();
    let work = async {
        if text.starts_with("sqlite:") {
            let mut connection = sqlite_options(text)?.connect().await?;
            let rows = for_sqlite(sql, args).fetch_all(&mut connection).await?;
            connection.close().await?;
            Ok(rows.into_iter().map(Row::from).collect())
        } else {
            let mut connection = postgres::options(text)?.connect().await?;
            let rows = for_postgres(sql, args).fetch_all(&mut connection).await?;
            connection.close().await?;
            Ok(rows.into_iter().map(Row::from).collect())
        }
    };
    timeout(limit, work)
        .await
        .map_err(|_| Error::TimedOut(limit))?
}

/// Settings of a PostgreSQL server with which a power cut costs it what it acknowledged, by name and comma. No
/// connection can set them (`synchronous_commit` it can, and the gate's do). None where all is well, and for SQLite.
pub async fn forgetful(config: &Config, url: &Secret<String>) -> Result<Option<String>, Error> {
    if url.expose().starts_with("sqlite:") {
        return Ok(None);
    }
    let sql = "SELECT string_agg(name, ', ' ORDER BY name) AS names FROM pg_settings \
               WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'";
    match look_up(config, url, sql, &[]).await? {
        Some(row) => row.opt_text("names"),
        None => Ok(None),
    }
}

fn sqlite_options(url: &str) -> Result<SqliteConnectOptions, Error> {
    Ok(SqliteConnectOptions::from_str(url)
        .map_err(|_| Error::Address("it is not a well-formed sqlite: address"))?
        .create_if_missing(false)
        .read_only(true)
        .disable_statement_logging())
}

async fn sqlite(url: &str) -> Result<Condition, Error> {
    let options = sqlite_options(url)?;
    if !options.get_filename().exists() {
        return Ok(Condition::NotThere);
    }
    let mut connection = options.connect().await?;
    let missing = migrations::missing_in_sqlite(&mut connection).await?;
    connection.close().await?;
    Ok(condition(missing))
}

fn condition(missing: usize) -> Condition {
    match missing {
        0 => Condition::UpToDate,
        steps => Condition::Behind(steps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::open;

    #[tokio::test]
    async fn looking_creates_nothing_and_tells_an_empty_file_from_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.db");
        let url = Secret::new(format!("sqlite://{}", path.display()));
        let look = async |url: &Secret<String>| inspect(&Config::default(), url).await.unwrap();
        assert_eq!(look(&url).await, (Engine::Sqlite, Condition::NotThere));
        assert!(!path.exists());
        std::fs::write(&path, b"").unwrap();
        assert!(matches!(look(&url).await.1, Condition::Behind(steps) if steps > 1));
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        let _db = open(&folder).await;
        let whole = format!("sqlite://{}", folder.path().join("p.db").display());
        assert_eq!(look(&Secret::new(whole)).await.1, Condition::UpToDate);
    }
}
