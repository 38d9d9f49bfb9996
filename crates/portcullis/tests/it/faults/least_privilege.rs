//! A gate whose database user reads and writes rows and can do nothing else (T7).

use serde_json::json;
use sqlx::{Connection as _, Executor as _};

use super::service::Postgres;
use super::{ME, OTHER_PASSWORD, audited, change_password, get, login, logout};
use crate::support::{Browser, Gateway, GatewayBuilder, PASSWORD, Upstream};

const ANA: &str = "ana@corp.test";

/// A server whose tables `gate` owns, and on which `rows` may do what `migrate` lets it.
async fn server() -> (Postgres, String, String) {
    let postgres = Postgres::start().await;
    postgres.tell("CREATE ROLE rows LOGIN").await;
    let owner = postgres.url();
    let rows = owner.replace("//gate@", "//rows@");
    assert_ne!(owner, rows);
    (postgres, owner, rows)
}

async fn as_rows(rows: &str, owner: &str) -> GatewayBuilder {
    let upstream = Upstream::start().await;
    Gateway::builder_usual(&upstream)
        .await
        .stores(rows, None)
        .environment("OWNER_DATABASE_URL", owner)
}

fn migrate(gate: &GatewayBuilder) {
    let output = gate.cli(&[
        "migrate",
        "--owner-env",
        "OWNER_DATABASE_URL",
        "--grant-to",
        "rows",
    ]);
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("`rows` may read and write"), "{told}");
}

/// What the server says to a statement under this address.
async fn told(url: &str, sql: &'static str) -> Result<(), String> {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let outcome = connection.execute(sql).await;
    outcome.map(drop).map_err(|error| error.to_string())
}

async fn administrator(gateway: &Gateway) -> Browser {
    gateway.signed_in(ANA).await
}

#[tokio::test]
async fn a_gate_that_may_only_read_and_write_rows_does_all_its_work_and_cannot_touch_the_trail() {
    let (_postgres, owner, rows) = server().await;
    let builder = as_rows(&rows, &owner).await;

    // Nothing is there yet, and this user may not make it.
    let refused = builder.cli(&["users", "list"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("portcullis migrate"), "{said}");

    migrate(&builder);
    // A second time changes nothing.
    migrate(&builder);
    let gateway = builder.user(ANA, &["admin"]).start().await;
    let ana = administrator(&gateway).await;
    assert_eq!(get(&ana, ME).await.status, 200);
    let key = ana
        .post("/.portcullis/auth/keys")
        .json(&json!({ "name": "nightly" }))
        .send()
        .await;
    assert_eq!(key.status, 201, "{}", key.text());
    assert_eq!(
        change_password(&ana, PASSWORD, OTHER_PASSWORD).await.status,
        200
    );
    assert_eq!(logout(&ana).await.status, 204);
    let again = gateway.browser();
    assert_eq!(login(&again, ANA, OTHER_PASSWORD).await.status, 200);
    assert_eq!(audited(&gateway, "login.succeeded"), 2);

    for sql in [
        "DELETE FROM audit_event",
        "UPDATE audit_event SET outcome = 'allowed'",
        "TRUNCATE audit_event",
        "DROP TABLE audit_event",
        "ALTER TABLE audit_event DISABLE TRIGGER ALL",
        "DROP FUNCTION audit_event_refuse_change() CASCADE",
        "SET session_replication_role = replica",
        "CREATE TABLE mine (x INT)",
        "DELETE FROM schema_migration",
    ] {
        assert!(told(&rows, sql).await.is_err(), "{sql} went through");
    }
    assert_eq!(audited(&gateway, "login.succeeded"), 2);
}

#[tokio::test]
async fn doctor_tells_what_the_database_user_may_do() {
    let (postgres, owner, rows) = server().await;
    let builder = as_rows(&rows, &owner).await;
    migrate(&builder);
    let line = |builder: &GatewayBuilder| {
        let output = builder.cli(&["doctor"]);
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.contains("database user"));
        line.map(str::to_owned).unwrap_or(text)
    };
    let told = line(&builder);
    assert!(told.starts_with("ok  "), "{told}");
    assert!(
        told.contains("`rows` reads and writes rows, and no more"),
        "{told}"
    );

    let builder = builder.stores(&owner, None);
    let told = line(&builder);
    assert!(told.starts_with("ok  "), "{told}");
    assert!(
        told.contains("its own tables, which it may change"),
        "{told}"
    );

    postgres.tell("ALTER ROLE gate SUPERUSER CREATEDB").await;
    let told = line(&builder);
    assert!(told.starts_with("warn  "), "{told}");
    assert!(told.contains("SUPERUSER, CREATEDB"), "{told}");
}

#[tokio::test]
async fn migrate_names_what_is_missing() {
    let (_postgres, owner, rows) = server().await;
    let builder = as_rows(&rows, &owner).await;
    let output = builder.cli(&["migrate", "--owner-env", "NOT_SET"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("`NOT_SET`")
    );
    let output = builder.cli(&[
        "migrate",
        "--owner-env",
        "OWNER_DATABASE_URL",
        "--grant-to",
        "nobody\"; DROP TABLE users; --",
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("does not exist")
    );
    assert!(told(&owner, "SELECT count(*) FROM users").await.is_ok());
}
