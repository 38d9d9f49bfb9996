//! The schema, step by step. Every step exists for both engines under one number and one name.
//!
//! - All missing steps run in one transaction under one lock: two nodes that start at once apply
//!   them once, and a step that fails leaves nothing behind.
//! - A step that was applied is never edited; its checksum (SHA-256) is compared at every start.
//!   `migrations/SHA256SUMS` has all of them, so that a build in which one was edited fails before a start does:
//!   a new step adds its two lines (`sha256sum */*.sql > SHA256SUMS` in that folder), and no line ever changes.
//! - A database that knows a step that we do not is a newer one: it is refused, not guessed at.
//!
//! Numbers: store 1-9, identity 10-19, events 20-29, tenants 60-69, visitors 70-79, sessions and
//! import 80-89, the console 90-94, webhooks 100-109, the vault 110-119, stored uploads 120-129, secrets 130-139,
//! accounts again 150-159, tokens of providers 160, the log of the audit trail 180-189, anomalies and alerts 200-209,
//! incidents 210-219 and 240-249, persons' rights 220-229 and 270-274, the console again 230-239, scans 250-259,
//! witnesses of the log 260-264, stored uploads again 295, scans again 296.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_core::Timestamp;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row as _};

use crate::tx::Driver;
use crate::{Engine, Error};

pub(crate) struct Migration {
    version: i64,
    name: &'static str,
    pub(crate) sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! migrations {
    ($($version:literal $name:literal,)*) => {
        &[$(Migration {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../migrations/postgres/", $name, ".sql")),
        }),*]
    };
}

/// In ascending order.
static MIGRATIONS: &[Migration] = migrations! {
    1 "0001_accounts",
    2 "0002_revocation",
    10 "0010_login_backoff",
    20 "0020_audit_event",
    30 "0030_api_keys",
    40 "0040_signing_key",
    41 "0041_token_family",
    42 "0042_foreign_identity",
    46 "0046_token_family_tenant",
    50 "0050_recovery",
    51 "0051_second_factor",
    52 "0052_passkey",
    55 "0055_openid_login",
    60 "0060_tenant",
    70 "0070_visitor",
    80 "0080_session_client",
    81 "0081_import",
    90 "0090_console",
    91 "0091_registration",
    100 "0100_webhook",
    110 "0110_data_key",
    120 "0120_stored_upload",
    130 "0130_secret_store",
    131 "0131_secret_replacement",
    132 "0132_secret_remote",
    150 "0150_bcrypt_index",
    160 "0160_token_family_provider",
    180 "0180_audit_log",
    200 "0200_anomaly",
    201 "0201_alert",
    210 "0210_incident",
    220 "0220_erasure",
    221 "0221_consent",
    230 "0230_hours",
    240 "0240_foreign_cutoff",
    241 "0241_incident_response",
    250 "0250_scans",
    260 "0260_audit_witness",
    270 "0270_subject_erasure",
    271 "0271_webhook_erasure",
    295 "0295_upload_of_tenant",
    296 "0296_scan_told",
};

/// How long opening PostgreSQL may take, waiting for another node's migrations included.
pub(crate) const POSTGRES_LIMIT: Duration = Duration::from_mins(1);

/// Any number that no other program on the same server is likely to lock.
pub(crate) const LOCK: i64 = 0x706f_7274_6375_6c6c;

const CREATE_SQLITE: &str = "CREATE TABLE IF NOT EXISTS schema_migration (\
    version INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum BLOB NOT NULL, applied_at INTEGER NOT NULL) STRICT";
const CREATE_POSTGRES: &str = "CREATE TABLE IF NOT EXISTS schema_migration (\
    version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum BYTEA NOT NULL, applied_at BIGINT NOT NULL)";
const APPLIED: &str = "SELECT version, checksum FROM schema_migration ORDER BY version";
const RECORD: &str =
    "INSERT INTO schema_migration (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)";

impl Migration {
    const fn sql(&self, engine: Engine) -> &'static str {
        engine.pick(self.sqlite, self.postgres)
    }

    fn checksum(&self, engine: Engine) -> Vec<u8> {
        digest(&SHA256, self.sql(engine).as_bytes())
            .as_ref()
            .to_vec()
    }
}

pub(crate) async fn run_sqlite(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), Error> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(CREATE_SQLITE).execute(&mut *tx).await?;
    let mut applied = Vec::new();
    for row in sqlx::query(APPLIED).fetch_all(&mut *tx).await? {
        applied.push((row.try_get("version")?, row.try_get("checksum")?));
    }
    for migration in missing(MIGRATIONS, Engine::Sqlite, &applied)? {
        apply_to_sqlite(&mut tx, migration, now).await?;
    }
    Ok(tx.commit().await?)
}

