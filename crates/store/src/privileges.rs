//! What the user of a PostgreSQL database may do besides reading and writing rows (T7, least privilege).
//!
//! The gate needs no more than rows. Where its tables belong to somebody else, not even whoever holds
//! the gate's own password can take the triggers off the audit trail, empty it, or drop a table.

use portcullis_core::{Secret, Timestamp};

use crate::config::Config;
use crate::dump::{self, Schema};
use crate::{Db, Engine, Error, inspect};

/// What the user that the gate connects as may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privileges {
    /// Its name.
    pub user: String,
    /// Attributes with which it reaches beyond its own database, such as `SUPERUSER`, in words of `ALTER ROLE`.
    pub beyond: Vec<String>,
    /// It owns tables of the gate, or is a member of who does: it may change and drop them.
    pub owns_tables: bool,
}

/// Asks the server. `None` for SQLite, whose file has no users. Writes nothing.
pub async fn privileges(
    config: &Config,
    url: &Secret<String>,
) -> Result<Option<Privileges>, Error> {
    const ASK: &str = "SELECT current_user::text AS name, concat_ws(', ', \
        CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END, \
        CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION' END, \
        CASE WHEN rolbypassrls THEN 'BYPASSRLS' END) AS beyond, \
        (SELECT count(*) FROM pg_class WHERE oid = to_regclass('audit_event') \
           AND pg_has_role(current_user, relowner, 'USAGE')) AS owned \
        FROM pg_roles WHERE rolname = current_user";
    if url.expose().starts_with("sqlite:") {
        return Ok(None);
    }
    let Some(row) = inspect::look_up(config, url, ASK, &[]).await? else {
        return Ok(None);
    };
    let beyond = row.text("beyond")?;
    Ok(Some(Privileges {
        user: row.text("name")?,
        beyond: beyond
            .split(", ")
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect(),
        owns_tables: row.int("owned")? > 0,
    }))
}

/// Brings the schema up to date, as [`Db::open`] does, and lets `role` read and write rows of its tables and nothing
/// else: what that role could do with them before is taken away first. Errors: [`Error::Query`] where there is no
/// such role, or the user of `url` does not own the tables; [`Error::Address`] where SQLite is asked for roles.
pub async fn migrate(
    config: &Config,
    url: &Secret<String>,
    role: Option<&str>,
    now: Timestamp,
) -> Result<(), Error> {
    let db = Db::open(config, url, now).await?;
    let outcome = match role {
        Some(role) => let_read_and_write(&db, role).await,
        None => Ok(()),
    };
    db.close().await;
    outcome
}

async fn let_read_and_write(db: &Db, role: &str) -> Result<(), Error> {
    const NAMES: &str = "SELECT set_config('portcullis.grantee', $1, true), set_config('portcullis.tables', $2, true)";
    // Names are quoted by the server: neither a role nor a table can be more than a name.
    const GRANT: &str = "DO $do$ \
        DECLARE name text; role text := current_setting('portcullis.grantee'); BEGIN \
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role); \
        EXECUTE format('REVOKE ALL ON schema_migration FROM %I', role); \
        EXECUTE format('GRANT SELECT ON schema_migration TO %I', role); \
        FOREACH name IN ARRAY string_to_array(current_setting('portcullis.tables'), ',') LOOP \
        EXECUTE format('REVOKE ALL ON %I FROM %I', name, role); \
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO %I', name, role); \
        END LOOP; END $do$";
    match db.engine() {
        Engine::Postgres => {}
        Engine::Sqlite => return Err(Error::Address("a file of SQLite has no roles")),
    }
    let schema = Schema::newest().await.map_err(|error| match error {
        dump::Error::Store(error) => error,
        other => Error::Corrupt(Box::new(other)),
    })?;
    let tables: Vec<&str> = schema.tables.iter().map(|table| &*table.name).collect();
    let tables = tables.join(",");
    let mut tx = db.begin().await?;
    tx.execute(NAMES, &[role.into(), tables.as_str().into()])
        .await?;
    tx.execute(GRANT, &[]).await?;
    tx.commit().await
}
