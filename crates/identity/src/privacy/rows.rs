//! Rows of a person, read and counted by the list of [`super::holdings`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_store::{Db, Row, Tx, Value};
use serde_json::Value as Json;

use super::holdings::{Class, Column, Form, HOLDINGS, Holding, Whose, time};
use super::{Error, Person};
use crate::addresses::{self, Addresses};

/// Rows that are read together.
pub(super) const PAGE: i64 = 500;

impl Person {
    /// What the statements of a table are asked with; nothing where the person cannot be found in it any more.
    pub(super) fn arguments(&self, whose: Whose) -> Vec<Vec<Value<'_>>> {
        match whose {
            Whose::User => vec![vec![self.id.into()]],
            Whose::Subject => vec![vec![(&self.subject).into()]],
            Whose::Address => self
                .address
                .iter()
                .map(|(_, names)| {
                    let other = names.other().unwrap_or(names.kept());
                    vec![names.kept().into(), other.into()]
                })
                .collect(),
            Whose::Throttle => self
                .throttles
                .iter()
                .map(|name| vec![name.into()])
                .collect(),
        }
    }

    /// Up to [`PAGE`] rows of a table, behind `after` of them; fewer are the last. A page is no snapshot: a row
    /// that goes meanwhile may hide another.
    pub(super) async fn rows_of(
        &self,
        db: &Db,
        holding: &Holding,
        arguments: &[Value<'_>],
        after: i64,
    ) -> Result<Vec<Row>, Error> {
        let bounds = [PAGE.into(), after.into()];
        let arguments = [arguments, &bounds[..]].concat();
        Ok(db.fetch_all(holding.select, &arguments).await?)
    }

    /// How many rows there are, by table; those alone that have some.
    pub(super) async fn count(&self, db: &Db) -> Result<Vec<(&'static str, u64)>, Error> {
        let mut counts = Vec::new();
        for holding in HOLDINGS {
            let mut count = 0_u64;
            for arguments in self.arguments(holding.whose) {
                let row = db.fetch_optional(holding.count, &arguments).await?;
                let found = row.map_or(Ok(0), |row| row.int("n"))?;
                count = count.saturating_add(u64::try_from(found).unwrap_or_default());
            }
            if count > 0 {
                counts.push((holding.table, count));
            }
        }
        Ok(counts)
    }

    pub(super) async fn delete(&self, tx: &mut Tx, holding: &Holding) -> Result<u64, Error> {
        let mut gone = 0_u64;
        for arguments in self.arguments(holding.whose) {
            gone = gone.saturating_add(tx.execute(holding.delete, &arguments).await?);
        }
        Ok(gone)
    }
}

/// A row as it is exported: without what opens something.
pub(super) async fn to_json(
    addresses: &Addresses,
    holding: &Holding,
    row: &Row,
) -> Result<Json, Error> {
    let mut object = serde_json::Map::new();
    for column in holding.columns {
        if let Some(value) = value(addresses, holding, column, row).await? {
            object.insert(column.name.to_owned(), value);
        }
    }
    Ok(Json::Object(object))
}

async fn value(
    addresses: &Addresses,
    holding: &Holding,
    column: &Column,
    row: &Row,
) -> Result<Option<Json>, Error> {
    match column.class {
        Class::Plain | Class::Personal => plain(column, row).map(Some),
        // A keyed index says nothing to anybody: the address itself stands beside it.
        Class::Name => Ok(row
            .opt_text(column.name)?
            .filter(|name| addresses::is_clear(name))
            .map(Json::from)),
        Class::Address => {
            let kept = row.text(column.name)?;
            let id = row.uuid("id")?.to_string();
            Ok(Some(addresses.read(holding.table, &id, kept).await?.into()))
        }
        Class::Credential => Ok(None),
    }
}

fn plain(column: &Column, row: &Row) -> Result<Json, Error> {
    let name = column.name;
    Ok(match column.form {
        Form::Id => row.opt_uuid(name)?.map(|id| id.to_string()).into(),
        Form::Text => row.opt_text(name)?.into(),
        Form::Number => row.opt_int(name)?.into(),
        Form::Time => row.opt_int(name)?.map(time).into(),
        Form::Bytes => row.opt_bytes(name)?.map(|it| STANDARD.encode(it)).into(),
    })
}