pub(crate) async fn run_postgres(
    connection: &mut PgConnection,
    now: Timestamp,
) -> Result<(), Error> {
    // Where nothing is to be done, a user without any right to make tables is enough.
    let steps = missing_in_postgres(connection).await?;
    if steps == 0 {
        return Ok(());
    }
    make_in_postgres(connection, now)
        .await
        .map_err(|error| match error {
            Error::Query(cause) if is_not_permitted(&*cause) => Error::MayNotMigrate { steps },
            other => other,
        })
}

/// SQLSTATE 42501, `insufficient_privilege`.
fn is_not_permitted(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let refusal = cause
        .downcast_ref::<sqlx::Error>()
        .and_then(sqlx::Error::as_database_error);
    refusal.is_some_and(|refusal| refusal.code().as_deref() == Some("42501"))
}

async fn make_in_postgres(connection: &mut PgConnection, now: Timestamp) -> Result<(), Error> {
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *tx)
        .await?;
    sqlx::query(CREATE_POSTGRES).execute(&mut *tx).await?;
    let mut applied = Vec::new();
    for row in sqlx::query(APPLIED).fetch_all(&mut *tx).await? {
        applied.push((row.try_get("version")?, row.try_get("checksum")?));
    }
    for migration in missing(MIGRATIONS, Engine::Postgres, &applied)? {
        apply_to_postgres(&mut tx, migration, now).await?;
    }
    Ok(tx.commit().await?)
}

async fn apply_to_sqlite(
    connection: &mut SqliteConnection,
    migration: &Migration,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::raw_sql(migration.sqlite)
        .execute(&mut *connection)
        .await?;
    sqlx::query(RECORD)
        .bind(migration.version)
        .bind(migration.name)
        .bind(migration.checksum(Engine::Sqlite))
        .bind(now.as_micros())
        .execute(connection)
        .await?;
    Ok(())
}

async fn apply_to_postgres(
    connection: &mut PgConnection,
    migration: &Migration,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::raw_sql(migration.postgres)
        .execute(&mut *connection)
        .await?;
    sqlx::query(RECORD)
        .bind(migration.version)
        .bind(migration.name)
        .bind(migration.checksum(Engine::Postgres))
        .bind(now.as_micros())
        .execute(connection)
        .await?;
    Ok(())
}

/// Applies the steps that `wanted` names, those that are applied already left out; in a transaction of
/// the caller's.
pub(crate) async fn apply(
    driver: Driver<'_>,
    now: Timestamp,
    wanted: impl Fn(i64) -> bool,
) -> Result<(), Error> {
    match driver {
        Driver::Sqlite(connection) => {
            sqlx::query(CREATE_SQLITE).execute(&mut *connection).await?;
            let applied = applied_in_sqlite(connection).await?;
            for step in missing(MIGRATIONS, Engine::Sqlite, &applied)? {
                if wanted(step.version) {
                    apply_to_sqlite(connection, step, now).await?;
                }
            }
        }
        Driver::Postgres(connection) => {
            sqlx::query(CREATE_POSTGRES)
                .execute(&mut *connection)
                .await?;
            let applied = applied_in_postgres(connection).await?;
            for step in missing(MIGRATIONS, Engine::Postgres, &applied)? {
                if wanted(step.version) {
                    apply_to_postgres(connection, step, now).await?;
                }
            }
        }
    }
    Ok(())
}

/// The versions of the steps that were applied, all of which this program knows; nothing where there is
/// no schema. Changes nothing.
pub(crate) async fn applied(driver: Driver<'_>) -> Result<Vec<i64>, Error> {
    let (engine, applied) = match driver {
        Driver::Sqlite(connection) => (Engine::Sqlite, applied_in_sqlite(connection).await?),
        Driver::Postgres(connection) => (Engine::Postgres, applied_in_postgres(connection).await?),
    };
    missing(MIGRATIONS, engine, &applied)?;
    Ok(applied.into_iter().map(|(version, _)| version).collect())
}

pub(crate) fn with_version(version: i64) -> Option<&'static Migration> {
    MIGRATIONS
        .iter()
        .find(|migration| migration.version == version)
}

/// Every step that this program has.
pub(crate) fn versions() -> Vec<i64> {
    MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .collect()
}

/// The functions that the steps make in PostgreSQL: they do not go with the tables.
pub(crate) fn functions() -> impl Iterator<Item = &'static str> {
    MIGRATIONS.iter().flat_map(|migration| {
        let made = migration.postgres.split("CREATE FUNCTION ").skip(1);
        made.filter_map(|rest| rest.split('(').next())
    })
}

