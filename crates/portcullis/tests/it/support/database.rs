//! A look into the database of a gate, beside the gate.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection,
};

fn url(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("database")).unwrap()
}

/// Runs one statement that both engines understand.
pub(crate) async fn execute(folder: &Path, sql: &str) {
    let url = url(folder);
    let sql = AssertSqlSafe(sql.to_owned());
    if url.starts_with("postgres") {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        connection.execute(sql).await.unwrap();
    } else {
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        connection.execute(sql).await.unwrap();
    }
}

/// Runs one statement, in the words of the engine.
pub(crate) async fn execute_either(folder: &Path, sqlite: &str, postgres: &str) {
    let is_postgres = url(folder).starts_with("postgres");
    execute(folder, if is_postgres { postgres } else { sqlite }).await;
}

/// The text in the only column of the only row.
pub(crate) async fn text(folder: &Path, sql: &str) -> String {
    let url = url(folder);
    let sql = AssertSqlSafe(sql.to_owned());
    if url.starts_with("postgres") {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        connection.fetch_one(sql).await.unwrap().get(0)
    } else {
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        connection.fetch_one(sql).await.unwrap().get(0)
    }
}

/// Everything that is stored: the bytes of the files, or every row of every table as text.
pub(crate) async fn everything(folder: &Path) -> Vec<u8> {
    let url = url(folder);
    if !url.starts_with("postgres") {
        return ["portcullis.db", "portcullis.db-wal"]
            .iter()
            .filter_map(|name| std::fs::read(folder.join(name)).ok())
            .flatten()
            .collect();
    }
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let tables = connection
        .fetch_all("SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()")
        .await
        .unwrap();
    assert!(tables.len() > 5, "the schema is there");
    let mut all = Vec::new();
    for table in tables {
        let table: String = table.get(0);
        let sql = format!("SELECT t::text FROM {table} t");
        for row in connection.fetch_all(AssertSqlSafe(sql)).await.unwrap() {
            all.extend(row.get::<String, _>(0).into_bytes());
        }
    }
    all
}

/// Every table with its rows as text, in an order of their own: equal where two databases hold the same.
pub(crate) async fn rows(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let url = url(folder);
    let mut all = BTreeMap::new();
    if url.starts_with("postgres") {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let names = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()";
        for row in connection.fetch_all(names).await.unwrap() {
            let table: String = row.get(0);
            let sql = format!("SELECT t::text FROM {table} t ORDER BY 1");
            let rows = connection.fetch_all(AssertSqlSafe(sql)).await.unwrap();
            all.insert(table, rows.iter().map(|row| row.get(0)).collect());
        }
        return all;
    }
    let path = url.trim_start_matches("sqlite://");
    if !Path::new(path).exists() {
        return all;
    }
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
    for row in connection.fetch_all(names).await.unwrap() {
        let table: String = row.get(0);
        let columns = format!("SELECT name FROM pragma_table_info('{table}')");
        let columns = connection.fetch_all(AssertSqlSafe(columns)).await.unwrap();
        let columns: Vec<String> = columns
            .iter()
            .map(|row| format!("quote(\"{}\")", row.get::<String, _>(0)))
            .collect();
        let columns = columns.join(" || ',' || ");
        let sql = format!("SELECT {columns} FROM {table} ORDER BY 1");
        let rows = connection.fetch_all(AssertSqlSafe(sql)).await.unwrap();
        all.insert(table, rows.iter().map(|row| row.get(0)).collect());
    }
    connection.close().await.unwrap();
    all
}

/// Every record of the audit trail: its words and its details, one per line.
pub(crate) async fn trail(folder: &Path) -> String {
    const ALL: &str =
        "SELECT action || ' ' || COALESCE(target, '') || ' ' || metadata FROM audit_event";
    let url = url(folder);
    let mut lines = Vec::new();
    if url.starts_with("postgres") {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        for row in connection.fetch_all(ALL).await.unwrap() {
            lines.push(row.get::<String, _>(0));
        }
    } else {
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        for row in connection.fetch_all(ALL).await.unwrap() {
            lines.push(row.get::<String, _>(0));
        }
    }
    lines.join("\n")
}

/// How many rows of a table are not sealed by the vault.
pub(crate) async fn not_of_vault(folder: &Path, table: &str) -> String {
    let mark = if url(folder).starts_with("postgres") {
        "'\\x706376312e'::bytea"
    } else {
        "x'706376312e'"
    };
    let count =
        format!("SELECT CAST(count(*) AS TEXT) FROM {table} WHERE substr(sealed, 1, 5) <> {mark}");
    text(folder, &count).await
}
