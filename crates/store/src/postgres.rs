//! Opening PostgreSQL: a pool whose connections carry the time limits with them, so that the
//! server gives up on a statement as well when we do, and on which COMMIT answers for the disk.

use std::net::IpAddr;
use std::str::FromStr;

use portcullis_core::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::time::timeout;

use crate::config::Config;
use crate::db::Limits;
use crate::{Error, migrations};

/// COMMIT waits until the write-ahead log is on the disk, and with standbys that count (the server's
/// `synchronous_standby_names`) on theirs. The server, the database or the role may say `off`: then
/// acknowledged sessions and events would be gone after a power cut. `remote_apply` asks for more, and stays.
/// A statement, and no parameter of the connection: poolers refuse parameters that they do not know.
macro_rules! durable {
    () => {
        "set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
         WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)"
    };
}

/// The same alone, for a connection beside the pool.
pub(crate) const MAKE_DURABLE: &str = concat!("SELECT ", durable!());

pub(crate) async fn open(
    url: &str,
    config: &Config,
    limits: Limits,
    now: Timestamp,
) -> Result<PgPool, Error> {
    let options = options(url)?;

    let connecting = timeout(limits.acquire, options.connect()).await;
    let mut migrating = connecting.map_err(|_| Error::TimedOut(limits.acquire))??;
    let durable = sqlx::query(MAKE_DURABLE).execute(&mut migrating);
    let durable = timeout(limits.acquire, durable).await;
    durable.map_err(|_| Error::TimedOut(limits.acquire))??;
    let limit = migrations::POSTGRES_LIMIT;
    let migrated = timeout(limit, migrations::run_postgres(&mut migrating, now)).await;
    migrated.map_err(|_| Error::TimedOut(limit))??;
    // A goodbye; the work is committed.
    let _ = timeout(limits.acquire, migrating.close()).await;

    let statement = limits.statement.as_millis().to_string();
    PgPoolOptions::new()
        .max_connections(config.connections)
        .acquire_timeout(limits.acquire)
        .after_connect(move |connection, _| {
            let statement = statement.clone();
            Box::pin(async move {
                // The last one bounds how long a node that lost its network holds its locks.
                sqlx::query(concat!(
                    "SELECT set_config('statement_timeout', $1, false), \
                     set_config('lock_timeout', $1, false), \
                     set_config('idle_in_transaction_session_timeout', $1, false), ",
                    durable!()
                ))
                .bind(statement)
                .execute(connection)
                .await
                .map(drop)
            })
        })
        .connect_with(options)
        .await
        .map_err(Error::from)
}

pub(crate) fn options(url: &str) -> Result<PgConnectOptions, Error> {
    // The driver's message may repeat a part of the address, and with it the password.
    let malformed = |_| Error::Address("it is not a well-formed postgres: address");
    let options = PgConnectOptions::from_str(url).map_err(malformed)?;
    let asked = url::Url::parse(url).is_ok_and(|url| {
        url.query_pairs()
            .any(|(key, _)| matches!(&*key, "sslmode" | "ssl-mode"))
    });
    // SECURITY: the driver's own default, `prefer`, falls back to plain text when somebody in
    // between says that there is no TLS. Only this machine is reached without asking for it.
    let options = if asked || is_local(&options) {
        options
    } else {
        options.ssl_mode(PgSslMode::VerifyFull)
    };
    Ok(options
        .application_name("portcullis")
        .disable_statement_logging())
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host == "localhost"
        || host.starts_with('/')
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> String {
        format!("{:?}", options(url).unwrap().get_ssl_mode())
    }

    #[test]
    fn another_machine_is_asked_for_verified_tls_unless_the_address_says_otherwise() {
        assert_eq!(mode("postgres://u:p@db.internal/x"), "VerifyFull");
        assert_eq!(
            mode("postgres://u:p@db.internal/x?application_name=y"),
            "VerifyFull"
        );
        assert_eq!(
            mode("postgres://u:p@db.internal/x?sslmode=require"),
            "Require"
        );
        assert_eq!(mode("postgres://u:p@127.0.0.1/x"), "Prefer");
        assert_eq!(mode("postgres://u:p@[::1]:5432/x"), "Prefer");
        assert_eq!(mode("postgres://u:p@localhost/x"), "Prefer");
    }

    #[test]
    fn a_malformed_address_is_refused_without_repeating_it() {
        let error = options("postgres://user:hunter2@host:notaport/x").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