/// How many steps are still to be applied. Changes nothing.
pub(crate) async fn missing_in_sqlite(connection: &mut SqliteConnection) -> Result<usize, Error> {
    let applied = applied_in_sqlite(connection).await?;
    missing(MIGRATIONS, Engine::Sqlite, &applied).map(|steps| steps.len())
}

/// How many steps are still to be applied. Changes nothing.
pub(crate) async fn missing_in_postgres(connection: &mut PgConnection) -> Result<usize, Error> {
    let applied = applied_in_postgres(connection).await?;
    missing(MIGRATIONS, Engine::Postgres, &applied).map(|steps| steps.len())
}

type Applied = Vec<(i64, Vec<u8>)>;

async fn applied_in_sqlite(connection: &mut SqliteConnection) -> Result<Applied, Error> {
    const IS_THERE: &str = "SELECT count(*) FROM sqlite_master WHERE name = 'schema_migration'";
    let mut applied = Vec::new();
    if sqlx::query_scalar::<_, i64>(IS_THERE)
        .fetch_one(&mut *connection)
        .await?
        > 0
    {
        for row in sqlx::query(APPLIED).fetch_all(connection).await? {
            applied.push((row.try_get("version")?, row.try_get("checksum")?));
        }
    }
    Ok(applied)
}

async fn applied_in_postgres(connection: &mut PgConnection) -> Result<Applied, Error> {
    const IS_THERE: &str = "SELECT to_regclass('schema_migration') IS NOT NULL";
    let mut applied = Vec::new();
    if sqlx::query_scalar::<_, bool>(IS_THERE)
        .fetch_one(&mut *connection)
        .await?
    {
        for row in sqlx::query(APPLIED).fetch_all(connection).await? {
            applied.push((row.try_get("version")?, row.try_get("checksum")?));
        }
    }
    Ok(applied)
}

/// What is still to be applied, in order.
fn missing(
    known: &'static [Migration],
    engine: Engine,
    applied: &[(i64, Vec<u8>)],
) -> Result<Vec<&'static Migration>, Error> {
    for (version, checksum) in applied {
        match known.iter().find(|migration| migration.version == *version) {
            None => return Err(Error::NewerSchema { found: *version }),
            Some(migration) if migration.checksum(engine) != *checksum => {
                return Err(Error::ChangedMigration { version: *version });
            }
            Some(_) => {}
        }
    }
    Ok(known
        .iter()
        .filter(|migration| {
            !applied
                .iter()
                .any(|(version, _)| *version == migration.version)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(engine: Engine) -> Vec<(i64, Vec<u8>)> {
        MIGRATIONS
            .iter()
            .map(|migration| (migration.version, migration.checksum(engine)))
            .collect()
    }

    #[test]
    fn versions_ascend_and_names_begin_with_them() {
        assert!(MIGRATIONS.is_sorted_by(|a, b| a.version < b.version));
        for migration in MIGRATIONS {
            assert!(
                migration
                    .name
                    .starts_with(&format!("{:04}_", migration.version))
            );
        }
    }

    #[test]
    fn no_step_was_edited() {
        let mut sums: Vec<String> = MIGRATIONS
            .iter()
            .flat_map(|step| {
                [(Engine::Sqlite, "sqlite"), (Engine::Postgres, "postgres")].map(
                    |(engine, folder)| {
                        let sum = hex::encode(step.checksum(engine));
                        format!("{sum}  {folder}/{}.sql", step.name)
                    },
                )
            })
            .collect();
        let mut kept: Vec<&str> = include_str!("../migrations/SHA256SUMS").lines().collect();
        sums.sort();
        kept.sort_unstable();
        assert_eq!(sums, kept, "write another step instead of editing one");
    }

    #[test]
    fn what_was_applied_is_not_applied_again() {
        let applied = applied(Engine::Postgres);
        assert!(
            missing(MIGRATIONS, Engine::Postgres, &applied)
                .unwrap()
                .is_empty()
        );
        let left = missing(MIGRATIONS, Engine::Postgres, &applied[1..]).unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].version, 1);
    }

    #[test]
    fn an_edited_step_and_an_unknown_one_are_refused() {
        let mut edited = applied(Engine::Sqlite);
        edited[0].1[0] ^= 1;
        assert!(matches!(
            missing(MIGRATIONS, Engine::Sqlite, &edited),
            Err(Error::ChangedMigration { version: 1 })
        ));
        let mut newer = applied(Engine::Sqlite);
        newer.push((9999, vec![0]));
        assert!(matches!(
            missing(MIGRATIONS, Engine::Sqlite, &newer),
            Err(Error::NewerSchema { found: 9999 })
        ));
    }
}
