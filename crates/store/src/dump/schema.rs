//! What tables there are, in an order in which rows find what they refer to.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::Error;
use crate::migrations;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Int,
    Text,
    Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// The columns of the primary key, in its order: positions in `columns`.
    pub(super) key: Vec<usize>,
    /// Tables that it refers to.
    refers_to: Vec<String>,
}

impl Table {
    /// Tables that its rows point to.
    pub fn refers_to(&self) -> &[String] {
        &self.refers_to
    }
}

/// The tables that some steps of the schema make. The table of the steps themselves is none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// Versions of the steps, ascending.
    pub steps: Vec<i64>,
    pub tables: Vec<Table>,
}

impl Schema {
    /// What these steps make. They are tried in memory, so that this is not another list to keep.
    pub async fn of(steps: &[i64]) -> Result<Schema, Error> {
        let options = SqliteConnectOptions::new()
            .in_memory(true)
            .disable_statement_logging();
        let mut connection = options.connect().await?;
        let mut steps = steps.to_vec();
        steps.sort_unstable();
        steps.dedup();
        for step in &steps {
            let migration = migrations::with_version(*step).ok_or(Error::UnknownStep(*step))?;
            sqlx::raw_sql(migration.sqlite)
                .execute(&mut connection)
                .await?;
        }
        let mut tables = Vec::new();
        for name in names(&mut connection).await? {
            tables.push(table(&mut connection, name).await?);
        }
        connection.close().await?;
        let tables = in_order(tables)?;
        Ok(Schema { steps, tables })
    }

    /// What this program's own steps make.
    pub async fn newest() -> Result<Schema, Error> {
        Schema::of(&migrations::versions()).await
    }

    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

async fn names(connection: &mut SqliteConnection) -> Result<Vec<String>, Error> {
    const NAMES: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
    Ok(sqlx::query_scalar(NAMES).fetch_all(connection).await?)
}

async fn table(connection: &mut SqliteConnection, name: String) -> Result<Table, Error> {
    const COLUMNS: &str = "SELECT name, type, pk FROM pragma_table_info($1) ORDER BY cid";
    const REFERRED: &str = "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list($1) ORDER BY 1";
    let mut columns = Vec::new();
    let mut key = Vec::new();
    let found = sqlx::query(COLUMNS).bind(&name);
    for (position, row) in found.fetch_all(&mut *connection).await?.iter().enumerate() {
        let declared: String = row.try_get("type")?;
        let place: i64 = row.try_get("pk")?;
        let column: String = row.try_get("name")?;
        let kind = kind(&declared).ok_or_else(|| Error::Altered {
            table: name.clone(),
            found: format!("the column `{column}` is {declared}, which no backup can hold"),
        })?;
        if place > 0 {
            key.push((place, position));
        }
        columns.push(Column { name: column, kind });
    }
    if key.is_empty() {
        return Err(Error::Altered {
            found: "it has no primary key, so its rows have no order".to_owned(),
            table: name,
        });
    }
    key.sort_unstable();
    let refers_to = sqlx::query_scalar(REFERRED)
        .bind(&name)
        .fetch_all(connection)
        .await?;
    Ok(Table {
        name,
        columns,
        key: key.into_iter().map(|(_, position)| position).collect(),
        refers_to,
    })
}

fn kind(declared: &str) -> Option<Kind> {
    match declared {
        "INTEGER" => Some(Kind::Int),
        "TEXT" => Some(Kind::Text),
        "BLOB" => Some(Kind::Bytes),
        _ => None,
    }
}

/// Those that are referred to before those that refer to them; otherwise by name.
fn in_order(mut left: Vec<Table>) -> Result<Vec<Table>, Error> {
    let mut done: Vec<Table> = Vec::new();
    while !left.is_empty() {
        let is_there = |name: &String| done.iter().any(|table| table.name == *name);
        let Some(next) = left
            .iter()
            .position(|table| table.refers_to.iter().all(is_there))
        else {
            let circle = left.into_iter().map(|table| table.name).next();
            return Err(Error::Altered {
                table: circle.unwrap_or_default(),
                found: "it refers to itself, or to a table that refers to it".to_owned(),
            });
        };
        done.push(left.remove(next));
    }
    Ok(done)
}
